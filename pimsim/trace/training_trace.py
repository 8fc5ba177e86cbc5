"""A training step of face recognition as a trace: forward, loss, backward and update, without PyTorch.

    trace = face_step_trace(FaceStep(backbone="ir_resnet50", batch=64, identities=10_000))

The same step whose parts `training.py` counts, operator by operator, with activations that live until their
gradients are made. Gradients of weights, sums, logits, master weights and momentum have 4 bytes, everything
else has 2. A gradient that several operators contribute to is summed; what a sum of branches passes on is the
gradient itself. Left out as there: data loading, PReLUs and norms of their own, the sort behind the
quartiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pimsim.errors import TraceError
from pimsim.trace.op import Operator, Tensor, Trace
from pimsim.trace.training import FaceStep
from pimsim.trace.vision_trace import vision_trace

VALUE, SUM = "bf16", "fp32"


def face_step_trace(step: FaceStep) -> Trace:
    """The operators of a step; multiply-adds equal those of `step.parts()`."""
    forward = vision_trace(step.backbone, batch=step.batch, dtype=VALUE)
    maker = _Step(forward)
    x = forward.operators[-1].outputs[0]
    maker.head(step, x)
    maker.backward()
    maker.update()
    name = f"{step.backbone}-{step.loss}-step-{step.batch}x{step.identities}"
    meta = {"from": "face step", "batch": step.batch, "identities": step.identities, "loss": step.loss}
    return Trace(
        name=name,
        tensors=tuple(maker.tensors.values()),
        operators=tuple(maker.operators),
        meta={**meta, "views": maker.views},
    )


class _Step:
    """Adds to a forward pass, operator by operator."""

    def __init__(self, forward: Trace) -> None:
        self.forward = forward
        self.tensors = {
            t.name: Tensor(
                name=t.name, shape=t.shape, dtype=t.dtype, role="activation" if t.role == "output" else t.role
            )
            for t in forward.tensors
        }
        self.views: dict[str, str] = dict(forward.meta.get("views") or {})
        self.operators = [
            Operator(
                kind=op.kind, name=op.name, inputs=op.inputs, outputs=op.outputs, attrs=op.attrs,
                phase="forward", layer=op.layer,
            )
            for op in forward.operators
        ]  # fmt: skip
        self.gradients: dict[str, str] = {}
        self.weights: dict[str, str] = {}
        self.phase = "loss"

    def tensor(self, name: str, shape: Sequence[int], dtype: str = VALUE, role: str = "activation") -> str:
        self.tensors[name] = Tensor(name=name, shape=tuple(shape), dtype=dtype, role=role)
        return name

    def view(self, name: str, shape: Sequence[int], how: str) -> str:
        """The same memory in another shape."""
        seen = f"{name}.{how}"
        if seen not in self.tensors:
            self.tensor(seen, shape, self.tensors[name].dtype)
            self.views[seen] = name
        return seen

    def add(
        self, kind: str, name: str, inputs: Sequence[str], outputs: Sequence[str], attrs: Any = None
    ) -> None:
        self.operators.append(
            Operator(
                kind=kind, name=name, inputs=tuple(inputs), outputs=tuple(outputs), attrs=attrs or {},
                phase=self.phase,
            )
        )  # fmt: skip

    def head(self, step: FaceStep, x: str) -> None:
        """Class logits, similarities of the batch, the loss; gradients of embeddings and classes."""
        b, c, d = step.batch, step.identities, step.dim
        if self.tensors[x].shape != (b, d):
            x = self.view(x, (b, d), "rows")
        classes = self.tensor("classes.weight", (c, d), role="weight")
        logits = self.tensor("logits", (b, c), SUM)
        self.add("matmul", "logits", (x, classes), (logits,))
        read = [logits]
        if step.loss != "softmax":
            pairs = self.tensor("similarities", (b, b), SUM)
            self.add("matmul", "similarities", (x, self.view(x, (b, d), "again")), (pairs,))
            kept = self.tensor("negatives", (max(1, step.kept),), SUM)
            self.add("reduce", "pairs and quartiles", (pairs,), (kept,))
            read.append(kept)
        if step.loss_values > b * c + step.kept + step.positives:
            whole = self.tensor("concatenation", (step.loss_values,), SUM)
            parts = [
                self.view(whole, (self.tensors[name].elements,), f"part{i}") for i, name in enumerate(read)
            ]
            self.add("copy", "concatenation", read, parts)
            read = [whole]
        slope = self.tensor("logits.grad", (b, c), SUM)
        self.add("elementwise", "loss and its gradient", read, (slope,), {"function": "exp"})
        dx = self.tensor("embeddings.grad", (b, d), SUM)
        self.add("matmul", "gradient of embeddings", (slope, self.view(classes, (d, c), "T")), (dx,))
        if step.loss != "softmax":
            of_pairs = self.tensor("similarities.grad", (b, b), SUM)
            self.add("elementwise", "loss of pairs", (kept,), (of_pairs,), {"function": "exp"})
            for side in ("left", "right"):
                total = self.tensor(f"embeddings.grad.{side}", (b, d), SUM)
                slopes = of_pairs if side == "left" else self.view(of_pairs, (b, b), "T")
                inputs = (slopes, self.view(x, (d, b), "T"))
                self.add("matmul", f"gradient of similarities, {side}", inputs, (total,))
                both = self.tensor(f"embeddings.grad.with.{side}", (b, d), SUM)
                self.add("elementwise", f"sum with {side}", (dx, total), (both,), {"function": "add"})
                dx = both
        dw = self.tensor("classes.weight.grad", (c, d), SUM)
        turned = (self.view(slope, (c, b), "T"), self.view(x, (d, b), "T"))
        self.add("matmul", "gradient of classes", turned, (dw,))
        self.weights[classes] = dw
        self.gradients[self.owner(x)] = dx

    def owner(self, name: str) -> str:
        while name in self.views:
            name = self.views[name]
        return name

    def backward(self) -> None:
        """Gradients of every operator of the forward pass, last first."""
        self.phase = "backward"
        for op in reversed(self.forward.operators):
            grad = self.gradients.get(self.owner(op.outputs[0]))
            if grad is None:
                continue
            maker = {
                "conv2d": self.conv,
                "matmul": self.product,
                "reduce": self.spread,
                "elementwise": self.branch,
            }
            if op.kind not in maker:
                raise TraceError(f"{op.kind} {op.name!r}: no gradient of this kind is known here")
            maker[op.kind](op, grad)

    def wants(self, name: str) -> bool:
        """Whether somebody needs the gradient of a tensor: not of the pictures."""
        return self.tensors[self.owner(name)].role == "activation"

    def give(self, name: str, grad: str) -> None:
        """A contribution to the gradient of a tensor; the second one is added to the first."""
        name = self.owner(name)
        held = self.gradients.get(name)
        if held is None or held == grad:
            self.gradients[name] = grad
            return
        total = self.tensor(f"{name}.grad.sum{len(self.operators)}", self.tensors[name].shape)
        self.add(
            "elementwise",
            f"{name}.grad.sum{len(self.operators)}",
            (held, grad),
            (total,),
            {"function": "add"},
        )
        self.gradients[name] = total

    def shaped(self, grad: str, like: str) -> str:
        shape = self.tensors[like].shape
        if self.tensors[grad].shape == shape:
            return grad
        return self.view(grad, shape, "x".join(map(str, shape)))

    def weight_gradient(self, weight: str) -> str:
        grad = self.tensor(f"{weight}.grad", self.tensors[weight].shape, SUM)
        self.weights[weight] = grad
        return grad

    def conv(self, op: Operator, grad: str) -> None:
        grad = self.shaped(grad, op.outputs[0])
        x, w = op.inputs[:2]
        attrs = dict(op.attrs)
        if self.wants(x):
            dx = self.tensor(f"{op.name}.input.grad", self.tensors[x].shape)
            self.add("conv2d", f"{op.name}.input", (grad, w), (dx,), attrs | {"gradient": "input"})
            self.give(x, dx)
        dw = self.weight_gradient(w)
        self.add("conv2d", f"{op.name}.weight", (x, grad), (dw,), attrs | {"gradient": "weight"})

    def product(self, op: Operator, grad: str) -> None:
        grad = self.shaped(grad, op.outputs[0])
        x, w = op.inputs[:2]
        (n, k), rows = self.tensors[w].shape, self.tensors[op.outputs[0]].shape[0]
        if self.wants(x):
            dx = self.tensor(f"{op.name}.input.grad", self.tensors[x].shape)
            self.add("matmul", f"{op.name}.input", (grad, self.view(w, (k, n), "T")), (dx,))
            self.give(x, dx)
        dw = self.weight_gradient(w)
        turned = (self.view(grad, (n, rows), "T"), self.view(x, (k, rows), "T"))
        self.add("matmul", f"{op.name}.weight", turned, (dw,))

    def spread(self, op: Operator, grad: str) -> None:
        """Pooling: each result's gradient goes back to what it was pooled from."""
        x = op.inputs[0]
        dx = self.tensor(f"{op.name}.input.grad", self.tensors[x].shape)
        self.add("elementwise", f"{op.name}.input", (grad,), (dx,), {"function": "mul"})
        self.give(x, dx)

    def branch(self, op: Operator, grad: str) -> None:
        """A sum of branches hands its gradient to each of them."""
        if op.attrs.get("function") != "add":
            raise TraceError(
                f"elementwise {op.name!r}: no gradient of {op.attrs.get('function')!r} is known here"
            )
        for name in op.inputs:
            if self.wants(name):
                self.give(name, grad)

    def update(self) -> None:
        """SGD with momentum: master, momentum and gradient in; master, momentum and working copy out."""
        self.phase = "update"
        for weight, grad in self.weights.items():
            shape = self.tensors[weight].shape
            master = self.tensor(f"{weight}.master", shape, SUM, "weight")
            momentum = self.tensor(f"{weight}.momentum", shape, SUM, "weight")
            self.add(
                "elementwise", f"{weight}.update", (master, momentum, grad), (master, momentum, weight),
                {"function": "mul_add"},
            )  # fmt: skip
