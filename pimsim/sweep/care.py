"""Running stored points again, to see that they give what the store says."""

from __future__ import annotations

from pimsim.sweep.store import Store
from pimsim.sweep.work import FINAL, Job, Limits, Simulation, perform


def recomputed(store: Store, count: int) -> tuple[int, list[str]]:
    """(points run again, what differs): up to `count` simulations of this code, spread over the store."""
    from pimsim.reuse import code_digest

    work = Simulation()
    mine = [r for r in store.records() if r.code == code_digest() and r.status in FINAL]
    step = max(1, len(mine) // max(1, count))
    checked, differ = 0, []
    for record in mine[::step]:
        if checked == count or work.key(dict(record.settings)) != record.key:
            continue
        job = Job(key=record.key, settings=dict(record.settings))
        outcome = perform(work, job, Limits(), None, code_digest())
        checked += 1
        if (outcome.status, outcome.error, outcome.values) != (record.status, record.error, record.outputs):
            differ.append(f"result {record.key[:12]}: computed again it is {outcome.values or outcome.error}")
    return checked, differ
