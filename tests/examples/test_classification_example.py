"""examples/classification: its table, and splits whose test part nothing is fitted on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import lmkit

QUICK = ["--splits", "2", "--max-epochs", "1", "--hidden-size", "4"]


@pytest.fixture
def measure(script: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return script("classification/measure.py")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty sentences, all different, whose class one word tells."""
    for name, word in (("neg", "dull"), ("pos", "fine")):
        lines = [f"{'very ' * (count % 4)}{word} film {count}\n" for count in range(30)]
        (tmp_path / f"rt-polarity.{name}").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_the_table_has_a_row_for_each_method(
    measure: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All methods run on the same folder, a language model too; counts learn what one word tells."""
    run = tmp_path / "run"
    lmkit.train(data / "rt-polarity.neg", model="gru", hidden_size=4, max_steps=1, out=run)
    measure.main([str(data), "--init-from", str(run), *QUICK])
    table = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in table[2:]] == [
        "TF-IDF, logistic regression",
        "GRU from scratch",
        "GRU from scratch, both directions",
        "from a language model",
    ]
    assert table[2][1] == "100.0 ± 0.0"


def test_fit_never_gets_the_test_part(measure: ModuleType, data: Path) -> None:
    """A classifier is fitted on all texts of its split but the test part, and each text is tested once."""

    class Recorder:
        def __init__(self) -> None:
            self.fitted: Sequence[str] = ()
            self.tested: Sequence[str] = ()

        def fit(self, texts: Sequence[str], labels: np.ndarray) -> None:
            assert len(texts) == len(labels)
            self.fitted = texts

        def predict(self, texts: Sequence[str]) -> np.ndarray:
            self.tested = texts
            return np.array(["neg"] * len(texts))

    texts, labels = measure.read(data)
    made = [Recorder() for _ in range(5)]
    found = measure.measured("recorder", made.__getitem__, texts, labels, 5)
    for one in made:
        assert sorted([*one.fitted, *one.tested]) == sorted(texts)
    assert sorted(text for one in made for text in one.tested) == sorted(texts)
    assert [accuracy for accuracy, _ in found] == [50.0] * 5


def test_a_missing_file_is_named(
    measure: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder without the reviews ends with the exit code of data errors, and names the file."""
    with pytest.raises(SystemExit) as exit_:
        measure.main([str(tmp_path)])
    assert exit_.value.code == 3
    assert "rt-polarity.neg: missing" in capsys.readouterr().err
