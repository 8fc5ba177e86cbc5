"""DRAM parts from TOML files: the same values as in Python, and errors that name file, line and key."""

from dataclasses import replace

import pytest

from pimsim import cli
from pimsim.devices import DramSpec, part
from pimsim.devices.part_file import dram_part, read_part
from pimsim.devices.spec import AtLeast
from pimsim.errors import SpecError

BASE = part("lpddr5x-8533-16gb-x16", DramSpec)
FASTER = """\
base = "lpddr5x-8533-16gb-x16"
name = "lpddr5x-10667-16gb-x16"
source = "made up"
data_rate_mtps = 10667
tck_fs = 750_000
latencies_ck = { RL = 28, WL = 15 }

[timings]
RFCab = { ns = 281.5 }
RCD = { ns = 18, ck = 3 }

[geometry]
ranks = 1
"""


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_a_part_that_changes_another(tmp_path):
    assert read_part(written(tmp_path, FASTER)) == replace(
        BASE,
        name="lpddr5x-10667-16gb-x16",
        source="made up",
        data_rate_mtps=10667,
        tck_fs=750_000,
        latencies_ck=BASE.latencies_ck | {"RL": 28, "WL": 15},
        timings=BASE.timings | {"RFCab": AtLeast(ns=281.5), "RCD": AtLeast(ns=18, ck=3)},
        geometry=replace(BASE.geometry, ranks=1),
    )


def test_a_part_of_its_own(tmp_path):
    g = BASE.geometry
    lines = [
        f"{key} = {getattr(BASE, key)!r}" for key in ("name", "family", "density_gbit", "data_rate_mtps")
    ]
    lines += [f"tck_fs = {BASE.tck_fs}", f"clock_ratio = {BASE.clock_ratio}", 'source = "as shipped"']
    lines += ["[geometry]", *(f"{key} = {value}" for key, value in vars(g).items())]
    lines += ["[latencies_ck]", *(f"{key} = {value}" for key, value in BASE.latencies_ck.items())]
    lines += ["[timings]"]
    lines += [f"{key} = {{ ns = {value.ns}, ck = {value.ck} }}" for key, value in BASE.timings.items()]
    made = read_part(written(tmp_path, "\n".join(lines)))
    assert made == replace(BASE, source="as shipped", currents=None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tck_fs", "tck_ps", r"mine.toml:5: unknown key 'tck_ps'; did you mean 'tck_fs'"),
        ("750_000", '"fast"', r"mine.toml:5: tck_fs='fast'; wanted a whole number"),
        ("750_000", "750_000.5", r"mine.toml:5: tck_fs=750000.5; wanted a whole number"),
        (
            "750_000",
            "937_500",
            r"mine.toml: lpddr5x-10667-16gb-x16: 8 transfers a clock of 937500 fs are 8533",
        ),
        ('"lpddr5x-8533-16gb-x16"', '"lpddr6"', r"mine.toml:1: base: no DramSpec named 'lpddr6'"),
        ('source = "made up"', "", r"mine.toml: source is missing"),
        ("{ ns = 281.5 }", "281.5", r"mine.toml:9: timings.RFCab=281.5; wanted { ns = ... }"),
        ("{ ns = 281.5 }", "{ us = 1 }", r"mine.toml:9: timings.RFCab={'us': 1}; wanted"),
        ("ck = 3", "ck = 3.5", r"mine.toml:10: timings.RCD: ns=18, ck=3.5; wanted"),
        ("RL = 28", "RL = true", r"mine.toml:6: latencies_ck.RL=True; wanted a whole number"),
        ("ranks = 1", "rank = 1", r"mine.toml:13: geometry: unknown key 'rank'; did you mean 'ranks'"),
        ("ranks = 1", "rows = 7", r"mine.toml: .*geometry holds"),
        ("[timings]", "[timings", r"mine.toml: not TOML: .*line 8"),
        ('base = "lpddr5x-8533-16gb-x16"', "", r"mine.toml: family is missing"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, old, new, message):
    assert FASTER.count(old) == 1
    with pytest.raises(SpecError, match=message):
        read_part(written(tmp_path, FASTER.replace(old, new)))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match="absent.toml: cannot be read"):
        dram_part(str(tmp_path / "absent.toml"))
    (tmp_path / "mine.toml").write_bytes(b"\xff")
    with pytest.raises(SpecError, match="mine.toml: not UTF-8"):
        dram_part(str(tmp_path / "mine.toml"))


def test_replay_and_audit_take_the_file(tmp_path, capsys):
    path, log = str(written(tmp_path, FASTER)), str(tmp_path / "log.csv")
    requests = tmp_path / "requests.csv"
    requests.write_text("arrive,op,addr\n0,R,40\n0,W,80000\n")
    assert cli.main(["replay", str(requests), "--part", path, "--commands", log, "--quiet"]) == 0
    assert "lpddr5x-10667-16gb-x16" in capsys.readouterr().out
    assert cli.main(["audit", log, "--part", path]) == 0
