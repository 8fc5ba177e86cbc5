"""Face training steps: counts against the notes on the papers, traffic by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import TraceError
from pimsim.trace.training import (
    FORMS,
    LOSSES,
    FaceStep,
    gallery_trace,
    memory_bound_batch,
    memory_bound_identities,
)

STEP = FaceStep()  # IR-ResNet-100, 512 embeddings, 85 742 identities: UNPG on MS1MV2


def parts(step=STEP):
    return {part.name: part for part in step.parts()}


def test_multiply_adds_of_the_published_step():
    # Derived by others from the papers: 22.48 G, 0.134 G and 6.19 T; exactly, by hand:
    assert parts()["logits"].macs == 512 * 85_742 * 512 == 22_476_750_848
    assert parts()["similarities"].macs == 512**3 == 134_217_728
    assert round(parts()["backbone forward"].macs / 1e12, 2) == 6.19
    assert parts()["gradient of embeddings"].macs == parts()["gradient of classes"].macs == 22_476_750_848


def test_similarities_of_mixface():
    step = FaceStep(loss="mixface", batch=1024)
    assert parts(step)["similarities"].macs == 1024 * 1024 * 512 == 536_870_912  # 0.537 G


def test_the_backward_pass_is_twice_the_forward_pass_but_for_the_pictures():
    # The stem has 3 x 3 x 3 x 64 weights at 112 x 112 places.
    stem = 27 * 64 * 112 * 112
    forward = parts()["backbone forward"].macs
    assert parts()["backbone backward"].macs == 2 * forward - 512 * stem


def test_class_matrix_in_bytes():
    # 43.9 M values: 175.6 MB in 4 bytes, 87.8 MB in 2, as the notes say.
    assert STEP.class_parameters * 4 == 175_599_616
    logits = parts()["logits"]
    assert logits.read_bytes == 87_799_808 + 512 * 512 * 2
    assert logits.written_bytes == 512 * 85_742 * 4 == 175_599_616
    update = parts()["update of classes"]
    assert (update.read_bytes, update.written_bytes) == (43_899_904 * 12, 43_899_904 * 10)


def test_both_forms_of_unpg_in_bytes():
    shared, whole = STEP, replace(STEP, form="concatenated")
    assert STEP.pairs == 130_816
    assert whole.loss_values == 512 * (85_742 + 130_816)
    assert shared.loss_values == 512 * 85_742 + 130_816 + 512
    # About 130 000 kept negatives are 442 MB in 4 bytes, as the notes say.
    assert round(replace(whole, negatives=130_000).loss_values * 4 / 1e6) == 442
    fewer = sum(part.bytes for part in whole.parts()) - sum(part.bytes for part in shared.parts())
    saved = 512 * 130_816 - 130_816 - 512
    concatenation = (512 * 85_742 + 130_816) * 4 + whole.loss_values * 4
    assert fewer == 2 * 4 * saved + concatenation
    assert whole.memory_bytes()["loss"] - shared.memory_bytes()["loss"] == 4 * saved


def test_both_forms_of_mixface():
    # K-FACE: about 354 positive pairs and 130 462 negatives, 46 M values if materialised.
    step = FaceStep(loss="mixface", identities=370, positives=354, negatives=130_462, form="concatenated")
    assert step.loss_values - 512 * 370 == 354 * 130_462
    assert round(354 * 130_462 / 1e6) == 46
    assert replace(step, form="shared").loss_values - 512 * 370 == 354 + 130_462


def test_memory_by_owner():
    held = STEP.memory_bytes()
    assert held["class matrix"] == 43_899_904 * 14
    assert held["backbone weights"] == 65_156_160 * 14
    assert held["loss"] == STEP.loss_values * 4


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 600),
    st.sampled_from(LOSSES),
    st.sampled_from(FORMS),
    st.integers(2 * 10**9, 10**12),
)
def test_the_most_identities_just_fit(batch, loss, form, capacity):
    step = FaceStep(backbone="ir_resnet34", batch=batch, loss=loss, form=form)
    most = step.most_identities(capacity)
    if most:
        assert sum(replace(step, identities=most).memory_bytes().values()) <= capacity
    assert sum(replace(step, identities=most + 1).memory_bytes().values()) > capacity


def test_a_gallery_is_one_product():
    trace = gallery_trace(8, 1000)
    (op,) = trace.operators
    assert trace.matmul_shape(op) == (8, 1000, 512)
    assert trace.bytes_read() == 2 * 512 * (8 + 1000)
    assert gallery_trace(1, 1000).operators[0].phase == "decode[0]"


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_identities_from_which_on_traffic_rules(batch):
    step = FaceStep(batch=batch)
    crossing = memory_bound_identities(step, 1e12, 1e11)

    def bound(identities):
        parts = replace(step, identities=identities).parts()
        return sum(part.bytes for part in parts) / 1e11 >= sum(part.macs for part in parts) / 1e12

    assert bound(crossing)
    assert not bound(crossing - 1)


def test_a_large_batch_computes_whatever_the_identities():
    # An identity costs 3 x 512 x 512 multiply-adds; its traffic is below 30 kB.
    assert memory_bound_identities(STEP, 1e12, 1e11) is None


def test_the_batch_up_to_which_logits_wait_for_memory():
    # By hand, many identities: B x 512 multiply-adds at 1e12/s against 1024 + 4 B bytes at 1e11/s.
    batch = memory_bound_batch(10**9, 512, 1e12, 1e11)
    assert batch * 512 / 1e12 <= (1024 + 4 * batch) / 1e11
    assert (batch + 1) * 512 / 1e12 > (1024 + 4 * (batch + 1)) / 1e11
    with pytest.raises(TraceError, match="whatever the batch"):
        memory_bound_batch(10**9, 8, 1e12, 1e11)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch": 0}, "batch=0; wanted at least 1"),
        ({"identities": -1}, "identities=-1"),
        ({"loss": "unpgg"}, "no loss 'unpgg'; did you mean 'unpg'"),
        ({"form": "whole"}, "no form 'whole'"),
        ({"negatives": 130_817}, "130817 negatives and 0 positives of 130816 pairs"),
        ({"backbone": "ir_resnet101"}, "did you mean 'ir_resnet100'"),
    ],
)
def test_steps_that_cannot_be(changes, says):
    with pytest.raises(TraceError, match=says):
        FaceStep(**changes).parts()
