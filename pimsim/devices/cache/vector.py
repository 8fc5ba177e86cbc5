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
_WAYS = ir.VectorType(ir.IntType(32), 16)


@_intrinsic
def match(typing: Any, entries: Any, first: Any, key: Any) -> Any:
    """match(entries, first, key): bit i is set if int32 entry first + i, i < 16, is `key` but for its flags.

    The compiler makes a few vector comparisons of it, of the width that the machine has.
    """

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        place = builder.bitcast(builder.gep(data, [given[1]]), _WAYS.as_pointer())
        held = builder.and_(builder.load(place, align=4), ir.Constant(_WAYS, [~3] * 16))
        low = builder.trunc(given[2], ir.IntType(32))
        one = builder.insert_element(ir.Constant(_WAYS, ir.Undefined), low, ir.Constant(ir.IntType(32), 0))
        wanted = builder.shuffle_vector(one, one, ir.Constant(_WAYS, [0] * 16))
        same = builder.icmp_unsigned("==", held, wanted)
        return builder.zext(builder.bitcast(same, ir.IntType(16)), ir.IntType(64))

    return types.uint64(entries, types.uint64, types.uint64), build


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
