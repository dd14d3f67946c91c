"""lmkit: language models whose every part is a plugin; this module is the short way in from Python."""

from typing import TYPE_CHECKING, Any

from lmkit.hookspecs import hookimpl
from lmkit.specs import CellSpec, DecoderSpec, ModelSpec, TokenizerSpec, option

if TYPE_CHECKING:
    from lmkit.api import Model, load, resume, train

__version__ = "0.1.0"

__all__ = [
    "CellSpec",
    "DecoderSpec",
    "Model",
    "ModelSpec",
    "TokenizerSpec",
    "__version__",
    "hookimpl",
    "load",
    "option",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    # These pull in torch, which a plugin module or `lmkit --help` must not wait for.
    if name in ("Model", "load", "resume", "train"):
        from lmkit import api

        return getattr(api, name)
    raise AttributeError(f"module 'lmkit' has no attribute {name!r}")
