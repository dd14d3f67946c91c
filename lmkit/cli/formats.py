"""The formats of the export and import commands: lmkit's own, and those of the installed models."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmkit.blame import tried
from lmkit.errors import PluginError, UsageError, suggest
from lmkit.onnx_export.options import OnnxOptions
from lmkit.plugins import Part, registry
from lmkit.specs import FileFormat

ARCHIVE = FileFormat(
    "archive",
    "the files of a run, in a .tar.gz, .tar.xz or .zip",
    "lmkit.archive:write_archive",
    "lmkit.archive:read_archive",
)
TRANSFORMERS = FileFormat(
    "transformers",
    "a folder for transformers' AutoModel, AutoModelForCausalLM, AutoTokenizer and pipeline, for encoders and causal "
    "neural models",
    "lmkit.pipelines.transformers:write_folder",
)
ONNX = FileFormat(
    "onnx",
    "a file for onnxruntime, for causal neural models and bidirectional encoders",
    "lmkit.onnx_export.write:write",
    writer_options=OnnxOptions,
)


@dataclass(frozen=True)
class KnownFormat:
    """A format and its model; lmkit's own formats are for any model."""

    format: FileFormat
    part: Part | None

    @property
    def owner(self) -> str:
        return "lmkit" if self.part is None else self.part.long_name

    def call(self, target: str, *args: Any, **kwargs: Any) -> None:
        """Import the reader or the writer and call it; errors of a plugin become a PluginError."""
        if self.part is None:
            _imported(target)(*args, **kwargs)
            return
        with tried(self.part):
            _imported(target)(*args, **kwargs)


def known_formats() -> list[KnownFormat]:
    """All formats, first lmkit's own and the built-in models'."""
    found = [KnownFormat(item, None) for item in (ARCHIVE, TRANSFORMERS, ONNX)]
    for part in registry().parts("model"):
        found += [KnownFormat(item, part) for item in getattr(part.spec, "formats", ())]
    return found


def names_of(side: str) -> list[str]:
    """The names of the formats that have a "reader" or a "writer"."""
    return list(dict.fromkeys(item.format.name for item in known_formats() if getattr(item.format, side)))


def find_format(name: str, side: str) -> KnownFormat:
    """The format of that name that has a "reader" or a "writer"; a built-in one takes precedence.

    Raises UsageError for an unknown name, PluginError when two plugins have it.
    """
    found = [item for item in known_formats() if item.format.name == name and getattr(item.format, side)]
    if not found:
        raise UsageError(f"there is no format '{name}' with a {side}; {suggest(name, names_of(side))}")
    own = [item for item in found if item.part is None or item.part.plugin.builtin]
    chosen = own or found
    if len(chosen) > 1:
        owners = " and ".join(item.owner for item in chosen)
        raise PluginError(f"two models have a format '{name}': {owners}; uninstall the plugin of one")
    return chosen[0]


def _imported(target: str) -> Callable[..., None]:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
