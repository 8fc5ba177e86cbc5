"""Matrix products, convolutions and attention, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pimsim.trace.assemble import Shape
from pimsim.trace.capture.operand import Operand, Step, Unknown, any_of, as_shape, slice_of
from pimsim.trace.capture.record import Call, Storage, Value

MOST_PRODUCTS = 20_000


def mm(call: Call) -> Iterator[Step]:
    yield _product(call.args["self"], call.args["mat2"], call.outputs[0])


def addmm(call: Call) -> Iterator[Step]:
    bias, out = call.args["self"], call.outputs[0]
    n = out.shape[1]
    if bias.distinct == (n,) and call.args.get("beta", 1) == 1 and call.args.get("alpha", 1) == 1:
        yield _product(call.args["mat1"], call.args["mat2"], out, bias)
        return
    yield _product(call.args["mat1"], call.args["mat2"], out)
    yield Step(
        kind="elementwise",
        inputs=[any_of(out), any_of(bias)],
        outputs=[any_of(out)],
        attrs={"function": "mul_add"},
        suffix="add",
    )


def _product(a: Value, b: Value, out: Value, bias: Value | None = None) -> Step:
    """a (M, K) by b (K, N)."""
    inputs = [as_shape(a, a.shape), as_shape(b, b.shape[::-1])]
    if bias is not None:
        inputs.append(as_shape(bias, bias.shape))
    return Step(kind="matmul", inputs=inputs, outputs=[as_shape(out, out.shape)])


def bmm(call: Call) -> Iterator[Step]:
    arguments = list(call.args.values())
    a, b = (arguments[1], arguments[2]) if call.name.startswith("baddbmm") else (arguments[0], arguments[1])
    (batch, m, k), n, out = a.shape, b.shape[2], call.outputs[0]
    if batch > MOST_PRODUCTS:
        raise Unknown(f"{call.name} of {batch:,} products")
    for i in range(batch):
        yield Step(
            kind="matmul",
            inputs=[slice_of(a, (m, k), i), slice_of(b, (n, k), i)],
            outputs=[slice_of(out, (m, n), i)],
            suffix="" if batch == 1 else str(i),
        )


def grouped(call: Call) -> Iterator[Step]:
    """Rows sorted by expert, each by its expert's matrix. How many rows an expert gets depends on data; as in
    our own traces they are spread evenly, and experts beyond the rows are not read."""
    x, w, out = call.args["self"], call.args["mat2"], call.outputs[0]
    if len(x.shape) != 2 or len(w.shape) != 3:
        raise Unknown(f"{call.name} of {len(x.shape)} and {len(w.shape)} axes")
    (count, k), (experts, _, n) = x.shape, w.shape
    first = 0
    for expert in range(min(experts, count)):
        held = count // experts + (expert < count % experts)
        yield Step(
            kind="matmul",
            inputs=[
                Operand(x.storage, (held, k), f"{x.offset + first * k}+{held}x{k}"),
                slice_of(w, (n, k), expert),
            ],
            outputs=[Operand(out.storage, (held, n), f"{first * n}+{held}x{n}")],
            suffix=f"expert{expert}",
        )
        first += held


def mv(call: Call) -> Iterator[Step]:
    matrix, vector, out = call.args["self"], call.args["vec"], call.outputs[0]
    yield Step(
        kind="matmul",
        inputs=[as_shape(vector, (1, vector.shape[0])), as_shape(matrix, matrix.shape)],
        outputs=[as_shape(out, (1, matrix.shape[0]))],
    )


def dot(call: Call) -> Iterator[Step]:
    a, b, out = call.args["self"], call.args["tensor"], call.outputs[0]
    yield Step(
        kind="matmul",
        inputs=[as_shape(a, (1, a.elements)), as_shape(b, (1, b.elements))],
        outputs=[as_shape(out, (1, 1))],
    )


def convolution(call: Call) -> Iterator[Step]:
    x, w, out = call.args["input"], call.args["weight"], call.outputs[0]
    bias = call.args.get("bias")
    attrs = _conv_attrs(call)
    if call.args.get("transposed"):
        yield Step(
            kind="conv2d",
            inputs=[as_shape(x, _4d(x.shape)), as_shape(w, _4d(w.shape))],
            outputs=[as_shape(out, _4d(out.shape))],
            attrs={**attrs, "gradient": "input"},
        )
        if bias is not None:
            yield Step(
                kind="elementwise",
                inputs=[any_of(out), any_of(bias)],
                outputs=[any_of(out)],
                attrs={"function": "add"},
                suffix="bias",
            )
        return
    inputs = [as_shape(x, _4d(x.shape)), as_shape(w, _4d(w.shape))]
    if bias is not None:
        inputs.append(as_shape(bias, bias.shape))
    yield Step(kind="conv2d", inputs=inputs, outputs=[as_shape(out, _4d(out.shape))], attrs=attrs)


def convolution_backward(call: Call) -> Iterator[Step]:
    grad, x, w = call.args["grad_output"], call.args["input"], call.args["weight"]
    attrs, wanted = _conv_attrs(call), list(call.args["output_mask"])
    outputs = iter(call.outputs)
    gx, gw, gb = (next(outputs) if each else None for each in wanted)
    turned = bool(call.args.get("transposed"))  # then a plain convolution leads back
    if gx is not None:
        yield Step(
            kind="conv2d",
            inputs=[as_shape(grad, _4d(grad.shape)), as_shape(w, _4d(w.shape))],
            outputs=[as_shape(gx, _4d(gx.shape))],
            attrs=attrs if turned else {**attrs, "gradient": "input"},
            suffix="input",
        )
    if gw is not None:
        wide, narrow = (grad, x) if turned else (x, grad)
        yield Step(
            kind="conv2d",
            inputs=[as_shape(wide, _4d(wide.shape)), as_shape(narrow, _4d(narrow.shape))],
            outputs=[as_shape(gw, _4d(gw.shape))],
            attrs={**attrs, "gradient": "weight"},
            suffix="weight",
        )
    if gb is not None:
        yield Step(kind="reduce", inputs=[any_of(grad)], outputs=[any_of(gb)], suffix="bias")


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


def attention(call: Call) -> Iterator[Step]:
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
                slice_of(q, (tokens, heads * dim), i),
                slice_of(k, (context, kv_heads * dim), i),
                slice_of(v, (context, kv_heads * dim), i),
            ],
            outputs=[slice_of(out, (tokens, heads * dim), i)],
            attrs=attrs,
            suffix="" if batch == 1 else str(i),
        )


def attention_backward(call: Call) -> Iterator[Step]:
    """Five products for each head: the scores again, and the gradients of values, scores, queries, keys."""
    names = [name for name in call.args if name.startswith("grad")]
    grad, q, k, v = call.args[names[0]], call.args["query"], call.args["key"], call.args["value"]
    gq, gk, gv = call.outputs[:3]
    (batch, heads, m, d), n, shared = q.shape, k.shape[2], q.shape[1] // k.shape[1]
    if batch * heads * 5 > MOST_PRODUCTS:
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
