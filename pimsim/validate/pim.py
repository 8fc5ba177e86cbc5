"""Hold PIM programs to what other PIM simulators report: one row a case and quantity, with a cause.

A folder of reference cases has one folder a source, each with `cases.csv`: `samsung_hbmpim` (with
`configs.json`) and `aim` (with `config.json`) are run with exactly the times that they state, `lp5x_pim_sim`
with our own part; the others (`geniepim`, `pimeval`, `attacc`, `neupims`, `cent`) describe machines that
differ from ours in kind, and are shown for orientation. `tests/reference/pim/README.md` describes the fields.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pimsim.devices import part
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.engine import X_NEXT_REF
from pimsim.devices.pim import aim, hbm_pim
from pimsim.devices.pim.compile import compile_gemv
from pimsim.devices.pim.cost import sequential_clocks
from pimsim.devices.pim.hbm_tree import gemv_tree
from pimsim.devices.pim.kernel import Kernel, KernelTime, prepare, time_kernel
from pimsim.devices.rules import AFAB, EWAB, MACAB, RDRES, WRACC
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec, PimSpec
from pimsim.errors import SpecError
from pimsim.validate.lp5x_pim import speed_ups
from pimsim.validate.rows import comparison, unsupported

Row = tuple[str, str, float, float, float, str]
"""A row with its cause."""
Case = dict[str, str]

_REFRESHED, _QUIET = Controller(), Controller(refresh="none")


def pim_rows(folder: Path) -> Iterator[Row]:
    """(case, quantity, ours, reference, error, cause) of every case in the sources of `folder`."""
    for name, source in SOURCES.items():
        if (folder / name / "cases.csv").is_file():
            yield from source(folder / name)


def holds_cases(folder: Path) -> bool:
    """Whether a folder has cases of any source."""
    return any((folder / name / "cases.csv").is_file() for name in SOURCES)


def _row(case: str, quantity: str, ours: float, reference: float, cause: str = "") -> Row:
    held = comparison(case, quantity, ours, reference)
    return *held, cause if abs(held[-1]) > 5e-4 else ""


def _unlike(case: str, reason: str) -> Row:
    return *unsupported(case, reason), ""


def _cases(path: Path) -> list[Case]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _number(case: Case, key: str, path: Path) -> int:
    try:
        return int(case[key])
    except (KeyError, ValueError):
        raise SpecError(f"{path}: column {key!r} holds {case.get(key)!r}; wanted a whole number") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None


# HBM-PIM


def hbm_part(name: str, config: dict[str, Any], ranks: int = 1) -> DramSpec:
    """The DRAM part that a configuration of the HBM-PIM reference describes, with commands of one clock.

    Read to precharge counts from the last beat that the array gives: BL/2 + tRTPL - tCCDL. The reference
    divides its tREFI by the clock period, as the refreshes that it counts show.
    """
    d: dict[str, int] = config["device"]
    burst = d["BL"] // 2
    ck = {name: AtLeast(ck=d[key]) for name, key in _HBM_TIMES.items()}
    g = DramGeometry(
        ranks=ranks, bank_groups=d["NUM_BANK_GROUPS"], banks_per_group=d["NUM_BANKS"] // d["NUM_BANK_GROUPS"],
        rows=d["NUM_ROWS"], columns=d["NUM_COLS"], dq_bits=d["DEVICE_WIDTH"], burst_length=d["BL"],
    )  # fmt: skip
    tck_fs = round(d["tCK"] * 1e6)
    return DramSpec(
        name=name, family="gddr6", source=f"configuration {name} of the HBM-PIM reference",
        density_gbit=g.rank_bytes * 8 // 2**30, data_rate_mtps=round(2e9 / tck_fs), tck_fs=tck_fs,
        clock_ratio=2, geometry=g,
        timings=ck | {
            "RTP": AtLeast(ck=burst + max(0, d["tRTPL"] - d["tCCDL"])),
            "REFI": AtLeast(ck=round(d["tREFI"] / d["tCK"])),
            "FAW": AtLeast(ck=1),  # the reference states tXAW and does not keep it
            "RREFD": AtLeast(ck=8),
        },
        latencies_ck={"RL": d["RL"], "WL": d["WL"], "CCD_S": d["tCCDS"], "CCD_L": d["tCCDL"],
                      "CS": d["tRTRS"]},
    )  # fmt: skip


_LABELS = {"gemv": "gemv", "gemvtree": "gemv tree"}
_HBM_TYPES = {"fp16": 16, "int8": 8, "fp32": 32}
_HBM_TIMES = {
    "RCDRD": "tRCDRD", "RCDWR": "tRCDWR", "RP": "tRP", "RAS": "tRAS", "RC": "tRC", "RRD_S": "tRRDS",
    "RRD_L": "tRRDL", "WR": "tWR", "WTR_S": "tWTRS", "WTR_L": "tWTRL", "REFIpb": "tREFISB",
    "RFCab": "tRFC", "RFCpb": "tRFCSB",
}  # fmt: skip


def _hbm(folder: Path) -> Iterator[Row]:
    path = folder / "cases.csv"
    configs = _json(folder / "configs.json")
    for case in _cases(path):
        config = configs.get(case["config"])
        if config is None:
            yield _unlike(case["case"], f"no configuration {case['config']!r}")
        elif case["path"] == "host":
            yield _hbm_plain(case, config, path)
        else:
            yield from _hbm_kernel(case, config, path)


def _hbm_kernel(case: Case, config: dict[str, Any], path: Path) -> Iterator[Row]:
    channels, kernel = config["system"]["NUM_CHANS"], case["kernel"]
    ranks = _number(case, "ranks", path)
    dram = hbm_part(case["config"], config)
    dtype = config["system"].get("PIM_PRECISION", "FP16").lower()
    pim = replace(
        part("hbm-pim-2000", PimSpec), dram=dram.name, weight_dtypes=_HBM_TYPES,
        units_per_bank=config["device"]["NUM_PIM_BLOCKS"] / dram.geometry.banks,
    )  # fmt: skip
    if dtype not in _HBM_TYPES:
        yield _unlike(case["case"], f"no precision {dtype!r}")
        return
    out = _number(case, "out_dim", path)
    if kernel == "gemv":
        batch = _number(case, "batch", path)
        program = hbm_pim.gemv(pim, dram, channels, out, _number(case, "in_dim", path), dtype, batch=batch)
    elif kernel == "gemvtree":
        program = gemv_tree(pim, dram, channels, out, _number(case, "in_dim", path), dtype)
    elif kernel in hbm_pim.ELEMENTWISE:
        program = hbm_pim.elementwise(pim, dram, channels, kernel, out, dtype)
    else:
        yield _unlike(case["case"], f"no program for {kernel!r}")
        return
    # One rank works. The controller refreshes the ranks in turn, so its first turn comes a share of tREFI in.
    time = _staggered(dram, pim, program, ranks)
    theirs, refreshes = _number(case, "cycles", path), _number(case, "n_ref", path) // channels
    per_rank = -(-refreshes // ranks)
    done = time.refreshes
    cause = (
        f"{done} refreshes, about 22 clocks longer each: ours wait tRP between precharge and refresh"
        if done and per_rank
        else "first and last clocks are counted apart by 1 or 2"
    )
    if theirs - time.clocks > 0.005 * theirs and not done:
        cause = "with slow rows the reference waits tRAS at mode rows that it closes at once"
    yield _row(case["case"], f"hbm-pim {_LABELS.get(kernel, 'element-wise')} clocks",
               time.clocks, theirs, cause)  # fmt: skip
    counts = time.counts
    for key, names in (("n_rd", ("RD", "MACAB")), ("n_wr", ("WRREG", "WRAB", "MODE", "WR"))):
        ours = channels * sum(counts.get(name, 0) for name in names)
        yield _row(case["case"], f"hbm-pim {key}", ours, _number(case, key, path))


def _staggered(dram: DramSpec, pim: PimSpec, kernel: Kernel, ranks: int) -> KernelTime:
    channel = prepare(dram, pim, _REFRESHED)
    channel.scalar[:, X_NEXT_REF] = dram.timings["REFI"].ck // ranks - 1
    return time_kernel(dram, pim, _REFRESHED, kernel, channel=channel)


def _hbm_plain(case: Case, config: dict[str, Any], path: Path) -> Row:
    """All reads, then all writes, spread over bank groups, banks, columns, ranks and rows in this order."""
    channels = config["system"]["NUM_CHANS"]
    dram = hbm_part(case["config"], config, _number(case, "ranks", path))
    depth = config["system"]["TRANS_QUEUE_DEPTH"]
    total = 0
    for key, write in (("n_rd", 0), ("n_wr", 1)):
        n = _number(case, key, path) // channels
        if not n:
            continue
        # The reference does not refresh while writes wait: none of its write runs has a refresh.
        controller = Controller(
            read_queue=depth, write_queue=depth, write_high=depth * 3 // 4, write_low=depth // 4,
            refresh="none" if write else "all_bank",
        )  # fmt: skip
        total += sequential_clocks(dram, controller, n, bool(write))
    cause = "the order in which queued requests are served is not the reference's; it closes rows early"
    return _row(case["case"], "hbm-pim plain clocks", total, _number(case, "cycles", path), cause)


# GDDR6-AiM and LPDDR5-AiM


def aim_parts(name: str, config: dict[str, Any]) -> tuple[DramSpec, PimSpec]:
    """The DRAM part and units that a configuration of the AiM reference describes."""
    t: dict[str, int] = config["timing"]
    unit = part("gddr6-aim" if name == "GDDR6" else "lpddr5-aim", PimSpec)
    like = part(unit.dram, DramSpec)
    g = replace(like.geometry, rows=config["rows"], columns=config["columns"], dq_bits=config["dq_bits"])
    times = _AIM_TIMES[name]
    tck_fs = config["clock_ps"] * 1000
    dram = replace(
        like, name=name, source=f"configuration {name} of the AiM reference", geometry=g,
        density_gbit=g.rank_bytes * 8 // 2**30, tck_fs=tck_fs, data_rate_mtps=round(8e9 / tck_fs),
        timings=like.timings | {ours: AtLeast(ck=t[key]) for ours, key in times.items()},
        latencies_ck=like.latencies_ck | {
            "RL": t["nCL"], "WL": t["nCWL"], "BL": t["nBL"],
            "CCD_S": t.get("nCCDS", t.get("nCCD", 0)), "CCD_L": t.get("nCCDL", t.get("nCCD", 0)),
        },
    )  # fmt: skip
    timings = unit.timings | {ours: AtLeast(ck=t[key]) for ours, key in _UNIT_TIMES.items()}
    return dram, replace(unit, dram=name, mode_ck=t["nMODCH"], timings=timings)


_COMMON = {"RAS": "nRAS", "WR": "nWR", "WTR_S": "nWTRS", "WTR_L": "nWTRL", "FAW": "nFAW", "REFI": "nREFI"}
_AIM_TIMES = {
    "GDDR6": _COMMON | {
        "RCDRD": "nRCDRD", "RCDWR": "nRCDWR", "RP": "nRP", "RC": "nRC", "RRD_S": "nRRDS", "RRD_L": "nRRDL",
        "RTP": "nRTP", "RFCab": "nRFC", "RFCpb": "nRFCpb", "RREFD": "nRREFD",
    },
    "LPDDR5": _COMMON | {
        "RCD": "nRCD", "RCD_WR": "nRCD", "RPpb": "nRPpb", "RPab": "nRPab", "RRD": "nRRD", "RBTP": "nRTP",
        "RFCab": "nRFCab", "RFCpb": "nRFCpb",
    },
}  # fmt: skip
_UNIT_TIMES = {"RCDMAC": "nRCDRDMAC", "RCDEW": "nRCDEWMUL", "RCDAF": "nRCDRDAF", "RTPMAC": "nRTP"}


def _aim(folder: Path) -> Iterator[Row]:
    path = folder / "cases.csv"
    configs = _json(folder / "config.json")
    for case in _cases(path):
        name = case["part"]
        if name not in _AIM_TIMES or name not in configs:
            yield _unlike(case["case"], f"no part {name!r}")
            continue
        dram, pim = aim_parts(name, configs[name])
        kernel = _aim_kernel(case, dram, pim, path)
        if kernel is None:
            yield _unlike(case["case"], f"no program for {case['kernel']!r}")
            continue
        # The reference's GDDR6 part never refreshes (README of its cases).
        time = time_kernel(dram, pim, _QUIET if name == "GDDR6" else _REFRESHED, kernel)
        cause = (
            "the reference counts one clock more" if name == "GDDR6"
            else "each read or write of registers starts the data clock (CAS); refreshes fall elsewhere"
        )  # fmt: skip
        label = f"{name.lower()}-aim clocks"
        yield _row(case["case"], label, time.clocks, _number(case, "cycles", path), cause)


def _aim_kernel(case: Case, dram: DramSpec, pim: PimSpec, path: Path) -> Kernel | None:
    name, channels = case["kernel"], _number(case, "channels", path)
    if name.startswith("gemv"):
        _, _, reuse = name.partition("_reuse")
        return aim.gemv(
            pim, dram, channels, _number(case, "out_dim", path), _number(case, "in_dim", path), "bf16",
            reuse=int(reuse or 1), leave=False,
        )  # fmt: skip
    if name not in ("mac_abk", "mac_abk_op", "ewmul", "mac_af"):
        return None
    rows, columns = _number(case, "rows", path), _number(case, "bursts", path)
    steps: list[aim.Step] = []
    for at in range(rows):
        if name == "mac_af":
            steps += [
                aim.Step(WRACC, -1, 1),
                aim.Step(MACAB, at, columns),
                aim.Step(AFAB, rows + at, 1),
                aim.Step(RDRES, -1, 1),
            ]
        else:
            steps.append(aim.Step(EWAB if name == "ewmul" else MACAB, at, columns))
    return aim.kernel_of(pim, dram, name, "bf16", channels, aim.stream(steps, leave=False), 0, shape={})


# Shown for orientation


def _geniepim(folder: Path) -> Iterator[Row]:
    path = folder / "cases.csv"
    pim = part("lpddr5x-pim-8533", PimSpec)
    dram = part(pim.dram, DramSpec)
    reason = "a formula without refresh or DRAM state, two ranks as one, its own tile rounding and registers"
    for case in _cases(path):
        kernel = compile_gemv(
            pim, dram, _number(case, "out_dim", path), _number(case, "in_dim", path), "int8",
            batch=_number(case, "vectors", path), channels=8,
        )  # fmt: skip
        time = time_kernel(dram, pim, _REFRESHED, kernel)
        name = f"geniepim/{case['out_dim']}x{case['in_dim']}b{case['vectors']}"
        yield _row(name, "geniepim ns", time.seconds * 1e9, float(case["pim_ns"]), reason)


def _pimeval(folder: Path) -> Iterator[Row]:
    path = folder / "cases.csv"
    reason = "a formula over INT32 on 8 ranks of another memory; its copies are not in it"
    for case in _cases(path):
        name = f"pimeval/{case['device']}/{case['kernel']}/{case['out_dim']}x{case['in_dim']}"
        unit = {"aim": "gddr6-aim", "aquabolt": "hbm-pim-2000"}.get(case["device"])
        if unit is None or case["kernel"] != "gemv":
            yield _unlike(name, f"no part of ours is like {case['device']!r}")
            continue
        pim = part(unit, PimSpec)
        dram = part(pim.dram, DramSpec)
        dtype = next(iter(pim.weight_dtypes))
        kernel = compile_gemv(pim, dram, _number(case, "out_dim", path), _number(case, "in_dim", path), dtype)
        time = time_kernel(dram, pim, _REFRESHED, kernel)
        yield _row(name, "pimeval ms", time.seconds * 1e3, float(case["pim_ms"]), reason)


def _unmodelled(name: str, key: Callable[[Case], str], reason: str) -> Callable[[Path], Iterator[Row]]:
    def rows(folder: Path) -> Iterator[Row]:
        for case in _cases(folder / "cases.csv"):
            yield _unlike(f"{name}/{key(case)}", reason)

    return rows


SOURCES: dict[str, Callable[[Path], Iterator[Row]]] = {
    "samsung_hbmpim": _hbm,
    "aim": _aim,
    "lp5x_pim_sim": speed_ups,
    "geniepim": _geniepim,
    "pimeval": _pimeval,
    "attacc": _unmodelled(
        "attacc", lambda c: f"{c['seq_len']}x{c['heads_per_stack']}",
        "attention units beside HBM3 banks with softmax of their own; no such part here",
    ),
    "neupims": _unmodelled(
        "neupims", lambda c: f"b{c['batch']}",
        "whole layers on an NPU beside banks with two row buffers; no such part here",
    ),
    "cent": _unmodelled(
        "cent", lambda c: f"{c['model']}/{c['devices']}/{c['seq_len']}",
        "whole tokens over CXL devices with units beside the DRAM; no such system here",
    ),
}  # fmt: skip
"""What a folder of cases may hold."""

__all__ = ["SOURCES", "aim_parts", "hbm_part", "holds_cases", "pim_rows"]
