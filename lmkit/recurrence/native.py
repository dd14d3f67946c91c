"""Call the compiled kernels of a step without Python: a loop in C++ that knows their addresses.

Inductor gives a step as a Python function that allocates what the kernels need and calls them. Run once with other
tensors in their place, that function shows which kernels it calls and with which addresses; `loop.cpp` then calls the
same kernels for every step of a window. A step that does more than call kernels (a matrix product inside `gates`)
has no such loop, and Python calls it step by step.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmkit.neural.linear import mkl_leads

Columns = np.ndarray[Any, np.dtype[np.int64]]

_REALS = {torch.float32: "float", torch.float64: "double"}

_HARMLESS = {
    *("clear", "empty_strided_cpu", "reinterpret_tensor", "assert_alignment"),
    *("assert_size_stride", "assert_size_stride_grouped"),
    *("torch", "float32", "float64", "bool", "int8", "uint8", "int32", "int64"),
}
"""Names that inductor's function may use besides those of kernels: they compute nothing."""


class NoLoopError(Exception):
    """Why a step has no loop in C++."""


class KernelCall(NamedTuple):
    """A kernel's address, and for each of its arguments an index of a tensor of the step and an offset in bytes.

    Indices beyond the tensors of the step are those of `StepCalls.scratch`.
    """

    address: int
    arguments: list[tuple[int, int]]


class StepCalls(NamedTuple):
    """The kernels of a step in their order. scratch: bytes of each temporary that they share."""

    kernels: list[KernelCall]
    scratch: list[int]


class NativeLoop(NamedTuple):
    """The loop of a cell's step: `forward` and `backward` of `loop.cpp`, with the calls that each makes."""

    library: ctypes.CDLL
    forward: StepCalls
    backward: StepCalls

    def weight_gradients(self, d_outputs: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """As `products.weight_gradient`, for each of some inputs of the same outputs."""
        d, xs = d_outputs.flatten(0, -2), [x.flatten(0, -2).contiguous() for x in inputs]
        found = [x.new_empty(d.shape[1], x.shape[1]) for x in xs]
        addresses, sizes = ctypes.c_void_p * len(xs), ctypes.c_int64 * len(xs)
        self.library.weight_gradients(
            ctypes.c_void_p(d.data_ptr()),
            *(ctypes.c_int64(n) for n in (*d.shape, torch.get_num_threads(), len(xs))),
            addresses(*(x.data_ptr() for x in xs)),
            sizes(*(x.shape[1] for x in xs)),
            addresses(*(f.data_ptr() for f in found)),
        )
        return found


class Product(ctypes.Structure):
    """As in `loop.cpp`, where a Product without a weight is none."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weight", "bias")),
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "from_", "to", "added")),
    ]


class Reset(ctypes.Structure):
    """As in `loop.cpp`."""

    _fields_ = [("initial", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("width", "from_", "to"))]


class Plan(ctypes.Structure):
    """As in `loop.cpp`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("steps", "rows", "columns", "threads")),
        ("pointers", ctypes.c_void_p),
        ("calls", ctypes.c_void_p),
        ("words", ctypes.c_int64),
        ("input", Product),
        ("recurrent", Product),
        ("projection", Product),
        ("clip", ctypes.c_double),
        *((name, ctypes.c_int64) for name in ("y", "d_y", "d_carried")),
        ("resets", ctypes.c_void_p),
        ("parts", ctypes.POINTER(Reset)),
        ("num_parts", ctypes.c_int64),
    ]


def native_loop(
    forward: tuple[Callable[..., Any], Sequence[Tensor]],
    backward: tuple[Callable[..., Any], Sequence[Tensor]],
) -> NativeLoop:
    """The loop for two kernels by inductor, each with examples of its tensors; NoLoopError says why there is none."""
    tensors = [*forward[1], *backward[1]]
    kinds = {(tensor.device.type, tensor.dtype) for tensor in tensors}
    (device, kind), *others = kinds
    if others or device != "cpu" or kind not in _REALS:
        raise NoLoopError("its tensors are not all of float32 or all of float64 on a CPU")
    if not all(tensor.numel() for tensor in tensors):
        raise NoLoopError("some of its tensors are empty")
    library = _library(_REALS[kind], mkl_leads())
    return NativeLoop(library, *(_calls(*step, library.most_arguments()) for step in (forward, backward)))


def _calls(kernel: Any, tensors: Sequence[Tensor], most: int) -> StepCalls:
    """What a compiled step does with its tensors."""
    function = getattr(getattr(kernel, "current_callable", None), "__func__", None)
    if not isinstance(function, FunctionType):
        raise NoLoopError("this version of torch calls kernels in another way")
    names = {name for name in function.__code__.co_names if name.startswith("cpp_fused")}
    if others := sorted({*function.__code__.co_names} - names - _HARMLESS):
        raise NoLoopError(f"its step does more than call kernels ({', '.join(others)})")
    known = [tensor.untyped_storage().data_ptr() for tensor in tensors]
    temporaries: list[Tensor] = []  # kept, so that no two have one address
    kernels = []

    def record(address: int, arguments: tuple[Tensor, ...]) -> None:
        places = []
        for argument in arguments:
            storage = argument.untyped_storage()
            if storage.data_ptr() not in known:
                known.append(storage.data_ptr())
                temporaries.append(argument)
            places.append(
                (known.index(storage.data_ptr()), argument.storage_offset() * argument.element_size())
            )
        if len(places) > most:
            raise NoLoopError(f"a kernel of its step has more than {most} arguments")
        kernels.append(KernelCall(address, places))

    recorders = {name: _recorder(function.__globals__[name], record) for name in names}
    copy = FunctionType(function.__code__, {**function.__globals__, **recorders})
    copy(None, [*tensors])
    return StepCalls(kernels, [t.untyped_storage().nbytes() for t in temporaries])


def _recorder(kernel: Any, record: Callable[[int, tuple[Tensor, ...]], None]) -> Callable[..., None]:
    """Stands in for a kernel's Python function, and notes a call in place of making it."""
    path, name = getattr(getattr(kernel, "__self__", None), "__file__", None), getattr(kernel, "__name__", "")
    try:
        address = ctypes.cast(getattr(ctypes.CDLL(path), name), ctypes.c_void_p).value if path else None
    except (OSError, AttributeError):
        address = None
    if address is None:
        raise NoLoopError("the kernels of this version of torch have no addresses")

    def recorder(*arguments: Any) -> None:
        if not all(isinstance(argument, Tensor) for argument in arguments):
            raise NoLoopError("a kernel of its step takes numbers")
        record(address, arguments)

    return recorder


@cache
def _library(real: str, intel: bool) -> ctypes.CDLL:
    """`loop.cpp` for a type, compiled the first time on a machine, in inductor's cache."""
    from torch._inductor import config
    from torch._inductor.codecache import CppCodeCache

    source = Path(__file__).with_name("loop.cpp").read_text(encoding="utf-8")
    try:
        # Sums of products as fused operations; inductor leaves them apart in its own kernels.
        with config.patch({"cpp.enable_floating_point_contract_flag": "fast"}):
            given = f"using Real = {real};\nconstexpr bool INTEL = {str(intel).lower()};\n"
            library: ctypes.CDLL = CppCodeCache.load(given + source)
    except Exception as error:  # of a compiler, of the file system, of another version of torch
        raise NoLoopError(f"the loop cannot be compiled ({type(error).__name__})") from error
    for name in ("most_arguments", "packed_size"):
        getattr(library, name).restype = ctypes.c_int64
    return library


class Pointers:
    """The addresses that the steps of a window read and write, a column for each tensor of a step.

    It keeps no tensor: the caller does, for as long as the loop runs.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._columns: list[Columns | int] = []

    def fixed(self, tensor: Tensor) -> int:
        """The column of a tensor that is the same at every step."""
        return self.column(tensor.data_ptr())

    def moving(self, tensor: Tensor) -> int:
        """The column of tensor[t] at step t."""
        return self.column(moving(tensor, self._steps))

    def alternating(self, pair: Tensor, first: int) -> int:
        """The column of pair[(t + first) % 2] at step t."""
        size = pair.stride(0) * pair.element_size()
        return self.column(pair.data_ptr() + (np.arange(self._steps) + first) % 2 * size)

    def each(self, tensors: Sequence[Tensor]) -> int:
        """The column of a separate tensor for every step."""
        return self.column(np.array([tensor.data_ptr() for tensor in tensors]))

    def column(self, addresses: Columns | int) -> int:
        """The number of a further column."""
        self._columns.append(addresses)
        return len(self._columns) - 1

    def table(self) -> Columns:
        """(steps, columns) of addresses."""
        table = np.empty((self._steps, len(self._columns)), dtype=np.int64)
        for index, column in enumerate(self._columns):
            table[:, index] = column
        return table


def moving(tensor: Tensor, steps: int) -> Columns:
    """The addresses of the first steps of a tensor (time, ...)."""
    return tensor.data_ptr() + np.arange(steps) * (tensor.stride(0) * tensor.element_size())


def words(calls: StepCalls, columns: Sequence[int]) -> Columns:
    """`Plan.calls`. columns: for each tensor of the step, then for each temporary."""
    found: list[int] = []
    for kernel in calls.kernels:
        found += [kernel.address, len(kernel.arguments)]
        for index, offset in kernel.arguments:
            found += [columns[index], offset]
    return np.array(found, dtype=np.int64)


def packed(library: ctypes.CDLL, weight: Tensor) -> Tensor:
    """A weight (inputs, outputs), in any strides, as the products of `loop.cpp` read it."""
    inputs, outputs = weight.shape
    found = weight.new_empty(library.packed_size(ctypes.c_int64(inputs), ctypes.c_int64(outputs)))
    strides = (ctypes.c_int64(size) for size in (inputs, outputs, *weight.stride()))
    library.pack(ctypes.c_void_p(weight.data_ptr()), *strides, ctypes.c_void_p(found.data_ptr()))
    return found
