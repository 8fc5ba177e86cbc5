"""Energy of a DRAM run from supply currents: command counts times energies, and standby over time.

The equations are those of Micron's TN-40-07 and of DRAMPower (Chandrasekar et al.), for every rail and
every chip of a rank, with V the voltage, tRC from activate to activate and BL the time of a burst:

    activate and precharge   V (IDD0 tRC - IDD3N1 tRAS - IDD2N (tRC - tRAS))
    read, write              V (IDD4R - IDD3N) BL, V (IDD4W - IDD3N) BL
    refresh of all banks     V (IDD5B - IDD3N) tRFC; of one bank its share, one of all banks
    standby                  V IDD2N with all banks closed, V IDD3N1 with one open, V IDD3N with all open
                             (a straight line between; a bank in refresh counts as open)

What rails VDDQ add for reads and writes, or else the part's energy a bit on the pins, is booked as io.
Left out: power-down and self refresh, temperature, the data themselves (datasheets fix their pattern), the
clock and command pins, the controller's side of the pins, PIM units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pimsim.devices.currents import Rail
from pimsim.devices.rules import rules_of
from pimsim.devices.spec import Clocks, DramSpec
from pimsim.errors import SpecError

COMPONENTS = ("activate", "read", "write", "refresh", "background", "io")
_ACTIVATES = ("ACT", "ACT1")  # ACT2 is the second half of an ACT1
_PIM = ("ACTAB", "MACAB", "WRREG", "RDRES", "MODE")


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy of a run by component in pJ, of all chips of all ranks and channels.

    io_pj: data pins; None where neither a rail VDDQ nor an energy a bit is known, and then not in the total.
    background_pj: standby. Exact from a command log, else estimated from counts; background_low_pj and
      background_high_pj enclose it (and equal it where it is exact).
    bits: moved by data commands. source, estimate: of the currents.
    """

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    background_pj: float
    background_low_pj: float
    background_high_pj: float
    io_pj: float | None
    time_ns: float
    bits: int
    source: str
    estimate: bool

    @property
    def components_pj(self) -> dict[str, float]:
        """Component -> pJ, those that are known; they sum to the total."""
        held = {name: getattr(self, f"{name}_pj") for name in COMPONENTS}
        return {name: value for name, value in held.items() if value is not None}

    @property
    def total_pj(self) -> float:
        return sum(self.components_pj.values())

    @property
    def power_mw(self) -> float:
        """Average over the run; 0 for a run of no time."""
        return self.total_pj / self.time_ns if self.time_ns else 0.0

    @property
    def pj_per_bit(self) -> float | None:
        """Total over the bits moved; None if no data moved."""
        return self.total_pj / self.bits if self.bits else None

    @property
    def exact_background(self) -> bool:
        return self.background_low_pj == self.background_high_pj

    def summary(self) -> dict[str, Any]:
        """All fields, total, power and energy a bit as plain values."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return held | {
            "total_pj": self.total_pj,
            "power_mw": self.power_mw,
            "pj_per_bit": self.pj_per_bit,
        }


@dataclass(frozen=True, kw_only=True)
class EventEnergy:
    """What one event costs in one rank, all chips together.

    *_pj: energy above standby. closed_mw: standby with all banks closed; first_bank_mw, next_bank_mw: what
    the first open bank and each further one add to it.
    """

    activate_pj: float
    read_pj: float
    write_pj: float
    io_read_pj: float | None
    io_write_pj: float | None
    refresh_pj: float
    refresh_bank_pj: float
    closed_mw: float
    first_bank_mw: float
    next_bank_mw: float


@dataclass(frozen=True, kw_only=True)
class OpenClocks:
    """How long banks were open or in refresh, in clocks added over the ranks.

    any_ck: with at least one such bank in the rank. bank_ck: added over the banks.
    """

    any_ck: float
    bank_ck: float


def event_energy(spec: DramSpec) -> EventEnergy:
    """Energies of the part's events, from its currents and its own tRAS, tRC and tRFC.

    SpecError if it has no currents, has those of another chip, or an activate would give energy back.
    """
    currents = spec.currents
    if currents is None:
        raise SpecError(f"{spec.name}: no supply currents; give it currents of its own")
    problem = currents.mismatch(spec.data_rate_mtps, spec.density_gbit, spec.geometry.dq_bits)
    if problem:
        raise SpecError(f"{spec.name}: {problem}; give it currents of its own")
    n, tck_ns, banks = Clocks(spec), spec.tck_fs / 1e6, spec.geometry.banks
    ras_ns, rc_ns = n.RAS * tck_ns, _row_cycle_ck(n) * tck_ns
    burst_ns, rfc_ns = n.BL * tck_ns, _refresh_ck(n) * tck_ns
    scale = currents.devices_per_rank

    def of(ma_ns: float, rail: Rail) -> float:
        return scale * rail.volts * ma_ns  # V mA ns = pJ

    sums = dict.fromkeys((field.name for field in fields(EventEnergy)), 0.0)
    for rail in currents.rails:
        row_ma_ns = (rail.IDD0 - rail.one_bank) * ras_ns + (rail.IDD0 - rail.IDD2N) * (rc_ns - ras_ns)
        if row_ma_ns < 0:
            raise SpecError(
                f"{spec.name}: rail {rail.name}: an activate would take {of(row_ma_ns, rail):.4g} pJ: "
                f"IDD0={rail.IDD0:g} mA lies below the standby that it includes "
                f"({rail.one_bank:g} mA for tRAS, {rail.IDD2N:g} mA for the rest); give IDD3N1"
            )
        pins = "io_" if rail.name == "VDDQ" else ""
        sums["activate_pj"] += of(row_ma_ns, rail)
        sums[f"{pins}read_pj"] += of((rail.IDD4R - rail.IDD3N) * burst_ns, rail)
        sums[f"{pins}write_pj"] += of((rail.IDD4W - rail.IDD3N) * burst_ns, rail)
        sums["refresh_pj"] += of((rail.IDD5B - rail.IDD3N) * rfc_ns, rail)
        sums["closed_mw"] += of(rail.IDD2N, rail)
        sums["first_bank_mw"] += of(rail.one_bank - rail.IDD2N, rail)
        if banks > 1:
            sums["next_bank_mw"] += of((rail.IDD3N - rail.one_bank) / (banks - 1), rail)
    sums["refresh_bank_pj"] = sums["refresh_pj"] / banks
    held: dict[str, float | None] = dict(sums)
    burst_bits = 8 * spec.geometry.burst_bytes
    if currents.pins is not None:
        held["io_read_pj"] = burst_bits * currents.pins.read_pj_per_bit
        held["io_write_pj"] = burst_bits * currents.pins.write_pj_per_bit
    elif all(rail.name != "VDDQ" for rail in currents.rails):
        held["io_read_pj"] = held["io_write_pj"] = None
    return EventEnergy(**held)  # type: ignore[arg-type]


def _row_cycle_ck(n: Clocks) -> int:
    """tRC of one bank."""
    return n.RC if n.has("RC") else n.RAS + (n.RPpb if n.has("RPpb") else n.RP)


def _refresh_ck(n: Clocks) -> int:
    """tRFC of an all-bank refresh under the family's name."""
    name = next((name for name in ("RFC", "RFC1") if n.has(name)), "RFCab")
    return int(getattr(n, name))


def run_energy(
    spec: DramSpec, counts: dict[str, int], cycles: int, log: pd.DataFrame | None = None, channels: int = 1
) -> Energy | None:
    """Energy of `cycles` clocks, from all banks closed; None for a part without currents.

    So is a variant that inherited currents which do not fit it: `event_energy` says why.
    counts: commands by name, of all channels. An activate is charged with the precharge that follows it.
    log: the commands (as in `ReplayReport.commands`); with it the background is exact, without it
      `open_clocks_from_counts` estimates and encloses it.
    """
    currents = spec.currents
    if currents is None:
        return None
    try:
        cost = event_energy(spec)
    except SpecError:  # the currents do not fit the part; its run is worth having all the same
        return None
    pim = [name for name in _PIM if counts.get(name)]
    if pim:
        raise SpecError(
            f"{spec.name}: no energy of the PIM commands {', '.join(pim)} among ordinary ones; "
            "pimsim gemv gives that of a PIM program"
        )
    reads, writes = (sum(counts.get(name, 0) for name in names) for names in (("RD", "RDA"), ("WR", "WRA")))
    if log is None:
        low, likely, high = open_clocks_from_counts(spec, counts, cycles, channels)
    else:
        low = likely = high = open_clocks(spec, log, cycles, channels)
    ranks = channels * spec.geometry.ranks
    bank_refreshes = counts.get("REFPB", 0) + spec.geometry.bank_groups * counts.get("REFSB", 0)
    io = None
    if cost.io_read_pj is not None and cost.io_write_pj is not None:
        io = reads * cost.io_read_pj + writes * cost.io_write_pj
    return Energy(
        activate_pj=sum(counts.get(name, 0) for name in _ACTIVATES) * cost.activate_pj,
        read_pj=reads * cost.read_pj,
        write_pj=writes * cost.write_pj,
        refresh_pj=counts.get("REFAB", 0) * cost.refresh_pj + bank_refreshes * cost.refresh_bank_pj,
        background_pj=_background_pj(spec, cost, ranks * cycles, likely),
        background_low_pj=_background_pj(spec, cost, ranks * cycles, low),
        background_high_pj=_background_pj(spec, cost, ranks * cycles, high),
        io_pj=io,
        time_ns=cycles * spec.tck_fs / 1e6,
        bits=(reads + writes) * 8 * spec.geometry.burst_bytes,
        source=currents.source,
        estimate=currents.estimate,
    )


def _background_pj(spec: DramSpec, cost: EventEnergy, rank_ck: int, open_: OpenClocks) -> float:
    clocks_mw = (
        rank_ck * cost.closed_mw
        + open_.any_ck * cost.first_bank_mw
        + (open_.bank_ck - open_.any_ck) * cost.next_bank_mw
    )
    return clocks_mw * spec.tck_fs / 1e6


def open_clocks(spec: DramSpec, log: pd.DataFrame, cycles: int, channels: int = 1) -> OpenClocks:
    """Exact, from the commands between clock 0 (all banks closed) and clock `cycles`.

    log: columns clock, command, channel, rank, bankgroup, bank; -1 for all banks of a rank. A bank is open
    from its activate (of two halves: the first, from which the rules count) to its precharge; that of an RDA
    or WRA comes where the rules let it be activated again, less tRP. A refresh lasts tRFC, tRFCpb or tRFCsb.
    """
    n, g = Clocks(spec), spec.geometry
    clock = log["clock"].to_numpy(np.int64)
    rank = log["channel"].to_numpy(np.int64) * g.ranks + log["rank"].to_numpy(np.int64)  # over all channels
    group = rank * g.bank_groups + log["bankgroup"].to_numpy(np.int64)
    bank = group * g.banks_per_group + log["bank"].to_numpy(np.int64)
    alike = rank * g.banks_per_group + log["bank"].to_numpy(np.int64)  # banks of one number in all groups
    codes, names = pd.factorize(log["command"])
    code_of = {str(name): code for code, name in enumerate(names)}

    def issued(places: NDArray[np.int64], *commands: str) -> _Issued:
        here = np.isin(codes, [code_of[name] for name in commands if name in code_of])
        return clock[here], places[here]

    activates, precharges, refreshes = issued(bank, *_ACTIVATES), issued(bank, "PRE"), issued(bank, "REFPB")
    same_refreshes = issued(alike, "REFSB")
    rank_precharges, rank_refreshes = issued(rank, "PREA"), issued(rank, "REFAB")
    auto = [
        (issued(bank, name), _auto_precharge_ck(spec, name)) for name in ("RDA", "WRA") if name in code_of
    ]
    rfc_bank, rfc_same = (n.RFCpb if n.has("RFCpb") else 0), (n.RFCsb if n.has("RFCsb") else 0)
    any_ck = bank_ck = 0
    for r in range(channels * g.ranks):
        all_closed, refreshed = _at(rank_precharges, r), _at(rank_refreshes, r)
        all_refreshed = (refreshed, refreshed + _refresh_ck(n))
        rank_spans = [all_refreshed]
        for b in range(r * g.banks, (r + 1) * g.banks):
            closed = [_at(precharges, b), all_closed, *(_at(commands, b) + ck for commands, ck in auto)]
            closings = np.append(np.minimum(np.sort(np.concatenate(closed)), cycles), cycles)
            opened, refreshed = _at(activates, b), _at(refreshes, b)
            same = _at(same_refreshes, r * g.banks_per_group + b % g.banks_per_group)
            place = np.minimum(np.searchsorted(closings, opened, side="right"), len(closings) - 1)
            spans = [
                (opened, np.maximum(closings[place], opened + n.RAS)),  # an RDA waits for tRAS
                (refreshed, refreshed + rfc_bank),
                (same, same + rfc_same),
            ]
            bank_ck += _union([all_refreshed, *spans], cycles)
            rank_spans += spans
        any_ck += _union(rank_spans, cycles)
    return OpenClocks(any_ck=any_ck, bank_ck=bank_ck)


_Issued = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Clocks of commands and the bank (counted over ranks) or rank of each."""


def _at(issued: _Issued, place: int) -> NDArray[np.int64]:
    clock, places = issued
    held: NDArray[np.int64] = clock[places == place]
    return held


def _union(spans: list[tuple[NDArray[np.int64], NDArray[np.int64]]], cycles: int) -> int:
    """Clocks before `cycles` that lie in at least one of the spans, each from a start to before an end."""
    start = np.concatenate([first for first, _ in spans])
    end = np.concatenate([last for _, last in spans])
    if not len(start):
        return 0
    order = np.argsort(start, kind="stable")
    start, end = np.minimum(start[order], cycles), np.minimum(end[order], cycles)
    seen = np.concatenate([[0], np.maximum.accumulate(end)[:-1]])
    return int(np.maximum(0, end - np.maximum(start, seen)).sum())


def _auto_precharge_ck(spec: DramSpec, command: str) -> int:
    """Clocks from a data command to the precharge that it brings, from the rules of the bank."""

    def wait(after: str) -> int:
        return max(
            rule.wait
            for rule in rules_of(spec)
            if rule.scope == "bank" and after in rule.after and "ACT1" in rule.before
        )

    return wait(command) - wait("PRE")


def open_clocks_from_counts(
    spec: DramSpec, counts: dict[str, int], cycles: int, channels: int = 1
) -> tuple[OpenClocks, OpenClocks, OpenClocks]:
    """(least, likely, most) clocks with open banks of a run whose log was not kept.

    The outer two hold for every legal run from closed banks. Least: only refreshes, bursts and, for a bank,
    tRAS an activate. Most: everything but tRP before each all-bank refresh.

    Likely is for rows left open and requests spread evenly: a rank is closed for tRP before a refresh and
    after it until its next request, which comes as requests come on the average; each activate opens a
    random bank, which was closed for tRP. A rank that no request goes to, and rows that a controller closes
    early, break this.
    """
    n, g = Clocks(spec), spec.geometry
    count = counts.get
    acts = sum(count(name, 0) for name in _ACTIVATES)
    bursts = sum(count(name, 0) for name in ("RD", "RDA", "WR", "WRA"))
    all_refreshes, bank_refreshes = count("REFAB", 0), count("REFPB", 0) + g.bank_groups * count("REFSB", 0)
    rfc, rp = _refresh_ck(n), min(n.as_dict()[name] for name in ("RP", "RPpb", "RPab") if n.has(name))
    rfc_bank = (n.RFCpb if count("REFPB", 0) else n.RFCsb) if bank_refreshes else 0
    ranks, banks = channels * g.ranks, g.banks
    span = ranks * cycles
    # What the end of the run may cut short: the last refresh and burst of a rank, the last row of a bank.
    ended = max(0, all_refreshes - ranks) * rfc
    data = max(0, bursts - ranks) * n.BL
    least = OpenClocks(
        any_ck=ended + data,
        bank_ck=banks * ended
        + max(0, bank_refreshes - ranks * banks) * rfc_bank
        + max(data, max(0, acts - ranks * banks) * n.RAS),
    )
    refreshed = min(span, all_refreshes * rfc)
    if not acts:
        bank_ck = min(span, bank_refreshes * rfc_bank)
        most = OpenClocks(any_ck=min(span, refreshed + bank_ck), bank_ck=banks * refreshed + bank_ck)
        return least, most, most
    before = min(span, all_refreshes * rp)
    most = OpenClocks(any_ck=span - before, bank_ck=banks * (span - before))
    rate = max(acts, bursts) / span  # after a refresh the next request of a rank opens a row
    windows = all_refreshes + ranks
    usable = max(0.0, (span - refreshed - before) / windows)
    closed = windows * -math.expm1(-rate * usable) / rate
    any_ck = min(most.any_ck, max(least.any_ck, most.any_ck - closed))
    filled = acts / windows / banks  # activates a bank between two refreshes
    open_banks = max(1.0, banks * (1 + math.expm1(-filled) / filled))
    closings = sum(count(name, 0) for name in ("PRE", "RDA", "WRA"))
    likely_ck = max(0.0, any_ck - refreshed) * open_banks - closings * rp
    likely_ck += banks * refreshed + bank_refreshes * rfc_bank
    likely = OpenClocks(any_ck=any_ck, bank_ck=min(most.bank_ck, max(least.bank_ck, likely_ck)))
    return least, likely, most
