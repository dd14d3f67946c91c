"""examples/sequence_classifier: it runs with any cell, and padding changes nothing."""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "sequence_classifier"


@pytest.fixture
def classify(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("classify", EXAMPLE / "classify.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "classify", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    """Forty lines of two classes, told apart by a word, of which one file ends in an empty line."""
    chance = random.Random(1)
    paths = []
    for word in ("bad", "good"):
        lines = [
            " ".join(["a", *["very"] * chance.randrange(4), word, *["film"] * chance.randrange(1, 4)])
            for _ in range(20)
        ]
        paths.append(tmp_path / f"{word}.txt")
        paths[-1].write_text("\n".join(lines) + "\n" * (1 + (word == "bad")), encoding="utf-8")
    return [str(path) for path in paths]


@pytest.mark.parametrize(("cell", "pool"), [("gru", "last"), ("lstm", "mean"), ("min-gru", "max")])
def test_it_learns(
    classify: ModuleType, texts: list[str], capsys: pytest.CaptureFixture[str], cell: str, pool: str
) -> None:
    """Any cell and any pooling learn what one word says, and every epoch is reported."""
    small = [
        "--hidden-size",
        "16",
        "--embedding-size",
        "8",
        "--batch-size",
        "4",
        "--dropout",
        "0",
        "--lr",
        "0.02",
    ]
    classify.main([*texts, "--cell", cell, "--pool", pool, "--epochs", "8", *small])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "32 lines to train, 4 to choose the epoch, 4 to test; 5 words"
    assert len(printed) == 1 + 8 + 1
    assert printed[-1].endswith("valid 100.0%, test 100.0%")


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
def test_padding_changes_nothing(classify: ModuleType, texts: list[str], pool: str) -> None:
    """A line has the scores that it has alone, however long the others of its batch are."""
    torch.manual_seed(1)
    model = classify.Classifier(20, 2, classify.parsed([*texts, "--pool", pool])).eval()
    rows = [torch.randint(1, 20, (length,)) for length in (1, 3, 9)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=classify.PAD)
    together = model(padded, torch.tensor([len(row) for row in rows]))
    alone = [model(row[None], torch.tensor([len(row)]))[0] for row in rows]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-6)


def test_last_state_is_the_last_output(classify: ModuleType) -> None:
    """Of rows of one length, "last" is `output[:, -1]`."""
    states = torch.randn(3, 5, 4)
    torch.testing.assert_close(classify.pooled(states, torch.full((3,), 5), "last"), states[:, -1])
