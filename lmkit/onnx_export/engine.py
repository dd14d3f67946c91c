"""A causal model whose steps run in onnxruntime, for generation: `lmkit generate --engine onnx`."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Self, cast

import torch
from torch import Tensor

import lmkit
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import LmkitError
from lmkit.files import replaced, user_cache
from lmkit.notes import NOTE
from lmkit.onnx_export.checks import Reference, check_steps
from lmkit.onnx_export.facts import fingerprint
from lmkit.onnx_export.forms import Leaf, leaves_of
from lmkit.onnx_export.options import FLOAT32, STEP
from lmkit.onnx_export.sessions import Session
from lmkit.onnx_export.write import exportable, step_model
from lmkit.recurrence import NeuralLanguageModel
from lmkit.runs import LoadedRun
from lmkit.states import State

CACHE = "onnx"
"""The folder in the user's cache."""

log = logging.getLogger(__name__)


class OnnxModel(LanguageModel):
    """The model of a run with steps in onnxruntime. A state is the logits and the leaves of the network's state.

    Calls without rows do not reach onnxruntime, which answers some of them with zeros and refuses others.
    """

    def __init__(self, model: NeuralLanguageModel, session: Session, leaves: Sequence[Leaf]) -> None:
        self.vocabulary = model.vocabulary
        self.reset_policy = model.reset_policy
        self._model = model
        self._session = session
        self._leaves = leaves

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        blank = [leaf.blank.expand(batch_size, *leaf.blank.shape[1:]).contiguous() for leaf in self._leaves]
        if start:
            return self.advance(torch.full((batch_size,), self._model.start_id), self._state(None, blank))
        return self._state(
            self._model.next_log_probs(self._model.initial_state(batch_size, start=False)), blank
        )

    def next_log_probs(self, state: State) -> Tensor:
        return torch.log_softmax(cast(Tensor, state[0]), -1)

    def advance(self, ids: Tensor, state: State) -> State:
        leaves = [cast(Tensor, leaf) for leaf in state[1:]]
        if len(ids) == 0:
            return self._state(None, leaves)
        logits, after = self._session(ids.long().numpy(), [leaf.contiguous().numpy() for leaf in leaves])
        return self._state(torch.from_numpy(logits), [torch.from_numpy(leaf) for leaf in after])

    def _state(self, logits: Tensor | None, leaves: Sequence[Tensor]) -> State:
        rows = len(leaves[0])
        return (torch.zeros(rows, self.vocabulary.size) if logits is None else logits, *leaves)

    def save(self, directory: Path) -> NoReturn:
        raise NotImplementedError("the run has the model")

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        raise NotImplementedError("the run has the model")


def onnx_engine(run: LoadedRun, weights: str = FLOAT32) -> OnnxModel:
    """The engine of a run: its file from the user's cache if it still agrees with the model, else a new one.

    Raises UsageError when the model cannot be written as ONNX or a library is missing.
    """
    model = exportable(run)
    leaves = leaves_of(model)
    path = _cached(run, weights)
    session = None if path is None else _kept(path, model, leaves, weights)
    if session is None:
        made = step_model(run, weights)
        session = Session(made, leaves)
        if path is not None:
            _keep(path, made)
    return OnnxModel(model, session, leaves)


def _cached(run: LoadedRun, weights: str) -> Path | None:
    """The place of the run's file in the user's cache; None without a home."""
    folder = user_cache(CACHE)
    key = "\n".join((lmkit.__version__, torch.__version__, fingerprint(run), STEP, weights))
    return None if folder is None else folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.onnx"


def _kept(path: Path, model: NeuralLanguageModel, leaves: Sequence[Leaf], weights: str) -> Session | None:
    """The session of a file in the cache; None if there is none that agrees with the model.

    A plugin's cell may have changed since, under the same version.
    """
    if not path.is_file():
        return None
    try:
        session = Session(path, leaves)
        check_steps(Reference(model, leaves), session, exact=weights == FLOAT32)
    except Exception as error:  # onnxruntime raises what its parts raise for a damaged file
        log.log(NOTE, "%s is not the model of this run (%s); it is written again", path, error)
        return None
    return session


def _keep(path: Path, made: bytes) -> None:
    """Put a file into the cache, if it takes it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as file:
            file.write(made)
    except (OSError, LmkitError) as error:
        log.log(NOTE, "the ONNX file is not kept for the next time (%s)", error)
