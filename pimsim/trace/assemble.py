"""Traces from foreign graphs: tensors seen in several shapes, and parts of tensors, become one trace.

A graph of PyTorch or ONNX looks at one piece of memory in many shapes; an operator of a trace may demand one
(a product wants rows). `Assembler` takes steps over `Use`s, gives each tensor the shape in which it is
written (or that most operators demand), and makes what does not fit that shape a tensor of its own: a view.
Views hold no memory of their own; `meta["views"]` says of each whose memory it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pimsim.trace.op import Operator, Tensor, Trace

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Use:
    """A tensor as an operator sees it.

    shape: the one that the operator demands, None where any will do. part: which part of the tensor, ""
    for all of it; a part has a shape.
    """

    tensor: str
    shape: Shape | None = None
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class _Step:
    kind: str
    name: str
    inputs: tuple[Use, ...]
    outputs: tuple[Use, ...]
    attrs: Mapping[str, Any]
    phase: str
    layer: int | None


class Assembler:
    """Collects tensors and steps; `trace` makes the trace."""

    def __init__(self, phase: str = "forward") -> None:
        self.phase = phase
        self.tensors: dict[str, Tensor] = {}
        self.steps: list[_Step] = []
        self.names: Counter[tuple[str, str]] = Counter()

    def tensor(self, name: str, shape: Sequence[int], dtype: str, role: str) -> str:
        """Declare a tensor; a weight belongs to the trace even if no step uses it."""
        self.tensors[name] = Tensor(name=name, shape=tuple(shape), dtype=dtype, role=role)
        return name

    def step(
        self,
        kind: str,
        name: str,
        inputs: Sequence[Use | str],
        outputs: Sequence[Use | str],
        attrs: Mapping[str, Any] | None = None,
        *,
        phase: str = "",
        layer: int | None = None,
    ) -> None:
        """Add an operator; a name that the phase has already gets a number."""
        phase = phase or self.phase
        self.steps.append(
            _Step(
                kind=kind,
                name=self._free_name(phase, name),
                inputs=tuple(use if isinstance(use, Use) else Use(tensor=use) for use in inputs),
                outputs=tuple(use if isinstance(use, Use) else Use(tensor=use) for use in outputs),
                attrs=attrs or {},
                phase=phase,
                layer=layer,
            )
        )

    def trace(self, name: str, meta: Mapping[str, Any]) -> Trace:
        """The trace of all steps."""
        chosen = self._shapes()
        made: dict[str, Tensor] = {
            tensor.name: self._reshaped(tensor, chosen)
            for tensor in self.tensors.values()
            if tensor.role == "weight"
        }
        views: dict[str, str] = {}
        operators = [
            Operator(
                kind=step.kind,
                name=step.name,
                inputs=tuple(self._name(use, chosen, made, views) for use in step.inputs),
                outputs=tuple(self._name(use, chosen, made, views) for use in step.outputs),
                attrs=step.attrs,
                phase=step.phase,
                layer=step.layer,
            )
            for step in self.steps
        ]
        more = {"views": views} if views else {}
        return Trace(
            name=name,
            tensors=tuple(made.values()),
            operators=tuple(operators),
            meta={**meta, **more},
        )

    def _free_name(self, phase: str, name: str) -> str:
        self.names[phase, name] += 1
        count = self.names[phase, name]
        return name if count == 1 else self._free_name(phase, f"{name}.{count}")

    def _shapes(self) -> dict[str, Shape]:
        """Of every tensor the shape in which it is written, else the one that most operators demand."""
        wanted: dict[str, Counter[Shape]] = {}
        written: dict[str, Shape] = {}
        for step in self.steps:
            for use in (*step.inputs, *step.outputs):
                if use.shape is not None and not use.part:
                    wanted.setdefault(use.tensor, Counter())[use.shape] += 1
            for use in step.outputs:
                if use.shape is not None and not use.part:
                    written.setdefault(use.tensor, use.shape)
        return {name: counts.most_common(1)[0][0] for name, counts in wanted.items()} | written

    def _reshaped(self, tensor: Tensor, chosen: Mapping[str, Shape]) -> Tensor:
        shape = chosen.get(tensor.name, tensor.shape)
        return Tensor(name=tensor.name, shape=shape, dtype=tensor.dtype, role=tensor.role)

    def _name(
        self, use: Use, chosen: Mapping[str, Shape], made: dict[str, Tensor], views: dict[str, str]
    ) -> str:
        """The name of the tensor for a use, which is made if it is new."""
        base = self.tensors[use.tensor]
        if use.tensor not in made and not use.part:
            made[use.tensor] = self._reshaped(base, chosen)
        if not use.part and use.shape in (None, made[use.tensor].shape):
            return use.tensor
        shape = use.shape or (1,)
        name = f"{use.tensor}[{use.part or 'x'.join(map(str, shape))}]"
        held = made.get(name)
        if held is not None and held.shape != shape:  # the same part in another shape
            name = f"{use.tensor}[{use.part}:{'x'.join(map(str, shape))}]"
        if name not in made:
            made[name] = Tensor(name=name, shape=shape, dtype=base.dtype, role="activation")
            views[name] = use.tensor
            if use.tensor not in made:  # the tensor that a part is of belongs to the trace
                made[use.tensor] = self._reshaped(base, chosen)
        return name


def rows(shape: Sequence[int]) -> Shape:
    """A shape as rows: all axes but the last in one."""
    return (math.prod(shape[:-1]), shape[-1])
