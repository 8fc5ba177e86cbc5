"""Points of a sweep: grids, lists, draws, conditions, files."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimsim.errors import PimsimError, SweepError
from pimsim.sweep import Axis, Range, Sweep, prepare, read_search, read_sweep
from pimsim.sweep.points import chosen


def sweep(**changed):
    fields = {
        "name": "s",
        "base": {"z": 1},
        "axes": (Axis(name="x", values=(1, 2, 3)), Axis(name="y", values=("a", "b"))),
    }
    return Sweep(**fields | changed)


def shown(made):
    return [tuple(point.shown.values()) for point in chosen(made)]


def test_a_grid_is_every_combination_the_last_axis_fastest():
    assert shown(sweep()) == [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "b")]
    assert [p.number for p in chosen(sweep())] == list(range(6))
    assert chosen(sweep())[3].settings == {"z": 1, "x": 2, "y": "b"}


def test_constraints_leave_points_out():
    assert shown(sweep(constraints=("x != 2", "y == 'a' or x + z > 3"))) == [(1, "a"), (3, "a"), (3, "b")]
    with pytest.raises(SweepError, match="leave no point of 6"):
        chosen(sweep(constraints=("x > 9",)))


def test_a_list_takes_its_rows():
    made = Sweep(name="l", base={"z": 1}, sampling="list", listed=({"x": 1, "z": 2}, {"x": 5}))
    assert [p.settings for p in chosen(made)] == [{"z": 2, "x": 1}, {"z": 1, "x": 5}]


def test_values_that_go_together():
    axis = Axis(name="part", values=({"a.b": 1, "c": 2, "label": "small"}, {"a.b": 2, "c": 4}))
    made = Sweep(name="l", axes=(axis,))
    assert [p.settings for p in chosen(made)] == [{"a.b": 1, "c": 2}, {"a.b": 2, "c": 4}]
    assert shown(made) == [("small",), ("b=2 c=4",)]


RANGES = st.builds(
    Range,
    low=st.integers(1, 50),
    high=st.integers(50, 400),
    steps=st.integers(1, 9),
    scale=st.sampled_from(["linear", "log"]),
) | st.builds(Range, low=st.floats(0.01, 1), high=st.floats(1, 1e3), steps=st.integers(1, 9))


@given(RANGES, st.floats(0, 1))
def test_a_range_stays_in_its_ends(held, share):
    assert held.low <= held.at(share) <= held.high
    values = held.values()
    assert values[0] == held.low
    assert list(values) == sorted(set(values))
    assert len(values) == 1 or values[-1] == held.high
    if held.whole:
        assert all(isinstance(value, int) for value in (held.at(share), *values))


def test_ranges_by_hand():
    assert Range(low=1, high=100, steps=3, scale="log").values() == (1, 10, 100)
    assert Range(low=0.0, high=1.0, steps=5).values() == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert [Range(low=1, high=4).at(share) for share in (0.0, 0.24, 0.26, 0.99, 1.0)] == [1, 1, 2, 4, 4]


@pytest.mark.parametrize("sampling", ["random", "latin-hypercube"])
def test_drawn_points_follow_from_the_seed(sampling):
    axes = (Axis(name="x", values=Range(low=0.0, high=8.0)), Axis(name="y", values=(1, 2, 3, 4)))
    made = Sweep(name="d", axes=axes, sampling=sampling, count=16, seed=7)
    assert (
        shown(made) == shown(made) != shown(Sweep(name="d", axes=axes, sampling=sampling, count=16, seed=8))
    )
    assert len(chosen(made)) == 16


def test_a_latin_hypercube_meets_every_stratum_once():
    # By definition: of n points, one lies in each n-th of every axis.
    axes = (Axis(name="x", values=Range(low=0.0, high=1.0)), Axis(name="y", values=(1, 2, 3, 4)))
    points = shown(Sweep(name="d", axes=axes, sampling="latin-hypercube", count=20, seed=1))
    assert sorted(math.floor(20 * x) for x, _ in points) == list(range(20))
    assert [[y for _, y in points].count(value) for value in (1, 2, 3, 4)] == [5, 5, 5, 5]


def test_random_points_are_drawn_until_enough_meet_the_constraints():
    axes = (Axis(name="x", values=Range(low=0.0, high=1.0)),)
    made = Sweep(name="d", axes=axes, sampling="random", count=10, constraints=("x < 0.25",))
    assert len(chosen(made)) == 10
    assert all(x < 0.25 for (x,) in shown(made))
    with pytest.raises(SweepError, match="gave 0 points"):
        chosen(Sweep(name="d", axes=axes, sampling="random", count=2, constraints=("x > 2",)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sampling": "gird"}, "did you mean 'grid'"),
        ({"sampling": "random"}, "need a count"),
        ({"count": 3}, "need a count"),
        ({"sampling": "random", "count": 0}, "count=0"),
        ({"axes": ()}, "nothing varies"),
        ({"sampling": "list"}, "a list needs some"),
        ({"axes": (Axis(name="x", values=(1,)),) * 2}, "two axes are named 'x'"),
        ({"name": "a/b"}, "cannot name a file"),
        ({"constraints": ("x <",)}, "cannot be read"),
    ],
)
def test_a_sweep_that_contradicts_itself_is_refused(changed, said):
    with pytest.raises(SweepError, match=said):
        sweep(**changed)


def test_axes_that_are_none_are_refused():
    with pytest.raises(SweepError, match="no values"):
        Axis(name="x", values=())
    with pytest.raises(SweepError, match="appears twice"):
        Axis(name="x", values=(1, 1))
    with pytest.raises(SweepError, match="mixed"):
        Axis(name="x", values=(1, {"a": 2}))
    with pytest.raises(SweepError, match="needs steps"):
        chosen(Sweep(name="s", axes=(Axis(name="x", values=Range(low=1, high=2)),)))
    with pytest.raises(SweepError, match="lower end first"):
        Range(low=2, high=1)
    with pytest.raises(SweepError, match="above 0"):
        Range(low=0, high=1, scale="log")


# Files.

TEXT = """
[sweep]
name = "f"
constraints = ["prompt < 100"]

[base]
model = "llama-3.2-1b"
method = "facil"
tokens = 2
memory.channels = 2

[axes]
prompt = [16, 64, 256]
memory.dram.timings.RCD = { low = 12.0, high = 18.0, steps = 2 }
cores = [{ label = "few", "cpu.copy_cores" = [4] }, { label = "many", "cpu.copy_cores" = [3, 4, 5] }]

[search]
trials = 12
objectives = ["ttft_s", "memory_total_bytes"]
"""


def test_a_file_is_a_sweep(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(TEXT)
    made, plan = read_search(path)
    assert made == read_sweep(path)
    assert made.base == {"model": "llama-3.2-1b", "method": "facil", "tokens": 2, "memory.channels": 2}
    assert made.axis_names == ("prompt", "memory.dram.timings.RCD", "cores")
    assert len(chosen(made)) == 2 * 2 * 2
    assert (plan.trials, plan.objectives) == (12, ("ttft_s", "memory_total_bytes"))
    assert len(prepare(made).points) == 8


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[base]", "[bsae]", r"f.toml:6: unknown section 'bsae'; did you mean 'base'"),
        ('name = "f"', 'nmae = "f"', r"f.toml:3: \[sweep\] has no key 'nmae'; did you mean 'name'"),
        ('name = "f"', "name = 3", "f.toml:3: name=3; wanted a text"),
        ("prompt = [16, 64, 256]", "prompt = 16", "f.toml:13: axis prompt=16; wanted a list"),
        ("steps = 2", "step = 2", "f.toml:14: axis memory.dram.timings.RCD: a range has no 'step'"),
        ("prompt < 100", "prompt <", "cannot be read"),
        ("trials = 12", "trails = 12", "f.toml:18: .*'trails'; did you mean 'trials'"),
        ("trials = 12", "trials = 0", "trials=0"),
        ("[axes]", "[axes", "not TOML"),
        (
            "memory.channels",
            "memory.chanels",
            "no parameter 'memory.chanels'; did you mean 'memory.channels'",
        ),
        ("timings.RCD", "timings.RDC", "did you mean .* or 'memory.dram.timings.RCD'"),
        ('"cpu.copy_cores" = [4]', '"cpu.copy_cores" = 4', "copy_cores=4; wanted a list"),
        ("memory.channels = 2", 'memory.channels = "2"', "wanted a whole number"),
        ("llama-3.2-1b", "llama-9", "llama-9"),
        ("facil", "facile", "did you mean 'facil'"),
        ('method = "facil"', "", "method is given neither"),
        ("prompt = [", "promt = [", "promt"),
    ],
)
def test_a_file_with_a_mistake_is_refused_before_anything_runs(tmp_path, old, new, said):
    assert TEXT.count(old) >= 1
    path = tmp_path / "f.toml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(PimsimError, match=said):
        prepare(read_search(path)[0])


def test_the_example_has_a_thousand_points():
    made = read_sweep("examples/pim_design_space.toml")
    assert len(chosen(made)) == 1000
