"""Check an ONNX model in onnxruntime against the model that it was made from, before it gets its name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmkit import states
from lmkit.errors import ModelError, one_line
from lmkit.onnx_export.encoder_form import CHARACTERS, LAYERS, MIX
from lmkit.onnx_export.forms import IDS, LOGITS, Leaf
from lmkit.onnx_export.graph import BATCH, TIME, onnx
from lmkit.onnx_export.layers import EXAMPLE_STEPS, packed
from lmkit.onnx_export.options import ENCODER, WINDOW
from lmkit.onnx_export.sessions import Session
from lmkit.recurrence import NeuralLanguageModel

SIZES = ((1, 1), (2, 3), (EXAMPLE_STEPS + 6, 7), (1, 7), (EXAMPLE_STEPS, 1))
"""(steps, rows) of the calls that are compared."""
READ_BEFORE = 4
"""Tokens that were read before a call, so that its state is not zero."""
CLOSE, SAME = 1e-5, 1e-6
"""The largest differences from torch, and between calls that must not depend on one another; of numbers up to 1,
and in proportion for larger ones."""
ROUNDED = 0.05
"""The largest error (root mean square) of logits in int8, as a share of the deviation of the logits."""

FREE = {
    WINDOW: {IDS: [TIME, BATCH], LOGITS: [TIME, BATCH]},
    ENCODER: {
        IDS: [BATCH, TIME],
        CHARACTERS: [BATCH, TIME],
        LAYERS: [BATCH, "", TIME],
        MIX: [BATCH, TIME],
    },
}
"""By form and input or output, the names of its first axes; those of others are [BATCH]."""

Leaves = Sequence[np.ndarray]


class Reference:
    """The model in torch, with the arguments and results of a Session."""

    def __init__(self, model: NeuralLanguageModel, leaves: Sequence[Leaf]) -> None:
        self._model = model
        self._leaves = leaves
        self.size = model.start_id + 1
        """Of ids, with `<s>`."""

    @torch.no_grad()
    def __call__(self, ids: np.ndarray, leaves: Leaves) -> tuple[np.ndarray, Leaves]:
        """The logits (time, batch, vocabulary) and the leaves after ids (time, batch)."""
        like = self._model.blank_state(1)
        device = self._model.device
        state = packed(like, [torch.from_numpy(leaf).to(device) for leaf in leaves])
        features, after = self._model.features(torch.from_numpy(ids).to(device).t(), state)
        logits = self._model.output.logits(features.transpose(0, 1))
        return logits.cpu().numpy(), [_numpy(leaf) for leaf in states.leaves(after)]

    def blank(self, rows: int) -> Leaves:
        """The leaves before anything is read."""
        return [_numpy(leaf.blank.expand(rows, *leaf.blank.shape[1:])) for leaf in self._leaves]


def check_declared(proto: Any, form: str) -> None:
    """Raise ModelError unless ONNX's own checks pass, and the axes of rows and steps are free."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # it raises what its parts raise
        raise refused(f"onnx refuses it ({one_line(error)})") from error
    for value in (*proto.graph.input, *proto.graph.output):
        names = [axis.dim_param for axis in value.type.tensor_type.shape.dim]
        free = FREE.get(form, {}).get(value.name, [BATCH])
        if names[: len(free)] != free or any(names[len(free) :]):
            raise refused(f"the axes of {value.name} are {names}")


def check_steps(reference: Reference, step: Session, *, exact: bool = True) -> None:
    """Raise ModelError unless steps agree with the model, and no row depends on the others.

    exact: False for weights in int8, whose logits are only near the model's.
    """
    for ids, before in _calls(reference):
        logits, after = _stepped(step, ids, before)
        wanted, wanted_after = reference(ids, before)
        agree("a step", after, wanted_after, CLOSE)
        if exact:
            agree("a step", [logits], [wanted], CLOSE)
        elif (error := _rms(logits - wanted)) > ROUNDED * wanted.std():
            raise refused(
                f"rounding to int8 changes the logits by {error:.2g}, more than {ROUNDED:g} of their "
                f"deviation {wanted.std():.2g}"
            )
        alone, _ = _stepped(step, ids[:, :1], [leaf[:1] for leaf in before])
        agree("a row alone and in a batch", [alone], [logits[:, :1]], SAME)


def check_window(reference: Reference, window: Session, step: Session, *, exact: bool = True) -> None:
    """Raise ModelError unless a window agrees with the model, with steps, and with its first words alone."""
    for ids, before in _calls(reference):
        logits, after = window(ids, before)
        agree("a window and its steps", [logits, *after], _flat(_stepped(step, ids, before)), CLOSE)
        if exact:
            agree("a window", [logits, *after], _flat(reference(ids, before)), CLOSE)
        alone, _ = window(ids[:, :1], [leaf[:1] for leaf in before])
        agree("a row alone and in a batch", [alone], [logits[:, :1]], SAME)
        first, _ = window(ids[:1], before)
        agree("the first word with and without the rest", [first], [logits[:1]], SAME)


def _calls(reference: Reference) -> list[tuple[np.ndarray, Leaves]]:
    """Ids (time, batch) of every size, and the leaves before them, from words that were read."""
    generator = np.random.default_rng(0)
    found = []
    for steps, rows in SIZES:
        read = generator.integers(0, reference.size, (READ_BEFORE, rows))
        _, before = reference(read, reference.blank(rows))
        found.append((generator.integers(0, reference.size, (steps, rows)), before))
    return found


def _stepped(step: Session, ids: np.ndarray, leaves: Leaves) -> tuple[np.ndarray, Leaves]:
    """The logits and the leaves of a window, step by step."""
    rows = []
    for row in ids:
        logits, leaves = step(row, leaves)
        rows.append(logits)
    return np.stack(rows), leaves


def _flat(found: tuple[np.ndarray, Leaves]) -> list[np.ndarray]:
    return [found[0], *found[1]]


def agree(what: str, found: Leaves, wanted: Leaves, most: float) -> None:
    """Raise ModelError unless arrays agree to `most`."""
    for one, other in zip(found, wanted, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            raise refused(f"{what}: {one.dtype} of the shape {one.shape}, not {other.dtype} of {other.shape}")
        finite = np.isfinite(other)
        scale = max(1.0, float(np.abs(other[finite]).max(initial=0)))
        if not np.array_equal(one[~finite], other[~finite], equal_nan=one.dtype.kind == "f"):
            raise refused(f"{what}: infinite numbers in other places")
        error = float(np.abs(one[finite].astype(np.float64) - other[finite]).max(initial=0))
        if not error <= most * scale:
            raise refused(f"{what} differ by {error:.2g}, more than {most * scale:.2g}")


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.square(errors).mean()))


def refused(why: str) -> ModelError:
    return ModelError(f"the ONNX model is not written, since it is not the same model: {why}")


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
