"""The angle between gaze directions: hand values, and the mistake of swapped columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.gaze.angles import angular_error, directions, synthetic_gaze
from pimsim.errors import SpecError

angles = st.tuples(st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))


def test_directions_by_hand():
    got = directions(np.array([[0.0, 0.0], [np.pi / 2, 0.0], [0.0, np.pi / 2]]))
    assert got == pytest.approx(np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]]), abs=1e-15)


def test_equal_and_opposite():
    a = np.array([[0.3, -0.2]])
    assert angular_error(a, a)[0] == pytest.approx(0, abs=1e-15)
    assert angular_error(a, np.array([[-0.3, -0.2 + np.pi]]))[0] == pytest.approx(np.pi, abs=1e-12)
    assert angular_error(np.zeros((1, 2)), np.array([[np.pi / 4, 0]]))[0] == pytest.approx(np.pi / 4)


@given(angles, angles)
def test_symmetric_and_at_most_half_a_turn(a, b):
    a, b = np.array([a]), np.array([b])
    assert angular_error(a, b) == pytest.approx(angular_error(b, a), abs=1e-12)
    assert 0 <= angular_error(a, b)[0] <= np.pi + 1e-12


@given(st.floats(-1.2, 1.2), st.floats(-3, 3), st.floats(0, 2 * np.pi))
def test_small_offsets(pitch, yaw, heading):
    dp, dy = 1e-3 * np.cos(heading), 1e-3 * np.sin(heading)
    got = angular_error(np.array([[pitch + dp, yaw + dy]]), np.array([[pitch, yaw]]))[0]
    assert got == pytest.approx(np.hypot(dp, np.cos(pitch) * dy), rel=0.01)


def test_swapped_columns_are_caught():
    # Yaws beyond a right angle cannot be pitches; smaller ones show as a large error.
    with pytest.raises(SpecError, match=r"pitch 2\.000 rad .*are the columns \(yaw, pitch\)"):
        directions(np.array([[2.0, 0.1]]))
    true = synthetic_gaze(1000, seed=3)
    assert np.degrees(angular_error(true[:, ::-1], true)).mean() > 15


@pytest.mark.parametrize("shape", [(2,), (3, 3), (0, 2, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(SpecError, match=r"wanted \(n, 2\), pitch and yaw in radians"):
        directions(np.zeros(shape))
    with pytest.raises(SpecError, match="1 gaze directions against 2"):
        angular_error(np.zeros((1, 2)), np.zeros((2, 2)))
