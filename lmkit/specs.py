"""The specs that plugins return: a name, a lazy target and a dataclass of options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

API = 1
"""The version of the plugin API. It changes only when a change breaks correct plugins."""

MOST_IDS = 2**31 - 1
"""The largest size of a vocabulary, and the largest number of tokens: ids are int32."""


@dataclass(frozen=True)
class NoOptions:
    """The options of a part without options."""


@dataclass(frozen=True)
class Spec:
    """The description of a part, available before its code is imported.

    name: lower-case letters, digits, `-` and `_`.
    target: "module:object", imported only when the part is used.
    summary: one line for `lmkit plugins list`.
    options: a frozen dataclass whose fields are made by `option`.
    api: the version of the plugin API that the plugin was written for.
    """

    kind: ClassVar[str] = ""
    contracts: ClassVar[tuple[str, ...]] = ()
    """The allowed base classes of the target, as "module:class"."""

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
    """A file format of another program that a kind of model can be read from or written to.

    name: for `lmkit export --to NAME` and `lmkit import NAME`. summary: of the files, one line for help.
    writer: "module:function", called as `write(run, file, overwrite=...)` with a `lmkit.runs.LoadedRun` of this
    kind of model; it raises UsageError when the file exists and `overwrite` is false. None: no export.
    writer_options: a frozen dataclass of the writer's other options, which it then gets as `options=...`.
    reader: "module:function", called as `read(file, out, overwrite=..., max_expansion=..., options=...)`; it
    creates the run `out` (`lmkit.runs.make_run`) atomically. None: no import.
    options: a frozen dataclass of the reader's other options.
    takes_file: False if a model has several files, each given by an option: `read(out, overwrite=..., options=...)`.
    others: what to do about a model of another kind, for the error when one is exported; "" if there is no more to say.
    """

    name: str
    summary: str
    writer: str | None = None
    reader: str | None = None
    options: type = NoOptions
    takes_file: bool = True
    writer_options: type = NoOptions
    others: str = ""


@dataclass(frozen=True)
class ModelSpec(Spec):
    """Target: a `lmkit.contracts.LanguageModel`, called as `target(options, vocabulary)`.

    tokenizers: by a tokenizer's long name, this model's defaults for its options.
    formats: file formats of other programs for export and import.
    command: what to type for such a model, for one that `lmkit train` does not make; "" for any other.
    counter: "module:function" that counts the n-grams of a text for `lmkit count`, called as
    `count(corpus, vocabulary, order, least, boundaries=..., memory=..., scratch=..., progress=...)`; it yields blocks
    of ids (n-grams, order) int32, with vocabulary.size for `<s>`, and counts (n-grams,) int32 of at least `least`.
    """

    kind: ClassVar[str] = "model"
    contracts: ClassVar[tuple[str, ...]] = ("lmkit.contracts:LanguageModel", "lmkit.contracts:Encoder")
    tokenizers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    formats: tuple[FileFormat, ...] = ()
    counter: str | None = None
    command: str = ""


@dataclass(frozen=True)
class DecoderSpec(Spec):
    """Target: a `lmkit.contracts.Decoder`, called as `target(options)`."""

    kind: ClassVar[str] = "decoder"
    contracts: ClassVar[tuple[str, ...]] = ("lmkit.contracts:Decoder",)


@dataclass(frozen=True)
class LoggerSpec(Spec):
    """Target: a `lmkit.contracts.Logger`, called as `target(folder, name, settings)`.

    It has no options: what its library needs to know comes from the library's own settings and environment.
    """

    kind: ClassVar[str] = "logger"
    contracts: ClassVar[tuple[str, ...]] = ("lmkit.contracts:Logger",)


KINDS: dict[str, type[Spec]] = {
    s.kind: s for s in (TokenizerSpec, CellSpec, ModelSpec, DecoderSpec, LoggerSpec)
}


def option(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    choices: tuple[str, ...] = (),
    kind: str | None = None,
) -> Any:
    """Declare a field of an options dataclass.

    The annotation gives the type: `int`, `float`, `str`, `bool`, or one of these `| None`. With
    `| tuple[int, ...]` it accepts a list: "400,200" on the command line.
    min, max: inclusive bounds. choices: the allowed strings.
    kind: the value is the name of a registered part of that kind ("cell"), whose options are nested
    under it; the annotation is `lmkit.options.Chosen` and the default is the name.
    """
    return field(
        default=default, metadata={"help": help, "min": min, "max": max, "choices": choices, "kind": kind}
    )
