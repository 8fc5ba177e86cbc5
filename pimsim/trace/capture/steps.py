"""What a call of PyTorch becomes: operators of a trace over the parts of tensors that it touches.

Counted as a plain implementation would: a pointwise call without an entry in `_FUNCTIONS` costs one
operation for each element. Types that a trace does not have: 64-bit integers count as int32, since an
engine stores indices so; unsigned bytes as int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pimsim.trace.assemble import rows
from pimsim.trace.capture import products
from pimsim.trace.capture.fuse import BATCH_NORMS
from pimsim.trace.capture.operand import Step, Unknown, any_of, as_shape, positive
from pimsim.trace.capture.record import Call, Value
from pimsim.trace.pointwise import POINTWISE

DTYPES = {
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8",
    "int64": "int32",
    "int32": "int32",
    "int8": "int8",
    "uint8": "int8",
    "bool": "bool",
}

_FUNCTIONS = POINTWISE | {
    "floor_divide": "div",
    "silu_backward": "silu_mul",
    "gelu_backward": "gelu_mul",
    "sigmoid_backward": "mul_add",
    "tanh_backward": "mul_add",
    "threshold_backward": "mul",
    "addcmul": "mul_add",
    "addcdiv": "mul_add",
    "lerp": "mul_add",
    "prelu": "mul",
    "_prelu_kernel": "mul",
    "_prelu_kernel_backward": "mul",
    "where": "max",
    "masked_fill": "max",
    "clamp": "max",
    "pow": "mul",
    # More than one element for one, or the same elements in another order: moved, not computed.
    "roll": "cast",
    "flip": "cast",
    "tril": "cast",
    "triu": "cast",
    "repeat": "cast",
    "im2col": "cast",
    "slice_backward": "cast",
    "select_backward": "cast",
    "upsample_nearest2d": "cast",
    "slice_scatter": "cast",
    "select_scatter": "cast",
    "scatter": "cast",
    "index_put": "cast",
    "upsample_bilinear2d": "mul_add",
    "native_dropout": "mul",
    "native_dropout_backward": "mul",
    "embedding_dense_backward": "add",
    "max_pool2d_with_indices_backward": "add",
    "avg_pool2d_backward": "mul",
    "_adaptive_avg_pool2d_backward": "mul",
    "_softmax_backward_data": "mul_add",
    "_log_softmax_backward_data": "mul_add",
    "native_batch_norm_backward": "mul_add",
    "native_layer_norm_backward": "mul_add",
    "native_group_norm_backward": "mul_add",
    "_fused_rms_norm_backward": "mul_add",
    "nll_loss_backward": "cast",
    "cumsum": "add",
    "sort": "max",  # one pass of it
    "_fused_sgd": "mul_add",
    "_fused_adam": "mul_add",
    "_fused_adamw": "mul_add",
    "scatter_add": "add",
    "index_add": "add",
}
_REDUCTIONS = frozenset(
    """sum mean var std var_mean amax amin max min argmax argmin any all prod norm linalg_vector_norm
    logsumexp topk histc bincount avg_pool2d max_pool2d_with_indices _adaptive_avg_pool2d nansum""".split()  # noqa: SIM905
)


def steps(call: Call) -> list[Step]:
    """The operators of a call; `Unknown` if it has none here."""
    name = call.name
    make = _MAKERS.get(name) or _MAKERS.get(name.removesuffix("_"))
    for value in (*call.inputs, *call.outputs):
        if value.dtype not in DTYPES:
            raise Unknown(f"{name} of {value.dtype}")
    if make is None and name.startswith("_scaled_dot_product_"):
        make = products.attention_backward if name.endswith("_backward") else products.attention
    if make is not None:
        return list(make(call))
    plain = name.removeprefix("_foreach_").removesuffix("_")
    if plain in _REDUCTIONS and not name.startswith("_foreach_"):
        if call.outputs[0].elements > call.inputs[0].elements:  # a histogram with more bins than values
            return [_elementwise(call, "add")]
        return [Step(kind="reduce", inputs=[any_of(call.inputs[0])], outputs=[any_of(call.outputs[0])])]
    if call.pointwise or plain in _FUNCTIONS or name.startswith("_foreach_"):
        return [_elementwise(call, _FUNCTIONS.get(plain, "add"))]
    raise Unknown(name)


def _elementwise(call: Call, function: str) -> Step:
    inputs = [value for value in call.inputs if value.storage.data and value.elements]
    outputs = [value for value in call.outputs if value.elements] or inputs[:1]
    if not call.outputs and call.name.startswith(("_fused_", "_foreach_")):
        held = [value for name in ("self", "momentum_buffer_list", "exp_avgs", "exp_avg_sqs")
                for value in call.args.get(name) or [] if isinstance(value, Value)]  # fmt: skip
        outputs = held or outputs
    alpha = call.args.get("alpha", 1)
    if function == "add" and call.name.removesuffix("_") in ("add", "sub") and alpha != 1:
        function = "mul_add"
    if call.name.startswith("copy"):
        inputs = [value for value in inputs if value is not call.args.get("self")] or inputs
    if call.name.startswith("nll_loss"):
        inputs = [value for value in (call.args.get("target"),) if isinstance(value, Value)] or inputs
    return Step(
        kind="elementwise",
        inputs=[any_of(value) for value in inputs],
        outputs=[any_of(value) for value in outputs],
        attrs={"function": function},
    )


def _norm(call: Call) -> Iterator[Step]:
    """The norms over the last axis."""
    x, out = call.inputs[0], call.outputs[0]
    if call.name == "pimsim::norm":
        weights = list(call.args["weights"])
    else:
        if len(call.args["normalized_shape"]) != 1:
            raise Unknown(f"{call.name} over several axes")
        weights = [each for each in (call.args.get("weight"), call.args.get("bias")) if each is not None]
    shape, result, attrs = rows(x.shape), rows(out.shape), {}
    width = x.storage.shape[-1] if x.storage.shape else 1
    if x.whole and out.whole and width > shape[1] and width % shape[1] == 0:  # heads side by side in a row
        shape = result = (x.elements // width, width)
        attrs = {"groups": width // x.shape[-1]}
    yield Step(
        kind="norm",
        inputs=[as_shape(x, shape), *(as_shape(each, each.shape) for each in weights)],
        outputs=[as_shape(out, result)],
        attrs=attrs,
    )


def _batch_norm(call: Call) -> Iterator[Step]:
    """Scale and shift of every channel; in training after a pass for mean and variance."""
    x, out = call.inputs[0], call.outputs[0]
    weights = [each for each in (call.args.get("weight"), call.args.get("bias")) if isinstance(each, Value)]
    inputs = [any_of(x), *(any_of(each) for each in weights)]
    if len(call.outputs) > 1 and call.outputs[1].elements:
        yield Step(kind="reduce", inputs=[any_of(x)], outputs=[any_of(call.outputs[1])], suffix="statistics")
        inputs.append(any_of(call.outputs[1]))
    yield Step(kind="elementwise", inputs=inputs, outputs=[any_of(out)], attrs={"function": "mul_add"})


def _group_norm(call: Call) -> Iterator[Step]:
    yield from _batch_norm(call)


def _softmax(call: Call) -> Iterator[Step]:
    x, out = call.inputs[0], call.outputs[0]
    shape = positive(out.shape)
    yield Step(kind="softmax", inputs=[as_shape(x, shape)], outputs=[as_shape(out, shape)])


def _embedding(call: Call) -> Iterator[Step]:
    table, ids, out = call.args["weight"], call.args["indices"], call.outputs[0]
    count = max(1, ids.elements)
    yield Step(
        kind="gather",
        inputs=[as_shape(table, table.shape), any_of(ids)],
        outputs=[as_shape(out, (count, table.shape[1]))],
        attrs={"rows": count},
    )


def _gather(call: Call) -> Iterator[Step]:
    """Elements or rows picked by indices; the trailing axes that stay whole are the rows."""
    table, out = call.inputs[0], call.outputs[0]
    indices = [value for value in call.inputs[1:] if value.storage.data]
    width = 1
    for a, b in zip(reversed(table.shape), reversed(out.shape), strict=False):
        if a != b:
            break
        width *= a
    if call.name == "gather" or table.elements % width or out.elements % width:
        width = 1
    if width == table.elements and width == out.elements:
        width = table.shape[-1]
    yield Step(
        kind="gather",
        inputs=[as_shape(table, (table.elements // width, width)), *(any_of(value) for value in indices[:1])],
        outputs=[as_shape(out, (out.elements // width, width))],
        attrs={"rows": out.elements // width},
    )


def _scatter_in_place(call: Call) -> Iterator[Step]:
    """Values written into a tensor that is there already, such as a cache."""
    target = call.args["self"]
    names = ("values", "src", "source")
    values = [call.args[name] for name in names if isinstance(call.args.get(name), Value)]
    fits = bool(values) and 0 < values[0].elements <= target.elements
    if not call.name.endswith("_") or not fits:
        yield _elementwise(call, "cast")
        return
    yield Step(kind="copy", inputs=[any_of(values[0])], outputs=[any_of(target)])


def _cat(call: Call) -> Iterator[Step]:
    sources = [value for value in call.inputs if value.elements]
    out = call.outputs[0]
    yield Step(
        kind="copy",
        inputs=[any_of(value) for value in sources],
        outputs=[any_of(out)] * len(sources),
    )


def _pad(call: Call) -> Iterator[Step]:
    x, out = call.inputs[0], call.outputs[0]
    if x.elements > out.elements:
        yield _elementwise(call, "cast")
    else:
        yield Step(kind="copy", inputs=[any_of(x)], outputs=[any_of(out)])


def _rope(call: Call) -> Iterator[Step]:
    yield _elementwise(call, "rope")


def _nll(call: Call) -> Iterator[Step]:
    yield _elementwise(call, "sub")


_MAKERS: dict[str, Callable[[Call], Iterator[Step]]] = {
    "mm": products.mm,
    "addmm": products.addmm,
    "bmm": products.bmm,
    "_grouped_mm": products.grouped,
    "baddbmm": products.bmm,
    "mv": products.mv,
    "dot": products.dot,
    "convolution": products.convolution,
    "convolution_backward": products.convolution_backward,
    "pimsim::norm": _norm,
    "native_layer_norm": _norm,
    "_fused_rms_norm": _norm,
    **dict.fromkeys((*BATCH_NORMS, "_batch_norm_with_update"), _batch_norm),
    "native_group_norm": _group_norm,
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
    "_log_softmax": _softmax,
    "embedding": _embedding,
    "gather": _gather,
    "index": _gather,
    "index_select": _gather,
    "index_put": _scatter_in_place,
    "index_copy": _scatter_in_place,
    "cat": _cat,
    "stack": _cat,
    "constant_pad_nd": _pad,
    "pimsim::rope": _rope,
    "pimsim::silu_mul": lambda call: iter([_elementwise(call, "silu_mul")]),
    "pimsim::gelu_mul": lambda call: iter([_elementwise(call, "gelu_mul")]),
    "pimsim::attention": products.attention,
    "nll_loss_forward": _nll,
}
