"""Plugins that exist only in memory, and a stand-in for `lmkit.api`."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lmkit import CellSpec, DecoderSpec, ModelSpec, TokenizerSpec, hookimpl, option, plugins
from lmkit import api as lmkit_api
from lmkit.cli import cli
from lmkit.options import Chosen
from lmkit.plugins import Plugin

# Chosen is a name that ruff does not know to be immutable.


@dataclass(frozen=True)
class RecurrentOptions:
    cell: Chosen = option("gru", "the recurrent cell", kind="cell")
    hidden_size: int = option(256, "units of a layer", min=1, max=4096)
    dropout: float = option(0.1, "share that is dropped", min=0, max=0.9)
    tied: bool = option(True, "one embedding for both ends")
    seed: int = option(7, "a name that training has too")
    reset: str = option("document", "where the state starts anew", choices=("line", "document"))


@dataclass(frozen=True)
class ElmanOptions:
    activation: str = option("tanh", "the nonlinearity", choices=("tanh", "relu"))
    dropout: float = option(0.0, "a name that the model has too", min=0, max=1)


@dataclass(frozen=True)
class WordOptions:
    vocab_size: int = option(50000, "most words", min=3)
    unk_word: str | None = option(None, "the word that is unknown")


@dataclass(frozen=True)
class CharOptions:
    vocab_size: int = option(50000, "most characters", min=3)


@dataclass(frozen=True)
class SampleOptions:
    temperature: float = option(1.0, "divisor of the log-probabilities", min=0)


class Builtins:
    """What lmkit brings along, in small."""

    @hookimpl
    def lmkit_tokenizers(self) -> list[TokenizerSpec]:
        return [
            TokenizerSpec("word", "nowhere:Word", "Words", WordOptions),
            TokenizerSpec("char", "nowhere:Char", "Characters", CharOptions),
            TokenizerSpec("byte", "nowhere:Byte"),
        ]

    @hookimpl
    def lmkit_cells(self) -> list[CellSpec]:
        return [
            CellSpec("gru", "nowhere:GRU", "Gated"),
            CellSpec("rnn", "nowhere:RNN", "Simple", ElmanOptions),
        ]

    @hookimpl
    def lmkit_models(self) -> list[ModelSpec]:
        return [
            ModelSpec("recurrent", "nowhere:Recurrent", "Any cell", RecurrentOptions),
            ModelSpec("ngram", "nowhere:N"),
        ]

    @hookimpl
    def lmkit_decoders(self) -> list[DecoderSpec]:
        return [
            DecoderSpec("sample", "nowhere:Sample", "By chance", SampleOptions),
            DecoderSpec("greedy", "nowhere:G"),
        ]


class ThirdParty:
    @hookimpl
    def lmkit_cells(self) -> list[CellSpec]:
        return [
            CellSpec("mine", "nowhere:Mine", "Somebody's"),
            CellSpec("gru", "nowhere:Other", "Another GRU"),
        ]


def broken() -> object:
    raise ImportError("no module named 'absent'")


BUILTIN = Plugin("builtins", "lmkit-toolkit", "0.1", Builtins, builtin=True)
THIRD = Plugin("third", "acme-cells", "1.2", ThirdParty)
BROKEN = Plugin("unwell", "unwell-dist", "3.0", broken)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Decide which plugins are installed."""

    def set_plugins(*chosen: Plugin) -> None:
        monkeypatch.setattr(
            plugins, "installed", lambda *, third_party=True: [p for p in chosen if p.builtin or third_party]
        )
        plugins.registry.cache_clear()

    set_plugins(BUILTIN)
    yield set_plugins
    plugins.use_third_party(True)


class Words:
    """Words between spaces; "zzz" is unknown, and the space at a line's end is dropped."""

    vocabulary = SimpleNamespace(unk_id=1)
    lossless = False

    def encode(self, line: str) -> SimpleNamespace:
        spans = [match.span() for match in re.finditer(r"[^ ]+", line)]
        ids = [1 if line[start:end] == "zzz" else 2 for start, end in spans]
        return SimpleNamespace(ids=np.array(ids), spans=np.array(spans))


@dataclass
class Api:
    """Remembers what the commands ask of `lmkit.api`."""

    calls: list[SimpleNamespace] = field(default_factory=list)
    failure: BaseException | None = None
    tokenizer: Words = field(default_factory=Words)

    @property
    def last(self) -> SimpleNamespace:
        return self.calls[-1]

    def _called(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(SimpleNamespace(args=args, **kwargs))
        if self.failure:
            raise self.failure

    def train_recipe(self, recipe: Any, **kwargs: Any) -> SimpleNamespace:
        self._called(recipe=recipe, **kwargs)
        return SimpleNamespace(directory=Path("runs/gru"), summary={"valid_perplexity": 12.5, "steps": 3})

    def load(self, path: Path, **kwargs: Any) -> "Api":
        return self

    def generate(self, prompt: str, **kwargs: Any) -> list[SimpleNamespace]:
        self._called(prompt, **kwargs)
        return [SimpleNamespace(text=" world", log_prob=-1.5)] * kwargs["num"]

    directions = ("forward",)

    def score_text(self, text: Any, **kwargs: Any) -> SimpleNamespace:
        self._called(lines=[line.text for line in text], **kwargs)
        return SimpleNamespace(
            to_json=lambda: {"perplexity": 9.5}, table=lambda: [("perplexity", "9.500")], notices=[]
        )


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    """A stand-in for `lmkit.api`, which trains nothing."""
    fake = Api()
    module = ModuleType("lmkit.api")
    for name in ("train_recipe", "load"):
        setattr(module, name, getattr(fake, name))
    monkeypatch.setitem(sys.modules, "lmkit.api", module)
    monkeypatch.setattr("lmkit.api", module, raising=False)
    return fake


@pytest.fixture
def lmkit(install: Callable[..., None], api: Api) -> Callable[..., Result]:
    """Run a command line."""
    return lambda *line, stdin=None: CliRunner().invoke(cli, [str(word) for word in line], input=stdin)


@pytest.fixture
def everything(install: Callable[..., None]) -> None:
    """The built-ins beside a plugin of somebody else and one that cannot be imported."""
    install(BUILTIN, THIRD, BROKEN)


SEVERAL_LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog"]


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small runs of several kinds and their text, by name: gru, elmo, chars, backoff, train.txt."""
    folder = tmp_path_factory.mktemp("several")
    text = folder / "train.txt"
    text.write_text("\n".join(SEVERAL_LINES * 20), encoding="utf-8")
    sizes = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 3, "device": "cpu"}
    lmkit_api.train(text, model="gru", tokenizer="word", out=folder / "gru", **sizes)
    lmkit_api.train(text, model="elmo", inputs="tokens", tokenizer="word", out=folder / "elmo", **sizes)
    lmkit_api.train(text, model="ngram", order=2, tokenizer="char", out=folder / "chars")
    smoothing = {"model": "ngram", "smoothing": "stupid-backoff"}
    lmkit_api.train(text, out=folder / "backoff", **smoothing)
    return {name: folder / name for name in ("gru", "elmo", "chars", "backoff", "train.txt")}
