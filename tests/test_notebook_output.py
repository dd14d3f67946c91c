"""Results of the Python interface show themselves in notebooks, with the figures of the commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lmkit

ReadPage = Callable[[str], Any]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trigram model and its text."""
    folder = tmp_path_factory.mktemp("counts")
    (folder / "text.txt").write_text("the cat sat on the mat\nthe dog ran\n" * 20, encoding="utf-8")
    lmkit.train(folder / "text.txt", model="ngram", order=3, tokenizer="word", out=folder / "run")
    return folder


def test_scores_and_surprisals(counts: Path, read_page: ReadPage) -> None:
    """A table of figures; coloured words, which also are a list of records."""
    model = lmkit.load(counts / "run")
    score = model.score("the <cat> sat")
    assert f"{score.bits_per_byte:.4f}" in read_page(score._repr_html_()).text
    words = model.surprisal("the <cat> sat\nthe dog", entropy=True, rank=True)
    assert isinstance(words, list)
    found = read_page(words._repr_html_())
    assert found.tags.count("p") == 3
    assert "<cat>" in found.text
    assert f"{words[0].entropy:.2f}" in found.text
    assert "unknown" in found.text


def test_long_texts_are_cut(counts: Path, read_page: ReadPage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser is not given millions of words, and the page says so."""
    monkeypatch.setattr("lmkit.evaluation.record_list.MOST_SHOWN", 4)
    words = lmkit.load(counts / "run").surprisal("the cat sat on the mat")
    found = read_page(words._repr_html_())
    assert "Only the first 4 units are shown." in found.text
    assert found.tags.count("tr") == 5


def test_studies(counts: Path, read_page: ReadPage) -> None:
    """Fills, contexts, distances and comparisons, by label."""
    models = {"tri<gram": counts / "run"}
    answers = lmkit.fill(models, "the ____ sat", ["cat", "dog"], why=True)
    assert answers["tri<gram"].filled.candidates[0] == "cat"
    assert "tri<gram" in read_page(answers._repr_html_()).text
    found = lmkit.context(models, counts / "text.txt", longest=4)
    assert "tri<gram" in read_page(found._repr_html_()).text
    study = lmkit.distances(models, language="en", farthest=1, count=2)
    assert f"chance is {study.chance:.1f}" in read_page(study._repr_html_()).text
    table = lmkit.compare(counts / "run", counts / "text.txt")
    assert f"{table.rows[0]['bits_per_byte']:.4f}" in read_page(table._repr_html_()).text
