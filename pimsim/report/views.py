"""Tables that the charts of a page show, from results."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pimsim.report.charts import WINDOWS
from pimsim.result import Result

SPANS_SHOWN = 2500
BINS = 300
ENERGY_UNITS = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12}


def windows(result: Result) -> dict[str, tuple[int, int]]:
    """The times (first, last picosecond) of `WINDOWS` that the run has."""
    spans = result.spans
    if not len(spans):
        return {}
    found = {WINDOWS[0]: (0, int(spans["end_ps"].max()))}
    prefill = spans[spans["phase"].str.startswith("prefill")]
    decode = spans[spans["phase"].str.startswith("decode")]
    first = decode[decode["phase"] == decode["phase"].iloc[0]] if len(decode) else decode
    for name, part in zip(WINDOWS[1:], (prefill, first), strict=True):
        if len(part):
            found[name] = (int(part["start_ps"].min()), int(part["end_ps"].max()))
    return found


def rates(result: Result, bins: int = BINS) -> pd.DataFrame:
    """GB/s of a run in equal times of each window.

    returns: columns window, from_ms, to_ms, series, where ("pins" or "banks"), rate, low, high (stacked
    upon the series before it); times in which nothing moved are left out. Series: "read" and "written" if
    all channels are alike, else by channel; rates at the pins are of all channels together.
    """
    traffic = result.traffic
    by_channel = bool((traffic["channel"] >= 0).any())
    rows: list[tuple[object, ...]] = []
    for window, (begin, end) in windows(result).items():
        edges = np.linspace(begin, max(end, begin + 1), bins + 1)
        scale = 1e3 / np.diff(edges)  # bytes a picosecond are 1000 GB/s
        for channel, part in traffic.groupby("channel", sort=True):
            where = "all channels" if channel == -1 else f"channel {channel}"
            for column, what in (("read_bytes", "read"), ("written_bytes", "written"), ("pim_bytes", "PIM")):
                moved = np.diff(_moved(part, column, edges)) * scale
                series = "read by PIM units" if what == "PIM" else f"{where}, {what}" if by_channel else what
                place = "banks" if what == "PIM" else "pins"
                for i in np.flatnonzero(moved > 0):
                    lo, hi = (round(float(edge) / 1e9, 6) for edge in edges[i : i + 2])
                    rows.append((window, lo, hi, series, place, round(float(moved[i]), 4)))
    frame = pd.DataFrame(rows, columns=["window", "from_ms", "to_ms", "series", "where", "rate"])
    frame["high"] = frame.groupby(["window", "where", "from_ms"])["rate"].cumsum()
    return frame.assign(low=frame["high"] - frame["rate"])


def _moved(part: pd.DataFrame, column: str, edges: np.ndarray) -> np.ndarray:
    """Bytes moved until each time of `edges`; rows of one channel do not overlap."""
    times = part[["start_ps", "end_ps"]].to_numpy().ravel()
    sums = np.cumsum(part[column].to_numpy())
    held = np.stack([np.concatenate([[0], sums[:-1]]), sums], axis=1).ravel() if len(sums) else sums
    return np.interp(edges, times, held) if len(sums) else np.zeros(len(edges))


def shown_spans(result: Result, limit: int = SPANS_SHOWN) -> tuple[pd.DataFrame, str]:
    """Spans for a drawn timeline (columns task, kind, phase, layer, engine, from_ms, to_ms), and which."""
    spans, what = result.spans, "all of the run"
    if len(spans) > limit:
        prefill = spans["phase"].str.startswith("prefill")
        decode = spans[spans["phase"].str.startswith("decode")]
        first = spans["phase"] == (decode["phase"].iloc[0] if len(decode) else "")
        spans, what = spans[prefill | first], "prefill and the first decode step"
        if len(spans) > limit:
            middle = int(spans["layer"].max()) // 2
            for reach in (4, 2, 1, 0):
                near = (spans["layer"] - middle).abs() <= reach
                if near.sum() <= limit:
                    break
            spans = spans[near].head(limit)
            what = f"layers {middle - reach} to {middle + reach} of prefill and the first decode step"
    frame = spans[["task", "kind", "phase", "layer", "engine"]].assign(
        from_ms=spans["start_ps"] / 1e9, to_ms=spans["end_ps"] / 1e9
    )
    frame["phase"] = [short_phase(str(phase)) for phase in frame["phase"]]
    return frame, what


def short_phase(phase: str) -> str:
    """`decode[3]` is decode."""
    return phase.split("[")[0]


def energy(result: Result) -> pd.DataFrame:
    """Counters that are energies: columns component, statistic, joule."""
    held = result.counters[result.counters["unit"].isin(list(ENERGY_UNITS))]
    scale = held["unit"].map(ENERGY_UNITS).astype(float)
    return held[["component", "statistic"]].assign(joule=held["value"] * scale)


def coarse_activity(result: Result, columns: list[str], bins: int = 60) -> pd.DataFrame:
    """Bank activity with at most `bins` times: from_ms, to_ms, channel, bank, place, counts."""
    held = result.activity
    if not len(held):
        return held
    width = -(-int(held["end_ps"].max()) // bins)
    keyed = held.assign(bin=held["start_ps"] // width)
    summed = keyed.groupby(["bin", "channel", "bank"], as_index=False)[columns].sum()
    summed["from_ms"], summed["to_ms"] = summed["bin"] * width / 1e9, (summed["bin"] + 1) * width / 1e9
    summed["place"] = summed["channel"].astype(str) + ":" + summed["bank"].astype(str).str.zfill(2)
    frame: pd.DataFrame = summed.sort_values(["channel", "bank", "bin"]).drop(columns="bin")
    return frame
