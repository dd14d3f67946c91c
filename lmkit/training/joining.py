"""Join the processes that torchrun started for one training."""

import contextlib
from collections.abc import Iterator

from lmkit import launch
from lmkit.errors import UsageError
from lmkit.kinds import is_trainable_class
from lmkit.recipe import Recipe
from lmkit.training.processes import ALONE, Processes


def check_shared(recipe: Recipe, number: int) -> None:
    """Raise UsageError if this number of processes cannot share the training of a recipe."""
    batch_size = recipe.train.batch_size
    if number > 1 and not is_trainable_class(recipe.model.load()):
        raise UsageError(
            f"the model {recipe.model.name} is not trained by gradient descent, so processes cannot share it: "
            "start lmkit train without torchrun"
        )
    if batch_size % number:
        raise UsageError(
            f"--batch-size {batch_size} counts the streams of all processes together, and {number} cannot have "
            f"equal parts: give a multiple of {number}"
        )


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, connected inside the block."""
    if launch.started() == 1:
        yield ALONE
        return
    from lmkit.training.group import connected

    with connected() as group:
        yield group
