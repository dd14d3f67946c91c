"""Save the training of a classifier, so that `lmkit classify --resume` continues it to the last bit."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from lmkit import runs
from lmkit.classification import run_files
from lmkit.classification.examples import Example, LabelledText
from lmkit.classification.training import ClassifierTrainer, Progress, Validation
from lmkit.corpus.options import DataOptions
from lmkit.errors import CheckpointError, LmkitError
from lmkit.neural.weights import named_weights
from lmkit.notes import NOTE
from lmkit.options import resolve, to_table
from lmkit.recurrence import tiers
from lmkit.run_paths import CHECKPOINTS, CLASSIFIER_START
from lmkit.training.checkpoint import Checkpoints, Snapshot, differences
from lmkit.training.saved_state import is_count, is_number
from lmkit.training.snapshot import (
    machine,
    optimiser_state,
    random_states,
    restore_optimiser,
    restore_random,
    restore_weights,
)

log = logging.getLogger(__name__)


class Keeper:
    """Writes the checkpoints of a training in the directory of its classifier, the first after some minutes.

    Beside them is the classifier as it was at the first one, whose files say what the network is made of.
    """

    def __init__(self, directory: Path, facts: Mapping[str, Any], *, begun: bool = False) -> None:
        """facts: for each checkpoint. begun: there are checkpoints of this training already."""
        self.directory = directory
        self.begun = begun
        self.checkpoints = Checkpoints(directory, keep=1, every=None, facts=dict(facts))

    def keep(self, trainer: ClassifierTrainer, parts: run_files.Parts, wanted: bool) -> None:
        """Write a checkpoint if one is wanted or due."""
        if not wanted and not self.checkpoints.due(trainer.progress.updates):
            return
        if not self.begun:
            runs.clear(self.directory)  # of the run that --overwrite replaces
            run_files.save(parts, start_of(self.directory), [], overwrite=False)
            self.begun = True
        self.checkpoints.save(snapshot(trainer), last=wanted)


def start_of(directory: Path) -> Path:
    """The directory of the classifier as it was at the first checkpoint."""
    return directory / CHECKPOINTS / CLASSIFIER_START


def snapshot(trainer: ClassifierTrainer) -> Snapshot:
    """Weights, best weights, optimiser, random states and progress."""
    network = trainer.network
    return Snapshot(
        trainer.progress.updates,
        {
            "model": dict(named_weights(network)),
            "best": trainer.best_weights,
            "optimiser": optimiser_state(network, trainer.optimiser),
            "random": {**random_states(trainer.device), "shuffle": trainer.shuffle},
        },
        {
            "progress": asdict(trainer.progress),
            "best": None if trainer.best is None else asdict(trainer.best),
            "history": trainer.history,
            "machine": machine(network, 1),
            "tiers": tiers.progress(network),
        },
    )


def restore(trainer: ClassifierTrainer, saved: Snapshot) -> None:
    """Restore a snapshot in a trainer of the same texts and options; CheckpointError if it does not fit."""
    try:
        _restore(trainer, saved)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise _damaged(saved, f"{type(error).__name__}: {error}") from error
    for difference in differences(saved.facts["machine"], machine(trainer.network, 1)):
        log.log(NOTE, "the result may differ in the last bits from an uninterrupted run: %s", difference)


def _restore(trainer: ClassifierTrainer, saved: Snapshot) -> None:
    facts, network = saved.facts, trainer.network
    progress = Progress(**facts["progress"])
    counts = (progress.updates, progress.finished, progress.batches, progress.texts, progress.worse)
    if not all(map(is_count, counts)) or not (is_number(progress.loss) and is_number(progress.cpu_seconds)):
        raise ValueError("its progress is not that of a training")
    if progress.finished > trainer.options.max_epochs or progress.updates != saved.step:
        raise ValueError("the numbers of steps in it contradict each other")
    restore_weights("the network", named_weights(network), saved.tensors["model"])
    if facts["best"] is not None:
        trainer.best = Validation(**facts["best"])
        best = {name: tensor.detach().clone() for name, tensor in named_weights(network).items()}
        restore_weights("the best weights", best, saved.tensors["best"])
        trainer.best_weights = best
    restore_optimiser(network, trainer.optimiser, saved.tensors["optimiser"])
    trainer.shuffle = saved.tensors["random"]["shuffle"]
    trainer.chance.set_state(trainer.shuffle)
    trainer.history = [dict(record) for record in facts["history"]]
    trainer.progress = progress
    tiers.restore_progress(network, facts["tiers"])
    restore_random(saved.tensors["random"], trainer.device)


def facts_of(
    text: LabelledText,
    valid: LabelledText | None,
    pretrained: bool,
    examples: Sequence[Example],
    held_out: Sequence[Example] | None,
) -> dict[str, Any]:
    """What each checkpoint says of the training: where the texts are, for `texts_of`, and their fingerprint."""
    texts = {
        "tables": list(text.tables),
        "label": text.label,
        "classes": [list(pair) for pair in text.classes],
        "valid": None if valid is None else list(valid.tables),
        "options": to_table(text.options),
    }
    return {"texts": texts, "pretrained": pretrained, "fingerprint": _fingerprint(examples, held_out)}


def texts_of(saved: Snapshot) -> tuple[LabelledText, LabelledText | None]:
    """The texts of training and of validation; CheckpointError if the checkpoint does not tell."""
    try:
        facts = saved.facts["texts"]
        options: DataOptions = resolve(DataOptions, facts["options"], "texts")
        classes = tuple((str(label), str(file)) for label, file in facts["classes"])
        text = LabelledText(tuple(map(str, facts["tables"])), str(facts["label"]), classes, options)
        held_out = facts["valid"]
        valid = None if held_out is None else LabelledText(tuple(map(str, held_out)), text.label, (), options)
    except (KeyError, TypeError, ValueError, LmkitError) as error:
        raise _damaged(saved, str(error)) from error
    return text, valid


def _fingerprint(*parts: Sequence[Example] | None) -> str:
    """The SHA-256 of all texts and labels, in order."""
    whole = sha256()
    for examples in parts:
        for example in examples or ():
            whole.update(f"{example.text}\0{example.label}\n".encode("utf-8", "surrogatepass"))
        whole.update(b"\0")
    return whole.hexdigest()


def _damaged(saved: Snapshot, reason: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint of step {saved.step} is damaged ({reason}); restore it, or train again with --overwrite"
    )
