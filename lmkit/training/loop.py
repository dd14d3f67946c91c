"""The training loop: truncated back-propagation through time over parallel streams, with validation on a schedule."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from torch import Tensor

from lmkit import states
from lmkit.corpus.streams import Streams, Window
from lmkit.errors import LmkitError
from lmkit.neural import precision, stream_slice
from lmkit.neural.stream_slice import StreamSlice
from lmkit.perplexity import perplexity
from lmkit.recurrence import TrainableModel
from lmkit.states import State
from lmkit.training.average import MeanOfSteps, MovingAverage, WeightAverage
from lmkit.training.checkpoint import Checkpoints
from lmkit.training.clock import Clock
from lmkit.training.early_stopping import TrainState, after_validation, is_over
from lmkit.training.feed import feed_for
from lmkit.training.figures import Figures, StepFigures
from lmkit.training.groups import freeze
from lmkit.training.metrics import Metrics
from lmkit.training.optimiser import clip_gradients, make_optimiser, peak_rate, set_rate
from lmkit.training.options import TrainOptions
from lmkit.training.processes import ALONE, Agreed, Processes
from lmkit.training.report import Reporter
from lmkit.training.schedule import default_valid_every, momentum, rate_factor, total_steps, with_limits
from lmkit.training.snapshot import snapshot
from lmkit.training.step_graph import CudaRecorder, StepGraphs
from lmkit.training.validation import ValidationScore


class DivergedError(LmkitError):
    """The loss is not finite."""


class Trainer:
    """Trains `model` on `streams`.

    validate: scores the validation text; None without one.
    keep_best: called when a validation is the best so far, with the weights to keep in the model.
    checkpoints: saves the state at intervals; None: never.
    trained: the weights are those of a trained model: they are validated before the first step, and kept as the best
    until others are better.
    After `share`, `validate` and `keep_best` are called only in the process that leads.
    """

    def __init__(
        self,
        model: TrainableModel,
        streams: Streams,
        options: TrainOptions,
        *,
        validation_tokens: int,
        validate: Callable[[], ValidationScore] | None,
        keep_best: Callable[[], None],
        metrics: Metrics,
        reporter: Reporter,
        checkpoints: Checkpoints | None = None,
        trained: bool = False,
    ) -> None:
        self.model = model
        self.streams = streams
        self.options = with_limits(options)
        self.validate = validate
        self.keep_best = keep_best
        self.metrics = metrics
        self.reporter = reporter
        self.checkpoints = checkpoints
        self.trained = trained
        self.processes = ALONE
        self.rows = ALONE.rows(streams.batch_size)
        """The streams of this process."""
        self.stopped = False
        """Whether a request has stopped the training."""
        freeze(model, options)
        self.optimiser = make_optimiser(model, options)
        self.average: WeightAverage | None = None
        if options.average is not None:
            self.average = MovingAverage(model, options.average)
        self.state = TrainState()
        self.hidden: State = self._blank_state()
        self.total_steps = total_steps(self.options, streams.windows)
        self.valid_every = options.valid_every or default_valid_every(streams, validation_tokens)
        self._clock = Clock()
        self._agreed = Agreed()
        self._figures = Figures(model.device)
        self._feed = feed_for(streams, model.device)
        self.graphs: StepGraphs | None = None
        """Records the steps, if the options ask for it, on a GPU."""
        if options.cuda_graph and model.device.type == "cuda":
            self.graphs = StepGraphs(model, self._window_gradients, CudaRecorder(model.device))

    def share(self, processes: Processes) -> None:
        """Compute a slice of the streams from now on, the others in the other processes.

        Each of them has a trainer with the same weights, optimiser, random state and state of training.
        """
        self.processes = processes
        self.rows = processes.rows(self.streams.batch_size)
        self.hidden = states.take(self.hidden, self.rows)
        # They wait for each other at every step already, and all have to stop at the same one.
        self._figures.read_at_once = True

    def run(
        self, stop_after: int | None = None, stop_requested: Callable[[], bool] = lambda: False
    ) -> TrainState:
        """Train until a limit, `stop_after` steps in all, or a request to stop; return the final state.

        Only a limit ends with a validation: a training that stops early can continue as if it had not stopped.
        Raises DivergedError when the loss or a gradient is not finite; the best weights so far are kept.
        """
        self._clock = Clock(self.state.seconds, self.state.cpu_seconds)
        self.reporter.start(self.total_steps, f"training for {self._limits()}")
        if self.trained and self.state.step == 0 and self.validate is not None:
            self._validate()
        speed = Speed()
        while not (self.over() or self._reached(stop_after) or self._is_stopped(stop_requested)):
            with self._clock.step():
                done = self._step(stop_requested)
            self._agreed = done.agreed
            seconds, cpu_seconds = self._times()
            self.state = replace(
                self.state, step=self.state.step + 1, seconds=seconds, cpu_seconds=cpu_seconds
            )
            speed.add(done.tokens)
            self._report(done, speed)
            if self.state.step % self.valid_every == 0:
                self._validate()
                speed = Speed()
            if self.checkpoints and self._is_due(self.checkpoints):
                self._save(self.checkpoints)
                speed = Speed()
        self._check_figures()
        if self.over() and self.state.validated != self.state.step:
            self._validate()
        if self.checkpoints:
            self._save(self.checkpoints, last=True)
        self.reporter.finish()
        return self.state

    def _reached(self, stop_after: int | None) -> bool:
        return stop_after is not None and self.state.step >= stop_after

    def _proposal(self, stop_requested: Callable[[], bool]) -> Agreed:
        """What this process tells the others; only the one that leads tells its clock, and when to save."""
        if not self.processes.leads:
            return Agreed(stop_requested())
        due = self.checkpoints is not None and self.checkpoints.due(self.state.step + 1)
        return Agreed(stop_requested(), due, self._clock.seconds, self._clock.cpu_seconds)

    def _is_stopped(self, stop_requested: Callable[[], bool]) -> bool:
        self.stopped = stop_requested() if self.processes.count == 1 else self._agreed.stop
        return self.stopped

    def _is_due(self, checkpoints: Checkpoints) -> bool:
        return checkpoints.due(self.state.step) if self.processes.count == 1 else self._agreed.save

    def _times(self) -> tuple[float, float]:
        clock = self._clock if self.processes.count == 1 else self._agreed
        return clock.seconds, clock.cpu_seconds

    def _save(self, checkpoints: Checkpoints, *, last: bool = False) -> None:
        self._check_figures()
        hidden = self.processes.gather(self.hidden)
        self.processes.lead(lambda: checkpoints.save(snapshot(self, hidden), last=last))

    def over(self) -> bool:
        """Whether a limit has ended the training."""
        return is_over(self.state, self.options, self.total_steps)

    def _step(self, stop_requested: Callable[[], bool]) -> "Step":
        """Make one update."""
        model, options = self.model, self.options
        place = self.streams.windows.place(self.state.step)
        if place.first == 0:
            self.hidden = self._blank_state()
        window = self._feed(self.state.step)
        progress = self._progress()
        rate = peak_rate(options) * rate_factor(options, progress, place.epoch) / self.state.rate_divisor
        if options.vary_bptt:
            rate *= (place.last - place.first) / self.streams.bptt
        set_rate(self.optimiser, rate, momentum(options, progress))

        model.train()
        self.optimiser.zero_grad(set_to_none=True)
        loss, hidden = self._gradients(window)
        loss, agreed = self.processes.sum_step(model, loss, lambda: self._proposal(stop_requested))
        skip = self._figures.take(self.state.step + 1, loss, clip_gradients(model, options))
        figures = None
        if skip is None:
            # Before the step, which would spread NaN over all weights.
            figures = self._check_figures()
        else:
            # The name by which torch's fused optimisers know it.
            self.optimiser.found_inf = skip  # pyright: ignore[reportAttributeAccessIssue]
        self.optimiser.step()
        if self.average:
            self.average.update(self.state.step)
        self.hidden = states.detach(hidden)
        if skip is not None and self._reads_after(self.state.step + 1):
            figures = self._check_figures()
        return Step(figures, rate, window.targets.numel(), agreed)

    def _gradients(self, window: Window) -> tuple[Tensor, State]:
        """Give the parameters the gradients of a window; return the loss and the hidden state after it."""
        before = precision.entering(self.hidden, self.options.precision)
        if self.processes.count > 1:
            return self._slice_gradients(window, before)
        return (self.graphs or self._window_gradients)(window, before)

    def _window_gradients(self, window: Window, before: State) -> tuple[Tensor, State]:
        model = self.model
        with precision.computing(model, self.options.precision):
            loss, hidden = model.step_loss(window, before)
            (loss if model.penalty is None else loss + model.penalty).backward()
        return loss.detach(), hidden

    def _slice_gradients(self, window: Window, before: State) -> tuple[Tensor, State]:
        """The loss of all tokens is the sum of those of the slices, each times its share of the tokens."""
        model, own = self.model, window.rows(self.rows)
        with precision.computing(model, self.options.precision):
            with stream_slice.computing(StreamSlice(self.rows, window)):
                loss, hidden = model.step_loss(own, before)
            loss = loss * (own.total_weight / window.total_weight)
            share = len(own.targets) / len(window.targets)
            (loss if model.penalty is None else loss + share * model.penalty).backward()
        return loss.detach(), hidden

    def _blank_state(self) -> State:
        return self.model.blank_state(self.rows.stop - self.rows.start)

    def _reads_after(self, step: int) -> bool:
        """Whether the figures of this step are read from the device."""
        options = self.options
        return (
            self._figures.due() or step == 1 or step % options.log_every == 0 or step % self.valid_every == 0
        )

    def _check_figures(self) -> StepFigures | None:
        """The figures of the newest step, unless they are read already; DivergedError for a bad step."""
        figures = self._figures.read()
        if figures is not None:
            self._finite("loss", figures.loss, figures.step)
            self._finite("norm of the gradient", figures.norm, figures.step)
        return figures

    def _finite(self, what: str, value: float, step: int) -> float:
        """The value; DivergedError if it is not finite."""
        if math.isfinite(value):
            return value
        validated = math.isfinite(self.state.best_loss)
        kept = f"the weights of step {self.state.best_step} are kept; " if validated else ""
        raise DivergedError(
            f"the {what} became {value} at step {step}: {kept}"
            f"try a lower --learning-rate than {peak_rate(self.options):g} or a smaller --clip-norm"
        )

    def _validate(self) -> None:
        with self.weights_to_keep():
            self._validate_as_it_is()
        if self.state.averaged_from is not None and self.average is None:
            self.begin_average(self.state.averaged_from)
            self.reporter.message("the weights of all further steps are averaged")

    def begin_average(self, step: int) -> None:
        """Average the weights of all steps from `step` on."""
        self.average = MeanOfSteps(self.model, step)

    def weights_to_keep(self) -> AbstractContextManager[None]:
        """Inside the block, the model has the weights to validate and keep: its own, or their average."""
        return self.average.in_place() if self.average else nullcontext()

    def keep(self) -> None:
        """Keep the present weights as the best."""
        self.processes.lead(self.keep_best)

    def _validate_as_it_is(self) -> None:
        self.state = replace(self.state, validated=self.state.step)
        if self.validate is None:
            self.keep()
            return
        self.model.eval()
        score = self.processes.lead(self.validate)
        loss = self._finite("validation loss", score.loss, self.state.step)
        best = loss < self.state.best_loss
        self.state = after_validation(self.state, self.options, score)
        if best:
            self.keep()
        self.state = replace(self.state, seconds=self.processes.lead(lambda: self._clock.seconds))
        self.metrics.write(
            step=self.state.step,
            valid_loss=loss,
            valid_perplexity=perplexity(loss),
            **({} if score.bits_per_byte is None else {"valid_bits_per_byte": score.bits_per_byte}),
            best=best,
            **self._rounded_times(),
        )
        self.reporter.validation(self.state.step, loss, best, score.bits_per_byte)

    def _report(self, done: "Step", speed: "Speed") -> None:
        step, figures = self.state.step, done.figures
        if figures is None:
            return
        self.reporter.step(
            step,
            tokens=done.tokens,
            loss=figures.loss,
            loss_name=self._loss_name(),
            grad_norm=figures.norm,
            learning_rate=done.rate,
            tokens_per_second=speed.tokens_per_second,
            seconds_left=self._seconds_left(),
        )
        if step % self.options.log_every == 0 or step == 1:
            self.metrics.write(
                step=step,
                epoch=round(self.streams.windows.epochs(step), 4),
                **{self._loss_name(): figures.loss},
                grad_norm=figures.norm,
                learning_rate=done.rate,
                tokens_per_second=round(speed.tokens_per_second, 1),
                **self._rounded_times(),
            )

    def _loss_name(self) -> str:
        """The name of the loss of a window: "loss" only if it is the mean of -log p, so that a perplexity follows."""
        if self.streams.is_weighted:
            return "weighted_loss"
        return "sampled_loss" if self.model.samples_loss else "loss"

    def _rounded_times(self) -> dict[str, float]:
        """The times of a record in metrics.jsonl."""
        return {"seconds": round(self.state.seconds, 2), "cpu_seconds": round(self.state.cpu_seconds, 2)}

    def _progress(self) -> float:
        """The finished share of the training, by the nearest limit."""
        options, state = self.options, self.state
        shares = [(state.step + 0.5) / self.total_steps] if self.total_steps else []
        shares += [state.seconds / options.max_time] if options.max_time else []
        shares += [state.cpu_seconds / options.max_cpu_time] if options.max_cpu_time else []
        return max(shares)

    def _seconds_left(self) -> float | None:
        limits = []
        if self.total_steps:
            limits.append((self.total_steps - self.state.step) * self.state.seconds / self.state.step)
        if self.options.max_time:
            limits.append(self.options.max_time - self.state.seconds)
        if self.options.max_cpu_time:
            left = self.options.max_cpu_time - self.state.cpu_seconds
            limits.append(left * self.state.seconds / max(self.state.cpu_seconds, 1e-9))
        return max(0.0, min(limits)) if limits else None

    def _limits(self) -> str:
        parts = []
        if self.total_steps:
            epochs = self.streams.windows.epochs(self.total_steps)
            parts.append(f"{self.total_steps} steps ({epochs:.3g} epochs)")
        if self.options.max_time:
            parts.append(f"{self.options.max_time:g} seconds")
        if self.options.max_cpu_time:
            parts.append(f"{self.options.max_cpu_time:g} seconds of processor time")
        return " or ".join(parts)


@dataclass(frozen=True)
class Step:
    """An update: its figures if they are read, its learning rate and its tokens, of all processes."""

    figures: StepFigures | None
    rate: float
    tokens: int
    agreed: Agreed


class Speed:
    """Tokens per second of training only: measured again after each validation and checkpoint."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._tokens = 0

    def add(self, tokens: int) -> None:
        self._tokens += tokens

    @property
    def tokens_per_second(self) -> float:
        return self._tokens / max(time.perf_counter() - self._begun, 1e-9)
