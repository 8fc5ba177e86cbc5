"""The DRAM engine against the recorded runs of another simulator; its README says where they come from."""

import csv
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pimsim.devices.dram import engine as e
from pimsim.devices.dram.channel import configure
from pimsim.devices.dram.config import read_config
from pimsim.devices.dram.requests import read_requests
from pimsim.errors import SpecError, TraceError
from pimsim.validate import COLUMNS, validate

REPOSITORY = Path(__file__).parents[2]
HERE = REPOSITORY / "tests" / "reference" / "dram"
WHOLE = REPOSITORY.parent / "shared" / "reference" / "dram"
LPDDR5 = "r2_lpddr5_6400_refab"


def check(frame):
    """Every number that is there must be the reference's own, to the last clock."""
    assert list(frame.columns) == [*COLUMNS, "group"]
    numbers = frame[~frame["quantity"].str.startswith("not supported")]
    own = numbers["quantity"].str.startswith("min_gap_cycles by our rules, documented")
    wrong = numbers[~own & (numbers["error"] != 0)]
    assert wrong.empty, wrong.to_string()
    mismatches = numbers[numbers["quantity"].str.endswith("_mismatches")]
    assert (mismatches["ours"] == 0).all()
    assert set(mismatches["quantity"]) == {"accept_mismatches", "done_mismatches", "command_mismatches"}
    # Our own rules keep distances that the reference forgets, and never a shorter one.
    assert (numbers[own]["ours"] > numbers[own]["reference"]).all()


def test_the_cases_of_the_source_tree():
    frame = validate("dram")
    check(frame)
    with open(HERE / "cases.csv", newline="") as file:
        names = [case["case"] for case in csv.DictReader(file)]
    assert list(frame[frame["quantity"] == "cycles"]["case"]) == names
    assert not frame["quantity"].str.startswith("not supported").any()
    assert (frame["quantity"] == "command_mismatches").sum() == 48
    assert frame["case"].str.startswith("pairs/").sum() > 500


@pytest.mark.skipif(not WHOLE.is_dir(), reason="the whole reference set is not beside the repository")
def test_the_whole_reference_set():
    frame = validate("dram", WHOLE)
    check(frame)
    # 15 configurations of model A: 14 with 19 cases, one with 13, and their command logs; 7 of B; 5 of C.
    of_a, of_b, of_c = (frame[frame["case"].str.startswith(letters)] for letters in ("r2_", "d3_", "ds_"))
    assert (of_a["quantity"] == "cycles").sum() == 14 * 19 + 13
    assert (of_a["quantity"] == "command_mismatches").sum() == 14 * 9 + 4
    assert (of_b["quantity"] == "cycles").sum() == (of_b["quantity"] == "last_data_cmd_cycle").sum() == 7 * 18
    assert (of_b["quantity"] == "command_mismatches").sum() == 7 * 8
    assert (of_c["quantity"] == "cycles").sum() == 5 * 19
    assert (of_c["quantity"] == "command_mismatches").sum() == 5 * 9
    reasons = frame[frame["quantity"].str.startswith("not supported")]
    assert reasons[["ours", "reference", "error"]].isna().all(axis=None)
    why = dict(zip(reasons["case"], reasons["quantity"], strict=True))
    assert not any(case.startswith(("r2_", "pairs/r2_", "d3_", "ds_")) for case in why)


def part_of(tmp_path, config, *cases):
    """A folder in the same form with only these cases."""
    with open(HERE / "cases.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    kept = [line for line in lines if line["case"] in {f"{config}/{case}" for case in cases}]
    with open(tmp_path / "cases.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys())
        writer.writeheader()
        writer.writerows(kept)
    (tmp_path / "configs").mkdir()
    shutil.copy(HERE / "configs" / f"{config}.json", tmp_path / "configs")
    (tmp_path / "traces").mkdir()
    for line in kept:
        shutil.copy(HERE / "traces" / f"{line['trace']}.csv.gz", tmp_path / "traces")
        for kind in ("commands", "requests"):
            (tmp_path / kind / config).mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / kind / f"{line['case']}.csv.gz", tmp_path / kind / config)
    return tmp_path


def test_a_folder_with_one_case_and_no_pairs(tmp_path):
    frame = validate("dram", part_of(tmp_path, LPDDR5, "sat_randmix_short"))
    check(frame)
    assert set(frame["case"]) == {f"{LPDDR5}/sat_randmix_short"}


def test_a_wrong_command_log_is_counted(tmp_path):
    folder = part_of(tmp_path, LPDDR5, "sat_bgrot_short")
    log = folder / "commands" / LPDDR5 / "sat_bgrot_short.csv.gz"
    lines = gzip.decompress(log.read_bytes()).decode().splitlines()
    assert lines[1] == "0,ACT1,0,0,0,0,"
    lines[1] = "0,ACT1,0,0,0,1,"  # another row
    del lines[-1]  # a command of ours that the reference lacks
    log.write_bytes(gzip.compress("\n".join(lines).encode()))
    frame = validate("dram", folder).set_index("quantity")
    assert frame.loc["command_mismatches", "ours"] == 2
    assert frame.loc["command_mismatches", "error"] == np.inf
    assert frame.loc["accept_mismatches", "ours"] == 0


def test_what_is_missing_has_a_row(tmp_path):
    folder = part_of(tmp_path, LPDDR5, "sat_bgrot_short", "serial_pingpong", "serial_seq")
    (folder / "commands" / LPDDR5 / "sat_bgrot_short.csv.gz").unlink()
    (folder / "requests" / LPDDR5 / "serial_pingpong.csv.gz").unlink()
    (folder / "traces" / "seq_n2000_tx32.csv.gz").unlink()
    (folder / "pairs").mkdir()
    shutil.copy(HERE / "pairs" / "r2_ddr5_4800.csv", folder / "pairs")
    frame = validate("dram", folder)
    missing = frame[frame["quantity"].str.startswith("not supported")]
    assert sorted(missing["case"]) == [
        "pairs/r2_ddr5_4800",
        f"{LPDDR5}/sat_bgrot_short",
        f"{LPDDR5}/serial_pingpong",
        f"{LPDDR5}/serial_seq",
    ]
    (folder / "configs" / f"{LPDDR5}.json").unlink()
    frame = validate("dram", folder)
    assert list(frame["case"]) == [LPDDR5, "pairs/r2_ddr5_4800"]
    assert "No such file" in frame["quantity"][0]


def test_what_to_validate_must_exist(tmp_path):
    with pytest.raises(SpecError, match="'dran'; did you mean 'dram'"):
        validate("dran")
    with pytest.raises(SpecError, match="holds a file cases.csv"):
        validate("dram", tmp_path)
    (tmp_path / "cases.csv").write_text("case,config\n")
    with pytest.raises(SpecError, match="cases.csv:1: no column 'trace'"):
        validate("dram", tmp_path)


def test_a_bad_case_line_is_named(tmp_path):
    folder = part_of(tmp_path, LPDDR5, "sat_bgrot_short")
    text = (folder / "cases.csv").read_text()
    (folder / "cases.csv").write_text(text.replace(",True,", ",maybe,"))
    with pytest.raises(SpecError, match="cases.csv:2: command_trace='maybe'"):
        validate("dram", folder)


# Configurations


def test_a_configuration_in_our_terms():
    config = read_config(HERE / "configs" / "r2_lpddr5_6400_refpb.json")
    assert (config.id, config.model, config.standard) == ("r2_lpddr5_6400_refpb", "A", "LPDDR5")
    assert str(config.mapping) == "row:16 bank:2 bankgroup:2 column:6"
    assert config.burst_bytes == 32
    assert config.controller.refresh == "per_bank"
    # "more than 0.8 x 32 = 25.6 writes" is 26 or more, "fewer than 0.2 x 32 = 6.4" is 6 or fewer
    assert (config.controller.write_high, config.controller.write_low) == (25, 7)
    assert config.cfg[e.C_REFI] == 391
    bank, row, column = config.places(np.array([32 * (5 + 64 * (2 + 4 * (3 + 4 * 7))), 1 << 40]))
    assert (bank.tolist(), row.tolist(), column.tolist()) == ([2 * 4 + 3, 0], [7, 0], [5, 0])


@pytest.mark.parametrize(
    "path", sorted((HERE / "configs").glob("r2_lpddr5*.json")), ids=lambda path: path.stem
)
def test_a_configuration_as_one_of_our_parts(path):
    config = read_config(path)
    part = config.part
    assert part is not None
    assert part.peak_bytes_per_s == pytest.approx(12.8e9)
    np.testing.assert_array_equal(configure(part, config.controller), config.cfg)


@pytest.mark.parametrize("path", sorted((HERE / "configs").glob("*.json")), ids=lambda path: path.stem)
def test_every_configuration_is_read(path):
    config = read_config(path)
    assert len(config.channel(10).log) == 10
    assert config.channel().cfg[e.C_LOG] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "D"}, "model='D' is not modelled; modelled: A, B, C"),
        ({"model": None}, "model=None is not modelled"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"constraints": ...}, "missing required field `constraints`"),
        ({"controller": []}, "controller is list; wanted an object"),
        (
            {"controller.kind": "two_and_a_half_buses"},
            "controller.kind='two_and_a_half_buses' is not modelled",
        ),
        ({"controller.kind": ...}, "controller.kind is missing"),
        ({"controller.row_policy": "closed_cap (cap=x)"}, r"controller.row_policy='closed_cap \(cap=x\)'"),
        ({"controller.scheduler": "fcfs"}, "controller.scheduler='fcfs' is not modelled"),
        ({"controller.wck_sync_mode": "off"}, "controller.wck_sync_mode='off'"),
        ({"controller.wck_sync_mode": ...}, "controller.wck_sync_mode is missing"),
        ({"controller.read_queue": "32"}, r"Expected `int`, got `str` - at `\$.controller.read_queue`"),
        ({"controller.read_queue": 0}, "read_queue=0"),
        ({"controller.cap": 4}, "unknown field `cap` - at `\\$.controller`"),
        ({"refresh.mode": "self"}, "refresh.mode='self' is not modelled; modelled: off, all_bank, per_bank"),
        ({"refresh.interval_cycles": ...}, "refresh.interval_cycles=None; wanted a count"),
        ({"refresh.scope": "bank"}, "refresh.scope='bank' is not modelled; modelled: rank"),
        ({"address_mapping.xor": "bank"}, "address_mapping.xor='bank' is not modelled"),
        ({"address_mapping.transaction_bytes": 64}, "transaction_bytes=64 but a burst"),
        (
            {"address_mapping.bits_lsb_to_msb": [{"field": "row", "bits": 16}]},
            "column lost: 64 in the geometry",
        ),
        ({"organisation.rank": 0}, "organisation.rank=0"),
        ({"organisation.bank": 512}, "organisation: 2048 banks; at most 1024"),
        ({"levels": ["channel", "pseudochannel"]}, "levels="),
        ({"timing_cycles.nCWL": ...}, "timing_cycles.nCWL is missing"),
        ({"read_latency_cycles": 20}, "read_latency_cycles=20 but timing_cycles has nCL=17 and nBL_min=2"),
        ({"constraints.0.scope": "banks"}, r"constraints\[0\].scope='banks'; did you mean 'bank'"),
        ({"constraints.0.first": ["READ"]}, r"constraints\[0\].first: no command 'READ'"),
        ({"constraints.0.nth_previous": 0}, r"constraints\[0\].nth_previous=0"),
        (
            {"constraints.0.sibling": True},
            r"constraints\[0\].sibling is modelled only for scopes 'rank' and 'sid'",
        ),
        ({"constraints.0.then": ["CAS_RD"]}, r"constraints\[0\]: a CAS goes out in the clock before"),
        ({"command_cycles.SRE": 1}, "command_cycles: no command 'SRE'"),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path, change, message):
    raw = json.loads((HERE / "configs" / f"{LPDDR5}.json").read_text())
    for key, value in change.items():
        *way, last = key.split(".")
        where = raw
        for step in way:
            where = where[int(step) if step.isdigit() else step]
        if value is ...:
            del where[last]
        else:
            where[last] = value
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(SpecError, match=f"odd.json: .*{message}"):
        read_config(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_configuration_that_is_no_object(tmp_path, text):
    path = tmp_path / "odd.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match="odd.json"):
        read_config(path)
    with pytest.raises(SpecError, match="absent.json: cannot be read"):
        read_config(tmp_path / "absent.json")


# Request files


@pytest.mark.parametrize("name", ["requests.csv", "requests.csv.gz"])
def test_a_request_file(tmp_path, name):
    path = tmp_path / name
    text = b"op,arrive,addr\nR,0,40\n\nW,7,1fe0\n"
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    held = read_requests(path, 32)
    assert (held.arrive.tolist(), held.write.tolist(), held.address.tolist()) == (
        [0, 7],
        [0, 1],
        [0x40, 0x1FE0],
    )
    assert len(held) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": holds no request; wanted a header arrive,op,addr"),
        ("arrive,op\n0,R\n", ":1: wanted one column 'addr'; the header is 'arrive,op'"),
        ("arrive,op,addr,addr\n", ":1: wanted one column 'addr'"),
        ("arrive,op,addr,size\n", ":1: unknown column 'size'"),
        ("arrive,op,addr\n0,R,40\nx,R,40\n", ":3: arrive='x'; wanted a decimal number"),
        ("arrive,op,addr\n-1,R,40\n", ":2: arrive='-1'"),
        ("arrive,op,addr\n0,R,4_0\n", ":2: addr='4_0'; wanted a hexadecimal number"),
        ("arrive,op,addr\n0,R,ffffffffffffffff\n", ":2: addr='f+'"),
        ("arrive,op,addr\n0,r,40\n", ":2: op='r'; wanted R or W"),
        ("arrive,op,addr\n0,R,41\n", ":2: addr=41 is no multiple of the burst, 32 bytes"),
        ("arrive,op,addr\n5,R,40\n4,R,40\n", ":3: arrive=4 after 5: time goes backwards"),
        ("arrive,op,addr\n0,R\n", ":2: 2 fields; wanted 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    path = tmp_path / "requests.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=f"requests.csv{message}"):
        read_requests(path, 32)


def test_a_request_file_that_cannot_be_read(tmp_path):
    with pytest.raises(TraceError, match="absent.csv: cannot be read"):
        read_requests(tmp_path / "absent.csv", 32)
    packed = gzip.compress(b"arrive,op,addr\n0,R,40\n")
    for name, content in (("plain", b"arrive,op,addr\n"), ("cut", packed[:-9])):
        path = tmp_path / f"{name}.csv.gz"
        path.write_bytes(content)
        with pytest.raises(TraceError, match=f"{name}.csv.gz"):
            read_requests(path, 32)


def test_a_device_without_ranks_is_one_rank(tmp_path):
    """The same device said in another way: without a level of ranks, whose rules are the channel's."""
    raw = json.loads((HERE / "configs" / "r2_ddr4_3200_refab.json").read_text())
    raw["levels"].remove("rank")
    del raw["organisation"]["rank"]
    raw["refresh"]["scope"] = "channel"
    for constraint in raw["constraints"]:
        if constraint["scope"] == "rank":
            constraint["scope"] = "channel"
    raw["constraints"] = [each for each in raw["constraints"] if not each["sibling"]]
    (tmp_path / "flat.json").write_text(json.dumps(raw))
    requests = read_requests(HERE / "traces" / "randmix_n1000_tx64.csv.gz", 64)
    runs = [
        read_config(path).run(requests.arrive, requests.write, requests.address, 0, 20_000)
        for path in (HERE / "configs" / "r2_ddr4_3200_refab.json", tmp_path / "flat.json")
    ]
    assert runs[0].log.equals(runs[1].log)
    raw["levels"].reverse()
    (tmp_path / "flat.json").write_text(json.dumps(raw))
    with pytest.raises(
        SpecError, match="flat.json: levels=.* are not modelled; wanted some of channel, rank"
    ):
        read_config(tmp_path / "flat.json")
