"""Parts of a plugin that do not keep their contract, at the prompt: exit code 6 and the plugin's name."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner, Result

from lmkit import CellSpec, DecoderSpec, ModelSpec, TokenizerSpec, hookimpl, plugins
from lmkit.cli import cli
from lmkit.plugins import Plugin
from lmkit.recurrence import Recurrent
from lmkit.specs import Spec

PARTS = """
import numpy as np
import torch
from lmkit.contracts import Decoder, Encoding, LanguageModel, Tokenizer, Vocabulary
from lmkit.recurrence import Cell, GatedCell

class Wide(GatedCell):
    def gates(self, x, h, state):
        return torch.cat([x + h, x + h], -1)

class Narrow(Cell):
    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 1)
    def forward(self, x, state):
        return x[:, :3], state

class Growing(GatedCell):
    def gates(self, x, h, state):
        return x + h, h

class Failing(GatedCell):
    def gates(self, x, h, state):
        raise KeyError("no such gate")

class TakesLittle(GatedCell):
    def __init__(self, size):
        super().__init__(size, size)
    def gates(self, x, h, state):
        return x + h

class Unfinished(GatedCell):
    pass

class FailsAtFour(GatedCell):
    calls = 0
    def gates(self, x, h, state):
        self.calls += 1
        assert self.calls <= 4, "four is enough"
        return x + h

class OddIds(Tokenizer):
    vocabulary = Vocabulary(5, 0, 1, "odd")
    @classmethod
    def fit(cls, lines, options):
        return cls()
    def encode(self, line):
        return Encoding(np.array([7, 9], np.int32), np.zeros((2, 2), np.int64))
    def decode(self, ids):
        return ""
    def residual_bits(self, line, ids):
        return 0.0
    def save(self, directory):
        pass
    @classmethod
    def load(cls, directory, options):
        return cls()

class FailsToFit(OddIds):
    @classmethod
    def fit(cls, lines, options):
        raise RuntimeError("not today")

class TwoWords(LanguageModel):
    def __init__(self, options, vocabulary):
        self.vocabulary = vocabulary
    def initial_state(self, batch_size, *, start=True):
        return torch.zeros(batch_size, 1)
    def next_log_probs(self, state):
        return torch.zeros(len(state), 2)
    def advance(self, ids, state):
        return state
    def fit(self, corpus, run):
        pass
    def save(self, directory):
        pass
    @classmethod
    def load(cls, directory, options, vocabulary):
        return cls(options, vocabulary)

class Numbers(Decoder):
    def generate(self, model, state, **settings):
        return [3]

class NoOptions(Decoder):
    def __init__(self):
        super().__init__(None)
    def generate(self, model, state, **settings):
        return []
"""
KINDS: dict[type[Spec], tuple[str, ...]] = {
    CellSpec: ("Wide", "Narrow", "Growing", "Failing", "TakesLittle", "Unfinished", "FailsAtFour"),
    TokenizerSpec: ("OddIds", "FailsToFit"),
    ModelSpec: ("TwoWords",),
    DecoderSpec: ("Numbers", "NoOptions"),
}


def specs(kind: type[Spec]) -> list[Spec]:
    return [kind(name.lower(), f"acme_parts:{name}") for name in KINDS[kind]]


class Acme:
    @hookimpl
    def lmkit_cells(self) -> list[Spec]:
        return specs(CellSpec)

    @hookimpl
    def lmkit_tokenizers(self) -> list[Spec]:
        return specs(TokenizerSpec)

    @hookimpl
    def lmkit_models(self) -> list[Spec]:
        return specs(ModelSpec)

    @hookimpl
    def lmkit_decoders(self) -> list[Spec]:
        return specs(DecoderSpec)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a text, and the plugin installed."""
    module = ModuleType("acme_parts")
    exec(PARTS, module.__dict__)
    monkeypatch.setitem(sys.modules, "acme_parts", module)
    builtins = plugins.installed(third_party=False)
    acme = Plugin("acme", "acme-parts", "1.2", Acme)
    monkeypatch.setattr(plugins, "installed", lambda *, third_party=True: [*builtins, acme])
    plugins.registry.cache_clear()
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 40, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plugins.registry.cache_clear()


def command(line: str) -> Result:
    return CliRunner().invoke(cli, line.split())


def train(flags: str, out: str = "run") -> Result:
    small = "--max-steps 2 --batch-size 2 --bptt 8 --threads 1 --valid-every 1"
    return command(f"train text.txt --out {out} {flags} {small}")


def refusal(result: Result) -> str:
    """The one line of an error of exit code 6."""
    assert (result.exit_code, result.stdout) == (6, ""), result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "Traceback" not in result.stderr
    return errors[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wide", "'acme-parts:wide' (acme-parts 1.2)"),
        ("narrow", "gave an output (2, 3), wanted (2, 8)"),
        ("growing", "gave ((2, 8), (2, 8)), wanted ((2, 8),), a tensor for each of state_names (h)"),
        ("failing", "KeyError: 'no such gate'"),
        ("takeslittle", "cannot be called with (input_size, hidden_size, options)"),
        ("unfinished", "does not implement gates"),
        (
            "failsatfour",
            "line 38, in gates: AssertionError: four is enough; given x (2, 8), h (2, 8), state ((2, 8),)",
        ),
        ("failsatfour", "the cell 'acme-parts:failsatfour' (acme-parts 1.2) failed"),
        ("failsatfour", "report it to its author (lmkit --debug shows the traceback)"),
    ],
)
def test_cells(here: Path, name: str, words: str) -> None:
    """A cell is tried before it is trained, and what it raises later is its own too; no run is left."""
    message = refusal(train(f"--model {name} --hidden-size 8"))
    assert "acme-parts" in message
    assert words in message
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("oddids", "'acme-parts:oddids' (acme-parts 1.2) gave the ids"), ("failstofit", "not today")],
)
def test_tokenizers(here: Path, name: str, words: str) -> None:
    """Ids outside the vocabulary, and whatever fitting raises."""
    assert words in refusal(train(f"--model rnn --hidden-size 8 --tokenizer {name}"))
    assert not (here / "run").exists()


def test_models() -> None:
    """A model whose rows do not fit its vocabulary is refused when it is loaded."""
    assert command("train text.txt --model twowords --out run").exit_code == 0
    message = refusal(command("eval run text.txt"))
    assert (
        "'acme-parts:twowords' (acme-parts 1.2): its scores have the shape (1, 2), wanted (1, 7)" in message
    )


def test_decoders() -> None:
    """A decoder that takes no options, or gives something else than hypotheses."""
    assert train("--model rnn --hidden-size 8 --tokenizer word --min-count 1").exit_code == 0
    assert "cannot be called with (options)" in refusal(command("generate run --decoder nooptions"))
    message = refusal(command("generate run --decoder numbers"))
    assert "'acme-parts:numbers' (acme-parts 1.2) returned int objects, not Hypothesis objects" in message


def test_trying_a_cell_moves_no_random_number() -> None:
    """A cell that a plugin brought starts from the weights that the same class would get of itself."""
    torch.manual_seed(1)
    tried = Recurrent(3, 4, num_layers=2, cell="failsatfour")
    torch.manual_seed(1)
    plain = Recurrent(3, 4, num_layers=2, cell=sys.modules["acme_parts"].FailsAtFour)
    for one, other in zip(tried.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
