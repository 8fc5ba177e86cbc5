"""Face losses against the authors' own code; tests/reference/losses/README.md says how it was run."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.face.losses import (
    ArcFace,
    CosFace,
    MagFace,
    head_loss,
    mixface,
    mixface_scale,
    pairs_of,
    snpair,
    unit_rows,
    unpg,
    within_fences,
)
from experiments.face.verification import roc_points, true_accept_percent
from pimsim.errors import SpecError

REPOSITORY = Path(__file__).parents[2]
COPIES = REPOSITORY / "tests" / "reference" / "losses"
WHOLE = Path(os.environ.get("PIMSIM_REFERENCE", REPOSITORY.parent / "shared" / "reference")) / "losses"
FOLDER = WHOLE if WHOLE.is_dir() else COPIES
RESULTS = sorted(
    path.name
    for path in FOLDER.glob("*.npz")
    if not path.name.startswith("verification") and not path.name.endswith(".inputs.npz")
)


def load(name):
    with np.load(FOLDER / name, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def ours(name, expected, dtype, form="shared"):
    """The loss of a reference file, computed here."""
    given = load(name.split(".")[0] + ".inputs.npz")
    x, w, labels = given["embeddings"].astype(dtype), given["weight"].astype(dtype), given["labels"]
    kind = str(expected["head"])
    if kind == "snpair":
        return snpair(x, labels, scale=float(expected["cfg_s"]))
    if kind == "mixface":
        return mixface(x, w, labels, epsilon=float(expected["cfg_e"]), margin=float(expected["cfg_m"]))
    return unpg(x, w, labels, head=head_of(expected), whisker=float(expected["wisk"]), form=form)


def head_of(expected):
    scale = float(expected["s"])
    if str(expected["head"]) == "magface":
        names = {
            "low_margin": "l_margin",
            "high_margin": "u_margin",
            "shortest": "l_a",
            "longest": "u_a",
            "weight": "lambda_g",
        }
        return MagFace(scale=scale, **{own: float(expected[key]) for own, key in names.items()})
    made = {"arcface": ArcFace, "cosface": CosFace}[str(expected["head"])]
    return made(scale=scale, margin=float(expected["m"]))


def near(got, wanted, share):
    """Within a share of the largest entry."""
    assert np.abs(got - wanted).max() <= share * np.abs(wanted).max()


def finite(expected):
    return str(expected["status"]) == "ok" and np.isfinite(expected["loss"])


def test_there_are_reference_files():
    assert len(RESULTS) >= 30
    assert {str(load(name)["head"]) for name in RESULTS} == {
        "arcface",
        "cosface",
        "magface",
        "mixface",
        "snpair",
    }


@pytest.mark.parametrize("name", RESULTS)
def test_values_in_double_precision(name):
    expected = load(name)
    got = ours(name, expected, np.float64)
    assert np.isfinite(got.value)
    if finite(expected):
        assert got.value == pytest.approx(float(expected["loss"]), rel=1e-10, abs=1e-10)
        near(got.grad_embeddings, expected["grad_x"], 1e-9)
        if "grad_w" in expected:
            near(got.grad_weight, expected["grad_w"], 1e-9)
    for key in ("loss_cls", "loss_pair", "s1", "s2", "loss_g_scaled"):
        if key in expected and key in got.parts and np.isfinite(expected[key]):
            assert got.parts[key] == pytest.approx(float(expected[key]), rel=1e-12, abs=1e-10)


@pytest.mark.parametrize("name", RESULTS)
def test_values_in_single_precision(name):
    expected = load(name)
    if not finite(expected):
        pytest.skip("the authors' code gives no value")
    got = ours(name, expected, np.float32)
    assert got.grad_embeddings.dtype == np.float32
    assert got.value == pytest.approx(float(expected["loss"]), rel=1e-5, abs=1e-5)
    near(got.grad_embeddings, expected["grad_x"], 1e-4)
    if "grad_w" in expected:
        near(got.grad_weight, expected["grad_w"], 1e-4)


@pytest.mark.parametrize("name", [name for name in RESULTS if "unpg" in name])
def test_pairs_and_fences(name):
    expected = load(name)
    given = load(name.split(".")[0] + ".inputs.npz")
    x, _ = unit_rows(given["embeddings"].astype(np.float64))
    found = pairs_of(x @ x.T, given["labels"])
    if "sp" in expected:
        assert found.positive == pytest.approx(expected["sp"], abs=1e-12)
        assert found.negative == pytest.approx(expected["sn"], abs=1e-12)
    kept = within_fences(found.negative, float(expected["wisk"]))
    if "n_kept" in expected:
        assert int(kept.mask.sum()) == int(expected["n_kept"])
        assert int((found.negative < kept.low).sum()) == int(expected["n_removed_low"])
        assert int((found.negative > kept.high).sum()) == int(expected["n_removed_high"])
        assert np.sort(found.negative[kept.mask]) == pytest.approx(expected["sn_prime"], abs=1e-12)
        got = [kept.q1, kept.q3, kept.low, kept.high]
        assert got == pytest.approx([float(expected[key]) for key in ("q1", "q3", "lo", "hi")], abs=1e-12)


@pytest.mark.parametrize("name", [name for name in RESULTS if "unpg" in name])
def test_heads_alone(name):
    expected = load(name)
    given = load(name.split(".")[0] + ".inputs.npz")
    x, w = given["embeddings"].astype(np.float64), given["weight"].astype(np.float64)
    got = head_loss(x, w, given["labels"], head_of(expected))
    assert got.value == pytest.approx(float(expected["loss_head_only"]), rel=1e-10)
    if "grad_x_head_only" in expected:
        near(got.grad_embeddings, expected["grad_x_head_only"], 1e-9)
        near(got.grad_weight, expected["grad_w_head_only"], 1e-9)


@pytest.mark.parametrize("name", [name for name in RESULTS if "unpg" in name and "all_same" not in name])
def test_both_forms_are_the_same_loss(name):
    expected = load(name)
    shared, whole = (ours(name, expected, np.float64, form) for form in ("shared", "concatenated"))
    assert shared.value == pytest.approx(whole.value, rel=1e-12)
    near(shared.grad_embeddings, whole.grad_embeddings, 1e-12)
    near(shared.grad_weight, whole.grad_weight, 1e-12)


def test_an_independent_evaluation_of_a_small_batch():
    # Written out with plain loops from the formula in the README of the reference.
    rng = np.random.default_rng(7)
    x, w, labels = rng.normal(size=(6, 5)), rng.normal(size=(4, 5)), np.array([0, 1, 1, 2, 3, 3])
    cosine = [[float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in w] for a in x]
    pairs = sorted(
        float(x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]))
        for i in range(6)
        for j in range(i + 1, 6)
        if labels[i] != labels[j]
    )
    q1, q3 = pairs[len(pairs) // 4], pairs[len(pairs) * 3 // 4]
    kept = [each for each in pairs if q1 - 0.5 * (q3 - q1) <= each <= q3 + 0.5 * (q3 - q1)]
    assert 0 < len(kept) < len(pairs)
    total = 0.0
    for i, label in enumerate(labels):
        scores = [8 * (value - 0.2 * (c == label)) for c, value in enumerate(cosine[i])]
        total += math.log(sum(map(math.exp, scores)) + sum(math.exp(8 * k) for k in kept)) - scores[label]
    got = unpg(x, w, labels, head=CosFace(scale=8, margin=0.2), whisker=0.5)
    assert got.value == pytest.approx(total / 6, rel=1e-13)


# ---- the declared cases


def batch(labels, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(labels), 8)), rng.normal(size=(5, 8)), np.array(labels)


def test_without_negatives_unpg_is_the_head():
    x, w, labels = batch([2, 2, 2])
    for form in ("shared", "concatenated"):
        got = unpg(x, w, labels, head=ArcFace(), form=form)
        assert got.value == head_loss(x, w, labels, ArcFace()).value
        assert got.parts["n_kept"] == 0


@pytest.mark.parametrize("labels", [[2, 2, 2], [0, 1, 2]])
def test_without_negatives_or_positives_the_pair_term_is_nothing(labels):
    x, w, labels = batch(labels)
    got = mixface(x, w, labels)
    assert got.parts["loss_pair"] == snpair(x, labels).value == 0
    assert got.value == got.parts["loss_cls"]
    assert not snpair(x, labels).grad_embeddings.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["unpg", "magface", "mixface", "snpair"]))
def test_gradients_are_the_slopes(seed, kind):
    rng = np.random.default_rng(seed)
    x, w, labels = rng.normal(size=(5, 6)) * 9, rng.normal(size=(4, 6)), np.array([0, 1, 1, 2, 3])

    def loss(x, w):
        if kind == "snpair":
            return snpair(x, labels, scale=6)
        if kind == "mixface":
            return mixface(x, w, labels, epsilon=0.01)
        head = MagFace(scale=4) if kind == "magface" else ArcFace(scale=4)
        return unpg(x, w, labels, head=head, whisker=100)  # fences far off: no pair crosses them

    step, at = 1e-6, rng.normal(size=x.shape)
    slope = (loss(x + step * at, w).value - loss(x - step * at, w).value) / (2 * step)
    assert (loss(x, w).grad_embeddings * at).sum() == pytest.approx(slope, rel=1e-4, abs=1e-6)
    if kind != "snpair":
        at = rng.normal(size=w.shape)
        slope = (loss(x, w + step * at).value - loss(x, w - step * at).value) / (2 * step)
        assert (loss(x, w).grad_weight * at).sum() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_a_cosine_of_one_has_a_finite_gradient():
    x = np.array([[3.0, 4.0], [0.0, 2.0]])
    got = unpg(x, x.copy(), np.array([0, 1]), head=ArcFace())
    assert np.isfinite(got.grad_embeddings).all()


def test_scales_of_mixface():
    # By hand in the notes on the paper: K-FACE with 370 classes, margins 0.25 and 0.5; 512 samples.
    assert mixface_scale(369, 1e-22) / math.cos(0.25) == pytest.approx(58.38, abs=0.005)
    assert mixface_scale(369, 1e-22) / math.cos(0.5) == pytest.approx(64.46, abs=0.005)
    assert mixface_scale(512 * 511 // 2, 1e-22) == pytest.approx(62.44, abs=0.005)
    assert mixface_scale(1024 * 1023 // 2, 1e-22) == pytest.approx(63.83, abs=0.005)


def test_share_of_normal_values_beyond_the_fences():
    # Of a normal distribution 0.698 % lie beyond 1.5 and 4.30 % beyond 1.0 interquartile ranges.
    values = np.random.default_rng(3).normal(size=200_000)
    for whisker, share in ((1.5, 0.00698), (1.0, 0.0430)):
        removed = 1 - within_fences(values, whisker).mask.mean()
        assert removed == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, w, y: (x[:, :3], w, y), r"embeddings \(3, 3\) and weight \(5, 8\)"),
        (lambda x, w, y: (x, w, y[:2]), "wanted one for each of 3 embeddings"),
        (lambda x, w, y: (x, w, y + 4), "labels 4 to 6: wanted 0 to 4"),
        (lambda x, w, y: (x * [[1], [0], [1]], w, y), "row 1 has length 0"),
    ],
)
def test_inputs_that_cannot_be_are_refused(change, says):
    with pytest.raises(SpecError, match=says):
        unpg(*change(*batch([0, 1, 2])), head=CosFace())


# ---- verification


@pytest.mark.parametrize("name", ["verification0.npz", "verification1.npz"])
def test_true_accept_rates(name):
    given = load(name)
    got = [
        true_accept_percent(given["similarities"], given["labels"], level) for level in given["far_levels"]
    ]
    assert got == pytest.approx(list(given["tar_percent"]), abs=5.1e-5)  # rounded to four digits


def test_the_roc_curve_of_four_pairs():
    # Falling: genuine 0.9, impostor 0.8, genuine 0.7, impostor 0.1.
    points = roc_points(np.array([0.1, 0.9, 0.8, 0.7]), np.array([0, 1, 0, 1]))
    assert points.tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    with pytest.raises(SpecError, match="2 pairs of one person and 0 of two"):
        roc_points(np.array([0.1, 0.9]), np.array([1, 1]))
