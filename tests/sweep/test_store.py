"""The store: what was put in comes out, whole or not at all, and a file that is not ours is refused."""

import random
import sqlite3
import subprocess
import sys

import pandas as pd
import pytest
from sweep.fakes import fails, not_finite, plain
from sweep.tools import grid, run

from pimsim.errors import StoreError, SweepError
from pimsim.sweep import Store, table
from pimsim.sweep.memo import Rates
from pimsim.sweep.store import FORMAT, Record
from pimsim.sweep.table import export, pareto, where
from pimsim.sweep.work import Outcome, parquet

DONE = Outcome(status="done", values={"ttft_s": 0.1 + 0.2, "note": "é\n", "tpot_s": None})


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "r.sqlite", write=True, make=True) as opened:
        yield opened


def damage(path, old, new):
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new))


def test_what_is_put_in_comes_out(store):
    store.put("ab12", {"x": 1.5, "y": "z"}, DONE)
    held = store.get("ab12")
    assert held.outputs == DONE.values  # floats to the last bit
    assert held.settings == {"x": 1.5, "y": "z"}
    assert store.final("ab12")
    assert not store.final("other")
    with Store.open(store.path) as again:
        assert list(again.records()) == [held]
        assert again.content_digest() == store.content_digest()
        assert again.verify() == []


def test_only_final_results_are_kept_for_good(store):
    store.put("a", {}, Outcome(status="timeout", error="took longer than 1 s"))
    assert not store.final("a")
    store.put("a", {}, DONE)
    assert store.final("a")
    store.put("a", {}, Outcome(status="lost", error="later"))
    assert store.get("a").status == "done"


def test_two_results_of_one_point_must_agree(store):
    store.put("a", {}, DONE)
    store.put("a", {}, DONE)
    with pytest.raises(StoreError, match="two results of the point a differ"):
        store.put("a", {}, Outcome(status="done", values={"ttft_s": 0.3}))
    assert store.get("a").outputs == DONE.values


def test_tables_lie_beside_as_parquet(store):
    frame = pd.DataFrame({"task": ["a", "b"], "start_ps": [0, 2**62], "share": [0.1, 1 / 3]})
    store.put("ab12", {}, Outcome(status="done", values={}, tables={"spans": parquet(frame)}))
    path = store.table_path("ab12", "spans")
    assert path.is_relative_to(store.folder)
    pd.testing.assert_frame_equal(store.table("ab12", "spans"), frame, check_dtype=False)
    assert parquet(frame) == path.read_bytes()  # equal frames, equal bytes
    assert store.final("ab12", ["spans"])
    path.write_bytes(path.read_bytes()[:-1])
    assert not store.final("ab12", ["spans"])  # so the sweep computes it again
    with pytest.raises(StoreError, match="missing or damaged"):
        store.table("ab12", "spans")
    assert "missing or damaged" in store.verify()[0]
    with pytest.raises(StoreError, match="no table 'counters' of ab12; the store has spans"):
        store.table("ab12", "counters")
    with pytest.raises(StoreError, match="name no table"):
        store.table_path("../../etc", "spans")


def test_a_newer_store_is_refused(store):
    store.file.execute(f"PRAGMA user_version={FORMAT + 1}")
    with pytest.raises(
        StoreError, match=rf"format {FORMAT + 1} was written by a newer pimsim; update pimsim"
    ):
        Store.open(store.path)


def test_a_file_that_is_no_store_is_refused(tmp_path):
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE t (a)")
    text = tmp_path / "text.sqlite"
    text.write_text("no database " * 1000)
    for path, said in (
        (other, "no store of pimsim results"),
        (text, "damaged or no store of results"),
        (tmp_path / "missing.sqlite", "no such store"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(StoreError, match=said):
            Store.open(path)
    assert not (tmp_path / "missing.sqlite").exists()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW v AS SELECT * FROM results",
        "CREATE TRIGGER t AFTER INSERT ON results BEGIN DELETE FROM results; END",
        "ALTER TABLE results ADD COLUMN more TEXT",
    ],
)
def test_a_store_that_brings_something_to_run_is_refused(store, sql):
    store.file.execute(sql)
    with pytest.raises(StoreError, match="its tables are not those of a store"):
        Store.open(store.path)


def test_a_changed_row_does_not_count(tmp_path):
    path = tmp_path / "r.sqlite"
    digest, _ = run(path, grid(5), plain)
    damage(path, b'"sum_s":2.666', b'"sum_s":9.666')
    with Store.open(path) as store:
        assert len(store.damaged()) == 1
        assert "the row is not as it was written" in store.verify()[0]
        assert len(table(store)) == 4
    assert run(path, grid(5), plain)[0] == digest  # that point was computed again


def everything(path):
    with Store.open(path) as store:
        return list(store.records()), table(store)


def test_a_corrupted_file_is_refused_and_what_can_be_read_is_saved(tmp_path):
    path = tmp_path / "r.sqlite"
    run(path, grid(150), plain)
    with Store.open(path, write=True) as store:
        store.file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        whole = {record.key: record for record in store.records()}
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 3 * 4096] = random.Random(1).randbytes(3 * 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"is damaged .*pimsim results merge NEW.sqlite .* --salvage"):
        everything(path)
    with Store.open(tmp_path / "new.sqlite", write=True, make=True) as new:
        saved = new.salvage(path)
        assert saved > 75
        assert all(whole[record.key] == record for record in new.records())


def test_merging_stores(tmp_path):
    whole, _ = run(tmp_path / "whole.sqlite", grid(9), plain)
    run(tmp_path / "a.sqlite", grid(5), plain)
    with Store.open(tmp_path / "b.sqlite", write=True, make=True) as into:
        with Store.open(tmp_path / "whole.sqlite") as other:
            assert into.merge(other) == 9
        assert into.content_digest() == whole
        with Store.open(tmp_path / "a.sqlite") as other:
            assert into.merge(other) == 0
        assert len(into.sweeps()) == 2
        key = next(into.records()).key
    with Store.open(tmp_path / "c.sqlite", write=True, make=True) as into:
        into.put(key, {}, Outcome(status="done", values={"sum_s": -1.0}))
        with Store.open(tmp_path / "whole.sqlite") as other, pytest.raises(StoreError, match="differ"):
            into.merge(other)


def test_gc_removes_what_nothing_uses(tmp_path):
    path = tmp_path / "r.sqlite"
    run(path, grid(4), plain)
    with Store.open(path, write=True) as store:
        store.put("t", {}, Outcome(status="timeout", error="took longer"))
        store.keep([Record(key="old", status="done", code="other code")])
        frame = pd.DataFrame({"a": [1]})
        store.put("w", {}, Outcome(status="done", tables={"spans": parquet(frame)}))
        stray = store.folder / "zz" / "zz.spans.parquet"
        stray.parent.mkdir()
        stray.write_bytes(b"x")
        assert store.gc() == (1, 1)
        assert store.gc(other_code=True) == (1, 0)
        assert not stray.exists()
        assert store.table("w", "spans")["a"].tolist() == [1]
        assert store.verify() == []
        assert len(table(store)) == 4


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store.open(tmp_path / "file" / "r.sqlite", write=True, make=True)


READ_ONLY = """
import os, sys
from pimsim.sweep import Store, table
from pimsim.errors import StoreError
import pandas
if os.geteuid() == 0:  # nobody stops root from writing
    os.setegid(65534); os.seteuid(65534)
try:
    Store.open(sys.argv[1], write=True)
except StoreError as problem:
    print(problem)
with Store.open(sys.argv[1]) as store:
    print(len(table(store)), store.verify())
"""


def test_a_read_only_folder_can_be_read(tmp_path):
    path = tmp_path / "there" / "r.sqlite"
    run(path, grid(3), plain)
    for name in path.parent.iterdir():
        name.chmod(0o444)
    path.parent.chmod(0o555)
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == 0 and str(above).startswith("/tmp/"):
            above.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", READ_ONLY, str(path)], capture_output=True, text=True)
    path.parent.chmod(0o755)
    assert "cannot be written: Permission denied" in done.stdout, done.stderr
    assert "3 []" in done.stdout


def fill(store):
    for i in range(1000):
        store.put(f"k{i}", {"x": "y" * 500}, DONE)


def test_a_full_disk_stops_the_sweep_and_keeps_what_was_finished(tmp_path):
    path = tmp_path / "r.sqlite"
    with Store.open(path, write=True, make=True) as store:
        store.put("first", {}, DONE)
        store.file.execute(
            f"PRAGMA max_page_count={store.file.execute('PRAGMA page_count').fetchone()[0] + 3}"
        )
        with pytest.raises(StoreError, match="full.*everything finished before is kept"):
            fill(store)
        kept = sum(1 for _ in store.records())
        assert kept > 1
        assert store.verify() == []
    with Store.open(path, write=True) as store:
        assert sum(1 for _ in store.records()) == kept
        store.put("more", {}, DONE)


def test_failed_points_keep_their_error_and_the_rest_goes_on(tmp_path):
    _, frame = run(tmp_path / "r.sqlite", grid(7), fails)
    assert frame["status"].tolist() == ["done", "failed", "done", "done", "failed", "done", "done"]
    assert frame["error"][1].startswith("ValueError: x=1 is one more than a multiple of three (fakes.py:")
    _, frame = run(tmp_path / "n.sqlite", grid(1), not_finite)
    assert "sum_s=nan is no finite number" in frame["error"][0]


# Tables.


def test_rows_and_files_are_the_same_each_time(tmp_path):
    _, frame = run(tmp_path / "r.sqlite", grid(6), plain)
    assert list(frame.columns) == ["sweep", "point", "x", "status", "error", "name", "product_bytes", "sum_s"]
    assert where(frame, "x > 2 and product_bytes < 10")["x"].tolist() == [3, 4]
    with pytest.raises(SweepError, match="no column 'xx'"):
        where(frame, "xx > 2")
    for ending in ("csv", "json", "parquet"):
        export(frame, tmp_path / f"a.{ending}")
        export(frame, tmp_path / f"b.{ending}")
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    back = pd.read_parquet(tmp_path / "a.parquet")
    assert back["sum_s"].tolist() == frame["sum_s"].tolist()
    with pytest.raises(StoreError, match="ends in"):
        export(frame, tmp_path / "a.xls")


def test_best_points_by_hand():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 1.0, 2.0, None], "b": [5, 3, 4, 6, 3, 0]})
    assert pareto(frame, ["a", "b"]).tolist() == [True, True, False, False, True, False]
    assert pareto(frame, ["a"]).tolist() == [True, False, False, True, False, False]


def test_best_points_against_the_definition():
    rng = random.Random(3)
    frame = pd.DataFrame([[rng.randrange(9) for _ in range(3)] for _ in range(120)], columns=list("abc"))
    rows = frame.to_numpy().tolist()
    beaten = [any(all(p <= q for p, q in zip(o, r, strict=True)) and o != r for o in rows) for r in rows]
    assert pareto(frame, list("abc")).tolist() == [not b for b in beaten]


# The memo of rates: whatever happens to it, results do not change.


def test_a_damaged_memo_is_no_answer(tmp_path):
    path = tmp_path / "m.rates"
    memo = Rates(str(path))
    memo.put("d", "[0.5]")
    assert memo.get("d") == "[0.5]"
    assert memo.get("e") is None
    memo.file.execute("UPDATE rates SET text='[0.6]'")
    assert memo.get("d") is None
    memo.file.close()
    path.write_bytes(b"junk" * 5000)
    for broken in (Rates(str(path)), Rates("/no/such/folder/m.rates")):
        broken.put("d", "[0.5]")
        assert broken.get("d") is None
