"""lmkit: language models made of plugins; this module is the Python interface."""

import importlib
from typing import TYPE_CHECKING, Any

from lmkit.hookspecs import hookimpl
from lmkit.specs import CellSpec, DecoderSpec, LoggerSpec, ModelSpec, TokenizerSpec, option

if TYPE_CHECKING:
    from lmkit.api import Model, load, resume, train
    from lmkit.classification.classifier import Classifier, classify, load_classifier, resume_classifier
    from lmkit.part_files import use
    from lmkit.studies.average import average
    from lmkit.studies.compare import compare
    from lmkit.studies.context import context
    from lmkit.studies.distances import distances
    from lmkit.studies.fill import fill
    from lmkit.studies.interpolate import interpolate
    from lmkit.studies.minimal_pairs import minimal_pairs
    from lmkit.studies.sweep import sweep
    from lmkit.studies.syntaxgym import syntaxgym

__version__ = "0.1.0"

__all__ = [
    "CellSpec",
    "Classifier",
    "DecoderSpec",
    "LoggerSpec",
    "Model",
    "ModelSpec",
    "TokenizerSpec",
    "__version__",
    "average",
    "classify",
    "compare",
    "context",
    "distances",
    "fill",
    "hookimpl",
    "interpolate",
    "load",
    "load_classifier",
    "minimal_pairs",
    "option",
    "resume",
    "resume_classifier",
    "sweep",
    "syntaxgym",
    "train",
    "use",
]

_CLASSIFIER = ("Classifier", "classify", "load_classifier", "resume_classifier")
_HOMES = (
    dict.fromkeys(("Model", "load", "resume", "train"), "lmkit.api")
    | {"use": "lmkit.part_files"}
    | dict.fromkeys(_CLASSIFIER, "lmkit.classification.classifier")
    | {
        name: f"lmkit.studies.{name}"
        for name in (
            "average",
            "compare",
            "context",
            "distances",
            "fill",
            "interpolate",
            "minimal_pairs",
            "sweep",
            "syntaxgym",
        )
    }
)


def __getattr__(name: str) -> Any:
    # These import torch, which is too slow for a plugin module or `lmkit --help`.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lmkit' has no attribute {name!r}")
