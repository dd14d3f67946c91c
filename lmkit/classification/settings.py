"""The settings of a classifier, from flags on the command line or keywords in Python."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmkit.classification.options import ClassifyOptions
from lmkit.errors import UsageError
from lmkit.option_owners import MODEL, TOKENIZER, Named, Owner, training_owners
from lmkit.options import resolve
from lmkit.recipe import Recipe, build

SCRATCH_RATE, PRETRAINED_RATE = 0.002, 0.01
"""Default learning rates; the second is that of Howard and Ruder (2018)."""

_TRAINING = Owner("Training options", ("train",), ClassifyOptions)
OWN_OPTIONS = (
    "--resume continues with the texts and the options of its training; "
    "leave all but --device and --threads out"
)


@dataclass(frozen=True)
class Settings:
    """recipe: the model and the tokenizer of a classifier from scratch, and how texts are read.

    init_from: a run whose model and tokenizer are used instead.
    """

    options: ClassifyOptions
    recipe: Recipe
    init_from: Path | None = None


def classify_owners(
    init_from: str | Path | None,
    named: Named,
    *,
    spell: Callable[[str], str] = str,
    default_model: bool = True,
) -> list[Owner]:
    """The owners of a classifier's options; with a run to begin from, they are only the training and the data."""
    if init_from is not None and (given := [kind for kind in ("model", "tokenizer") if (kind,) in named]):
        raise UsageError(
            f"{spell('init_from')} uses the model and the tokenizer of its run; leave {spell(given[0])} out"
        )
    _, *others = training_owners({}, named, spell=spell, default_model=default_model)
    kept = [owner for owner in others if init_from is None or owner.path[0] not in (*MODEL, *TOKENIZER)]
    return [_TRAINING, *kept]


def resume_owners(named: Named) -> list[Owner]:
    """The owners of options beside --resume, which keeps the model and the tokenizer."""
    if any((kind,) in named for kind in ("model", "tokenizer")):
        raise UsageError(OWN_OPTIONS)
    return [_TRAINING]


def settings_of(tables: Mapping[str, Any], init_from: str | Path | None) -> Settings:
    """The settings in tables, as `lmkit.option_owners` makes them."""
    others = {name: table for name, table in tables.items() if name != "train"}
    options: ClassifyOptions = resolve(ClassifyOptions, tables.get("train", {}), "train")
    if options.pool is None:
        options = replace(options, pool="last" if init_from is None else "concat")
    if options.learning_rate is None:
        options = replace(options, learning_rate=SCRATCH_RATE if init_from is None else PRETRAINED_RATE)
    return Settings(options, build(others), None if init_from is None else Path(init_from))
