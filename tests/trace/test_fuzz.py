"""Damaged files are read or refused with a clear complaint, by every reader of workloads.

The files come from `benchmarks/fuzz_readers.py`, which runs for as long as one likes.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_readers import READERS, mutated, verdict
from pimsim.errors import PimsimError, TraceError

HERE = [name for name, reader in READERS.items() if not reader.needs]
EXTRA = [name for name in READERS if name not in HERE]


def fuzzed(name, folder, examples):
    reader = READERS[name]
    seeds = reader.seeds(folder)
    path = folder / f"case{reader.suffix}"
    for each in seeds:
        path.write_bytes(each)
        assert verdict(reader, path) == "read"

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32))
    def one(seed):
        path.write_bytes(mutated(random.Random(seed), seeds))
        assert verdict(reader, path) in ("read", "refused")

    one()


@pytest.mark.parametrize("name", HERE)
def test_a_damaged_file(tmp_path, name):
    fuzzed(name, tmp_path, 150)


@pytest.mark.extra
@pytest.mark.parametrize("name", EXTRA)
def test_a_damaged_file_of_an_optional_reader(tmp_path, name):
    pytest.importorskip(READERS[name].needs)
    fuzzed(name, tmp_path, 150)


@pytest.mark.parametrize("name", HERE)
def test_files_that_are_none(tmp_path, name):
    reader = READERS[name]
    for path in (tmp_path / f"absent{reader.suffix}", tmp_path):
        with pytest.raises(PimsimError, match=path.name):
            reader.read(path)


def test_a_complaint_has_an_end():
    told = str(TraceError("file:7: " + "x" * 10**6 + " is too long"))
    assert len(told) < 2100
    assert told.startswith("file:7: xxx")
    assert told.endswith("is too long")
