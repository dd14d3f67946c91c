"""Write checkpoints so that a crash at any moment leaves the previous ones intact, and check them when reading."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
from safetensors import SafetensorError

from lmkit import strict_json
from lmkit.errors import CheckpointError, LmkitError, reason_of
from lmkit.files import place_folder, sha256, sync_file, write_text
from lmkit.manifest import read_json
from lmkit.run_paths import CHECKPOINT_STATE as STATE
from lmkit.run_paths import CHECKPOINTS

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
DIGESTS = "manifest.json"
SECONDS = 300.0
"""Default number of seconds between checkpoints."""

CRASH_POINTS = ("begun", "tensors", "state", "manifest", "renamed", "pruned")
"""The stages of a save, in order; tests kill the process after each."""

DAMAGE = (LmkitError, OSError, SafetensorError, KeyError, TypeError, ValueError)
"""Possible errors when reading a damaged checkpoint."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """Everything that training needs to continue with identical results.

    tensors: groups ("model", "optimiser", "hidden", "random") of tensors by name. facts: JSON values.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run: the newest `keep` of them."""

    def __init__(
        self, directory: Path, *, keep: int, every: int | None, facts: dict[str, Any] | None = None
    ) -> None:
        """every: steps between checkpoints; None: about five minutes. facts: additional facts for each checkpoint."""
        self.folder = directory / CHECKPOINTS
        self.keep = keep
        self.every = every
        self.facts = facts or {}
        self._saved_at = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a checkpoint should be written after this step."""
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self._saved_at >= SECONDS

    def save(self, snapshot: Snapshot, *, last: bool = False) -> None:
        """Write a checkpoint and remove the oldest ones.

        When the disk is full, the previous ones stay, with a warning, and the next save tries again; CheckpointError
        if this is the last one of the run.
        """
        self._saved_at = time.monotonic()
        try:
            self._write(snapshot)
        except OSError as error:
            shutil.rmtree(self._hidden(snapshot.step), ignore_errors=True)
            message = f"{self.folder}: the checkpoint of step {snapshot.step} cannot be written ({reason_of(error)})"
            if last:
                raise CheckpointError(
                    f"{message}: free some space, then continue from the previous one with --resume"
                ) from error
            log.warning("%s: the previous ones are intact; the next save tries again", message)

    def newest(self) -> Snapshot:
        """The newest complete checkpoint, with a warning for each damaged one; CheckpointError without any."""
        folders = self._all()
        if not folders:
            raise CheckpointError(
                f"{self.folder.parent} has no checkpoint to resume from; train the model again, or go on from its "
                f"weights: lmkit train TEXT --init-from {self.folder.parent} --out DIR"
            )
        for folder in reversed(folders):
            try:
                return read(folder)
            except DAMAGE as error:
                log.warning("%s is damaged (%s): trying an older one", folder, error)
        raise CheckpointError(
            f"{self.folder}: every checkpoint is damaged; restore one, or train again with --overwrite"
        )

    def _write(self, snapshot: Snapshot) -> None:
        self.folder.mkdir(exist_ok=True)
        hidden, final = self._hidden(snapshot.step), self.folder / f"step-{snapshot.step:09d}"
        if final.exists():
            if is_whole(final):
                return  # the same state, saved before an interruption at this very step
            shutil.rmtree(final)
        for left_over in self.folder.glob(".step-*"):  # by a killed process
            shutil.rmtree(left_over, ignore_errors=True)
        hidden.mkdir()
        crash_point("begun")
        from lmkit.neural.weights import save_tensors

        digests = {}
        for group, tensors in snapshot.tensors.items():
            path = hidden / f"{group}.safetensors"
            save_tensors(tensors, path)
            sync_file(path)
            digests[path.name] = sha256(path)
        crash_point("tensors")
        facts = {
            "format": FORMAT,
            "step": snapshot.step,
            "groups": list(snapshot.tensors),
            **self.facts,
            **snapshot.facts,
        }
        write_text(hidden / STATE, strict_json.dumps(facts, indent=1))
        digests[STATE] = sha256(hidden / STATE)
        crash_point("state")
        # The digests come last: a folder without them is not a checkpoint.
        write_text(hidden / DIGESTS, strict_json.dumps(digests, indent=1))
        crash_point("manifest")
        place_folder(hidden, final)
        crash_point("renamed")
        # Training continues from the newest complete one, so later ones are damaged.
        kept = [folder for folder in self._all() if folder <= final][-self.keep :]
        for folder in set(self._all()).difference(kept):
            shutil.rmtree(folder)
        crash_point("pruned")

    def _hidden(self, step: int) -> Path:
        return self.folder / f".step-{step:09d}"

    def _all(self) -> list[Path]:
        """The folders of finished checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*"))


def read(folder: Path) -> Snapshot:
    """A checkpoint whose files all match its digests; any kind of error if one does not."""
    check_digests(folder)
    facts = read_json(folder / STATE)
    if facts["format"] != FORMAT:
        raise CheckpointError(f"it has format {facts['format']}, this lmkit reads {FORMAT}")
    tensors = {}
    for group in facts["groups"]:
        with safetensors.safe_open(folder / f"{Path(group).name}.safetensors", "pt") as file:
            # Copies, because memory mapped from a file is not aligned like torch's own, which may change the rounding
            # of matrix products.
            tensors[group] = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    return Snapshot(facts["step"], tensors, facts)


def check_digests(folder: Path) -> list[Path]:
    """The files of a checkpoint; any kind of error unless all match its digests."""
    digests = read_json(folder / DIGESTS)
    for name, digest in digests.items():
        if Path(name).name != name or sha256(folder / name) != digest:
            raise CheckpointError(f"{name} has changed since it was saved")
    return [folder / name for name in digests]


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint can be read."""
    try:
        read(folder)
    except DAMAGE:
        return False
    return True


@dataclass(frozen=True)
class Difference:
    """A setting, by its dotted name, that differs between two tables."""

    name: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.name} was {self.before!r}, now {self.after!r}"


def differences(then: dict[str, Any], now: dict[str, Any], where: str = "") -> Iterator[Difference]:
    """The settings in which two tables differ; None for one that a table lacks."""
    for name in sorted(then.keys() | now.keys()):
        before, after = then.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{where}{name}.")
        elif before != after:
            yield Difference(f"{where}{name}", before, after)


def crash_point(name: str) -> None:
    """A stage of the save where tests can interrupt; it does nothing."""
