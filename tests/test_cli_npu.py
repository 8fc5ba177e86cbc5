"""`pimsim npu`: arguments, numbers, errors."""

import json

import pytest

from pimsim import cli


def said(capsys, *args):
    assert cli.main(["npu", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_product_under_scale_sims_timing(capsys):
    # ceil(196/32) * ceil(384/32) folds of 32 + 32 + 384 - 2 clocks; one clock for each end of a fast memory.
    run = said(
        capsys,
        "--gemm",
        "196",
        "384",
        "384",
        "--array",
        "32x32",
        "--dataflow",
        "os",
        "--timing",
        "scale-sim",
        "--bandwidth",
        "1e9",
        "--part",
        "mobile-64x64",
    )
    assert run["clocks"] == 7 * 12 * 446 + 2
    assert run["ideal_ck"] + sum(run["lost_ck"].values()) == run["clocks"]
    assert run["tiling"]["reason"]
    assert run["overlap_saves_ck"] == 0
    assert run["array_alone"]["clocks"] == 7 * 12 * 446
    assert run["array_alone"]["output_writes"] == 196 * 384


def test_what_overlapping_folds_are_worth(capsys):
    # ws, 32 x 32: 12 x 12 folds of 2 x 32 + 32 + 196 - 2 = 290 clocks alone; overlapped 196 each, and 94
    # at the ends.
    run = said(capsys, "--gemm", "196", "384", "384", "--part", "mobile-64x64", "--array", "32x32")
    assert run["overlap_saves_ck"] == 144 * 290 - (144 * 196 + 94)


@pytest.mark.parametrize("bits", ["8", "4", "16", "mixed:0.5"])
def test_a_convolution_in_every_width(capsys, bits):
    run = said(capsys, "--conv", "14", "14", "64", "32", "3", "--padding", "1", "--bits", bits)
    assert run["macs"] == 14 * 14 * 64 * 32 * 9
    assert run["dram_weight_bytes"] >= 64 * 32 * 9 * {"4": 0.5, "16": 2}.get(bits, 1)


def test_a_network_and_its_table(capsys):
    run = said(capsys, "--model", "cifar_resnet20", "--bits", "mixed:1")
    assert len(run["layers"]) == 20 + 9 + 1  # convolutions and the classifier, sums, pooling
    assert cli.main(["npu", "--model", "cifar_resnet20"]) == 0
    assert "layer3.2.conv2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--gemm", "1", "2", "3", "--array", "8"], "as in 32x32"),
        (["--gemm", "1", "2", "3", "--bits", "mixed:2"], "mixed:R"),
        (["--gemm", "1", "2", "3", "--model", "resnet18"], "one of"),
        (["--gemm", "1", "2", "3", "--dataflow", "rs"], "dataflow='rs'"),
        (["--gemm", "1", "2", "0"], "wanted an integer of at least 1"),
        (["--gemm", "1", "2", "3", "--part", "mobile-64x46"], "did you mean 'mobile-64x64'"),
    ],
)
def test_errors(capsys, args, text):
    assert cli.main(["npu", *args]) == 2
    assert text in " ".join(capsys.readouterr().err.replace("│", " ").split())
