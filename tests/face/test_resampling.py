"""People drawn again: equal to counting pairs, and to copies made by hand."""

import numpy as np
import pytest

from experiments.face.resampling import draws, interval, true_accepts
from experiments.face.verification import pairs, true_accept_over
from pimsim.errors import SpecError

RATES = np.array([1e-3, 1e-2, 2e-2])


def made_up(people=12, each=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, 16))
    person = np.repeat(np.arange(people), each)
    return centres[person] + 0.6 * rng.normal(size=(people * each, 16)), person


def test_everybody_once_is_the_plain_figure():
    embeddings, person = made_up()
    got = true_accepts(embeddings, person, draws(12, 3), RATES)
    assert got.shape == (4, 3)
    for rate, percent in zip(RATES, got[0], strict=True):
        assert percent == pytest.approx(true_accept_over(*pairs(embeddings, person), rate))


def test_a_person_drawn_twice_is_two_people_who_never_meet():
    embeddings, person = made_up()
    weights = np.ones((1, 12), int)
    weights[0, 3], weights[0, 4] = 2, 0
    got = true_accepts(embeddings, person, weights, RATES)[0]
    # By hand: the pictures of person 3 again under another number, pairs of the two left out.
    kept = person != 4
    twice = np.concatenate([embeddings[kept], embeddings[person == 3]])
    number = np.concatenate([person[kept], np.full(5, 99)])
    i, j = np.triu_indices(len(twice), 1)
    met = (number[i] + number[j] == 3 + 99) & (number[i] != number[j])
    cosines, same = pairs(twice, number)
    for rate, percent in zip(RATES, got, strict=True):
        assert percent == pytest.approx(true_accept_over(cosines[~met], same[~met], rate))


def test_draws_hold_as_many_people_and_are_the_same_again():
    got = draws(30, 50)
    assert (got.sum(axis=1) == 30).all()
    assert (got == draws(30, 50)).all()
    assert (got[0] == 1).all()


def test_the_interval_leaves_everybody_out():
    # By hand: of 0 to 100, the middle 95 % runs from 2.5 to 97.5.
    assert interval(np.array([1e9, *range(101)])) == pytest.approx((2.5, 97.5))


def test_a_rate_beyond_the_pairs_that_are_kept():
    embeddings, person = made_up()
    with pytest.raises(SpecError, match=r"false accepts at 0\.5"):
        true_accepts(embeddings, person, draws(12, 1), np.array([0.5]))


def test_one_person_has_no_pairs_of_two():
    embeddings, person = made_up(people=1)
    with pytest.raises(SpecError, match="without pairs of two"):
        true_accepts(embeddings, person, np.ones((1, 1), int), RATES)
