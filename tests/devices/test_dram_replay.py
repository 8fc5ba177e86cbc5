"""Replaying request files: three formats, any part, reference configurations to the clock, bad input."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimsim import cli
from pimsim.devices import DramSpec, part, parts
from pimsim.devices.dram import requests as dram_requests
from pimsim.devices.dram.audit import audit_file
from pimsim.devices.dram.bank_queues import BankQueues
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.config import read_config
from pimsim.devices.dram.controllers import CONTROLLERS, controller_of
from pimsim.devices.dram.replay import (
    default_mapping,
    replay_file,
    replay_requests,
)
from pimsim.devices.dram.requests import Requests, read_trace
from pimsim.devices.spec import Clocks, DramGeometry
from pimsim.errors import SpecError, TraceError

HERE = Path(__file__).parents[1] / "reference" / "dram"
DDR4 = part("ddr4-3200-8gb-x8", DramSpec)
LPDDR5 = part("lpddr5-6400-16gb-x16", DramSpec)
PARTS = [name for name, value in parts().items() if isinstance(value, DramSpec)]
with open(HERE / "cases.csv", newline="") as _file:
    CASES = {case["case"]: case for case in csv.DictReader(_file)}


def requests(n=2000, burst=64, span=1 << 28, seed=0, writes=0.3):
    rng = np.random.default_rng(seed)
    return Requests(
        arrive=np.zeros(n, np.int64),
        write=(rng.random(n) < writes).astype(np.int64),
        address=rng.integers(span // burst, size=n) * burst,
    )


# Against the reference


@pytest.mark.parametrize("case", CASES)
def test_a_reference_configuration_gives_the_reference_numbers(case):
    held = CASES[case]
    done = replay_file(
        HERE / "traces" / f"{held['trace']}.csv.gz",
        read_config(HERE / "configs" / f"{held['config']}.json"),
        window=int(held["window"]),
    )
    assert (done.requests, done.reads, done.writes) == tuple(
        int(held[key]) for key in ("requests", "reads", "writes")
    )
    assert done.cycles == int(held["cycles"])
    assert done.row_hits == int(held["data_cmds_row_hit"])
    assert done.p50_read_latency_ck == float(held["read_latency_p50"])
    assert done.p99_read_latency_ck == float(held["read_latency_p99"])
    assert round(done.mean_read_latency_ck, 4) == float(held["avg_read_latency"])
    assert round(done.bandwidth_gbps, 4) == float(held["bandwidth_GBps"])
    counts = {key[2:]: int(value) for key, value in held.items() if key.startswith("n_") and value != "0"}
    assert done.counts == {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(
    ("name", "config"),
    [("ddr4-3200-8gb-x8", "r2_ddr4_3200_refab"), ("ddr5-4800-16gb-x8", "r2_ddr5_4800_refab")],
)
@pytest.mark.parametrize("trace", ["rand_n1000_tx64", "randmix_n1000_tx64"])
def test_our_part_under_the_same_controller_gives_the_same_clocks(name, config, trace):
    held = read_config(HERE / "configs" / f"{config}.json")
    path = HERE / "traces" / f"{trace}.csv.gz"
    theirs = replay_file(path, held, log=True)
    ours = replay_file(
        path, part(name, DramSpec), controller=held.controller, mapping=str(held.mapping), log=True
    )
    assert ours.commands.equals(theirs.commands)


# Any part


@pytest.mark.parametrize("name", PARTS)
def test_every_part_replays(name):
    spec = part(name, DramSpec)
    done = replay_requests(requests(burst=spec.geometry.burst_bytes), spec)
    assert 0 < done.share_of_peak < 1
    assert done.row_hits + done.row_misses + done.row_conflicts == done.counts["RD"] + done.counts["WR"]
    assert done.mean_read_latency_ck >= Clocks(spec).RL
    assert done.p50_read_latency_ck <= done.p99_read_latency_ck
    assert ("ACT" in done.counts) == (spec.family != "lpddr5")
    assert done.summary() == replay_requests(requests(burst=spec.geometry.burst_bytes), spec).summary()


def test_one_read_of_an_idle_channel():
    # By hand, DDR4-3200AA: ACT in clock 0, RD after tRCD 22, data after CL 22 and 4 clocks of burst.
    one = Requests(arrive=np.zeros(1, np.int64), write=np.zeros(1, np.int64), address=np.zeros(1, np.int64))
    done = replay_requests(one, DDR4, controller=Controller(refresh="none"))
    assert done.mean_read_latency_ck == done.p50_read_latency_ck == done.p99_read_latency_ck == 48
    assert done.ns(48) == 30.0
    assert done.cycles == 49
    assert (done.row_hits, done.row_misses, done.counts) == (0, 1, {"ACT": 1, "RD": 1})
    assert done.bandwidth_gbps == pytest.approx(64 / (49 * 0.625))


def test_writes_alone_have_no_read_latency():
    done = replay_requests(requests(200, writes=1.1), DDR4)
    assert done.reads == 0
    assert done.mean_read_latency_ck is done.p99_read_latency_ck is None
    assert done.summary()["mean_read_latency_ns"] is None


def test_more_outstanding_requests_are_never_slower():
    cycles = [replay_requests(requests(writes=0), DDR4, window=window).cycles for window in (1, 2, 8, 32)]
    assert cycles == sorted(cycles, reverse=True)


def test_the_log_is_legal_and_complete(tmp_path):
    done = replay_requests(requests(), DDR4, log=True)
    assert done.commands["command"].value_counts().to_dict() == done.counts
    path = tmp_path / "log.csv"
    done.commands.to_csv(path, index=False)
    assert audit_file(path, DDR4.name).empty
    assert replay_requests(requests(), DDR4).commands is None


# Mappings


@pytest.mark.parametrize("name", PARTS)
def test_the_default_mapping_covers_the_part(name):
    g = part(name, DramSpec).geometry
    made = default_mapping(g)
    assert made.capacity_bytes == g.channel_bytes
    assert made.top_field == "row"
    wanted = [field for field in ("row", "rank", "bank", "bankgroup", "column") if field in made.fields]
    assert list(made.fields) == wanted
    assert made.field_bits["column"] == (g.bursts_per_row - 1).bit_length()


def test_the_default_mapping_of_a_12_gbit_part():
    g = DramGeometry(
        ranks=1, bank_groups=4, banks_per_group=4, rows=49152, columns=1024, dq_bits=16, burst_length=16
    )
    assert str(default_mapping(g)) == "row:16=49152 bank:2 bankgroup:2 column:6"
    odd = DramGeometry(
        ranks=3, bank_groups=4, banks_per_group=4, rows=4096, columns=1024, dq_bits=16, burst_length=16
    )
    with pytest.raises(SpecError, match="3 ranks are no power of two"):
        default_mapping(odd)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("row:16 bank:2 bankgroup:2 column:6", "column lost: 128 in the geometry but only 64"),
        ("row:16 bank:2 bankgroup:3 column:7", "bankgroup repeated: 8 have an address"),
        ("row:16 bank:2 bankgroup:2 column:7 sid:1", "no 'sid' in the geometry"),
        ("row:16 bank:two", "cannot read 'bank:two'"),
        ("", "needs at least one"),
    ],
)
def test_a_mapping_that_loses_or_repeats_a_bit(mapping, message):
    with pytest.raises(SpecError, match=message):
        replay_requests(requests(4), DDR4, mapping=mapping)


def test_a_hashed_mapping_spreads_row_conflicts():
    rows = Requests(
        arrive=np.zeros(256, np.int64), write=np.zeros(256, np.int64), address=np.arange(256) * 2**17
    )
    plain = replay_requests(rows, DDR4, mapping="row:16 bank:2 bankgroup:2 column:7")
    hashed = replay_requests(
        rows, DDR4, mapping="row:16 bank:2 bankgroup:2 column:7 bankgroup[0]^=row[0] bankgroup[1]^=row[1]"
    )
    assert hashed.cycles < plain.cycles / 2


# Several channels


def test_channels_run_like_channels_alone():
    both = requests(3000, writes=0.4)
    mapping = "row:16 bank:2 bankgroup:2 column:7 channel:1"
    done = replay_requests(both, DDR4, mapping=mapping, log=True)
    assert done.channels == 2
    alone = []
    for c in range(2):
        mine = both.address // 64 % 2 == c
        one = Requests(
            arrive=both.arrive[mine], write=both.write[mine], address=both.address[mine] // 128 * 64
        )
        alone.append(replay_requests(one, DDR4, mapping="row:16 bank:2 bankgroup:2 column:7", log=True))
        assert done.done[mine].tolist() == alone[-1].done.tolist()
        log = done.commands[done.commands["channel"] == c].drop(columns="channel")
        assert log.values.tolist() == alone[-1].commands.drop(columns="channel").values.tolist()
    assert done.cycles == max(each.cycles for each in alone)
    assert done.counts["RD"] == sum(each.counts["RD"] for each in alone)
    assert done.reads == sum(each.reads for each in alone)
    peak = 2 * DDR4.peak_bytes_per_s / 1e9
    assert done.share_of_peak == pytest.approx(done.bandwidth_gbps / peak)
    assert replay_requests(both, DDR4, channels=2, log=True).summary() == done.summary()


# Blocks


@pytest.mark.parametrize(
    "settings",
    [{}, {"window": 3}, {"channels": 4}, {"controller": controller_of("fr-fcfs-cap", ("queues=unified",))}],
)
def test_a_file_in_blocks_gives_what_it_gives_as_a_whole(tmp_path, monkeypatch, settings):
    rows = requests(4000, writes=0.4)
    rng = np.random.default_rng(1)
    arrive = np.cumsum(np.where(rng.random(4000) < 0.1, rng.integers(500, size=4000), 0))
    lines = [
        f"0x{address:x} {'WRITE' if write else 'READ'} {clock}"
        for clock, write, address in zip(arrive, rows.write, rows.address, strict=True)
    ]
    path = tmp_path / "t.trace.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    whole = replay_file(path, DDR4, times=True, **settings)
    assert len(whole.done) == 4000
    monkeypatch.setattr(dram_requests, "BLOCK_BYTES", 5000)  # some 250 requests
    blocks = replay_file(path, DDR4, **settings)
    assert blocks.done is None
    assert blocks.summary() == whole.summary()


def line_of(form, rng):
    """A line of a request file, now and then in an odd way or wrong."""
    clock, byte, write = int(rng.integers(3)), int(rng.integers(1 << 34)) * 64, int(rng.integers(2))
    odd = rng.random()
    if form == "csv":
        words = [str(clock), "RW"[write], f"{byte:x}"]
        line = ",".join(words)
        return {
            0: f'"{words[0]}",{words[1]},{words[2]}',
            1: line + ",",
            2: line.upper(),
            3: line + "\r",
            4: "",
        }.get(int(odd * 40), line)
    where = f"0x{byte:x}" if rng.integers(4) else str(byte)
    line = (
        f"{'ST' if write else 'LD'} {where}"
        if form == "ramulator"
        else (f"{where} {'WRITE' if write else 'READ'} {clock}")
    )
    return {
        0: line + " ",
        1: line + " 1",
        2: line.replace(" ", "  "),
        3: line + "\r",
        4: "",
        5: line[:-3],
    }.get(int(odd * 40), line)


@given(st.integers(0, 2**32), st.sampled_from(["csv", "ramulator", "dramsim3"]), st.integers(20, 400))
def test_the_compiled_reader_reads_what_the_plain_one_reads(tmp_path_factory, seed, form, block):
    rng = np.random.default_rng(seed)
    lines = ["arrive,op,addr"] if form == "csv" else [line_of(form, np.random.default_rng(3))]
    lines += [line_of(form, rng) for _ in range(int(rng.integers(1, 40)))]
    path = tmp_path_factory.mktemp("trace") / "t.txt"
    path.write_text("\n".join(lines), newline="")

    def read():
        try:
            held = read_trace(path, 64, 1 << 40)
            return [held.arrive.tolist(), held.write.tolist(), held.address.tolist()]
        except TraceError as error:
            return str(error)

    kept = dram_requests._parse, dram_requests.BLOCK_BYTES
    try:
        dram_requests.BLOCK_BYTES = block
        fast = read()
        dram_requests._parse = lambda *_: None  # no line is plain
        assert read() == fast
    finally:
        dram_requests._parse, dram_requests.BLOCK_BYTES = kept


def test_a_line_without_end(tmp_path, monkeypatch):
    (tmp_path / "t.txt").write_text("LD 0x40\n" + "1" * 200_000)
    monkeypatch.setattr(dram_requests, "BLOCK_BYTES", 1000)
    with pytest.raises(TraceError, match=r"t.txt:2: a line of more than 65536 bytes"):
        read_trace(tmp_path / "t.txt", 64)


# Controllers


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_preset_replays(name):
    done = replay_requests(requests(800), DDR4, controller=controller_of(name))
    assert done.controller.name == name
    assert done.requests == 800


def test_a_file_that_changes_a_preset(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"base": "dramsim3", "row_policy": "closed", "name": "mine"}')
    assert controller_of(path, ("bank_queue=4",)) == BankQueues(
        name="mine", row_policy="closed", bank_queue=4
    )
    path.write_text('{"base": "dramsim"}')
    with pytest.raises(SpecError, match="mine.json: base: no controller named 'dramsim'; did you mean"):
        controller_of(path)


def test_policies_do_what_their_names_say():
    # One bank, two rows in turn with three hits each: by hand, the count of activates.
    rows = np.array([0, 0, 0, 1, 1, 1] * 20) * 2**17 + np.arange(120) % 3 * 64
    arrive = np.zeros(120, np.int64)
    some = Requests(arrive=arrive, write=np.zeros(120, np.int64), address=rows.astype(np.int64))

    def activates(*settings, window=0):
        held = controller_of("fr-fcfs", ("refresh=none", "read_queue=120", *settings))
        return replay_requests(some, DDR4, controller=held, window=window).counts["ACT"]

    assert activates() == 2  # all hits of a row before the other row
    assert activates("scheduler=in_order") == 40  # a row change every three requests
    assert activates("row_policy=closed") == 120  # an activate a request
    assert activates("row_hit_cap=6") == 20  # six accesses, then the other row's older requests
    assert activates("scheduler=in_order", window=1) == 40
    apart = Requests(arrive=np.arange(120) * 400, write=some.write, address=rows.astype(np.int64) % 2**17)
    for clocks, expected in ((300, 120), (500, 1)):  # requests come every 400 clocks
        held = controller_of("timeout", ("refresh=none", f"row_timeout_ck={clocks}"))
        assert replay_requests(apart, DDR4, controller=held).counts["ACT"] == expected


def test_a_controller_of_a_file_and_settings(tmp_path):
    path = tmp_path / "controller.json"
    path.write_text('{"read_queue": 8, "refresh": "none", "scheduler": "ready_first"}')
    assert controller_of(path, ("refresh=per_bank", "read_queue=16")) == Controller(
        read_queue=16, refresh="per_bank", scheduler="ready_first"
    )
    assert controller_of() == Controller()


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (
            '{"read_que": 8}',
            (),
            "controller.json: no setting 'read_que' of controller default; did you mean 'read_queue'",
        ),
        ('{"read_queue": "8"}', (), "controller.json: read_queue='8'; wanted int"),
        ('{"read_queue": true}', (), "controller.json: read_queue=True; wanted int"),
        ("[]", (), "controller.json: wanted one JSON object, not list"),
        ("{", (), "controller.json: not JSON"),
        ("{}", ("refresh",), "setting 'refresh'; wanted key=value"),
        ("{}", ("refrsh=none",), "no setting 'refrsh' of controller default; did you mean 'refresh'"),
        ("{}", ("read_queue=-1",), "wanted a whole number"),
        ("{}", ("scheduler=row_hits",), "scheduler='row_hits'; did you mean"),
        ("{}", ("refresh=sometimes",), "refresh='sometimes'"),
        ('{"write_queue": 0}', (), "write_queue=0; wanted at least 1"),
        ("{}", ("read_queue=0",), "read_queue=0; wanted at least 1"),
        ("{}", ("write_queue=8",), "high <= write_queue=8"),
    ],
)
def test_a_controller_that_is_wrong(tmp_path, text, settings, message):
    path = tmp_path / "controller.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        controller_of(path, settings)


def test_a_window_below_zero():
    with pytest.raises(SpecError, match="window=-1; wanted 0"):
        replay_requests(requests(4), DDR4, window=-1)


def test_a_reference_configuration_brings_its_own_controller():
    config = read_config(HERE / "configs" / "r2_ddr4_3200_refab.json")
    with pytest.raises(SpecError, match="r2_ddr4_3200_refab: a reference configuration brings its own"):
        replay_requests(requests(4), config, mapping="row:16 bank:2 bankgroup:2 column:7")


# Files


def test_three_formats_say_the_same(tmp_path):
    (tmp_path / "a.csv").write_text("arrive,op,addr\n0,R,12340\n0,W,80\n0,R,1000\n")
    (tmp_path / "b.trace").write_text("LD 0x12345\nST 0x80\n\nLD 4096\n")
    (tmp_path / "c.trace.gz").write_bytes(gzip.compress(b"0x12345 READ 0\n0x80 WRITE 0\n0x1000 READ 0\n"))
    plain, *others = (read_trace(tmp_path / name, 64) for name in ("a.csv", "b.trace", "c.trace.gz"))
    for other in others:
        for field in ("arrive", "write", "address"):
            np.testing.assert_array_equal(getattr(other, field), getattr(plain, field))


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.integers(0, 2**33 - 1)), min_size=1, max_size=20)
)
def test_any_dramsim3_trace_is_read_as_it_was_written(tmp_path_factory, listed):
    path = tmp_path_factory.mktemp("trace") / "t.txt"
    clock, lines = 0, []
    for wait, write, address in listed:
        clock += wait
        lines.append(f"0x{address:x} {'WRITE' if write else 'READ'} {clock}")
    path.write_text("\n".join(lines))
    held = read_trace(path, 64, 2**33)
    assert held.arrive.tolist() == np.cumsum([wait for wait, _, _ in listed]).tolist()
    assert held.write.tolist() == [int(write) for _, write, _ in listed]
    assert held.address.tolist() == [address // 64 * 64 for _, _, address in listed]


BAD = [
    ("", "holds no request"),
    ("hello\n", ":1: 'hello'; wanted a header arrive,op,addr, or 'LD 0x40'"),
    ("LD 0x40\nST\n", ":2: 'ST'; wanted 'LD 0x40'"),
    ("LD 0x40\nMV 0x40\n", ":2: 'MV'; wanted LD or ST"),
    ("LD 0x4g\n", ":1: address='4g'; wanted a hexadecimal number"),
    ("LD -5\n", ":1: address='-5'"),
    ("LD 0x40\nLD 0x1000000000\n", ":2: address 0x1000000000 lies beyond the memory of 8589934592 bytes"),
    ("0x40 READ 5\n0x80 READ 4\n", ":2: clock 4 after 5: time goes backwards"),
    ("0x40 READ 5\n0x80 FETCH 6\n", ":2: 'FETCH'; wanted READ or WRITE"),
    ("0x40 READ 5\n0x80 READ x\n", ":2: clock='x'; wanted a decimal number"),
    ("0x40 READ 5\n0x80 READ\n", ":2: '0x80 READ'; wanted '0x40 READ 0'"),
    ("arrive,op,addr\n0,R,40\n0,R,200000000\n", ":3: address 200000000 lies beyond the memory"),
    ("arrive,op,addr\n0,R,41\n", ":2: addr=41 is no multiple of the burst"),
    ("arrive,op,addr\n0,X,40\n", ":2: op='X'"),
    ("arrive;op;addr\n", ":1: 'arrive;op;addr'"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_line_is_named(tmp_path, text, message):
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(TraceError, match=f"t.txt{message}" if message[0] == ":" else message):
        replay_file(path, DDR4)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TraceError, match="absent.csv: cannot be read"):
        replay_file(tmp_path / "absent.csv", DDR4)
    (tmp_path / "plain.csv.gz").write_text("arrive,op,addr\n")
    with pytest.raises(TraceError, match=r"plain.csv.gz: "):
        replay_file(tmp_path / "plain.csv.gz", DDR4)


# The command line

TRACE = str(HERE / "traces" / "rand_n1000_tx64.csv.gz")


def test_replay_prints_a_table(capsys):
    assert cli.main(["replay", TRACE, "--part", "ddr4-3200-8gb-x8", "--set", "refresh=none"]) == 0
    said = capsys.readouterr().out
    for words in (
        "1,000 requests on ddr4-3200-8gb-x8",
        "time to drain",
        "99 % read latency",
        "row hits",
        "ACT",
    ):
        assert words in said
    assert "Mapping: row:16 bank:2 bankgroup:2 column:7" in said


def test_replay_of_a_reference_configuration_as_json(capsys):
    config = str(HERE / "configs" / "r2_ddr4_3200_refab.json")
    assert cli.main(["replay", TRACE, "--config", config, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    held = CASES["r2_ddr4_3200_refab/sat_rand_short"]
    assert said["cycles"] == int(held["cycles"])
    assert said["counts"]["ACT"] == int(held["n_ACT"])
    assert said["controller"]["refresh"] == "all_bank"
    assert said["mean_read_latency_ns"] == pytest.approx(said["mean_read_latency_ck"] * 0.625)


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_replay_writes_commands_that_audit_accepts(tmp_path, capsys, name):
    log = str(tmp_path / name)
    assert cli.main(["replay", TRACE, "--part", "ddr5-4800-16gb-x8", "--commands", log]) == 0
    assert cli.main(["audit", log, "--part", "ddr5-4800-16gb-x8"]) == 0
    assert "no rule of ddr5-4800-16gb-x8 is broken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give either --part or --config"),
        (["--part", "ddr4-3200-8gb-x8", "--config", "x.json"], "give either --part or --config"),
        (["--config", "x.json", "--set", "refresh=none"], "brings its own"),
        (["--part", "ddr4-3200"], "no DramSpec named 'ddr4-3200'; did you mean 'ddr4-3200-8gb-x8"),
        (["--part", "lpddr5x-pim-8533"], "no DramSpec named"),
        (["--config", "absent.json"], "absent.json: cannot be read"),
        (["--part", "ddr4-3200-8gb-x8", "--set", "depth=0"], "no setting 'depth' of controller default"),
        (
            ["--part", "ddr4-3200-8gb-x8", "--controller", "ramulator"],
            "no controller named 'ramulator'; did you",
        ),
        (["--part", "ddr4-3200-8gb-x8", "--controller", "absent.json"], "absent.json: cannot be read"),
        (["--part", "ddr4-3200-8gb-x8", "--set", "read_queue=0"], "read_queue=0; wanted at least 1"),
        (["--part", "ddr4-3200-8gb-x8", "--mapping", "row:16"], "column lost"),
        (["--part", "ddr4-3200-8gb-x8", "--window", "-1"], "window"),
        (["--part", "ddr4-3200-8gb-x8", "--commands", "/nowhere/log.csv"], "/nowhere/log.csv"),
        (["--part", "ddr4-3200-8gb-x8", "--set", "refresh=per_bank"], "has no per-bank refresh"),
    ],
)
def test_replay_of_bad_input(capsys, args, message):
    assert cli.main(["replay", TRACE, *args]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert message in " ".join(said.err.replace("│", " ").split())
