"""Average the weights of several runs, or of the last checkpoints of one, into a new run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from lmkit import runs
from lmkit.errors import CheckpointError, ModelError, UsageError, listed
from lmkit.neural.trainable import TrainableModel
from lmkit.neural.weights import named_weights
from lmkit.options import to_table
from lmkit.run_paths import CHECKPOINTS, RECIPE
from lmkit.studies.inputs import Paths, path_list
from lmkit.training import checkpoint


@dataclass(frozen=True)
class Average:
    """A new run, and the runs or checkpoints whose weights it averages."""

    run: Path
    of: list[Path]


def average(
    models: Paths, out: str | PathLike[str], *, last: int | None = None, overwrite: bool = False
) -> Average:
    """Write a run whose weights are the means of those of several runs, or of the `last` checkpoints of one.

    models: directories of runs with the same model, options and vocabulary, such as those of several seeds that were
    trained from the same weights. Raises UsageError for runs that do not fit together and if `out` is taken,
    ModelError for a run without trained weights, CheckpointError for missing or damaged checkpoints.
    """
    out, paths = Path(out), [Path(path) for path in path_list(models)]
    runs.check_free(out, overwrite=overwrite)
    if last is not None and len(paths) != 1:
        raise UsageError(f"--last averages the checkpoints of one run, not of {len(paths)} runs; give one")
    if last is None and len(paths) < 2:
        raise UsageError("an average needs two runs or more, or the checkpoints of one: --last N")
    first = runs.load_run(paths[0])
    network = _network(first)
    if last is None:
        of = paths
        weights = (_weights(first, runs.load_run(path)) for path in paths)
    else:
        of = _checkpoints(paths[0], last)
        weights = (_saved(folder, network) for folder in of)
    with torch.no_grad():
        for name, tensor in mean(weights).items():
            named_weights(network)[name].copy_(tensor)
    runs.make_run(
        out, first.model, first.tokenizer,
        model_choice=first.model_choice, tokenizer_choice=first.tokenizer_choice,
        data={**first.manifest["data"], "notice": f"the mean of the weights of {_named(of)}"},
        training={"carried_tokens": first.carried}, recipe=paths[0] / RECIPE, overwrite=overwrite,
    )  # fmt: skip
    return Average(out, of)


def mean(weights: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The means of tensors of the same names, computed in float64; those of whole numbers are the first ones."""
    total: dict[str, Tensor] = {}
    count = 0
    for count, tensors in enumerate(weights, 1):  # noqa: B007 (used after the loop)
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                total.setdefault(name, tensor.clone())
            elif name in total:
                total[name] += tensor
            else:
                total[name] = tensor.double()
    return {name: sums / count if sums.is_floating_point() else sums for name, sums in total.items()}


def _network(run: runs.LoadedRun) -> TrainableModel:
    if not isinstance(run.model, TrainableModel):
        raise ModelError(
            f"{run.directory} holds a model without trained weights ({run.model_choice.name}); give runs of neural "
            "models"
        )
    return run.model


def _weights(first: runs.LoadedRun, run: runs.LoadedRun) -> dict[str, Tensor]:
    """The weights of a run; UsageError unless it fits the first."""
    network = _network(run)
    if run.model.vocabulary.fingerprint != first.model.vocabulary.fingerprint:
        raise UsageError(
            f"{run.directory}: it has another vocabulary than {first.directory}; average runs of one text and tokenizer"
        )
    before, now = to_table(first.model_choice), to_table(run.model_choice)
    if found := [str(one) for one in checkpoint.differences(before, now)]:
        raise UsageError(
            f"{run.directory}: its model differs from that of {first.directory}: {listed(found)}; average runs with "
            "the same options"
        )
    return {name: tensor.detach() for name, tensor in named_weights(network).items()}


def _checkpoints(run: Path, last: int) -> list[Path]:
    """The folders of the last checkpoints of a run, oldest first."""
    found = sorted((run / CHECKPOINTS).glob("step-*"))
    if last < 2 or len(found) < last:
        raise CheckpointError(
            f"{run / CHECKPOINTS}: the number of checkpoints is {len(found)}, wanted {last} (at least 2); train with "
            f"--keep {max(last, 2)} and a smaller --save-every to have more"
        )
    return found[-last:]


def _saved(folder: Path, network: TrainableModel) -> dict[str, Tensor]:
    """The weights in a checkpoint."""
    try:
        found = checkpoint.read(folder).tensors["model"]
    except checkpoint.DAMAGE as error:
        raise CheckpointError(f"{folder}: damaged ({error}); leave it out with a smaller --last") from error
    wanted = {name: tensor.shape for name, tensor in named_weights(network).items()}
    if {name: tensor.shape for name, tensor in found.items()} != wanted:
        raise CheckpointError(f"{folder}: its weights are not those of the run's model; train the run again")
    return found


def _named(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)
