"""The plan of a training of several processes, which the one that leads sends to the others before the first step."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmkit import recipe as recipes
from lmkit import run_paths
from lmkit.errors import DataError
from lmkit.recipe import Recipe
from lmkit.training.checkpoint import Snapshot
from lmkit.training.loop import Trainer
from lmkit.training.processes import Processes
from lmkit.training.snapshot import snapshot
from lmkit.training.text import Corpus


@dataclass(frozen=True)
class Plan:
    """directory: that of the run. recipe: its tables. tokenizer: its files. fingerprints: those of the corpus.

    start: the state of the training that all processes begin with.
    """

    directory: Path
    recipe: dict[str, Any]
    tokenizer: dict[str, bytes]
    fingerprints: dict[str, str]
    validation_tokens: int
    validates: bool
    start: Snapshot
    stop_after: int | None


def share_training(
    trainer: Trainer,
    processes: Processes,
    directory: Path,
    recipe: Recipe,
    corpus: Corpus,
    stop_after: int | None,
) -> None:
    """Send the plan of a trainer to the processes that follow, and share its streams with them."""
    if processes.count == 1:
        return
    streams = trainer.streams.batch_size
    if streams < processes.count:
        raise DataError(
            f"the text is too short for {processes.count} processes: it is read in {streams} streams; start fewer "
            "processes, or give a lower --bptt"
        )
    trainer.reporter.message(f"{processes.count} processes share the {streams} streams")
    processes.lead(
        lambda: Plan(
            directory,
            recipes.to_tables(recipe),
            files_in(directory / run_paths.TOKENIZER),
            corpus.fingerprints(),
            corpus.valid.num_tokens if corpus.valid else 0,
            trainer.validate is not None,
            on_cpu(snapshot(trainer)),
            stop_after,
        )
    )
    trainer.share(processes)


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their paths in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def on_cpu(saved: Snapshot) -> Snapshot:
    """The same snapshot in the memory of the CPU."""
    groups = saved.tensors.items()
    return replace(
        saved,
        tensors={group: {name: t.detach().cpu() for name, t in tensors.items()} for group, tensors in groups},
    )
