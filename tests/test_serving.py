"""The queue against theory and against itself, and the controller."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices import NpuSpec, part
from pimsim.errors import SpecError
from pimsim.serving import (
    ServiceTimes,
    adaptive,
    changing_arrivals,
    equal_latency_rate_ratio,
    fixed,
    poisson_arrivals,
    serve,
    service_times,
    single_server_latency,
)
from pimsim.trace.vision import vision_model

ONE_MS = 1_000_000_000


def table(*batch_ms, ratios=(0.0,), switch_ps=0):
    return ServiceTimes(
        ratios=ratios, batch_ps=(np.array(batch_ms) * ONE_MS).astype(np.int64), switch_ps=switch_ps
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5 * ONE_MS), min_size=1, max_size=40))
def test_the_fast_form_is_the_queue(gaps):
    arrive = np.cumsum(np.array(gaps, np.int64))
    run = serve(arrive, table([1.0]), fixed(0))
    assert (run.latency == single_server_latency(arrive, ONE_MS)).all()


def test_mean_wait_is_that_of_the_pollaczek_khinchine_formula():
    # Constant service S, load u: mean wait = u S / (2 (1 - u)).
    load = 0.8
    latency = single_server_latency(poisson_arrivals(load * 1000, 400_000, seed=3), ONE_MS)
    assert latency.mean() / ONE_MS - 1 == pytest.approx(load / (2 * (1 - load)), rel=0.03)


@pytest.mark.parametrize(("load", "ratio"), [(0.7, 1.61), (0.8, 1.55), (0.9, 1.48), (0.95, 1.46)])
def test_rate_at_equal_90th_percentile(load, ratio):
    # From another program's simulation of 400 000 requests at a speed-up of 1.43.
    assert equal_latency_rate_ratio(1.43, load, count=200_000) == pytest.approx(ratio, rel=0.03)


def test_batches_by_hand():
    # Requests at 0, 1, 2 and 3 ms; a batch of 1 takes 3 ms, of 2 takes 4 ms. The first runs alone from 0
    # to 3; then
    # three wait: two of them run from 3 to 7, the last from 7 to 10.
    arrive = np.array([0, 1, 2, 3], np.int64) * ONE_MS
    run = serve(arrive, table([3.0, 4.0]), fixed(0))
    assert (run.end // ONE_MS).tolist() == [3, 7, 7, 10]
    assert (run.start // ONE_MS).tolist() == [0, 3, 3, 7]


def test_the_controller_follows_the_load():
    service = table([1.0], [0.6], ratios=(0.0, 1.0), switch_ps=1000)
    arrive = changing_arrivals([(2, 300), (2, 1400), (2, 300)], seed=1)
    run = serve(arrive, service, adaptive(service))
    slow = serve(arrive, service, fixed(0))
    share = [run.ratio[(arrive >= a) & (arrive < a + 2 * 10**12)].mean() for a in (0, 2 * 10**12, 4 * 10**12)]
    assert share[0] < 0.2
    assert share[1] > 0.8
    assert share[2] < 0.2
    assert run.switches >= 2
    assert run.percentile_ps(90) < slow.percentile_ps(90) / 4
    starts, medians = slow.by_window(10**12)
    assert len(starts) == len(medians) == 6
    assert medians.argmax() in (3, 4)  # the backlog is largest when the busy time ends


def test_service_times_come_from_the_array():
    spec, model = part("mobile-64x64", NpuSpec), vision_model("cifar_resnet20")
    service = service_times(spec, model, (0.0, 1.0), 3, memory=64.0)
    assert service.batch_ps.shape == (2, 3)
    assert (service.batch_ps[1] <= service.batch_ps[0]).all()
    assert (np.diff(service.batch_ps, axis=1) > 0).all()
    assert service.batch_ps[0, 2] < 3 * service.batch_ps[0, 0]  # weights are loaded once a batch
    assert service.switch_ps == 20 * spec.tck_fs // 1000  # 20 layers with weights


def test_errors():
    with pytest.raises(SpecError, match="rising"):
        serve(np.array([2, 1], np.int64), table([1.0]), fixed(0))
    with pytest.raises(SpecError, match="positive numbers"):
        poisson_arrivals(0, 5)
    with pytest.raises(SpecError, match=r"wanted \(ratios, batches\)"):
        table([1.0], ratios=(0.0, 1.0))
