"""The recipes that ship: each can be built, says where it comes from, and is found by its name."""

import pytest

from lmkit import shipped
from lmkit.errors import UsageError
from lmkit.recipe import build, read_recipe, to_tables


@pytest.mark.parametrize("name", shipped.names())
def test_every_recipe_can_be_built(name):
    """Every setting of a recipe exists and is allowed, and the recipe says what it is for and where it comes from."""
    tables = read_recipe(shipped.find(name))
    recipe = build(tables, source=name)
    for table in ("train", "tokenizer"):
        settings = {key: value for key, value in tables[table].items() if key != "name"}
        assert settings.items() <= to_tables(recipe)[table].items()
    assert {"task", "paper", "reports", "command"} <= shipped.about(name).keys()
    assert name in shipped.about(name)["command"] or name == shipped.FIRST_RUN


def test_zarembas_rate_and_clip_are_those_of_a_mean_loss():
    """The paper sums the loss over the steps of a window, so the rate grows and the clip shrinks by its length."""
    for name, steps, clip in (("zaremba-small", 20, 5), ("zaremba-medium", 35, 5), ("zaremba-large", 35, 10)):
        train = read_recipe(shipped.find(name))["train"]
        assert train["bptt"] == steps
        assert train["learning_rate"] == steps
        assert train["clip_norm"] == pytest.approx(clip / steps, rel=1e-5)


def test_a_file_takes_precedence_over_a_name(tmp_path, monkeypatch):
    """`--recipe NAME` is the file of that name if there is one, else the recipe that ships."""
    monkeypatch.chdir(tmp_path)
    assert shipped.find_or_file("zaremba-small") == shipped.FOLDER / "zaremba-small.toml"
    (tmp_path / "zaremba-small").write_text("[train]\nseed = 3\n")
    assert read_recipe(shipped.find_or_file("zaremba-small")) == {"train": {"seed": 3}}
    assert shipped.find_or_file("missing/recipe.toml").as_posix() == "missing/recipe.toml"


def test_an_unknown_name_is_suggested():
    """A misspelt name is answered with the nearest one."""
    with pytest.raises(UsageError, match="no recipe or file 'zaremba-smal'; did you mean 'zaremba-small'"):
        shipped.find_or_file("zaremba-smal")
