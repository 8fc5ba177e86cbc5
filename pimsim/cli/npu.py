"""`pimsim npu`: one matrix product, convolution or vision network on an NPU."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.devices.npu.engine import LayerRun
    from pimsim.devices.npu.layer import Layer
    from pimsim.devices.npu.spec import NpuSpec


@app.command(
    epilog="Examples: pimsim npu --gemm 196 384 384 --array 32x32 --dataflow ws --bits mixed:0.5 | "
    "pimsim npu --conv 56 56 64 64 3 --padding 1 | pimsim npu --model resnet50 --json"
)
def npu(
    gemm: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="A product C (M, N) = A (M, K) x B (K, N).", metavar="M N K"),
    ] = None,
    conv: Annotated[
        tuple[int, int, int, int, int] | None,
        typer.Option(
            help="A convolution: input size and channels, output channels, kernel.", metavar="H W C O K"
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A vision network, such as resnet50 or vit_small.")
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Of --conv.")] = 1,
    padding: Annotated[int, typer.Option(min=0, help="Of --conv.")] = 0,
    groups: Annotated[int, typer.Option(min=1, help="Of --conv; as many as channels: depthwise.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Products of --gemm, or images.")] = 1,
    part: Annotated[str, typer.Option(help="The NPU; see: pimsim parts.")] = "dnnweaver2-32x32",
    array: Annotated[
        str | None, typer.Option(help="Rows and columns instead of the part's.", metavar="RxC")
    ] = None,
    dataflow: Annotated[str | None, typer.Option(help="os, ws or is instead of the part's.")] = None,
    timing: Annotated[
        str | None,
        typer.Option(help="overlap, scale-sim (folds do not overlap) or local (no reload between folds)."),
    ] = None,
    bits: Annotated[
        str, typer.Option(help="16, 8, 4, or mixed:R with the share R of input channels in 4 bits.")
    ] = "8",
    bandwidth: Annotated[
        float | None, typer.Option(help="Bytes a clock of a flat memory instead of the part's DRAM.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run one layer or network: clocks, use of the array, where the others went, traffic, energy, tiling.

    Time per layer includes loading its operands from DRAM and storing its results.
    """
    if sum(given is not None for given in (gemm, conv, model)) != 1:
        raise typer.BadParameter(
            "give one of --gemm, --conv and --model", param_hint="'--gemm' / '--conv' / '--model'"
        )
    from pimsim.devices.npu.array import overlap_worth
    from pimsim.devices.npu.network import array_layers, layer_once, run_network
    from pimsim.quant.plan import low_channels
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text
    from pimsim.report.tables import print_frame
    from pimsim.trace.vision import vision_model

    spec = _spec(part, array, dataflow, timing)
    width, ratio = _bits(bits)
    if model is not None:
        network = vision_model(model)
        low = low_channels(network, ratio, spec.group_channels) if ratio else None
        with bar(f"{model} on {spec.name}", quiet):
            ran = run_network(
                spec,
                network,
                bits=width,
                stored_bits=max(width, 8) if ratio else width,
                images=batch,
                low=low,
                memory=bandwidth,
            )
        saved = sum(overlap_worth(spec, each) for each in array_layers(network, bits=width, images=batch))
        said = _summary(spec, model, bits, list(ran.layers), saved)
        layers = [_layer_row(run) for run in ran.layers]
        reasons = []
    else:
        layer = _layer(gemm, conv, stride, padding, groups, batch, width)
        if ratio:
            from pimsim.quant.plan import rounded_channels

            layer = layer.with_low(rounded_channels(layer.in_ch, ratio, spec.group_channels))
        with bar(f"{layer.name} on {spec.name}", quiet):
            run = layer_once(spec, layer, bandwidth)
        said = _summary(spec, layer.name, bits, [run], overlap_worth(spec, layer))
        layers = []
        said["array_alone"] = _alone(spec, layer)
        cut = run.tiling
        assert cut is not None
        said["tiling"] = {
            "rows": cut.rows,
            "cols": cut.cols,
            "out_ch": cut.out_ch,
            "in_ch": cut.in_ch,
            "groups": cut.groups,
            "tiles": run.tiles,
            "reason": cut.reason,
        }
        reasons = [
            f"tile of {cut.rows} x {cut.cols} output pixels, {cut.in_ch} of {layer.in_ch} input and "
            f"{cut.out_ch} of "
            f"{layer.out_ch} output channels" + (f", {cut.groups} groups" if cut.groups > 1 else ""),
            cut.reason,
        ]
    if as_json:
        typer.echo(json_text(said | {"layers": layers}))
        return
    import pandas as pd

    screen = console()
    if layers:
        print_frame(pd.DataFrame(layers), f"{model} on {spec.name}", screen)
        screen.print()
    print_frame(
        _table(said), f"{said['name']} on {spec.name} ({spec.rows}x{spec.cols}, {spec.dataflow})", screen
    )
    for line in reasons:
        note(screen, line)


def _spec(part: str, array: str | None, dataflow: str | None, timing: str | None) -> NpuSpec:
    from pimsim.devices import NpuSpec
    from pimsim.devices import part as find_part
    from pimsim.devices.npu.spec import timing as find_timing

    spec = find_part(part, NpuSpec)
    changes: dict[str, Any] = {}
    if array is not None:
        rows, cross, cols = array.lower().partition("x")
        if not (cross and rows.isdecimal() and cols.isdecimal()):
            raise typer.BadParameter(
                f"{array!r}; wanted rows and columns, as in 32x32", param_hint="'--array'"
            )
        changes |= {"rows": int(rows), "cols": int(cols)}
    if dataflow is not None:
        changes["dataflow"] = dataflow
    if timing is not None:
        changes["timing"] = find_timing(timing)
    return dataclasses.replace(spec, **changes)


def _bits(text: str) -> tuple[int, float]:
    """Width of a layer and share of its input channels in 4 bits."""
    if text in ("4", "8", "16"):
        return int(text), 0.0
    kind, colon, share = text.partition(":")
    try:
        ratio = float(share) if kind == "mixed" and colon else -1.0
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise typer.BadParameter(
            f"{text!r}; wanted 16, 8, 4 or mixed:R with R from 0 to 1", param_hint="'--bits'"
        )
    return 8, ratio


def _layer(
    gemm: tuple[int, int, int] | None,
    conv: tuple[int, int, int, int, int] | None,
    stride: int,
    padding: int,
    groups: int,
    batch: int,
    width: int,
) -> Layer:
    from pimsim.devices.npu.layer import conv as make_conv
    from pimsim.devices.npu.layer import gemm as make_gemm

    if gemm is not None:
        return make_gemm(*gemm, batch=batch, kind="attention" if batch > 1 else "linear", bits=width)
    assert conv is not None
    h, w, c, o, k = conv
    return make_conv(h, w, c, o, k, stride=stride, padding=padding, groups=groups, images=batch, bits=width)


def _summary(spec: NpuSpec, name: str, bits: str, runs: list[LayerRun], saved: int) -> dict[str, Any]:
    clocks = sum(run.clocks for run in runs)
    ideal = sum(run.ideal_ck for run in runs)
    lost = {cause: sum(run.lost_ck[cause] for run in runs) for cause in runs[0].lost_ck}
    energy = {key: sum(run.energy_pj.get(key, 0.0) for run in runs) for key in runs[0].energy_pj}
    return {
        "name": name,
        "part": spec.name,
        "array": f"{spec.rows}x{spec.cols}",
        "dataflow": spec.dataflow,
        "timing": spec.timing.name,
        "bits": bits,
        "macs": sum(run.macs for run in runs),
        "clocks": clocks,
        "time_us": clocks * spec.tck_fs / 1e9,
        "utilisation_percent": 100 * ideal / clocks,
        "ideal_ck": ideal,
        "lost_ck": lost,
        "dram_input_bytes": sum(run.dram_bytes[0] for run in runs),
        "dram_weight_bytes": sum(run.dram_bytes[1] for run in runs),
        "dram_output_bytes": sum(run.dram_bytes[2] for run in runs),
        "scratchpad_bytes": sum(run.scratchpad_bytes for run in runs),
        "overlap_saves_ck": saved,
        "energy_uj": {key: value / 1e6 for key, value in energy.items()},
    }


def _alone(spec: NpuSpec, layer: Layer) -> dict[str, Any]:
    """The product unfolded to (M, N, K) and packed, without memory, in 8 bits: what SCALE-Sim reports."""
    from pimsim.devices.npu.array import fold_report

    told = fold_report(layer.m, layer.n, layer.k, spec.rows, spec.cols, spec.dataflow, spec.timing)
    return {
        "m": layer.m,
        "n": layer.n,
        "k": layer.k,
        "products": layer.groups,
        "folds": told.folds,
        "clocks": told.cycles,
        "mapping_efficiency_percent": 100 * told.mapping_efficiency,
        "input_reads": told.input_reads,
        "weight_reads": told.weight_reads,
        "output_writes": told.output_writes,
    }


def _layer_row(run: LayerRun) -> dict[str, Any]:
    return {
        "layer": run.name,
        "kind": run.kind,
        "clocks": run.clocks,
        "utilisation_percent": 100 * run.utilisation,
        "dram_bytes": sum(run.dram_bytes),
        "tiles": run.tiles,
    }


def _table(said: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        ("multiply-adds", f"{said['macs']}", "MAC"),
        ("time", f"{said['clocks']}", "clocks"),
        ("time", f"{said['time_us']:.6g}", "us"),
        ("use of the array", f"{said['utilisation_percent']:.4g}", "%"),
        ("ideal", f"{said['ideal_ck']}", "clocks"),
        *(
            (f"lost: {cause.replace('_', ' ')}", f"{value}", "clocks")
            for cause, value in said["lost_ck"].items()
        ),
        *(
            (f"DRAM, {what}s", f"{said[f'dram_{what}_bytes']}", "bytes")
            for what in ("input", "weight", "output")
        ),
        ("scratchpads", f"{said['scratchpad_bytes']}", "bytes"),
        *((f"energy, {key}", f"{value:.4g}", "uJ") for key, value in said["energy_uj"].items()),
    ]
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])
