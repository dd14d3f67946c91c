"""`--workers`: start processes that open the model of a command."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.contracts import Encoder, LanguageModel
    from lmkit.embedding.layers import Selection
    from lmkit.workers import Workers

Load = dict[str, Any]
"""Arguments of `lmkit.api.load`."""


def device_with(workers: int | None, device: str) -> str:
    """The device with --workers, which share the work on the CPU; UsageError if another one is given."""
    if workers is None:
        return device
    if device not in ("auto", "cpu"):
        raise UsageError(f"--workers share the work on the CPU: leave --device {device} out")
    return "cpu"


def scoring_workers(
    count: int | None, run: Path, load: Load, direction: str
) -> "AbstractContextManager[Workers | None]":
    """Workers that score with a direction of a run; None without --workers."""
    if count is None:
        return nullcontext()
    if adapting := [name for name in ("cache", "dynamic") if load.get(name) is not None]:
        raise UsageError(
            f"--{adapting[0]} adapts to the text in its order, so workers cannot share it: leave --workers out"
        )
    from lmkit.workers import Workers

    return Workers(count, partial(_open_model, run, load, direction, _threads(count)))


def embedding_workers(
    count: int | None, run: Path, load: Load, layer: str | int, pool: str
) -> "AbstractContextManager[Workers | None]":
    """Workers that embed with a run; None without --workers."""
    if count is None:
        return nullcontext()
    from lmkit.workers import Workers

    return Workers(count, partial(_open_encoder, run, load, layer, pool, _threads(count)))


def _threads(count: int) -> int:
    """The threads of each of `count` workers."""
    import torch

    return max(1, torch.get_num_threads() // count)


def _open_model(run: Path, load: Load, direction: str, threads: int) -> "LanguageModel":
    import torch

    from lmkit import api

    torch.set_num_threads(threads)
    return api.load(run, **load).directions[direction]


def _open_encoder(
    run: Path, load: Load, layer: str | int, pool: str, threads: int
) -> "tuple[Encoder, Selection]":
    import torch

    from lmkit import api
    from lmkit.embedding.layers import selection

    torch.set_num_threads(threads)
    encoder = api.load(run, **load).encoder
    return encoder, selection(encoder, layer, pool)
