"""A processor instruction that numba lacks: prefetch memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["prefetch"]

READ, KEEP, DATA = 0, 3, 1
"""Arguments of llvm.prefetch: for reading, in every cache level, and data, not code."""


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """prefetch(array, index): request the cache line of array[index], of any type, without waiting.

    The array must be contiguous and of one dimension. The index is not checked: an address outside the array
    causes no error, only a useless fetch.
    """
    signature = types.void(array, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, index_type = signature.args
        if array_type.ndim != 1 or array_type.layout != "C":
            raise TypeError(f"wanted a contiguous array of one dimension, not {array_type}")
        byte, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = context.make_array(array_type)(context, builder, arguments[0]).data
        place = context.cast(builder, arguments[1], index_type, types.intp)
        address = builder.bitcast(builder.gep(data, [place]), byte)
        function_type = ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        builder.call(function, [address, int32(READ), int32(KEEP), int32(DATA)])
        return context.get_dummy_value()

    return signature, generate


prefetch: Callable[[np.ndarray, int], None] = intrinsic(_prefetch)  # pyright: ignore[reportAssignmentType]
