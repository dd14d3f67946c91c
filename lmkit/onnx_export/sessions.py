"""Run ONNX models in onnxruntime, on as many threads as torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmkit.extras import needs
from lmkit.onnx_export.forms import IDS, LOGITS, NEXT, Leaf

# By name, so that type checkers can check this module without the library.
onnxruntime: Any = needs("onnxruntime", "onnx")

ERRORS = 3
"""The level of onnxruntime's messages from which it prints them."""


def session_of(model: bytes | Path) -> Any:
    """An InferenceSession of onnxruntime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = ERRORS
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Session:
    """A form of a model in onnxruntime: ids and the leaves of a state to logits and the new leaves."""

    def __init__(self, model: bytes | Path, leaves: Sequence[Leaf]) -> None:
        self.inner = session_of(model)
        self._names = [leaf.name for leaf in leaves]
        self._outputs = [LOGITS, *(NEXT + name for name in self._names)]

    def __call__(
        self, ids: np.ndarray, leaves: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        """The logits and the leaves after ids, of which there must be one at least."""
        feed = dict(zip(self._names, leaves, strict=True))
        feed[IDS] = ids
        logits, *after = self.inner.run(self._outputs, feed)
        return logits, after
