"""The PyTorch losses against the authors' values and the NumPy references; backbones against the tables."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from face.test_face_losses import RESULTS, finite, head_of, load, near  # noqa: E402

from experiments.face.losses import ArcFace, CosFace, MagFace, mixface, snpair, unpg  # noqa: E402
from experiments.face.modules import DEPTHS, IrResNet, MixFace, SnPair, Unpg  # noqa: E402
from pimsim.errors import SpecError  # noqa: E402
from pimsim.trace.vision import vision_model  # noqa: E402

pytestmark = pytest.mark.extra


def module_of(expected, classes, dim, form="shared"):
    kind = str(expected["head"])
    if kind == "snpair":
        return SnPair(scale=float(expected["cfg_s"]))
    if kind == "mixface":
        e, m = float(expected["cfg_e"]), float(expected["cfg_m"])
        return MixFace(identities=classes, dim=dim, epsilon=e, margin=m)
    head, whisker = head_of(expected), float(expected["wisk"])
    return Unpg(identities=classes, dim=dim, head=head, whisker=whisker, form=form)


def run(module, x, w, labels, dtype=torch.float64):
    """Value, gradient by embeddings, gradient by class weights (None without any)."""
    module = module.to(dtype)
    weights = list(module.parameters())
    for each in weights:
        each.data = torch.tensor(w, dtype=dtype)
    embeddings = torch.tensor(x, dtype=dtype, requires_grad=True)
    value = module(embeddings, torch.tensor(labels))
    value.backward()
    of_weight = weights[0].grad.numpy() if weights else None
    return value.item(), embeddings.grad.numpy(), of_weight


@pytest.mark.parametrize("form", ["shared", "concatenated"])
@pytest.mark.parametrize("name", RESULTS)
def test_the_authors_values(name, form):
    expected = load(name)
    given = load(name.split(".")[0] + ".inputs.npz")
    x, w, labels = given["embeddings"], given["weight"], given["labels"]
    if form == "concatenated" and "unpg" not in name:
        pytest.skip("has one form only")
    value, of_x, of_w = run(module_of(expected, *w.shape, form), x, w, labels)
    assert np.isfinite(value)
    assert np.isfinite(of_x).all()
    if finite(expected):
        assert value == pytest.approx(float(expected["loss"]), rel=1e-10, abs=1e-10)
        near(of_x, expected["grad_x"], 1e-9)
        if "grad_w" in expected:
            near(of_w, expected["grad_w"], 1e-9)
        single, of_x, _ = run(module_of(expected, *w.shape, form), x, w, labels, torch.float32)
        assert single == pytest.approx(float(expected["loss"]), rel=1e-5, abs=1e-5)
        near(of_x, expected["grad_x"], 1e-4)


@pytest.mark.parametrize("labels", [[0, 0, 1, 2, 2, 2], [0, 1, 2, 3, 4, 5], [1, 1, 1, 1, 1, 1], [3]])
@pytest.mark.parametrize("loss", ["arc", "cos", "mag", "straight", "mixface", "snpair"])
def test_the_numpy_references(loss, labels):
    # Also the cases that the authors' code does not define: no negatives, no positives, one picture.
    rng = np.random.default_rng(5)
    x, w, labels = rng.normal(size=(len(labels), 8)) * 10, rng.normal(size=(7, 8)), np.array(labels)
    heads = {"arc": ArcFace(), "cos": CosFace(), "mag": MagFace(), "straight": ArcFace(straight=True)}
    if loss in heads:
        wanted = unpg(x, w, labels, head=heads[loss])
        module = Unpg(identities=7, dim=8, head=heads[loss])
    elif loss == "mixface":
        wanted, module = mixface(x, w, labels), MixFace(identities=7, dim=8)
    else:
        wanted, module = snpair(x, labels), SnPair()
    value, of_x, of_w = run(module, x, w, labels)
    assert value == pytest.approx(wanted.value, rel=1e-12, abs=1e-12)
    assert of_x == pytest.approx(wanted.grad_embeddings, rel=1e-9, abs=1e-12)
    if wanted.grad_weight is not None:
        assert of_w == pytest.approx(wanted.grad_weight, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", DEPTHS)
def test_parameters_of_the_backbones(name):
    # The table's figures are those of the authors' definition: 34,139,328, 43,590,848 and 65,156,160.
    with torch.device("meta"):
        module = IrResNet(name)
    assert sum(each.numel() for each in module.parameters()) == vision_model(name).parameters


def test_a_form_that_is_none():
    with pytest.raises(SpecError, match="no form 'both'"):
        Unpg(identities=2, form="both")
