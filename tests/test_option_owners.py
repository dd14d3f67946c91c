"""Which owner an option belongs to, by the same rules for flags and keywords."""

from dataclasses import dataclass, make_dataclass
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner

import lmkit
from lmkit import option
from lmkit.cli import cli
from lmkit.errors import PluginError, UsageError
from lmkit.option_owners import (
    CELL,
    DECODER,
    MODEL,
    TOKENIZER,
    Owner,
    decoder_owners,
    distribute,
    owned_options,
    tables_of,
    training_owners,
)
from lmkit.options import Chosen
from lmkit.recipe import build

keywords = partial(distribute, partial(training_owners, {}))


@dataclass(frozen=True)
class Outer:
    seed: int = option(0, "")
    tied: bool = option(True, "")
    hidden_size: int = option(1, "")


@dataclass(frozen=True)
class Inner:
    seed: int = option(0, "")
    no_tied: int = option(0, "")
    nhid: int = option(0, "")


OWNERS = [Owner("outer", ("model",), Outer), Owner("inner", ("model", "cell"), Inner)]


def test_a_bare_name_belongs_to_the_outermost_owner() -> None:
    """Inner owners keep their dotted names; what the command takes itself, no owner has."""
    names = {option.path: option.names for option in owned_options(OWNERS, {"hidden_size"})}
    assert names["model", "seed"] == ("seed", "model.seed")
    assert names["model", "cell", "seed"] == ("cell.seed", "model.cell.seed")
    assert names["model", "hidden_size"] == ("model.hidden_size",)
    assert names["model", "cell", "no_tied"] == ("cell.no_tied", "model.cell.no_tied")


def test_an_alias_gives_way_to_a_name() -> None:
    """An option called like an alias keeps its name, and the other aliases stay."""
    aliases = {option.path: option.aliases for option in owned_options(OWNERS)}
    assert aliases["model", "hidden_size"] == ("hidden",)


def test_a_duplicate_of_one_owner_is_our_error() -> None:
    """`tied` and `no_tied` of one plugin both need --no-tied: refused with the owner's title."""
    fields = [("tied", bool, option(True, "")), ("no_tied", int, option(1, ""))]
    made = make_dataclass("Made", fields, frozen=True)
    with pytest.raises(PluginError, match="Options of model x: two of them need the flag --no-tied"):
        owned_options([Owner("Options of model x", ("model",), made)])


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("--model rnn --seed 3 --activation relu", {"model": "rnn", "seed": 3, "activation": "relu"}),
        ("--cell rnn --hidden 9", {"cell": "rnn", "hidden": 9}),
        ("--model recurrent --cell lstm,gru", {"model": "recurrent", "cell": "lstm,gru"}),
        ("--model lstm --cell.clip 3", {"model": "lstm", "cell.clip": 3.0}),
        ("--min-count 2", {"min_count": 2}),
        ("--model ngram --tokenizer word", {"model": "ngram", "tokenizer": "word"}),
        ("--model elmo --tokenizer word", {"model": "elmo", "tokenizer": "word"}),
        ("--model elmo --on-bad-line skip", {"model": "elmo", "on_bad_line": "skip"}),
    ],
)
def test_flags_and_keywords_give_one_recipe(
    monkeypatch: pytest.MonkeyPatch, line: str, settings: dict[str, Any]
) -> None:
    """The same options, as flags and as keywords, make the same recipe."""
    recipes = []

    def caught(recipe: Any, **_: Any) -> None:
        recipes.append(recipe)
        raise UsageError("caught")

    monkeypatch.setattr("lmkit.api.train_recipe", caught)
    for text in ([], ["a.txt"]):
        if not text and "min_count" in settings:
            answer = CliRunner().invoke(cli, ["train", *line.split()])
            assert answer.exit_code == 2
            # The tokenizer of a training without text lacks it.
            assert "No such option '--min-count'" in answer.output
            continue
        assert "caught" in CliRunner().invoke(cli, ["train", *line.split(), *text]).output
        with pytest.raises(UsageError, match="caught"):
            lmkit.train(text, **settings)
        assert recipes[-1] == recipes[-2]


@pytest.mark.parametrize(
    ("named", "options"),
    [
        ({MODEL: "rnn"}, {"cell": "gru"}),
        ({MODEL: "rnn"}, {"cell": "rnn,gru"}),
        ({MODEL: "rnn"}, {"cell": ["rnn", "gru"]}),
        ({MODEL: {"name": "rnn", "cell": "gru"}}, {}),
    ],
)
def test_two_names_for_the_cell_are_refused(named: dict[Any, Any], options: dict[str, Any]) -> None:
    """A cell as the model and another as its cell: the error shows both places."""
    with pytest.raises(UsageError, match=r"model: the name 'rnn' is a cell, but model\.cell .*leave one out"):
        keywords(named, options)


@pytest.mark.parametrize("line", ["--model rnn --cell gru", "--model rnn --cell rnn,gru"])
def test_two_names_for_the_cell_on_the_line(line: str) -> None:
    """The same error with the flags' names."""
    result = CliRunner().invoke(cli, ["train", *line.split()])
    assert result.exit_code == 2
    assert "--model: the name 'rnn' is a cell, but --model.cell" in result.stderr


def test_tables_of_parts() -> None:
    """A table names a part with its options; keywords beside it override, and a cell's own options may lack a name."""
    model = {"name": "recurrent", "hidden_size": 8, "cell": {"name": "lstm", "clip": 3.0}}
    tables = keywords({MODEL: model}, {"hidden_size": 9, "forget_bias": 1.0})
    assert tables["model"]["hidden_size"] == 9
    assert tables["model"]["cell"] == {"name": "lmkit:lstm", "clip": 3.0, "forget_bias": 1.0}
    beside = keywords({MODEL: "lstm"}, {"cell": {"clip": 3.0}})
    assert beside["model"]["cell"] == {"name": "lmkit:lstm", "clip": 3.0}
    with pytest.raises(UsageError, match=r"model\.cell: it needs a name"):
        keywords({MODEL: "recurrent"}, {"cell": {"clip": 3.0}})


def test_another_part_takes_its_options_along(caplog: pytest.LogCaptureFixture) -> None:
    """What is named in place of a recipe's part leaves that part's options out, and says so."""
    recipe = {"model": {"name": "recurrent", "hidden_size": 8, "cell": {"name": "lstm", "clip": 3.0}}}
    owners = training_owners(recipe, {CELL: "gru"})
    assert tables_of(owners, {})["model"]["cell"] == {"name": "lmkit:gru"}
    assert "cell lmkit:gru replaces lmkit:lstm" in caplog.text
    kept = tables_of(training_owners(recipe, {CELL: "lstm"}), {})
    assert kept["model"] == {
        "name": "lmkit:recurrent", "hidden_size": 8, "cell": {"name": "lmkit:lstm", "clip": 3.0},
    }  # fmt: skip
    nameless = {"model": {"hidden_size": 8, "cell": {"name": "gru"}}}
    assert tables_of(training_owners(nameless, {}), {})["model"]["hidden_size"] == 8


def test_an_option_of_the_word_tokenizer_chooses_it(caplog: pytest.LogCaptureFixture) -> None:
    """Without one the tokenizer is left to the text; a named tokenizer needs no note."""
    assert "tokenizer" not in keywords({}, {})
    assert keywords({TOKENIZER: "word"}, {"min_count": 2})["tokenizer"]["min_count"] == 2
    assert not caplog.text
    assert keywords({}, {"min_count": 2})["tokenizer"] == {"min_count": 2}
    assert not caplog.text
    assert keywords({}, {"unk_word": "<unk>"})["tokenizer"] == {"name": "lmkit:word", "unk_word": "<unk>"}
    assert "unk_word: for the tokenizer word" in caplog.text


def test_decoders() -> None:
    """Options of a decoder go the same way, by their other names too."""
    assert distribute(decoder_owners, {DECODER: "sample"}, {"temp": 0.5}) == {
        "decoder": {"name": "lmkit:sample", "temperature": 0.5}
    }
    with pytest.raises(UsageError, match="unknown option 'temprature'; did you mean 'temperature'"):
        distribute(decoder_owners, {DECODER: "sample"}, {"temprature": 0.5})


def test_unknown_keywords() -> None:
    """A near name is suggested, the caller's own keywords too; an option of unused parts names those parts."""
    with pytest.raises(UsageError, match="unknown option 'hiden_size'; did you mean 'hidden_size'"):
        keywords({MODEL: "lstm"}, {"hiden_size": 3})
    with pytest.raises(
        UsageError, match=r"unknown option 'cell'; only these parts have it: elmo, recurrent$"
    ):
        keywords({MODEL: "ngram"}, {"cell": "gru"})
    with pytest.raises(UsageError, match="unknown option 'overwite'; did you mean 'overwrite'"):
        lmkit.train("text.txt", overwite=True)
    with pytest.raises(UsageError, match="unknown option 'zzz'; known: batch_size, bptt, "):
        keywords({MODEL: "ngram"}, {"zzz": 1})


def test_parts_that_were_chosen_already() -> None:
    """A `Chosen` serves where a name or a table does."""
    from lmkit.options import choose

    chosen = choose("cell", {"name": "lstm", "clip": 3.0}, "test")
    assert isinstance(chosen, Chosen)
    assert build(keywords({MODEL: "recurrent"}, {"cell": chosen})).model.options.cell == chosen
