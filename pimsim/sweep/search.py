"""Search: Optuna proposes points on the axes of a sweep, batch by batch, and is told what they gave.

The study is kept nowhere: with one seed it always asks the same questions, and the answers lie in the store.
A search that was stopped asks again from the start, gets its old answers at once and goes on; its outcome is
that of a search that was never stopped.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import Any

from pimsim.errors import SweepError, suggest
from pimsim.sweep.executors import Executor
from pimsim.sweep.file import SearchPlan
from pimsim.sweep.points import Axis, Point, Range, Sweep
from pimsim.sweep.session import Prepared, Progress, Report, run_sweep
from pimsim.sweep.store import Store
from pimsim.sweep.work import Limits, Simulation, Work


def search(
    sweep: Sweep,
    plan: SearchPlan,
    store: Store,
    *,
    work: Work | None = None,
    executor: Executor | None = None,
    limits: Limits | None = None,
    report: Report | None = None,
) -> Sweep:
    """Look for points whose objectives are small; returns the sweep of all trials, which the store holds.

    Trials that break a constraint are not run; they and failed ones count as bad as the worst. Optuna is the
    extra `[search]`; without it a SweepError says how to install it.
    """
    try:
        import optuna
    except ImportError:
        raise SweepError("Optuna is not installed; install it with: pip install 'pimsim[search]'") from None
    if not sweep.axes:
        raise SweepError(f"sweep {sweep.name}: a search needs axes")
    work = work if work is not None else Simulation()
    work.check(replace(sweep, sampling="random", count=1, listed=()))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            directions=["minimize"] * len(plan.objectives), sampler=_sampler(optuna, plan)
        )
    worst: list[float] = []

    def tell(trial: Any, values: list[float] | None) -> None:
        """Points that are no good count as bad as the worst so far, so that the sampler keeps away."""
        if values is not None:
            worst[:] = [max(pair) for pair in zip(worst or values, values, strict=True)]
        if values or worst:
            study.tell(trial, values or list(worst))
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)

    conditions = sweep.conditions()
    total = Progress(total=plan.trials)
    points: list[Point] = []
    keys: list[str] = []
    asked = 0
    while asked < plan.trials:
        batch: list[tuple[Any, Point, str]] = []
        for _ in range(min(plan.batch, plan.trials - asked)):
            trial = study.ask()
            asked += 1
            values = [_value(trial, axis) for axis in sweep.axes]
            settings, shown = sweep.of(values)
            held = {**settings, **shown}
            missing = {name for c in conditions for name in c.names} - held.keys()
            held |= work.look(settings, missing) if missing else {}
            if not all(condition.holds(held) for condition in conditions):
                tell(trial, None)
                total.reused += 1
                continue
            batch.append(
                (trial, Point(number=len(points), settings=settings, shown=shown), work.key(settings))
            )
            points.append(batch[-1][1])
            keys.append(batch[-1][2])
        if batch:
            ready = Prepared(
                sweep=_trials(sweep, plan),
                work=work,
                points=tuple(point for _, point, _ in batch),
                keys=tuple(key for _, _, key in batch),
            )
            before = (total.reused, total.run, total.failed)

            def say(part: Progress, before: tuple[int, int, int] = before) -> None:
                total.reused, total.run = before[0] + part.reused, before[1] + part.run
                total.failed = before[2] + part.failed
                if report is not None:
                    report(total)

            run_sweep(ready, store, executor=executor, limits=limits, report=say)
        for trial, _, key in batch:
            record = store.get(key)
            done = record is not None and record.status == "done"
            outputs = record.outputs if record is not None and done else None
            tell(trial, [_objective(outputs, name) for name in plan.objectives] if outputs else None)
    if report is not None:
        report(total)
    if not points:
        raise SweepError(f"sweep {sweep.name}: the constraints left no trial of {plan.trials}")
    return _trials(sweep, plan)


def _trials(sweep: Sweep, plan: SearchPlan) -> Sweep:
    """The sweep under which trials are stored: drawn points with a name of their own."""
    return replace(
        sweep, name=f"{sweep.name}-search", sampling="random", count=plan.trials, seed=plan.seed, listed=(),
        objectives=plan.objectives,
    )  # fmt: skip


def _sampler(optuna: Any, plan: SearchPlan) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if plan.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=plan.seed, constant_liar=plan.batch > 1)
        if plan.sampler == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=plan.seed)
        return optuna.samplers.RandomSampler(seed=plan.seed)


def _value(trial: Any, axis: Axis) -> Any:
    """What Optuna proposes for an axis."""
    held = axis.values
    if isinstance(held, Range):
        log = held.scale == "log"
        if held.whole:
            return trial.suggest_int(axis.name, int(held.low), int(held.high), log=log)
        value = float(trial.suggest_float(axis.name, held.low, held.high, log=log))
        return min(max(float(f"{value:.12g}"), held.low), held.high)
    numbers = [v for v in held if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(held) and list(numbers) == sorted(numbers):  # neighbours are alike
        return held[trial.suggest_int(axis.name, 0, len(held) - 1)]
    names = [json.dumps(value, sort_keys=True) for value in held]
    return held[names.index(trial.suggest_categorical(axis.name, names))]


def _objective(outputs: Any, name: str) -> float:
    value = outputs.get(name)
    if not isinstance(value, int | float):
        known = [key for key, held in outputs.items() if isinstance(held, int | float)]
        raise SweepError(f"objective {name!r}: the results have no such number{suggest(name, known)}")
    return float(value)
