"""An instruction of the processor that numba has no name for: fetch memory ahead."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["prefetch"]

READ, KEEP, DATA = 0, 3, 1
"""What llvm.prefetch is told: it will be read, it belongs in every cache, and it is data, not code."""


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """prefetch(array, index): ask for the cache line of array[index], of any type, and do not wait for it.

    The array must be contiguous and of one dimension. Nothing is checked, and nothing goes wrong: an address
    outside the array is at worst a line fetched for nothing.
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
