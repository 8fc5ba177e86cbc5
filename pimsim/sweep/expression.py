"""Conditions as text, read into plain functions; nothing is ever handed to the interpreter to run.

    memory.channels * memory.banks <= 64 and method != "host-only"

Numbers, texts, lists, names with dots, `+ - * / // % **`, comparisons, `in`, `and or not`, and the functions
abs, max, min and log2. `cpu.cores[0].clock_ghz` is the name `cpu.cores.0.clock_ghz`.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pimsim.errors import SweepError, suggest

Value = Callable[[Mapping[str, Any]], Any]

LONGEST = 2000
"""Characters of a condition."""


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > 64:
        raise ArithmeticError(f"power {exponent}; wanted at most 64")
    return base**exponent


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "max": max, "min": min, "log2": math.log2}


@dataclass(frozen=True)
class Expression:
    """A condition that was read. names: what it asks for. `holds(values)` says whether it is true."""

    text: str
    names: frozenset[str] = field(compare=False)
    value: Value = field(compare=False, repr=False)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition is true of these values; a SweepError if they do not go together."""
        try:
            return bool(self.value(values))
        except KeyError as missing:
            raise SweepError(
                f"condition {self.text!r}: no value named {missing.args[0]!r}"
                f"{suggest(str(missing.args[0]), values)}"
            ) from None
        except (TypeError, ArithmeticError, ValueError) as problem:
            raise SweepError(f"condition {self.text!r}: {problem}") from None


def read(text: str) -> Expression:
    """The condition of this text; a SweepError names the column of what cannot be read."""
    if not isinstance(text, str) or not text.strip():
        raise SweepError(f"condition {text!r}; wanted a text such as 'prompt <= 512'")
    if len(text) > LONGEST:
        raise SweepError(f"condition of {len(text)} characters; wanted at most {LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        column = getattr(problem, "offset", None) or 1
        raise SweepError(f"condition {text!r}, column {column}: cannot be read") from None
    names: set[str] = set()
    try:
        value = _Reader(text.strip()).node(tree.body, names)
    except RecursionError:
        raise SweepError(f"condition {text[:40]!r}...: too deep") from None
    return Expression(text.strip(), frozenset(names), value)


class _Reader:
    """Turns the nodes of one condition into functions."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, node: ast.AST, said: str) -> NoReturn:
        column = getattr(node, "col_offset", 0) + 1
        raise SweepError(f"condition {self.text!r}, column {column}: {said}")

    def node(self, node: ast.AST, names: set[str]) -> Value:
        """The function of one node; what it asks for goes into `names`."""
        if isinstance(node, ast.Constant):
            if not isinstance(node.value, bool | int | float | str):
                self.fail(node, f"{node.value!r} is no number and no text")
            held = node.value
            return lambda values: held
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            name = self.name(node)
            names.add(name)
            return lambda values: values[name]
        if isinstance(node, ast.List | ast.Tuple):
            items = [self.node(item, names) for item in node.elts]
            return lambda values: [item(values) for item in items]
        if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            apply, inner = _UNARY[type(node.op)], self.node(node.operand, names)
            return lambda values: apply(inner(values))
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return self.binary(_BINARY[type(node.op)], node.left, node.right, names)
        if isinstance(node, ast.BoolOp):
            parts = [self.node(part, names) for part in node.values]
            if isinstance(node.op, ast.And):
                return lambda values: all(part(values) for part in parts)
            return lambda values: any(part(values) for part in parts)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            checks = [
                self.binary(_COMPARE[type(op)], left, right, names)
                for op, left, right in zip(node.ops, sides, sides[1:], strict=False)
                if type(op) in _COMPARE
            ]
            if len(checks) == len(node.ops):
                return lambda values: all(check(values) for check in checks)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id not in _FUNCTIONS:
                self.fail(node, f"no function {node.func.id!r}{suggest(node.func.id, _FUNCTIONS)}")
            call, given = _FUNCTIONS[node.func.id], [self.node(arg, names) for arg in node.args]
            return lambda values: call(*(arg(values) for arg in given))
        self.fail(node, f"{type(node).__name__} is not allowed here")

    def binary(
        self, apply: Callable[[Any, Any], Any], left: ast.AST, right: ast.AST, names: set[str]
    ) -> Value:
        a, b = self.node(left, names), self.node(right, names)

        def both(values: Mapping[str, Any]) -> Any:
            x, y = a(values), b(values)
            if apply is operator.mul and (isinstance(x, str | list) or isinstance(y, str | list)):
                raise TypeError("texts and lists cannot be multiplied")
            return apply(x, y)

        return both

    def name(self, node: ast.AST) -> str:
        """`a.b[0].c` as the dotted name a.b.0.c."""
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            return f"{self.name(node.value)}.{node.attr}"
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            place = node.slice.value
            if isinstance(place, int) and not isinstance(place, bool):
                return f"{self.name(node.value)}.{place}"
        self.fail(node, "wanted a name such as memory.channels")
