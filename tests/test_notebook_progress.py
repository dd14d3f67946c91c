"""Progress in notebooks, on a stand-in for the kernel that keeps what it is given to show."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import lmkit
from lmkit import notebook
from lmkit.studies.inputs import usual_progress
from lmkit.training.report import Silent, usual_reporter

ReadPage = Callable[[str], Any]


class Screen:
    """The outputs below a cell: the newest content of each, and how often they changed."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, str]] = []
        self.updates = 0

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> SimpleNamespace:
        assert raw
        assert display_id
        place = len(self.outputs)
        self.outputs.append(data)

        def update(data: dict[str, str], *, raw: bool) -> None:
            self.updates += 1
            self.outputs[place] = data

        return SimpleNamespace(update=update)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """The process is the kernel of a notebook."""
    found = Screen()
    ipython: Any = ModuleType("IPython")
    display: Any = ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.display = found.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return found


def test_outside_a_notebook_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither without IPython nor in its shell on a terminal."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not notebook.in_notebook()
    shell: Any = ModuleType("IPython")
    for value in (None, object()):
        shell.get_ipython = lambda value=value: value
        monkeypatch.setitem(sys.modules, "IPython", shell)
        assert not notebook.in_notebook()
    assert isinstance(usual_reporter(), Silent)
    items = [1, 2]
    assert usual_progress(items, total=2, label="x") is items


def test_training_leaves_its_validations(
    screen: Screen, tmp_path: Path, read_page: ReadPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One output, updated in place, whose bar is gone at the end; messages and validations stay."""
    monkeypatch.setattr(notebook, "BAR_AFTER", float("inf"))
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 40, encoding="utf-8")
    (tmp_path / "valid.txt").write_text("the cat sat\n" * 9, encoding="utf-8")
    lmkit.train(
        tmp_path / "text.txt", valid=tmp_path / "valid.txt", out=tmp_path / "run", tokenizer="word",
        hidden_size=8, max_steps=4, valid_every=2, batch_size=2, bptt=8, device="cpu",
    )  # fmt: skip
    assert len(screen.outputs) == 1
    found = read_page(screen.outputs[0]["text/html"])
    assert "validation loss" in found.text
    assert found.tags.count("tr") >= 3
    assert "progress" not in found.tags
    assert "step 4 of 4" in screen.outputs[0]["text/plain"]


def test_long_work_has_a_bar(screen: Screen, monkeypatch: pytest.MonkeyPatch, read_page: ReadPage) -> None:
    """A bar appears after some time, moves not too often, and leaves nothing; short work has none."""
    now = [0.0]
    monkeypatch.setattr(notebook, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert list(usual_progress([1, 2], total=2, label="short")) == [1, 2]
    assert screen.outputs == []
    for done, _ in enumerate(usual_progress(range(100), total=100, label="<long>")):
        now[0] += 0.1
        if done == 30:
            found = read_page(screen.outputs[0]["text/html"])
            assert "progress" in found.tags
            assert "<long>: " in found.text
    assert 10 <= screen.updates <= 20
    assert screen.outputs == [{"text/html": "", "text/plain": ""}]
