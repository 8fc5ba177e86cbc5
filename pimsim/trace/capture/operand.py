"""Operators to be, and the parts of tensors that they touch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pimsim.trace.assemble import Shape, Use
from pimsim.trace.capture.record import Storage, Value


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


def any_of(value: Value) -> Operand:
    """A value whose shape does not matter."""
    if value.whole:
        return Operand(value.storage)
    return Operand(value.storage, positive(value.distinct), _part(value))


def as_shape(value: Value, shape: Shape) -> Operand:
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


def positive(shape: Shape) -> Shape:
    return shape or (1,)


def slice_of(value: Value, shape: Shape, i: int) -> Operand:
    """Matrix i of a batch; one that is repeated is one part."""
    if value.shape[0] == 1:
        return as_shape(value, shape)
    at = value.offset + (i * value.strides[0])
    return Operand(value.storage, shape, f"{at}+{'x'.join(map(str, shape))}")
