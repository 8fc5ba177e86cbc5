"""Counts of a log by bank and time, by hand, and machines as blocks."""

import json

import pandas as pd

from pimsim.devices import DramSpec, part
from pimsim.devices.dram.activity import bank_activity
from pimsim.machine import describe, size
from pimsim.system import exynos2400

COLUMNS = ["clock", "command", "channel", "rank", "bankgroup", "bank", "row", "column"]


def test_counts_by_hand():
    spec = part("lpddr5x-8533-16gb-x16", DramSpec)  # 2 ranks of 4 groups of 4 banks, clocks of 937.5 ps
    log = pd.DataFrame(
        [
            (0, "ACT1", 0, 0, 1, 2, 7, -1),
            (1, "ACT2", 0, 0, 1, 2, 7, -1),
            (5, "RD", 0, 0, 1, 2, 7, 3),
            (6, "RD", 0, 0, 1, 2, 7, 4),
            (7, "WRA", 1, 1, 0, 0, 7, 4),
            (8, "PRE", 0, 0, 1, 2, -1, -1),
            (9, "MACAB", 0, 1, -1, -1, -1, -1),
        ],
        columns=COLUMNS,
    )
    made = bank_activity(log, spec, bins=2)  # of 5 clocks each
    first = made[made["start_ps"] == 0]
    assert first.to_dict("records") == [
        {"start_ps": 0, "end_ps": 4688, "channel": 0, "bank": 6, "activates": 1, "reads": 0, "writes": 0,
         "pim": 0}
    ]  # fmt: skip
    second = made[made["start_ps"] == 4688]
    assert second[second["channel"] == 1]["bank"].tolist() == [16]
    assert second[second["bank"] == 6]["reads"].tolist() == [2]
    assert second[second["pim"] == 1]["bank"].tolist() == list(range(16, 32))


def test_an_empty_log_has_no_activity():
    spec = part("lpddr5x-8533-16gb-x16", DramSpec)
    assert len(bank_activity(pd.DataFrame(columns=COLUMNS), spec)) == 0


def test_a_machine_is_json_with_every_part():
    told = describe(exynos2400())
    assert json.loads(json.dumps(told)) == told
    names = json.dumps(told)
    for name in ("exynos-2400", "x4", "L3", "lpddr5x-8533-16gb-x16", "lpddr5x-pim-8533", "16 GiB"):
        assert f'"{name}"' in names
    assert [size(n) for n in (512, 64 * 1024, 3 << 20, 16 << 30)] == ["512 B", "64 KiB", "3 MiB", "16 GiB"]
