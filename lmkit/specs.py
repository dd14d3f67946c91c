"""The light descriptions that plugins return: a name, a lazy target and a dataclass of options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

API = 1
"""The version of the plugin API. It changes only when a change breaks correct plugins."""

MOST_IDS = 2**31 - 1
"""The largest size of a vocabulary, and the most tokens that an array can number: ids are int32."""


@dataclass(frozen=True)
class NoOptions:
    """The options of a part that has none."""


@dataclass(frozen=True)
class Spec:
    """What the registry knows of a part before its code is imported.

    name: what people type, lower-case letters, digits, `-` and `_`.
    target: "module:object", imported only when the part is used.
    summary: one line for `lmkit plugins list`.
    options: a frozen dataclass whose fields are made by `option`.
    api: the version of the plugin API that the plugin was written for.
    """

    kind: ClassVar[str] = ""
    contracts: ClassVar[tuple[str, ...]] = ()
    """What the target must be a subclass of, one of these, as "module:class"."""

    name: str
    target: str
    summary: str = ""
    options: type = NoOptions
    api: int = API


@dataclass(frozen=True)
class TokenizerSpec(Spec):
    """Target: a `lmkit.contracts.Tokenizer`; it is fitted, saved and loaded with `options`."""

    kind: ClassVar[str] = "tokenizer"
    contracts: ClassVar[tuple[str, ...]] = ("lmkit.contracts:Tokenizer",)


@dataclass(frozen=True)
class CellSpec(Spec):
    """Target: a `lmkit.recurrence.Cell`, called as `target(input_size, hidden_size, options)`."""

    kind: ClassVar[str] = "cell"
    contracts: ClassVar[tuple[str, ...]] = ("lmkit.recurrence:Cell",)


@dataclass(frozen=True)
class FileFormat:
    """Files of another program that a kind of model can be read from or written to.

    name: what `lmkit export --to NAME` and `lmkit import NAME` take. summary: of the files, one line for help.
    writer: "module:function", called as `write(run, file, overwrite=...)` with a `lmkit.runs.LoadedRun` of this
    very model; it raises UsageError when the file exists and is not to be overwritten. None: no export.
    reader: "module:function", called as `read(file, out, overwrite=..., max_expansion=..., options=...)`; it
    makes the run `out` (`lmkit.runs.make_run`), whole or not at all. None: no import.
    options: a frozen dataclass of what a reader can be told beside these.
    takes_file: False where a model is in several files, each an option: `read(out, overwrite=..., options=...)`.
    """

    name: str
    summary: str
    writer: str | None = None
    reader: str | None = None
    options: type = NoOptions
    takes_file: bool = True


@dataclass(frozen=True)
class ModelSpec(Spec):
    """Target: a `lmkit.contracts.LanguageModel`, called as `target(options, vocabulary)`.

    tokenizers: by a tokenizer's long name, options whose defaults are others for this model.
    formats: the files of other programs that it can be exported to or imported from.
    """

    kind: ClassVar[str] = "model"
    contracts: ClassVar[tuple[str, ...]] = ("lmkit.contracts:LanguageModel", "lmkit.contracts:Encoder")
    tokenizers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    formats: tuple[FileFormat, ...] = ()


@dataclass(frozen=True)
class DecoderSpec(Spec):
    """Target: a `lmkit.contracts.Decoder`, called as `target(options)`."""

    kind: ClassVar[str] = "decoder"
    contracts: ClassVar[tuple[str, ...]] = ("lmkit.contracts:Decoder",)


KINDS: dict[str, type[Spec]] = {s.kind: s for s in (TokenizerSpec, CellSpec, ModelSpec, DecoderSpec)}


def option(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    choices: tuple[str, ...] = (),
    kind: str | None = None,
) -> Any:
    """A field of an options dataclass.

    The annotation gives the type: `int`, `float`, `str`, `bool`, or one of these `| None`. With
    `| tuple[int, ...]` a list of several may be given: "400,200" on the command line.
    min, max: inclusive bounds. choices: the allowed strings.
    kind: the value is the name of a registered part of that kind ("cell"), with options of its own nested
    under it; the annotation is `lmkit.options.Chosen` and the default is the name.
    """
    return field(
        default=default, metadata={"help": help, "min": min, "max": max, "choices": choices, "kind": kind}
    )
