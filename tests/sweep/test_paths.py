"""Parameters by path: every one can be set, and the machine with other values is the one meant."""

from dataclasses import replace

import pytest

from pimsim.devices import DramSpec, part
from pimsim.devices.spec import AtLeast
from pimsim.errors import PimsimError, SpecError, SweepError
from pimsim.placement.mapping import AddressMapping
from pimsim.sweep.paths import LEVERS, check, children, fitted, machine, paths
from pimsim.system import exynos2400

PHONE = exynos2400()


def changed(**given):
    values = {path.replace("__", "."): value for path, value in given.items()}
    return machine(PHONE, {path: check(path, value, PHONE) for path, value in values.items()})


def test_every_path_can_be_set_to_what_it_is():
    for path, value in paths(PHONE).items():
        if not children(value):
            same = str(value) if isinstance(value, AddressMapping) else value
            assert machine(PHONE, {path: check(path, same, PHONE)}) == PHONE, path


def test_nested_values():
    made = changed(
        memory__dram__timings__RCD=20, cpu__cores__0__clock_ghz=3, memory__controller__read_queue=8
    )
    assert made.dram.timings["RCD"] == AtLeast(ns=20.0, ck=2)  # the datasheet's other half stays
    assert made.cpu.cores[0].clock_ghz == 3.0
    assert made.controller.read_queue == 8
    assert replace(made, dram=PHONE.dram, cpu=PHONE.cpu, controller=PHONE.controller) == PHONE
    assert changed(memory__dram__timings__RCD={"ns": 1, "ck": 30}).dram.timings["RCD"] == AtLeast(ns=1, ck=30)
    assert changed(memory__dram__timings__RCD__ck=30).dram.timings["RCD"] == AtLeast(ns=18, ck=30)


def test_values_that_must_agree_change_together():
    made = changed(memory__dram__geometry__rows=2**15, memory__dram__density_gbit=8)
    assert made.capacity_bytes == PHONE.capacity_bytes // 2
    with pytest.raises(SpecError, match="geometry holds 8 Gbit"):
        changed(memory__dram__geometry__rows=2**15)


def test_counts_take_the_address_maps_along():
    made = changed(memory__channels=8)
    assert made.host_mapping.counts["channel"] == made.pim_mapping.counts["channel"] == 8
    assert made.peak_bytes_per_s == 2 * PHONE.peak_bytes_per_s
    assert changed(memory__channels=1).capacity_bytes == PHONE.capacity_bytes // 4
    # Fewer banks: the hash of the bit that is gone goes, too; more rows: the row piece grows.
    made = changed(memory__banks=8)
    assert str(made.host_mapping).startswith(
        "row:17 rank:1 bank:1 column:5 bankgroup:2 channel:2 column:1 bank[0]^="
    )
    assert "bank[1]" not in str(made.host_mapping)
    assert made.capacity_bytes == PHONE.capacity_bytes


def test_a_map_of_ones_own_is_kept():
    text = "row:16 channel:3 rank:1 bankgroup:2 bank:2 column:6"
    made = changed(memory__channels=8, memory__pim_mapping=text)
    assert str(made.pim_mapping) == text


@pytest.mark.parametrize("channels", [1, 2, 4, 16])
def test_a_fitted_map_reaches_every_place_once(channels):
    geometry = replace(PHONE.dram.geometry, bank_groups=2, rows=2**17)
    for mapping in (PHONE.host_mapping, PHONE.pim_mapping):
        made = fitted(mapping, geometry, channels)
        made.check(
            {
                "channel": channels, "rank": 2, "bankgroup": 2, "bank": 4, "row": 2**17,
                "column": geometry.bursts_per_row,
            }
        )  # fmt: skip
        assert made.capacity_bytes == channels * geometry.channel_bytes


def test_other_parts():
    made = changed(memory__dram="lpddr5x-9600-16gb-x16")
    assert made.dram == part("lpddr5x-9600-16gb-x16", DramSpec)
    assert made.pim == replace(PHONE.pim, dram="lpddr5x-9600-16gb-x16")  # the units move along
    both = changed(
        memory__dram="lpddr5x-9600-16gb-x16", memory__pim="lpddr5x-pim-9600", memory__pim__accumulators=8
    )
    assert (both.pim.name, both.pim.accumulators, both.pim.source_bytes) == ("lpddr5x-pim-9600", 8, 2048)
    assert changed(memory__pim="none").pim is None


def test_levers():
    assert set(LEVERS) <= set(paths(PHONE))
    # By hand: 8 transfers a clock at 6400 MT/s are 1.25 ns; 23 and 12 clocks of 0.9375 ns are 21.56 and
    # 11.25 ns, 18 and 9 clocks of 1.25 ns.
    made = changed(memory__data_rate_mtps=6400).dram
    assert (made.tck_fs, made.latencies_ck["RL"], made.latencies_ck["WL"]) == (1_250_000, 18, 9)
    assert made.timings == PHONE.dram.timings
    assert [changed(cpu__copy_threads=n).copy_cores for n in (1, 2, 3, 6)] == [
        (5,), (0, 5), (0, 4, 5), (0, 1, 2, 3, 4, 5),
    ]  # fmt: skip
    made = changed(memory__banks=32).dram.geometry
    assert (made.banks, made.rows, made.rank_bytes) == (32, 2**15, PHONE.dram.geometry.rank_bytes)
    # A lever and a value under it: what is said exactly wins.
    assert (
        changed(memory__data_rate_mtps=6400, memory__dram__latencies_ck__RL=17).dram.latencies_ck["RL"] == 17
    )


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("memory.dram.timing.RCD", 1, "did you mean 'memory.dram.timings.RCD'"),
        ("memory.dram.RCD", 1, "did you mean 'memory.dram.timings.RCD'"),
        ("cpu.copy_core", [1], "did you mean 'cpu.copy_cores'"),
        ("nonsense", 1, "pimsim sweep --paths"),
        ("memory.channels", 2.5, "wanted a whole number"),
        ("memory.channels", True, "wanted a whole number"),
        ("memory.pad_head", 1, "wanted true or false"),
        ("cpu.path_ns", "x", "wanted a number"),
        ("memory.dram.timings", 3, "wanted one of its values: memory.dram.timings.RCD"),
        ("memory.dram", "lpddr5x", "no DramSpec named 'lpddr5x'"),
        ("memory.dram.timings.RCD", {"us": 3}, "wanted nanoseconds"),
    ],
)
def test_a_wrong_path_or_value_is_refused(path, value, said):
    with pytest.raises(PimsimError, match=said):
        check(path, value, PHONE)


@pytest.mark.parametrize(
    "given",
    [
        {"memory__banks": 6}, {"memory__channels": 3}, {"cpu__copy_threads": 7}, {"cpu__copy_threads": 0},
        {"memory__data_rate_mtps": 0}, {"cpu__copy_cores": [9]}, {"memory__dram__timings__RAS": -1},
    ],
)  # fmt: skip
def test_values_that_make_no_machine_are_errors_of_the_machine(given):
    with pytest.raises(PimsimError):
        changed(**given)


def test_a_narrower_pim_unit_takes_its_columns_in_passes():
    # 256 bits a column access: a unit of 64 bits needs four passes of tCCD_L each.
    from pimsim.devices.rules import rules_of

    def spacing(bits):
        unit = replace(PHONE.pim, lanes_bits=bits)
        return max(
            rule.wait
            for rule in rules_of(PHONE.dram, unit)
            if rule.after == ("MACAB",) and rule.before == ("MACAB",)
        )

    ccd = PHONE.dram.latencies_ck["CCD_L"]
    assert [spacing(bits) for bits in (256, 128, 100, 64)] == [ccd, 2 * ccd, 3 * ccd, 4 * ccd]
    with pytest.raises(SpecError, match="a column access of its part gives 256 bits"):
        spacing(512)


def test_unknown_value_types_say_what_they_want():
    with pytest.raises(SweepError, match="a list"):
        check("cpu.copy_cores", 3, PHONE)
