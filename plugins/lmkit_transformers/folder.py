"""Find and check the files of a causal model of transformers in a folder, and load it without the network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import torch

from lmkit import runs
from lmkit.errors import ModelError, one_line
from lmkit.extras import needs
from lmkit.pickles import SUFFIXES
from lmkit.safetensors_check import check_header

EXTRA = "transformers"
"""The extra that installs the library."""
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MOST_NAMED = 3
"""Weights to name in an error."""


def model_files(folder: Path) -> list[str]:
    """The names of the model's files: its settings and its weights, in one file or in parts with an index.

    Raises ModelError if one is missing or damaged; pickles are never read.
    """
    if (folder / INDEX).is_file():
        parts = runs.read_json(folder / INDEX).get("weight_map")
        if not isinstance(parts, dict) or not all(_is_name(part) for part in parts.values()):
            raise ModelError(
                f"{folder / INDEX}: its weight_map does not name files of the folder; download it again"
            )
        names = [INDEX, *sorted(set(parts.values()))]
    elif (folder / WEIGHTS).is_file():
        names = [WEIGHTS]
    else:
        pickled = sorted(path.name for path in folder.glob("*") if path.suffix in SUFFIXES)
        instead = f", only {pickled[0]}, a pickle, which can run any code" if pickled else ""
        raise ModelError(
            f"{folder} has no {WEIGHTS}{instead}; save the model there with model.save_pretrained({str(folder)!r}) of "
            "transformers"
        )
    for name in names:
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name}: missing; download it again")
        if name != INDEX:
            check_header(folder / name)
    return [CONFIG, *names]


def _is_name(part: Any) -> bool:
    return isinstance(part, str) and part.endswith(".safetensors") and PurePath(part).name == part


def copy_model(folder: Path, target: Path) -> None:
    """Copy the model's files into another folder."""
    for name in model_files(folder):
        shutil.copyfile(folder / name, target / name)


def load_model(folder: Path) -> Any:
    """The model in a folder, in float32 on the CPU, for inference.

    Raises UsageError if transformers is missing, ModelError if the files are damaged, or if they are not of a causal
    model that transformers itself contains.
    """
    transformers = needs("transformers", EXTRA)
    model_files(folder)
    settings = {"local_files_only": True, "trust_remote_code": False}
    with _silent(transformers), _blamed(folder):
        config = transformers.AutoConfig.from_pretrained(folder, **settings)
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(
                f"{folder}: a {config.model_type} reads its input with an encoder; give a causal model"
            )
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **settings,
        )
    wrong = sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"])))
    if wrong:
        named = ", ".join(wrong[:MOST_NAMED]) + (", ..." if len(wrong) > MOST_NAMED else "")
        raise ModelError(
            f"{folder}: its safetensors lack {len(wrong)} of the weights of {type(model).__name__} ({named}); give the "
            "folder of a causal model, or download it again"
        )
    return model.eval()


def check_causal(model: Any, folder: Path) -> None:
    """Raise ModelError if a later token changes an earlier prediction, as in BERT."""
    ids = torch.arange(8)[None] % model.config.vocab_size
    changed = ids.clone()
    changed[0, -1] = 0
    with torch.no_grad(), _blamed(folder):
        first, second = (model(input_ids=row, use_cache=False).logits[0, :-1] for row in (ids, changed))
    if not torch.allclose(first, second, atol=1e-3, rtol=1e-3):
        raise ModelError(
            f"{folder}: a {model.config.model_type} sees the tokens on both sides, so it gives a text no causal score; "
            "give a causal model, such as GPT-2"
        )


@contextmanager
def _blamed(folder: Path) -> Iterator[None]:
    """Turn an error of transformers into a ModelError with the folder."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError, RuntimeError) as error:
        reason = one_line(error)
        reason = reason if len(reason) <= 200 else f"{reason[:200]}..."
        raise ModelError(
            f"{folder}: transformers cannot load it as a causal model ({reason}); check {CONFIG} or "
            "update transformers"
        ) from error


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Without the library's bars and advice; what matters here is an error."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
