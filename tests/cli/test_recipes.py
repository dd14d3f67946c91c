"""`lmkit recipes`: every recipe is listed, shown as it is, and copied to a file that trains."""

import json

from lmkit import shipped
from lmkit.recipe import read_recipe


def test_list_has_every_recipe(lmkit):
    """Each recipe is listed with its task and the result that its paper reports, in JSON too."""
    text = lmkit("recipes", "list").stdout
    answer = json.loads(lmkit("recipes", "list", "--json").stdout)
    assert [one["name"] for one in answer] == shipped.names()
    for one in answer:
        assert one["name"] in text
        assert one["task"] in text
        assert one["reports"] in text


def test_show_prints_the_file(lmkit):
    """`show` prints the TOML file, so that its output is a recipe."""
    assert lmkit("recipes", "show", "zaremba-small").stdout == shipped.find("zaremba-small").read_text()


def test_copy_writes_a_recipe(lmkit, tmp_path, monkeypatch):
    """`copy` writes the recipe under its name or a given one, and replaces a file only when told to."""
    monkeypatch.chdir(tmp_path)
    assert lmkit("recipes", "copy", "zaremba-small").exit_code == 0
    assert read_recipe(tmp_path / "zaremba-small.toml") == read_recipe(shipped.find("zaremba-small"))
    assert lmkit("recipes", "copy", "zaremba-small", "mine.toml").exit_code == 0
    (tmp_path / "mine.toml").write_text("changed")
    again = lmkit("recipes", "copy", "zaremba-small", "mine.toml")
    assert again.exit_code == 2
    assert "mine.toml exists already: give --overwrite" in again.stderr
    assert (tmp_path / "mine.toml").read_text() == "changed"
    assert lmkit("recipes", "copy", "zaremba-small", "mine.toml", "--overwrite").exit_code == 0
    assert (tmp_path / "mine.toml").read_text() == shipped.find("zaremba-small").read_text()


def test_unknown_recipe(lmkit):
    """A misspelt recipe is answered with the nearest name, by each command."""
    for line in (
        ("recipes", "show", "zaremba"),
        ("recipes", "copy", "zaremba"),
        ("train", "--recipe", "zaremba"),
    ):
        answer = lmkit(*line)
        assert answer.exit_code == 2
        assert "did you mean 'zaremba-" in answer.stderr
