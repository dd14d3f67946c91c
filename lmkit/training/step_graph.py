"""Record what a training step launches on a GPU, and launch it again for the windows that follow (CUDA graphs).

A step of small operations spends its time on launching them: a graph launches all of them at once. It repeats the
same operations on the same memory. So each window is copied to where the recorded one was, and only steps that do the
same whatever the values of their window are recorded:

- windows of one shape, and parameters that stay in their memory;
- a step that reads no value on the host (`host_copies`), draws no random number there, and sends nothing from there;
- cells that have chosen their tier, so that none still counts its work towards being compiled.

Resets are such values: while a step is recorded, every step of its window has a mask of resets, even an empty one.
The forward and the backward pass are recorded. Clipping and the optimiser, whose rate changes, are not.
"""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from lmkit import host_copies, states
from lmkit.corpus.streams import Window
from lmkit.errors import first_line, with_kind
from lmkit.neural.trainable import TrainableModel
from lmkit.notes import NOTE
from lmkit.recurrence import tiers
from lmkit.recurrence.linear_scan import reset_steps
from lmkit.states import State
from lmkit.training.snapshot import random_states, restore_random

WARM_UPS = 3
"""Windows of a shape that are computed as usual before one is recorded: libraries and kernels set themselves up."""
MOST_GRAPHS = 4
"""Each graph keeps the memory of a step; windows of further shapes are computed as usual."""

log = logging.getLogger(__name__)

Compute = Callable[[Window, State], tuple[Tensor, State]]
"""(window, hidden state) -> loss, hidden state after it; gives the gradients to parameters that have none."""


class Recorder(Protocol):
    """Records operations; `CudaRecorder` is the one of a GPU."""

    def warm_up(self, work: Callable[[], Any]) -> Any:
        """What `work` returns, computed as a recorded step will be."""
        ...

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """What `work` returns, without values yet, and a function that computes them, as often as it is called."""
        ...


class CudaRecorder:
    """Records CUDA graphs, on a stream that is not the default one; all graphs share their memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None

    def warm_up(self, work: Callable[[], Any]) -> Any:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            found = work()
        current.wait_stream(self._stream)
        return found

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, self._pool, self._stream):
                found = work()
        except BaseException:
            # What a failed recording leaves as it was inside: the stream, and a generator that counts for a graph.
            torch.cuda.set_stream(current)
            generator = torch.cuda.default_generators[self._device.index]
            generator.graphsafe_set_state(generator.clone_state())
            raise
        # A step is over, and its results are copied, before another graph is launched.
        self._pool = graph.pool()
        return found, graph.replay


@dataclass
class _Shape:
    """What is known of the windows of one shape. warm: those computed as a recorded step will be."""

    warm: int = 0
    refused: bool = False
    graph: "_Graph | None" = None


class StepGraphs:
    """A `Compute` that records steps of another one, `compute`, and repeats them."""

    def __init__(self, model: TrainableModel, compute: Compute, recorder: Recorder) -> None:
        self._model = model
        self._compute = compute
        self._recorder = recorder
        self._shapes: dict[Hashable, _Shape] = {}
        self._given_up = False

    @property
    def recorded(self) -> int:
        """The number of graphs."""
        return sum(shape.graph is not None for shape in self._shapes.values())

    def __call__(self, window: Window, hidden: State) -> tuple[Tensor, State]:
        """The loss of a window and the hidden state after it; the parameters, which have no gradients, get them."""
        if _has_few_resets(window):
            return self._compute(window, hidden)
        shape = self._shapes.setdefault(self._key(window, hidden), _Shape())
        may_record = shape.warm >= WARM_UPS and self.recorded < MOST_GRAPHS and not self._given_up
        if shape.graph is None and may_record:
            shape.graph = self._record(window, hidden)
        return self._warm_up(shape, window, hidden) if shape.graph is None else shape.graph(window, hidden)

    def _key(self, window: Window, hidden: State) -> Hashable:
        """Everything that a recorded step takes for granted."""
        inputs = tuple((t.shape, t.dtype) for t in [*window.tensors(), *states.leaves(hidden)])
        places = tuple((p.data_ptr(), p.requires_grad) for p in self._model.parameters())
        return inputs, window.reset is None, window.weights is None, places

    def _warm_up(self, shape: _Shape, window: Window, hidden: State) -> tuple[Tensor, State]:
        """Compute a window as a recorded step, to the last bit, and watch whether the next ones may repeat it."""
        work, random = tiers.progress(self._model), torch.get_rng_state()
        with host_copies.recording() as seen:
            found = self._recorder.warm_up(lambda: self._compute(window, hidden))
        if shape.refused:
            return found
        if seen.depends:
            self._refuse(shape, "it depends on values that the host reads from each window")
        elif self._model.device.type != "cpu" and not torch.equal(random, torch.get_rng_state()):
            self._refuse(shape, "it draws random numbers on the CPU")
        elif tiers.progress(self._model) == work:
            shape.warm += 1
        return found

    def _record(self, window: Window, hidden: State) -> "_Graph | None":
        """The graph for windows of this shape, or None, after which no other is recorded."""
        random = random_states(self._model.device)
        try:
            graph = _Graph(self._model, self._compute, self._recorder, window, hidden)
        except Exception as error:  # whatever CUDA, a kernel or a part raises
            self._given_up = True
            for parameter in self._model.parameters():
                parameter.grad = None
            restore_random(random, self._model.device)
            # The end of a recording that has failed is an error too, which hides the first.
            reason = with_kind(error.__context__ or error, first_line)
            log.log(
                NOTE, "the training step cannot be recorded as a CUDA graph (%s); it runs without", reason
            )
            return None
        log.info("the training step: recorded as a CUDA graph")
        return graph

    def _refuse(self, shape: _Shape, reason: str) -> None:
        if not any(one.refused for one in self._shapes.values()):
            log.log(NOTE, "the training step is not recorded as a CUDA graph, since %s", reason)
        shape.refused = True


class _Graph:
    """A recorded step: its memory, and what launches it."""

    def __init__(
        self, model: TrainableModel, compute: Compute, recorder: Recorder, window: Window, hidden: State
    ) -> None:
        own, before = _copied(window), states.apply(Tensor.clone, hidden)
        self._inputs = [*own.tensors(), *states.leaves(before)]
        with host_copies.recording():
            (loss, after), self._launch = recorder.record(lambda: compute(own, before))
        self._loss, self._after = loss, states.detach(after)
        self._gradients = [(p, p.grad) for p in model.parameters() if p.grad is not None]

    def __call__(self, window: Window, hidden: State) -> tuple[Tensor, State]:
        for own, new in zip(self._inputs, [*window.tensors(), *states.leaves(hidden)], strict=True):
            own.copy_(new, non_blocking=True)
        self._launch()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        # The next launch writes over all of this; the gradients are used up by then.
        return self._loss.clone(), states.apply(Tensor.clone, self._after)


def _copied(window: Window) -> Window:
    """A window in other memory, of which the host has no copy."""
    reset, weights = (None if t is None else t.clone() for t in (window.reset, window.weights))
    backward = None if window.backward is None else _copied(window.backward)
    return replace(
        window,
        inputs=window.inputs.clone(),
        targets=window.targets.clone(),
        reset=reset,
        weights=weights,
        backward=backward,
    )


def _has_few_resets(window: Window) -> bool:
    """Whether torch's kernel may run a window from reset to reset, which cannot be recorded and need not be."""
    if window.reset is None:
        return False
    steps = len(reset_steps(host_copies.derive(Tensor.t, window.reset)))
    return window.targets.shape[1] >= tiers.LEAST_STEPS_PER_RESET * steps
