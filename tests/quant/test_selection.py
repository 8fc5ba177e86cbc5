"""Channel selection and order on a small network."""

import numpy as np
import pytest

from pimsim.quant.calibration import calibrate
from pimsim.quant.integer import channels_of, run_int4, run_int8, stream_errors
from pimsim.quant.network import made_up_network
from pimsim.quant.plan import RATIOS
from pimsim.quant.select import Search, channel_order, evolve, greedy, max_4bit_ch, nested, per_unit

GROUP = 4
NETWORK = made_up_network()
SAMPLES = np.random.default_rng(7).normal(0, 1, (6, 3, 8, 8))
CALIBRATION = calibrate(NETWORK, SAMPLES)
ERRORS = stream_errors(NETWORK, CALIBRATION, GROUP)
UNITS = tuple(ERRORS)
INT8 = run_int8(NETWORK, CALIBRATION, SAMPLES)


def distance(choice, **named):
    low = channels_of(choice, UNITS, NETWORK, GROUP)
    return float(
        np.square(run_int8(NETWORK, CALIBRATION, SAMPLES, low=low, group=GROUP, **named) - INT8).mean()
    )


@pytest.fixture(scope="module")
def evolved():
    return evolve(list(ERRORS.values()), RATIOS, distance, Search(population=6, generations=4))


def test_int8_is_near_floating_point():
    assert np.abs(INT8 - NETWORK.run(SAMPLES)).max() < 0.05 * np.abs(INT8).max()


def test_ratio_zero_is_int8_bit_for_bit(evolved):
    assert distance(evolved[0]) == 0
    assert (run_int8(NETWORK, CALIBRATION, SAMPLES, low={}) == INT8).all()


@pytest.mark.parametrize("select", [greedy, per_unit])
def test_simple_selections_are_nested(select):
    choices = select(list(ERRORS.values()), RATIOS)
    assert nested(choices)
    total = sum(len(error) for error in ERRORS.values())
    assert [sum(int(unit.sum()) for unit in choice) for choice in choices] == [
        round(r * total) for r in RATIOS
    ]


def test_evolution_is_nested_and_no_worse_than_its_seeds(evolved):
    assert nested(evolved)
    counts = [sum(int(unit.sum()) for unit in choice) for choice in evolved]
    assert counts == [round(r * counts[-1]) for r in RATIOS]
    # The first ratio starts from nothing: both seeds are in its pool.
    for seeds in (greedy(list(ERRORS.values()), RATIOS), per_unit(list(ERRORS.values()), RATIOS)):
        assert distance(evolved[1]) <= distance(seeds[1])


def test_effective_bits_beat_plain_lowering_here():
    # The network's channels differ in range, which is what effective bits use.
    everything = tuple(np.ones(len(error), bool) for error in ERRORS.values())
    assert distance(everything) < distance(everything, plain=True)
    assert distance(everything, dynamic=True) < distance(everything, plain=True)


def test_more_ratio_costs_more(evolved):
    losses = [distance(choice) for choice in evolved]
    assert losses == sorted(losses)


def test_uniform_int4_is_worse_than_int8():
    exact = NETWORK.run(SAMPLES)
    int4 = run_int4(NETWORK, CALIBRATION, SAMPLES)
    assert np.square(int4 - exact).mean() > np.square(INT8 - exact).mean()


def test_an_order_makes_every_selection_a_prefix(evolved):
    for unit, name in enumerate(UNITS):
        order = channel_order(evolved, unit, 16, GROUP)
        assert sorted(order.tolist()) == list(range(16))
        counts = max_4bit_ch(evolved, unit, 16, GROUP)
        assert counts == sorted(counts)
        for choice, count in zip(evolved, counts, strict=True):
            low = channels_of(choice, UNITS, NETWORK, GROUP)[name]
            assert low[order].tolist() == [True] * count + [False] * (16 - count)


def test_a_common_permutation_leaves_outputs_unchanged(evolved):
    orders = {name: channel_order(evolved, unit, 16, GROUP) for unit, name in enumerate(UNITS)}
    moved = NETWORK.reordered(orders)
    assert moved.run(SAMPLES) == pytest.approx(NETWORK.run(SAMPLES), abs=1e-12)
    again = calibrate(moved, SAMPLES)
    low = channels_of(evolved[2], UNITS, NETWORK, GROUP)
    moved_low = {name: low[name][orders[name]] for name in UNITS}
    ours = run_int8(moved, again, SAMPLES, low=moved_low, group=GROUP)
    wanted = run_int8(NETWORK, CALIBRATION, SAMPLES, low=low, group=GROUP)
    assert ours == pytest.approx(wanted, abs=1e-9)  # integer sums are equal; sums of branches are floats


def test_a_stream_needs_one_width():
    nodes = list(NETWORK.nodes)
    with pytest.raises(Exception, match="tensor stream has 16 channels, not 15"):
        type(NETWORK)(
            nodes=(*nodes[:-1], type(nodes[0])(**{**vars(nodes[-1]), "weights": nodes[-1].weights[:, :15]}))
        )
