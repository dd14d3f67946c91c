"""The hooks of a plugin: tokenizers, cells, models, decoders and loggers."""

from collections.abc import Iterable

import pluggy

from lmkit.specs import CellSpec, DecoderSpec, LoggerSpec, ModelSpec, TokenizerSpec

hookspec = pluggy.HookspecMarker("lmkit")
hookimpl = pluggy.HookimplMarker("lmkit")
"""Marks a function of a plugin's module as one of the hooks below."""


@hookspec
def lmkit_tokenizers() -> Iterable[TokenizerSpec]:  # pyright: ignore[reportReturnType]
    """Tokenizers: text to ids and back; targets are `lmkit.contracts.Tokenizer` classes."""


@hookspec
def lmkit_cells() -> Iterable[CellSpec]:  # pyright: ignore[reportReturnType]
    """Recurrent cells: each becomes a choice for `--cell` and a name for `--model`."""


@hookspec
def lmkit_models() -> Iterable[ModelSpec]:  # pyright: ignore[reportReturnType]
    """Models: targets are `lmkit.contracts.LanguageModel` or `lmkit.contracts.Encoder` classes."""


@hookspec
def lmkit_decoders() -> Iterable[DecoderSpec]:  # pyright: ignore[reportReturnType]
    """Decoders: ways to choose words from a model; targets are `lmkit.contracts.Decoder` classes."""


@hookspec
def lmkit_loggers() -> Iterable[LoggerSpec]:  # pyright: ignore[reportReturnType]
    """Loggers: where the figures of a training go too; targets are `lmkit.contracts.Logger` classes."""
