"""Two steps of the kernel that Python has no words for, written for the compiler itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from pimsim.compiled import inlined

_intrinsic: Any = intrinsic


def _equal(
    context: Any, builder: Any, kinds: Any, given: Any, lanes: int, bits: int, ignored: int
) -> Any:  # fmt: skip
    """Compare so many numbers of an array, from an index on, with a key, but for their `ignored` bits."""
    number = ir.IntType(bits)
    vector = ir.VectorType(number, lanes)
    data = context.make_array(kinds[0])(context, builder, given[0]).data
    place = builder.bitcast(builder.gep(data, [given[1]]), vector.as_pointer())
    held = builder.and_(builder.load(place, align=bits // 8), ir.Constant(vector, [~ignored] * lanes))
    key = builder.trunc(given[2], number) if bits < 64 else given[2]
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), key, ir.Constant(ir.IntType(32), 0))
    wanted = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))
    same = builder.icmp_unsigned("==", held, wanted)
    return builder.zext(builder.bitcast(same, ir.IntType(lanes)), ir.IntType(64))


@_intrinsic
def match(typing: Any, entries: Any, first: Any, key: Any) -> Any:
    """match(entries, first, key): bit i is set if int32 entry first + i, i < 16, is `key` but for its flags.

    The compiler makes a few vector comparisons of it, of the width that the machine has.
    """

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _equal(context, builder, signature.args, given, 16, 32, 3)

    return types.uint64(entries, types.uint64, types.uint64), build


@_intrinsic
def match8(typing: Any, numbers: Any, first: Any, key: Any) -> Any:
    """match8(numbers, first, key): bit i is set if uint64 number first + i, i < 8, is `key`."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _equal(context, builder, signature.args, given, 8, 64, 0)

    return types.uint64(numbers, types.uint64, types.uint64), build


@_intrinsic
def lowest(typing: Any, word: Any) -> Any:
    """lowest(word): number of the lowest bit that is set; anything if none is."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), build


@inlined
def find(entries: NDArray[np.int32], first: Any, way_bits: Any, key: Any) -> Any:
    """A word whose lowest bit is the way of the set at `first` that holds `key`; 0 if none does."""
    return match(entries, first, key) & way_bits
