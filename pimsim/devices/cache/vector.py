"""Steps of the kernel that Python has no words for, written for the compiler itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from pimsim.compiled import inlined

_intrinsic: Any = intrinsic
WORD, HALF = ir.IntType(64), ir.IntType(32)


def _place(context: Any, builder: Any, kinds: Any, given: Any, after: int) -> Any:
    """A pointer to the word of an array that lies so far after an index."""
    data = context.make_array(kinds[0])(context, builder, given[0]).data
    return builder.gep(data, [builder.add(given[1], ir.Constant(WORD, after))])


def _equal(builder: Any, place: Any, key: Any, lanes: int, number: Any, ignored: int) -> Any:
    """Compare so many numbers from a place on with a key, but for their `ignored` bits."""
    vector = ir.VectorType(number, lanes)
    held = builder.load(builder.bitcast(place, vector.as_pointer()), align=number.width // 8)
    if ignored:
        held = builder.and_(held, ir.Constant(vector, [~ignored] * lanes))
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), key, ir.Constant(HALF, 0))
    wanted = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(HALF, lanes), [0] * lanes))
    same = builder.icmp_unsigned("==", held, wanted)
    return builder.zext(builder.bitcast(same, ir.IntType(lanes)), WORD)


@_intrinsic
def match(typing: Any, sets: Any, at: Any, key: Any) -> Any:
    """match(sets, at, key): bit i: entry i, i < 16, of the set at word `at` is `key` but for flags.

    The compiler makes a few vector comparisons of it, of the width that the machine has.
    """

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = _place(context, builder, signature.args, given, 1)
        return _equal(builder, place, builder.trunc(given[2], HALF), 16, HALF, 3)

    return types.uint64(sets, types.uint64, types.uint64), build


@_intrinsic
def match8(typing: Any, numbers: Any, first: Any, key: Any) -> Any:
    """match8(numbers, first, key): bit i is set if uint64 number first + i, i < 8, is `key`."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = _place(context, builder, signature.args, given, 0)
        return _equal(builder, place, given[2], 8, WORD, 0)

    return types.uint64(numbers, types.uint64, types.uint64), build


def _entry(context: Any, builder: Any, kinds: Any, given: Any) -> Any:
    """A pointer to the entry of a way."""
    halves = builder.bitcast(_place(context, builder, kinds, given, 1), HALF.as_pointer())
    return builder.gep(halves, [given[2]])


@_intrinsic
def entry_of(typing: Any, sets: Any, at: Any, way: Any) -> Any:
    """entry_of(sets, at, way): the entry of a way of the set at word `at`."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.zext(builder.load(_entry(context, builder, signature.args, given)), WORD)

    return types.uint64(sets, types.uint64, types.uint64), build


@_intrinsic
def put_entry(typing: Any, sets: Any, at: Any, way: Any, entry: Any) -> Any:
    """put_entry(sets, at, way, entry): the lower half of `entry` becomes the entry of a way."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = _entry(context, builder, signature.args, given)
        builder.store(builder.trunc(given[3], HALF), place)
        return context.get_dummy_value()

    return types.void(sets, types.uint64, types.uint64, types.uint64), build


@_intrinsic
def lowest(typing: Any, word: Any) -> Any:
    """lowest(word): number of the lowest bit that is set; anything if none is."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), build


@inlined
def find(sets: NDArray[np.uint64], at: Any, way_bits: Any, key: Any) -> Any:
    """A word whose lowest bit is the way of the set at word `at` that holds `key`; 0 if none does."""
    return match(sets, at, key) & way_bits
