"""The NPU against the sampled runs of other simulators in tests/reference/npu."""

import shutil
from pathlib import Path

import pytest

from pimsim.errors import SpecError
from pimsim.validate import validate

HERE = Path(__file__).parent / "reference" / "npu"


@pytest.fixture(scope="module")
def frame():
    return validate("npu")


@pytest.fixture(scope="module")
def errors(frame):
    return {str(quantity): part["error"].abs() for quantity, part in frame.groupby("quantity")}


@pytest.mark.parametrize(
    "quantity",
    [
        "scale-sim cycles without stalls",
        "scale-sim folds",
        "scale-sim mapping efficiency [%]",
        "scale-sim sram_ifmap_reads",
        "scale-sim sram_filter_reads",
        "scale-sim sram_ofmap_writes_demanded",
        "scale-sim clocks, stall-free",
        "scale-sim clocks, bandwidth-limited",
        "scale-sim runs below the clocks without stalls",
        "dnnweaver2 clocks",
        "dnnweaver2 memory bits read",
        "dnnweaver2 memory bits written",
        "zigzag ideal clocks",
        "mnpusim multiply-adds",
        "mnpusim array clocks",
        "llm runs below weight bytes over bandwidth",
    ],
)
def test_exact(errors, quantity):
    assert len(errors[quantity]) > 5
    assert errors[quantity].max() == 0


def test_our_tiles_do_not_lose_to_the_loop_nest(frame):
    own = frame[frame["quantity"] == "our tiles on DNNWeaver's array, sums stored once"]
    assert own["error"].max() < 0.15
    assert own["error"].median() > -0.4


def test_our_array_takes_no_less_than_mnpusim_s_and_more_for_short_folds(frame):
    own = frame[frame["quantity"] == "our array on mNPUsim's products"]["error"]
    assert len(own) == 12
    assert own.min() >= 0
    assert own.max() < 0.01
    # By hand: 32 folds of 8 clocks, each of which waits for 128 rows of results; ends as mNPUsim's array does
    # (127 columns after the last step), but fills all rows: 127 more.
    short = frame[frame["quantity"].str.endswith("which does not wait for results of short folds")]
    assert short["ours"].tolist() == [31 * 128 + 8 + 127 + 127]


def test_onnxim(errors):
    assert errors["onnxim clocks"].median() < 0.15


def test_tokens_a_second_differ_by_what_is_known(errors):
    # GenZ divides by 2^30 where 1 GB is 10^9; LLM-Viewer differs by small tensors only.
    genz = errors["llm ms a token, GenZ"]
    assert genz.min() > 2**30 / 1e9 - 1 - 0.001
    assert genz.max() < 2**30 / 1e9 - 1 + 0.001
    assert errors["llm ms a token as GenZ counts"].max() < 0.001
    assert errors["llm ms a token, LLM-Viewer"].max() < 0.02


def test_tokens_on_command_accurate_dram_take_longer_than_the_tools_say(errors):
    # The tools take 100 % of the peak; the channels lose refresh and row changes, a few percent to a fifth.
    assert errors["llm runs on DRAM below weight bytes over peak"].max() == 0
    own = errors["llm ms a token on mobile-64x64 and its DRAM, LLM-Viewer"]
    assert own.min() > 0.03
    assert own.max() < 0.2


def test_times_to_the_first_token_are_theirs_once_their_extra_work_is_charged(errors):
    assert errors["llm ms to the first token as GenZ counts"].max() < 0.08
    assert errors["llm ms to the first token as LLM-Viewer counts"].max() < 0.08


def test_a_folder_above_is_found_and_an_empty_one_is_an_error(tmp_path):
    shutil.copytree(HERE, tmp_path / "npu")
    for path in (tmp_path / "npu").glob("*.csv"):
        if path.name != "zigzag.csv":
            path.unlink()
    assert len(validate("npu", tmp_path)) == 14  # rows of zigzag.csv
    (tmp_path / "npu" / "zigzag.csv").unlink()
    with pytest.raises(SpecError, match="holds a table that is known"):
        validate("npu", tmp_path)


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "zigzag.csv").write_text("workload,layer\n")
    with pytest.raises(SpecError, match="no column 'ideal_cycles'"):
        validate("npu", tmp_path)
