"""Controllers, address tables and replay: what the face of the channels accepts and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices import DramSpec, PimSpec, part
from pimsim.devices.dram import channel as ch
from pimsim.devices.dram import drive
from pimsim.devices.dram import engine as e
from pimsim.devices.rules import Rule, compile_rules
from pimsim.errors import SpecError
from pimsim.placement import AddressMapping, FieldBit, XorHash

PART = part("lpddr5x-8533-16gb-x16", DramSpec)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"read_queue": 0}, "controller default: read_queue=0; wanted at least 1"),
        ({"write_queue": 0}, "write_queue=0"),
        ({"write_low": 27}, "write marks low=27, high=25; wanted 1 <= low"),
        ({"write_low": -1}, "write marks low=-1"),
        ({"write_high": 33}, "high <= write_queue=32"),
        ({"refresh": "allbank"}, "refresh='allbank'; did you mean 'all_bank'"),
        ({"data_clock": "off"}, "data_clock='off'; known: always_on, on_demand"),
        ({"name": "mine", "refresh": "x"}, "controller mine: refresh='x'"),
    ],
)
def test_a_controller_checks_itself(wrong, message):
    with pytest.raises(SpecError, match=message):
        ch.Controller(**wrong)


def test_the_engine_row_of_a_part():
    cfg = ch.configure(PART, ch.Controller(refresh="per_bank"))
    # 2 ranks x 4 groups x 4 banks; RL 23, WL 12, burst 2; tAAD 8; tREFIpb 488 ns = 520.5 -> 521 clocks
    assert cfg[[e.C_RANKS, e.C_GROUPS, e.C_BANKS]].tolist() == [2, 4, 4]
    assert cfg[[e.C_RL, e.C_WL, e.C_BL, e.C_AAD, e.C_WCKPST]].tolist() == [23, 12, 2, 8, 1]
    assert cfg[[e.C_SPLIT_ACT, e.C_SYNC, e.C_REFRESH, e.C_REFI]].tolist() == [1, 1, e.PER_BANK, 521]
    cfg = ch.configure(PART, ch.Controller(refresh="none", data_clock="always_on", scheduler="ready_first"))
    assert cfg[[e.C_SYNC, e.C_REFRESH, e.C_REFI, e.C_ORDER]].tolist() == [0, e.NO_REFRESH, 0, 0]


def test_a_part_without_a_timing_is_named():
    timings = {name: value for name, value in PART.timings.items() if name != "REFI"}
    with pytest.raises(SpecError, match="lpddr5x-8533-16gb-x16: timing 'REFI' is missing"):
        ch.configure(replace(PART, timings=timings), ch.Controller())
    with pytest.raises(SpecError, match="no rules for family 'lpddr6'; did you mean 'lpddr"):
        ch.build(replace(PART, family="lpddr6"), ch.Controller(), 1)


def test_channels_of_a_part_with_pim_know_its_commands():
    plain = ch.build(PART, ch.Controller(), 2)
    pim = ch.build(PART, ch.Controller(), 2, part("lpddr5x-pim-8533", PimSpec))
    assert len(pim.kept) > len(plain.kept)
    nodes = 1 + 2 + 2 + 8 + 32  # channel, ranks, one stack level a rank, bank groups, banks
    assert pim.ready.shape == plain.ready.shape == (2, nodes * e.N_COMMANDS)


# Address tables


@st.composite
def mappings(draw):
    """Any order of pieces that fits the part on 1, 2 or 4 channels, with up to three bits hashed."""
    bits = {"row": 16, "column": 6, "bank": 2, "bankgroup": 2, "rank": 1, "channel": draw(st.integers(0, 2))}
    pieces = []
    for field, count in bits.items():
        cut = draw(st.integers(0, count))
        pieces += [(field, n) for n in (cut, count - cut) if n]
    pieces = draw(st.permutations(pieces))
    every = [FieldBit(field, bit) for field, count in bits.items() for bit in range(count)]
    targets = draw(st.lists(st.sampled_from(every), max_size=3, unique=True))
    hashes = []
    for target in targets:
        sources = [bit for bit in every if bit not in targets and bit.field != target.field]
        chosen = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=4, unique=True))
        hashes.append(XorHash(target=target, sources=tuple(chosen)))
    return AddressMapping(pieces=tuple(pieces), transaction_bytes=32, hashes=tuple(hashes))


def unpack(packed):
    return {
        "channel": packed & 255,
        "bank": packed >> 8 & 4095,
        "column": packed >> 20 & 65535,
        "row": packed >> 36,
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(mappings(), min_size=1, max_size=2), st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
def test_tables_decode_as_the_mapping_does(given_mappings, seeds):
    tables = ch.lookup_tables(given_mappings, PART.geometry)
    assert tables.shape == (len(given_mappings), 6, 256)
    for which, mapping in enumerate(given_mappings):
        for seed in seeds:
            address = seed % mapping.capacity_bytes
            held = dict(zip(mapping.fields, mapping.decode([address])[0].tolist(), strict=True))
            assert unpack(drive.decode(tables, which, address)) == {
                "channel": held.get("channel", 0),
                "bank": (held["rank"] * 4 + held["bankgroup"]) * 4 + held["bank"],
                "column": held["column"],
                "row": held["row"],
            }


def test_tables_of_a_part_whose_rows_are_no_power_of_two():
    spec = replace(PART, name="12gb", density_gbit=12, geometry=replace(PART.geometry, rows=49152))
    mapping = AddressMapping.parse("row:16=49152 rank:1 bank:2 column:5 bankgroup:2 column:1 bank[0]^=row[3]")
    tables = ch.lookup_tables([mapping], spec.geometry)
    for address in (0, 32 * 12345, mapping.capacity_bytes - 1):
        row, rank, bank, column, group = mapping.decode([address])[0].tolist()
        assert mapping.fields == ("row", "rank", "bank", "column", "bankgroup")
        assert unpack(drive.decode(tables, 0, address)) == {
            "channel": 0,
            "bank": (rank * 4 + group) * 4 + bank,
            "column": column,
            "row": row,
        }


@pytest.mark.parametrize("alone", ["rank", "bankgroup", "bank", "row", "column"])
def test_tables_of_a_part_that_has_one_of_something(alone):
    bits = {"row": 3, "rank": 1, "bank": 2, "bankgroup": 1, "column": 4}
    bits[alone] = 0
    spec = replace(
        PART,
        name="small",
        density_gbit=1,
        geometry=replace(
            PART.geometry,
            ranks=1 << bits["rank"],
            bank_groups=1 << bits["bankgroup"],
            banks_per_group=1 << bits["bank"],
            rows=1 << bits["row"],
            columns=16 << bits["column"],
            # as wide as one Gbit a rank asks for
            dq_bits=2 ** (30 - 4 - sum(n for field, n in bits.items() if field != "rank")),
        ),
    )
    mapping = AddressMapping(
        pieces=tuple((field, n) for field, n in bits.items() if n),
        transaction_bytes=spec.geometry.burst_bytes,
    )
    assert alone not in mapping.fields
    tables = ch.lookup_tables([mapping], spec.geometry)
    step = mapping.transaction_bytes
    for address in range(0, mapping.capacity_bytes, step * 7):
        held = dict(zip(mapping.fields, mapping.decode([address])[0].tolist(), strict=True))
        at = dict.fromkeys(bits, 0) | held
        banks = spec.geometry.banks_per_group
        assert unpack(drive.decode(tables, 0, address)) == {
            "channel": 0,
            "bank": (at["rank"] * spec.geometry.bank_groups + at["bankgroup"]) * banks + at["bank"],
            "column": at["column"],
            "row": at["row"],
        }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row:15 rank:1 bank:2 bankgroup:2 column:6", "row lost: 65536 in the geometry but only 32768"),
        ("row:16 rank:1 bank:3 bankgroup:2 column:6", "bank repeated"),
        ("row:16 rank:1 bank:2 bankgroup:2 colum:6", "no 'colum' in the geometry; did you mean 'column'"),
    ],
)
def test_a_mapping_that_does_not_fit_the_part(text, message):
    with pytest.raises(SpecError, match=message):
        ch.lookup_tables([AddressMapping.parse(text)], PART.geometry)


# Rules


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scope": "ranks"}, "no scope 'ranks'; did you mean 'rank'"),
        ({"before": ("WRITE",)}, "no command 'WRITE'; did you mean 'WRREG'"),
        ({"before": ("burst",)}, "no command 'burst'; known: ACT, ACT1, .* WRREG"),
        ({"after": ("RD", "")}, "no command ''"),
        (
            {"sibling": True, "scope": "bank"},
            "sibling is modelled only for scopes 'rank' and 'sid' and window 1",
        ),
        ({"sibling": True, "window": 4}, "sibling is modelled only for scopes 'rank' and 'sid' and window 1"),
        ({"window": 0}, "window 0; wanted at least 1"),
    ],
)
def test_a_rule_that_means_nothing(wrong, message):
    good = Rule("rank", ("RD",), ("WR",), 4)
    compile_rules([good])
    with pytest.raises(SpecError, match=message):
        compile_rules([good, replace(good, **wrong)])


def banks_of(ranks, per_group):
    geometry = replace(PART.geometry, ranks=ranks, banks_per_group=per_group, rows=2**18 // per_group)
    return replace(PART, name="many banks", geometry=geometry)


def test_more_banks_than_the_scheduler_can_tell_apart_are_an_error():
    with pytest.raises(SpecError, match="3 ranks x 4 bank groups x 128 banks has 1536 banks; at most 1024"):
        ch.build(banks_of(3, 128), ch.Controller(), 1)


def test_a_bank_that_is_not_there():
    one = np.ones(1, np.int64)
    with pytest.raises(SpecError, match="banks of requests reach from 64 to 64; wanted 0 to 63"):
        ch.replay(ch.build(banks_of(2, 8), ch.Controller(), 1), one, one, 64 * one, one, one)


@pytest.mark.parametrize("bank", [0, 31, 32, 62, 63, 64, 127])
def test_an_older_row_hit_keeps_its_row_open_in_every_bank(bank):
    # A write in the same bank group makes the hit wait (tWTR_L); a younger read wants another row meanwhile.
    wanted = [(0, 0, bank, 7, 1), (100, 1, bank ^ 1, 7, 2), (112, 0, bank, 7, 3), (113, 0, bank, 8, 0)]
    before_closing = {}
    for guard in (True, False):
        controller = ch.Controller(refresh="none", scheduler="row_hit_guard" if guard else "ready_first")
        channel = ch.build(banks_of(2, 16), controller, 1, log_rows=100)
        log = ch.replay(channel, *(np.array(column, np.int64) for column in zip(*wanted, strict=True))).log
        commands = log["command"].tolist()
        before_closing[guard] = commands[: commands.index("PRE")].count("RD")
    assert before_closing == {True: 2, False: 1}


# Replay and logs


def test_a_replay_goes_on_to_the_last_completion():
    # The only read is done at 20 + 1 + 23 + 2 = 46 clocks after its arrival; the refreshes of both ranks fall
    # due at clock 4166, while its data are on their way. Rank 1 is idle; rank 0 closes its row at tRAS.
    arrive = 4166 - 45
    channel = ch.build(PART, ch.Controller(), 1, log_rows=100)
    run = ch.replay(channel, *(np.array([value], np.int64) for value in (arrive, 0, 16, 7, 3)))
    assert run.done.tolist() == [arrive + 46]
    log = run.log[run.log["clock"] > arrive + 21]
    assert log[["clock", "command", "rank"]].to_numpy().tolist() == [
        [4166, "REFAB", 0],
        [4167, "PREA", 1],
    ]
    assert (run.counts["REFAB"], run.counts["PREA"]) == (1, 1)


def one_read():
    return [np.array([value], np.int64) for value in (0, 0, 0, 7, 3)]


def test_a_log_that_is_too_short_is_an_error():
    channel = ch.build(PART, ch.Controller(refresh="none"), 1, log_rows=2)
    with pytest.raises(SpecError, match="holds 2 rows but 4 commands were issued"):
        ch.replay(channel, *one_read())


def test_a_replay_without_a_log_has_none():
    run = ch.replay(ch.build(PART, ch.Controller(), 1), *one_read())
    assert run.log is None
    assert run.counts == {"ACT1": 1, "ACT2": 1, "RD": 1, "CAS_RD": 1}
    assert (run.cycles, run.row_hits) == (47, 0)


def test_a_log_has_every_place_by_name():
    channel = ch.build(PART, ch.Controller(refresh="none"), 1, log_rows=10)
    bank = (1 * 4 + 2) * 4 + 3
    log = ch.replay(channel, *(np.array([value], np.int64) for value in (5, 1, bank, 7, 3))).log
    assert list(log.columns) == list(e.LOG_COLUMNS)
    assert log.iloc[0].tolist() == [5, "ACT1", 0, 1, 2, 3, 7, -1]
    assert log.iloc[-1].tolist() == [15, "WR", 0, 1, 2, 3, 7, 3]


def test_a_window_must_be_a_count():
    with pytest.raises(SpecError, match="window=-1; wanted 0"):
        ch.replay(ch.build(PART, ch.Controller(), 1), *one_read(), window=-1)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_window_bounds_what_is_outstanding(window):
    rng = np.random.default_rng(2)
    n = 300
    arrays = [np.zeros(n, np.int64), *(rng.integers(top, size=n) for top in (2, 32, 9, 64))]
    run = ch.replay(ch.build(PART, ch.Controller(), 1), *arrays, window=window)
    outstanding = [
        int(((run.accepted <= clock) & (run.done >= clock)).sum()) for clock in np.unique(run.accepted)
    ]
    assert max(outstanding) == window
    assert (np.diff(run.accepted) > 0).all()
