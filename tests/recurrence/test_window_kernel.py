"""The kernel for a whole window is right in Triton's interpreter, and compiles for GPUs that are not there."""

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from lmkit.recurrence import GatedCell
from lmkit.recurrence.gpu.kernel import make_window_kernel
from lmkit.recurrence.gpu.writer import Kernel
from lmkit.recurrence.stack import cell_maker

REASON = "needs Triton (pip install triton)"
INTERPRETED = Path(__file__).with_name("window_kernel_in_interpreter.py")


def test_kernels_equal_the_definitions_in_the_interpreter():
    """Every built-in cell: outputs, states and gradients, with resets, by one program and by several that meet.

    Triton reads the variable when it is first imported, so these tests have a process of their own.
    """
    pytest.importorskip("triton", reason=REASON)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(INTERPRETED)]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]


CELLS = ["gru", "gru-v3", "layer-norm-lstm", "lstm", "rnn", "sru", "xlstm-slstm"]


@pytest.mark.parametrize(
    ("name", "kind", "capability"),
    [
        ("lstm", "bf16", 90),
        *(
            pytest.param(name, kind, capability, marks=pytest.mark.slow)
            for name in CELLS
            for kind in ("fp32", "bf16")
            for capability in (80, 90)
            if (name, kind, capability) != ("lstm", "bf16", 90)
        ),
    ],
)
def test_kernels_compile_for_gpus(name, kind, capability):
    """Triton's compiler and its assembler take the kernels for 650 units, without a GPU (sm_80: A100, sm_90: H100)."""
    triton = pytest.importorskip("triton", reason=REASON)
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    made = make_window_kernel(cast(GatedCell, cell_maker(name)(650, 650)))
    for kernel, function in zip(made.kernels, made.functions, strict=True):
        precision = "ieee" if kind == "bf16" else "tf32"
        constants = {"SLICES": 41, "BB": 32, "HB": 16, "RESET": True, "PRECISION": precision}
        types = {**_types(kernel, kind), "T": "i32", "B": "i32", **dict.fromkeys(constants, "constexpr")}
        source = ASTSource(function, types, constants)
        options = {"launch_cooperative_grid": True}
        assert triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["cubin"]


def _types(kernel: Kernel, kind: str) -> dict[str, str]:
    """The types of the tensors, as a window gives them."""
    fixed = {"resets": "*u8", "count": "*i32", "kept": "*fp32", "parts": "*fp32"}
    of_window = ("x", "d_ys", "d_x", "d_h", "panel", "weight", "initial", "last")
    return {
        name: fixed.get(name, f"*{kind}" if name.startswith(of_window) else "*fp32")
        for name in kernel.pointers
    }
