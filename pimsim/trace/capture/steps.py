"""What a call of PyTorch becomes: operators of a trace over the parts of tensors that it touches.

Counted as a plain implementation would: a pointwise call without an entry in `_FUNCTIONS` costs one
operation for each element. Types that a trace does not have: 64-bit integers count as int32, since an
engine stores indices so; unsigned bytes as int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pimsim.trace.assemble import Shape, Use, rows
from pimsim.trace.capture.fuse import BATCH_NORMS
from pimsim.trace.capture.record import Call, Storage, Value

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

_FUNCTIONS = {
    "sub": "sub",
    "rsub": "sub",
    "mul": "mul",
    "div": "div",
    "floor_divide": "div",
    "neg": "neg",
    "relu": "relu",
    "exp": "exp",
    "sqrt": "sqrt",
    "rsqrt": "sqrt",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "gelu": "gelu",
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
    "maximum": "max",
    "clone": "cast",
    "_to_copy": "cast",
    "copy": "cast",
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
    logsumexp topk avg_pool2d max_pool2d_with_indices _adaptive_avg_pool2d nansum""".split()  # noqa: SIM905
)
_MOST_PRODUCTS = 20_000


class Unknown(Exception):
    """A call that has no counterpart; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operator to be. suffix: put behind the name where a call becomes several."""

    kind: str
    inputs: list[Operand]
    outputs: list[Operand]
    attrs: dict[str, Any] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True)
class Operand:
    """A storage, or part of it, in the shape that the operator wants (None: any)."""

    storage: Storage
    shape: Shape | None = None
    part: str = ""

    def use(self, name: str) -> Use:
        return Use(tensor=name, shape=self.shape, part=self.part)


def steps(call: Call) -> list[Step]:
    """The operators of a call; `Unknown` if it has none here."""
    name = call.name
    make = _MAKERS.get(name) or _MAKERS.get(name.removesuffix("_"))
    for value in (*call.inputs, *call.outputs):
        if value.dtype not in DTYPES:
            raise Unknown(f"{name} of {value.dtype}")
    if make is None and name.startswith("_scaled_dot_product_"):
        make = _attention_backward if name.endswith("_backward") else _attention
    if make is not None:
        return list(make(call))
    plain = name.removeprefix("_foreach_").removesuffix("_")
    if plain in _REDUCTIONS and not name.startswith("_foreach_"):
        return [Step(kind="reduce", inputs=[_any(call.inputs[0])], outputs=[_any(call.outputs[0])])]
    if call.pointwise or plain in _FUNCTIONS or name.startswith("_foreach_"):
        return [_elementwise(call, _FUNCTIONS.get(plain, "add"))]
    raise Unknown(name)


def _any(value: Value) -> Operand:
    """A value whose shape does not matter."""
    if value.whole:
        return Operand(value.storage)
    return Operand(value.storage, _positive(value.distinct), _part(value))


def _as(value: Value, shape: Shape) -> Operand:
    """A value in a demanded shape."""
    return Operand(value.storage, shape, "" if value.whole else _part(value))


def _part(value: Value) -> str:
    """Which elements: first one and shape, strides too if it is not one stretch of memory."""
    shape = "x".join(map(str, value.distinct))
    return f"{value.offset}+{shape}" + ("" if _dense(value) else "/" + "x".join(map(str, value.strides)))


def _dense(value: Value) -> bool:
    wanted = 1
    for stride, size in sorted(zip(value.strides, value.shape, strict=True)):
        if size > 1:
            if stride != wanted:
                return False
            wanted *= size
    return True


def _positive(shape: Shape) -> Shape:
    return shape or (1,)


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
        inputs=[_any(value) for value in inputs],
        outputs=[_any(value) for value in outputs],
        attrs={"function": function},
    )


def _mm(call: Call) -> Iterator[Step]:
    yield _product(call.args["self"], call.args["mat2"], call.outputs[0])


def _addmm(call: Call) -> Iterator[Step]:
    bias, out = call.args["self"], call.outputs[0]
    n = out.shape[1]
    if bias.distinct == (n,) and call.args.get("beta", 1) == 1 and call.args.get("alpha", 1) == 1:
        yield _product(call.args["mat1"], call.args["mat2"], out, bias)
        return
    yield _product(call.args["mat1"], call.args["mat2"], out)
    yield Step(
        kind="elementwise",
        inputs=[_any(out), _any(bias)],
        outputs=[_any(out)],
        attrs={"function": "mul_add"},
        suffix="add",
    )


def _product(a: Value, b: Value, out: Value, bias: Value | None = None) -> Step:
    """a (M, K) by b (K, N)."""
    inputs = [_as(a, a.shape), _as(b, b.shape[::-1])]
    if bias is not None:
        inputs.append(_as(bias, bias.shape))
    return Step(kind="matmul", inputs=inputs, outputs=[_as(out, out.shape)])


def _bmm(call: Call) -> Iterator[Step]:
    arguments = list(call.args.values())
    a, b = (arguments[1], arguments[2]) if call.name.startswith("baddbmm") else (arguments[0], arguments[1])
    (batch, m, k), n, out = a.shape, b.shape[2], call.outputs[0]
    if batch > _MOST_PRODUCTS:
        raise Unknown(f"{call.name} of {batch:,} products")
    for i in range(batch):
        yield Step(
            kind="matmul",
            inputs=[_slice(a, (m, k), i), _slice(b, (n, k), i)],
            outputs=[_slice(out, (m, n), i)],
            suffix="" if batch == 1 else str(i),
        )


def _mv(call: Call) -> Iterator[Step]:
    matrix, vector, out = call.args["self"], call.args["vec"], call.outputs[0]
    yield Step(
        kind="matmul",
        inputs=[_as(vector, (1, vector.shape[0])), _as(matrix, matrix.shape)],
        outputs=[_as(out, (1, matrix.shape[0]))],
    )


def _dot(call: Call) -> Iterator[Step]:
    a, b, out = call.args["self"], call.args["tensor"], call.outputs[0]
    yield Step(
        kind="matmul",
        inputs=[_as(a, (1, a.elements)), _as(b, (1, b.elements))],
        outputs=[_as(out, (1, 1))],
    )


def _slice(value: Value, shape: Shape, i: int) -> Operand:
    """Matrix i of a batch; one that is repeated is one part."""
    if value.shape[0] == 1:
        return _as(value, shape)
    at = value.offset + (i * value.strides[0])
    return Operand(value.storage, shape, f"{at}+{'x'.join(map(str, shape))}")


def _convolution(call: Call) -> Iterator[Step]:
    x, w, out = call.args["input"], call.args["weight"], call.outputs[0]
    bias = call.args.get("bias")
    attrs = _conv_attrs(call)
    if call.args.get("transposed"):
        yield Step(
            kind="conv2d",
            inputs=[_as(x, _4d(x.shape)), _as(w, _4d(w.shape))],
            outputs=[_as(out, _4d(out.shape))],
            attrs={**attrs, "gradient": "input"},
        )
        if bias is not None:
            yield Step(
                kind="elementwise",
                inputs=[_any(out), _any(bias)],
                outputs=[_any(out)],
                attrs={"function": "add"},
                suffix="bias",
            )
        return
    inputs = [_as(x, _4d(x.shape)), _as(w, _4d(w.shape))]
    if bias is not None:
        inputs.append(_as(bias, bias.shape))
    yield Step(kind="conv2d", inputs=inputs, outputs=[_as(out, _4d(out.shape))], attrs=attrs)


def _convolution_backward(call: Call) -> Iterator[Step]:
    grad, x, w = call.args["grad_output"], call.args["input"], call.args["weight"]
    if call.args.get("transposed"):
        raise Unknown("convolution_backward of a transposed convolution")
    attrs, wanted = _conv_attrs(call), list(call.args["output_mask"])
    outputs = iter(call.outputs)
    gx, gw, gb = (next(outputs) if each else None for each in wanted)
    if gx is not None:
        yield Step(
            kind="conv2d",
            inputs=[_as(grad, _4d(grad.shape)), _as(w, _4d(w.shape))],
            outputs=[_as(gx, _4d(gx.shape))],
            attrs={**attrs, "gradient": "input"},
            suffix="input",
        )
    if gw is not None:
        yield Step(
            kind="conv2d",
            inputs=[_as(x, _4d(x.shape)), _as(grad, _4d(grad.shape))],
            outputs=[_as(gw, _4d(gw.shape))],
            attrs={**attrs, "gradient": "weight"},
            suffix="weight",
        )
    if gb is not None:
        yield Step(kind="reduce", inputs=[_any(grad)], outputs=[_any(gb)], suffix="bias")


def _conv_attrs(call: Call) -> dict[str, Any]:
    axes = len(call.args["weight"].shape) - 2
    if axes not in (1, 2):
        raise Unknown(f"{call.name} over {axes} axes")

    def pair(name: str, missing: int) -> list[int]:
        values = list(call.args.get(name) or [missing])
        values = values * axes if len(values) == 1 else values
        return [missing, *values] if axes == 1 else values

    return {
        "stride": pair("stride", 1),
        "padding": pair("padding", 0),
        "dilation": pair("dilation", 1),
        "groups": call.args["groups"],
    }


def _4d(shape: Shape) -> Shape:
    """(B, C, L) as (B, C, 1, L)."""
    return shape if len(shape) == 4 else (*shape[:2], 1, shape[2])


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
        inputs=[_as(x, shape), *(_as(each, each.shape) for each in weights)],
        outputs=[_as(out, result)],
        attrs=attrs,
    )


def _batch_norm(call: Call) -> Iterator[Step]:
    """Scale and shift of every channel; in training after a pass for mean and variance."""
    x, out = call.inputs[0], call.outputs[0]
    weights = [each for each in (call.args.get("weight"), call.args.get("bias")) if isinstance(each, Value)]
    inputs = [_any(x), *(_any(each) for each in weights)]
    if len(call.outputs) > 1 and call.outputs[1].elements:
        yield Step(kind="reduce", inputs=[_any(x)], outputs=[_any(call.outputs[1])], suffix="statistics")
        inputs.append(_any(call.outputs[1]))
    yield Step(kind="elementwise", inputs=inputs, outputs=[_any(out)], attrs={"function": "mul_add"})


def _group_norm(call: Call) -> Iterator[Step]:
    yield from _batch_norm(call)


def _softmax(call: Call) -> Iterator[Step]:
    x, out = call.inputs[0], call.outputs[0]
    shape = _positive(out.shape)
    yield Step(kind="softmax", inputs=[_as(x, shape)], outputs=[_as(out, shape)])


def _embedding(call: Call) -> Iterator[Step]:
    table, ids, out = call.args["weight"], call.args["indices"], call.outputs[0]
    count = max(1, ids.elements)
    yield Step(
        kind="gather",
        inputs=[_as(table, table.shape), _any(ids)],
        outputs=[_as(out, (count, table.shape[1]))],
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
        inputs=[_as(table, (table.elements // width, width)), *(_any(value) for value in indices[:1])],
        outputs=[_as(out, (out.elements // width, width))],
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
    yield Step(kind="copy", inputs=[_any(values[0])], outputs=[_any(target)])


def _cat(call: Call) -> Iterator[Step]:
    sources = [value for value in call.inputs if value.elements]
    out = call.outputs[0]
    yield Step(
        kind="copy",
        inputs=[_any(value) for value in sources],
        outputs=[_any(out)] * len(sources),
    )


def _pad(call: Call) -> Iterator[Step]:
    x, out = call.inputs[0], call.outputs[0]
    if x.elements > out.elements:
        yield _elementwise(call, "cast")
    else:
        yield Step(kind="copy", inputs=[_any(x)], outputs=[_any(out)])


def _rope(call: Call) -> Iterator[Step]:
    yield _elementwise(call, "rope")


def _nll(call: Call) -> Iterator[Step]:
    yield _elementwise(call, "sub")


def _attention(call: Call) -> Iterator[Step]:
    q, k, v, out = call.args["query"], call.args["key"], call.args["value"], call.outputs[0]
    batch, heads, tokens, dim = q.shape
    kv_heads, context = k.shape[1], k.shape[2]
    if v.shape[3] != dim or heads % kv_heads:
        raise Unknown(f"{call.name} of {heads} heads of {dim} and {kv_heads} of {v.shape[3]}")
    attrs = {
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": dim,
        "context": context,
        "causal": bool(call.args.get("is_causal", False)) and tokens <= context,
    }
    for i in range(batch):
        yield Step(
            kind="attention",
            inputs=[
                _slice(q, (tokens, heads * dim), i),
                _slice(k, (context, kv_heads * dim), i),
                _slice(v, (context, kv_heads * dim), i),
            ],
            outputs=[_slice(out, (tokens, heads * dim), i)],
            attrs=attrs,
            suffix="" if batch == 1 else str(i),
        )


def _attention_backward(call: Call) -> Iterator[Step]:
    """Five products for each head: the scores again, and the gradients of values, scores, queries, keys."""
    names = [name for name in call.args if name.startswith("grad")]
    grad, q, k, v = call.args[names[0]], call.args["query"], call.args["key"], call.args["value"]
    gq, gk, gv = call.outputs[:3]
    (batch, heads, m, d), n, shared = q.shape, k.shape[2], q.shape[1] // k.shape[1]
    if batch * heads * 5 > _MOST_PRODUCTS:
        raise Unknown(f"{call.name} of {batch * heads:,} heads")

    def head(value: Value, shape: Shape, b: int, h: int) -> Operand:
        return Operand(value.storage, shape, f"{b}.{h}")

    for b in range(batch):
        for h in range(heads):
            kv = h // shared
            scratch = [
                Storage(
                    name=f"{call.path}.{call.number}.{b}.{h}.{what}",
                    shape=(m, n),
                    dtype=q.dtype,
                    role="activation",
                    bytes=0,
                    born=call.number,
                    data=True,
                )
                for what in ("scores", "grad_scores")
            ]
            p, ds = scratch
            products = (
                ("scores", head(q, (m, d), b, h), head(k, (n, d), b, kv), Operand(p, (m, n))),
                ("values", Operand(p, (n, m)), head(grad, (d, m), b, h), head(gv, (n, d), b, kv)),
                ("grad", head(grad, (m, d), b, h), head(v, (n, d), b, kv), Operand(ds, (m, n))),
                ("queries", Operand(ds, (m, n)), head(k, (d, n), b, kv), head(gq, (m, d), b, h)),
                ("keys", Operand(ds, (n, m)), head(q, (d, m), b, h), head(gk, (n, d), b, kv)),
            )
            for what, x, w, y in products:
                yield Step(kind="matmul", inputs=[x, w], outputs=[y], suffix=f"{what}.{b}.{h}")


_MAKERS: dict[str, Callable[[Call], Iterator[Step]]] = {
    "mm": _mm,
    "addmm": _addmm,
    "bmm": _bmm,
    "baddbmm": _bmm,
    "mv": _mv,
    "dot": _dot,
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "pimsim::norm": _norm,
    "native_layer_norm": _norm,
    "_fused_rms_norm": _norm,
    **dict.fromkeys((*BATCH_NORMS, "_batch_norm_with_update"), _batch_norm),
    "native_group_norm": _group_norm,
    "_softmax": _softmax,
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
    "pimsim::attention": _attention,
    "nll_loss_forward": _nll,
}
