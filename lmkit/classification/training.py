"""Train the network of a classifier, and keep its weights of the best epoch."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.classification.network import ClassifierNetwork, EncodedText, layer_groups
from lmkit.classification.options import ALL, GRADUAL, ClassifyOptions
from lmkit.neural.batching import by_length
from lmkit.neural.weights import named_weights
from lmkit.training.loop import DivergedError
from lmkit.training.optimiser import clip_gradients
from lmkit.training.options import TrainOptions
from lmkit.training.report import Reporter
from lmkit.training.schedule import rate_factor
from lmkit.training.snapshot import restore_weights

BATCH_TOKENS = 1 << 15
"""Maximum number of tokens of a batch, including padding."""
SCORED_TEXTS = 128
"""Texts of a batch without gradients."""


@dataclass(frozen=True)
class LabelledTexts:
    """Encoded texts, and the place of each one's class among the labels."""

    texts: Sequence[EncodedText]
    targets: Sequence[int]


@dataclass(frozen=True)
class Validation:
    """The figures of the held-out texts after an epoch (0: before the first)."""

    epoch: int
    loss: float
    accuracy: float

    def better_than(self, other: "Validation | None") -> bool:
        """Whether the accuracy is higher, or equal at a lower loss."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass
class Progress:
    """How far a training has come.

    finished: epochs. batches, texts, loss: of the epoch under way, the loss as the sum of its texts' in nats. worse:
    epochs since the best. cpu_seconds: of updates, without validations.
    """

    updates: int = 0
    finished: int = 0
    batches: int = 0
    texts: int = 0
    loss: float = 0.0
    worse: int = 0
    cpu_seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Epochs that have begun."""
        return self.finished + (self.batches > 0)

    def next_epoch(self) -> None:
        self.finished, self.batches, self.texts, self.loss = self.finished + 1, 0, 0, 0.0


class ClassifierTrainer:
    """Trains `network`; `best` is the best validation, whose weights `run` leaves in the network.

    pretrained: the readers are trained already: they are unfrozen layer by layer, and lower layers have lower rates.
    """

    def __init__(
        self,
        network: ClassifierNetwork,
        train: LabelledTexts,
        valid: LabelledTexts,
        options: ClassifyOptions,
        *,
        pretrained: bool,
        reporter: Reporter,
    ) -> None:
        self.network = network
        self.data = train
        self.valid = valid
        self.options = options
        self.pretrained = pretrained
        self.reporter = reporter
        self.groups = layer_groups(network)
        # The schedule, the clipping and Adam's betas are those of language models.
        self.shared = TrainOptions(
            schedule=options.schedule, warmup=options.warmup, clip_norm=options.clip_norm
        )
        self.optimiser = self._make_optimiser()
        self.chance = torch.Generator().manual_seed(options.seed)
        self.batches_per_epoch = sum(1 for _ in self._batches(shuffled=False))
        self.progress = Progress()
        self.history: list[dict[str, Any]] = []
        self.best: Validation | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.shuffle = self.chance.get_state()
        """The state of `chance` at the beginning of the epoch, with which its batches can be drawn again."""

    def run(
        self,
        stop_requested: Callable[[], bool] = lambda: False,
        checkpoint: Callable[[bool], None] = lambda wanted: None,
    ) -> Validation:
        """Train until a limit or a request to stop; the best validation.

        checkpoint: is called after each update and each epoch, when the state can be saved, and with True when it
        must be, before a stop.
        Raises DivergedError when the loss is not finite.
        """
        progress = self.progress
        while not self.over():
            stopped = self._epoch(stop_requested, checkpoint)
            if stopped:
                checkpoint(True)
                if self.best is not None:
                    break
            self._judge()
            if stopped:
                break  # the part of the first epoch has a validation, but is not over
            progress.next_epoch()
            self.shuffle = self.chance.get_state()
            checkpoint(False)
        assert self.best is not None
        restore_weights("the network", named_weights(self.network), self.best_weights)
        self.network.requires_grad_(True)
        return self.best

    @property
    def device(self) -> torch.device:
        return self.network.head.linear.weight.device

    def over(self) -> bool:
        """Whether nothing is left to train."""
        patience = self.options.patience
        return self.progress.finished >= self.options.max_epochs or (
            patience is not None and self.progress.worse >= patience
        )

    def _make_optimiser(self) -> torch.optim.Optimizer:
        options, groups = self.options, []
        assert options.learning_rate is not None
        for distance, parameters in enumerate(self.groups):
            rate = options.learning_rate / (options.layer_decay**distance if self.pretrained else 1.0)
            for decayed in (True, False):
                own = [p for p in parameters if (p.dim() > 1) == decayed]
                decay = options.weight_decay if decayed else 0.0
                if own:
                    groups.append({"params": own, "weight_decay": decay, "lr": rate, "peak": rate})
        return torch.optim.AdamW(groups, betas=(self.shared.beta1, self.shared.beta2), fused=True)

    def _unfreeze(self, epoch: int) -> None:
        """Choose the groups that learn in an epoch: with "gradual", one more each time, from the top."""
        if not self.pretrained or self.options.unfreeze == ALL:
            return
        learning = epoch + 1 if self.options.unfreeze == GRADUAL else 1
        for distance, parameters in enumerate(self.groups):
            for parameter in parameters:
                parameter.requires_grad_(distance < learning)

    def _epoch(self, stop_requested: Callable[[], bool], checkpoint: Callable[[bool], None]) -> bool:
        """The rest of a pass over the texts; whether it was stopped."""
        progress = self.progress
        self._unfreeze(progress.finished)
        self.network.train()
        done, label = progress.batches, f"epoch {progress.finished + 1} of {self.options.max_epochs}"
        for batch in self.reporter(
            islice(self._batches(), done, None), total=self.batches_per_epoch - done, label=label
        ):
            begun = time.process_time()
            progress.loss += self._update(batch, progress.finished) * len(batch)
            progress.texts += len(batch)
            progress.updates += 1
            progress.batches += 1
            progress.cpu_seconds += time.process_time() - begun
            if stop_requested():
                return True
            checkpoint(False)
        return stop_requested()

    def _judge(self) -> None:
        """Validate, report, and keep the weights if they are the best so far."""
        progress = self.progress
        found = self._validate(progress.finished + 1)
        better = found.better_than(self.best)
        if better:
            self.best, progress.worse = found, 0
            self.best_weights = {n: p.detach().clone() for n, p in named_weights(self.network).items()}
        else:
            progress.worse += 1
        self._report(progress.loss / progress.texts, found, better)

    def _update(self, batch: Sequence[int], epoch: int) -> float:
        done = (self.progress.updates + 0.5) / (self.options.max_epochs * self.batches_per_epoch)
        factor = rate_factor(self.shared, done, epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        scores = self.network([self.data.texts[index] for index in batch])
        targets = torch.tensor([self.data.targets[index] for index in batch], device=scores.device)
        loss = F.cross_entropy(scores, targets)
        penalty = self.network.penalty()
        (loss if penalty is None else loss + penalty).backward()
        norm, value = float(clip_gradients(self.network, self.shared)), float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise DivergedError(
                f"the loss became {value} in epoch {epoch + 1}: try a lower --learning-rate than "
                f"{self.options.learning_rate:g} or a smaller --clip-norm"
            )
        self.optimiser.step()
        return value

    def _batches(self, *, shuffled: bool = True) -> Iterator[list[int]]:
        """The indices of the texts of each update: of similar lengths, in random order."""
        count = len(self.data.texts)
        order = torch.randperm(count, generator=self.chance).tolist() if shuffled else list(range(count))
        lengths = [self.data.texts[index].length for index in order]
        size = self.options.batch_size
        parts = list(by_length(lengths, most_tokens=BATCH_TOKENS, most_sequences=size))
        if shuffled:
            parts = [parts[place] for place in torch.randperm(len(parts), generator=self.chance).tolist()]
        return ([order[place] for place in part] for part in parts)

    def _validate(self, epoch: int) -> Validation:
        log_probs = log_probabilities(self.network, self.valid.texts)
        targets = torch.tensor(self.valid.targets)
        return Validation(
            epoch,
            float(F.nll_loss(log_probs, targets)),
            float((log_probs.argmax(1) == targets).double().mean()),
        )

    def _report(self, loss: float, found: Validation, better: bool) -> None:
        seconds = round(self.progress.cpu_seconds, 2)
        valid = {"valid_loss": found.loss, "valid_accuracy": found.accuracy}
        self.history.append(
            {"epoch": found.epoch, "loss": loss, **valid, "cpu_seconds": seconds, "best": better}
        )
        self.reporter.message(
            f"epoch {found.epoch}/{self.options.max_epochs}  loss {loss:.3f}  validation loss {found.loss:.3f}  "
            f"accuracy {found.accuracy:.1%}{'  (best)' if better else ''}"
        )


@torch.no_grad()
def log_probabilities(network: ClassifierNetwork, texts: Sequence[EncodedText]) -> Tensor:
    """(texts, classes) natural logarithms on the CPU, in double precision from the scores on."""
    network.eval()
    found: list[Tensor | None] = [None] * len(texts)
    lengths = [text.length for text in texts]
    for batch in by_length(lengths, most_tokens=BATCH_TOKENS, most_sequences=SCORED_TEXTS):
        rows = network([texts[index] for index in batch]).cpu().double().log_softmax(1)
        for index, row in zip(batch, rows, strict=True):
            found[index] = row
    rows = [row for row in found if row is not None]
    return (
        torch.stack(rows) if rows else torch.zeros(0, network.head.linear.out_features, dtype=torch.float64)
    )
