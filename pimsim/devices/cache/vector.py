"""Looking into sets and changing them: steps that Python has no words for, written for the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pimsim.compiled import inlined
from pimsim.devices.cache.state import P_BITS, P_MASK, P_SET, CacheArrays, U

_intrinsic: Any = intrinsic
WORD, HALF = ir.IntType(64), ir.IntType(32)
LINE = ir.VectorType(HALF, 16)
"""The entries of a set: a line of the machine's own caches, which is read and written as a whole. What reads
many entries soon after one of them was written would wait until that has left the store buffer."""


def _place(context: Any, builder: Any, kinds: Any, given: Any, kind: Any) -> Any:
    """A pointer to what an index says of an array that holds this kind of thing."""
    data = context.make_array(kinds[0])(context, builder, given[0]).data
    return builder.gep(builder.bitcast(data, kind.as_pointer()), [given[1]])


def _all(builder: Any, number: Any, vector: Any) -> Any:
    """A vector of one number."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(HALF, 0))
    zeros = ir.Constant(ir.VectorType(HALF, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, zeros)


@_intrinsic
def match(typing: Any, entries: Any, at: Any, key: Any) -> Any:
    """match(entries, at, key): bit i is set if entry i, i < 16, of set `at` is `key` but for its flags.

    The compiler makes a few vector comparisons of it, of the width that the machine has.
    """

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        held = builder.load(_place(context, builder, signature.args, given, LINE), align=4)
        held = builder.and_(held, ir.Constant(LINE, [~3] * 16))
        same = builder.icmp_unsigned("==", held, _all(builder, builder.trunc(given[2], HALF), LINE))
        return builder.zext(builder.bitcast(same, ir.IntType(16)), WORD)

    return types.uint64(entries, types.uint64, types.uint64), build


@_intrinsic
def match8(typing: Any, numbers: Any, first: Any, key: Any) -> Any:
    """match8(numbers, first, key): bit i is set if uint64 number first + i, i < 8, is `key`."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vector = ir.VectorType(WORD, 8)
        place = _place(context, builder, signature.args, given, WORD)
        held = builder.load(builder.bitcast(place, vector.as_pointer()), align=8)
        same = builder.icmp_unsigned("==", held, _all(builder, given[2], vector))
        return builder.zext(builder.bitcast(same, ir.IntType(8)), WORD)

    return types.uint64(numbers, types.uint64, types.uint64), build


@_intrinsic
def entry_of(typing: Any, entries: Any, at: Any, way: Any) -> Any:
    """entry_of(entries, at, way): the entry of a way of set `at`."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        line = builder.bitcast(_place(context, builder, signature.args, given, LINE), HALF.as_pointer())
        return builder.zext(builder.load(builder.gep(line, [given[2]])), WORD)

    return types.uint64(entries, types.uint64, types.uint64), build


def _change(context: Any, builder: Any, kinds: Any, given: Any, new: Callable[[Any, Any], Any]) -> Any:
    """Write a set back with the entry of one way as new(all that is held, the number given) says."""
    place = _place(context, builder, kinds, given, LINE)
    way, number = (_all(builder, builder.trunc(each, HALF), LINE) for each in given[2:])
    here = builder.icmp_unsigned("==", way, ir.Constant(LINE, list(range(16))))
    held = builder.load(place, align=4)
    builder.store(builder.select(here, new(held, number), held), place, align=4)
    return context.get_dummy_value()


@_intrinsic
def put_entry(typing: Any, entries: Any, at: Any, way: Any, entry: Any) -> Any:
    """put_entry(entries, at, way, entry): the entry of a way of set `at` becomes `entry`, 32 bits."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _change(context, builder, signature.args, given, lambda held, entry: entry)

    return types.void(entries, types.uint64, types.uint64, types.uint64), build


@_intrinsic
def mark_entry(typing: Any, entries: Any, at: Any, way: Any, flags: Any) -> Any:
    """mark_entry(entries, at, way, flags): these flags of a way of set `at` are set."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _change(context, builder, signature.args, given, builder.or_)

    return types.void(entries, types.uint64, types.uint64, types.uint64), build


@_intrinsic
def lowest(typing: Any, word: Any) -> Any:
    """lowest(word): number of the lowest bit that is set; anything if none is."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), build


@inlined
def look(s: CacheArrays, q: Any, line: Any) -> tuple[Any, Any]:
    """The set of a line in level `q`, and a word whose lowest bit is its way there; 0 if none has it."""
    at = s.lanes[q + P_SET] + (line & s.lanes[q + P_MASK])
    return at, match(s.entries, at, (line >> s.lanes[q + P_BITS]) << U(2))
