"""The rules of `lmkit train`'s line: sections, flags, precedence, suggestions."""

import json
from pathlib import Path

import pytest

from lmkit.errors import UsageError

RECIPE = """
[data]
train = ["a.txt"]
encoding = "latin-1"

[train]
batch_size = 4
bptt = 9

[model]
name = "recurrent"
hidden_size = 20

[model.cell]
name = "rnn"
activation = "relu"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_help_has_a_section_for_every_owner(lmkit):
    """`--model NAME --help` lists the options of training, data, model, cell and tokenizer, in that order."""
    text = lmkit("train", "--model", "rnn", "--help").stdout
    parts = [f"Options of {part}" for part in ("model recurrent", "cell rnn", "tokenizer word")]
    places = [text.index(f"{title}:") for title in ("Training options", "Data options", *parts)]
    assert places == sorted(places)
    assert "default: 256; 1<=x<=4096" in " ".join(text.split())


def test_help_without_a_model_says_how_to_see_more(lmkit):
    """Options of models that nobody named are not listed; the way to them is."""
    text = lmkit("train", "--help").stdout
    assert "Options of model" not in text
    assert "lmkit train --model NAME --help" in text


def test_help_shows_what_the_recipe_says(lmkit, recipe):
    """With --recipe the defaults of the help are the recipe's."""
    text = " ".join(lmkit("train", "--recipe", recipe, "--help").stdout.split())
    assert "default: 20; 1<=x<=4096" in text
    assert "default: relu" in text


def test_a_cells_name_is_a_recurrent_model(lmkit, api):
    """`--model rnn` is `--model recurrent --cell rnn`, and long names are stored."""
    lmkit("train", "--model", "rnn", "a.txt")
    short = api.last.recipe
    lmkit("train", "--model", "recurrent", "--cell", "rnn", "a.txt")
    assert short == api.last.recipe
    assert (short.model.name, short.model.options.cell.name) == ("lmkit:recurrent", "lmkit:rnn")


def test_two_names_for_the_cell_are_refused(lmkit):
    """`--model rnn --cell gru` has no meaning, so it is an error and not a choice of ours."""
    result = lmkit("train", "--model", "rnn", "--cell", "gru", "a.txt")
    said = "--model: the name 'rnn' is a cell, but --model.cell names 'gru'; leave one out"
    assert (result.exit_code, said in result.stderr) == (2, True)


@pytest.mark.parametrize("flag", ["--activation", "--cell.activation", "--model.cell.activation"])
def test_bare_and_dotted_flags_are_one_option(lmkit, api, flag):
    """Every option has a bare flag where it is free, and its dotted ones always."""
    assert lmkit("train", "--model", "rnn", flag, "relu", "a.txt").exit_code == 0
    assert api.last.recipe.model.options.cell.options.activation == "relu"


def test_a_bare_flag_belongs_to_the_outermost_owner(lmkit, api):
    """`--seed` is training's and `--dropout` the model's; inner owners keep their dotted flags."""
    line = ("--seed", 1, "--model.seed", 2, "--dropout", 0.3, "--cell.dropout", 0.4)
    lmkit("train", "--model", "rnn", *line, "a.txt")
    recipe = api.last.recipe
    assert (recipe.train.seed, recipe.model.options.seed) == (1, 2)
    assert (recipe.model.options.dropout, recipe.model.options.cell.options.dropout) == (0.3, 0.4)


def test_booleans_have_a_no(lmkit, api):
    """A bool is `--x` and `--no-x`, dotted too."""
    lmkit("train", "--no-tied", "a.txt")
    assert api.last.recipe.model.options.tied is False
    lmkit("train", "--no-tied", "--model.tied", "a.txt")
    assert api.last.recipe.model.options.tied is True


def test_flag_beats_recipe_beats_default(lmkit, api, recipe):
    """Only flags that were given override the recipe, even one that equals the default."""
    lmkit("train", "--recipe", recipe, "--batch-size", 32, "--activation", "tanh", "b.txt")
    made = api.last.recipe
    assert (made.train.batch_size, made.train.bptt, made.train.log_every) == (32, 9, 20)
    assert (made.model.options.hidden_size, made.model.options.cell.options.activation) == (20, "tanh")
    assert (made.train_paths, made.data.encoding) == (("b.txt",), "latin-1")


def test_another_part_leaves_the_old_ones_options_out(lmkit, api, recipe):
    """--model GRU over a recipe of an RNN keeps the model's options and drops the cell's, with a warning."""
    result = lmkit("train", "--recipe", recipe, "--model", "gru")
    options = api.last.recipe.model.options
    assert (options.cell.name, options.hidden_size) == ("lmkit:gru", 20)
    assert result.stderr.count("replaces lmkit:rnn") == 1
    lmkit("train", "--recipe", recipe, "--model", "ngram")
    assert api.last.recipe.model.name == "lmkit:ngram"


def test_unknown_keys_of_a_recipe_are_reported_at_once(lmkit, tmp_path):
    """One run of the command shows every mistake in a recipe, each with its table."""
    path = tmp_path / "bad.toml"
    path.write_text(
        "[trian]\nx = 1\n[train]\nbatch_sise = 3\n[data]\nencodign = 'x'\n"
        "[model]\nname = 'rnn'\nhiden_size = 0\n"
    )
    result = lmkit("train", "--recipe", path)
    assert result.exit_code == 2
    for word in ("4 problems", "'train'?", "'batch_size'?", "'encoding'?", "'hidden_size'?", "bad.toml"):
        assert word in result.stderr


def test_broken_toml_names_the_line(lmkit, tmp_path):
    """A recipe that is not TOML is a usage error with the line."""
    path = tmp_path / "bad.toml"
    path.write_text("[train]\nseed = = 3\n")
    result = lmkit("train", "--recipe", path)
    assert (result.exit_code, "line 2" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--hiden-size", "3"), "--hidden-size"),
        (("--model", "rnnn"), "did you mean 'rnn'"),
        (("--optimizer", "adamm"), "'adamw'"),
        (("--batch-size", "0"), "1<=x<=65536"),
        (("--batch-size", "many"), "not a valid integer"),
        (("--learning-rate", "nan"), "not nan"),
        (("--model", "ngram", "--cell", "gru"), "No such option '--cell'"),
        (("--model",), "requires an argument"),
        (("--activation", "--model", "rnn", "a.txt"), "'--model' is not one of 'tanh', 'relu'"),
        (("--max-time", "inf"), "max_time must be a finite number, not inf"),
        (("-",), "names standard input"),
    ],
)
def test_a_mistake_is_one_line_with_a_suggestion(lmkit, line, said):
    """Misspelt options and wrong values exit 2 with one line that helps."""
    result = lmkit("train", "a.txt", *line)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_value_of_an_option_is_never_taken_for_a_flag(lmkit, api):
    """The first reading of the line knows which words are values: `--valid --model` names a file."""
    lmkit("train", "--valid", "--model", "a.txt")
    assert api.last.recipe.valid_paths == ("--model",)
    lmkit("train", "--", "--model", "ngram")
    assert api.last.recipe.train_paths == ("--model", "ngram")


def test_the_tokenizer_is_the_texts_choice_until_named(lmkit, api):
    """No tokenizer is None; naming one, or giving an option that word tokenizers alone have, chooses it."""
    lmkit("train", "a.txt")
    assert api.last.recipe.tokenizer is None
    assert "is therefore used" not in lmkit("train", "--vocab-size", 100, "a.txt").stderr
    assert api.last.recipe.tokenizer is None
    assert api.last.recipe.tokenizer_options == {"vocab_size": 100}
    said = lmkit("train", "--unk-word", "<unk>", "--vocab-size", 100, "a.txt").stderr
    assert "--unk-word, --vocab-size: for the tokenizer word, which is therefore used for any text" in said
    assert (api.last.recipe.tokenizer.name, api.last.recipe.tokenizer.options.vocab_size) == (
        "lmkit:word",
        100,
    )
    named = lmkit("train", "--tokenizer", "word", "--vocab-size", 100, "a.txt")
    assert "is therefore used" not in named.stderr
    lmkit("train", "--tokenizer", "byte", "a.txt")
    assert api.last.recipe.tokenizer.name == "lmkit:byte"


def test_the_run_is_told_on_stderr_and_figures_on_stdout(lmkit, api):
    """Data goes to stdout, what to type next to stderr; --json is one object."""
    result = lmkit("train", "a.txt", "--valid", "v.txt", "--out", "here", "--overwrite", "--stop-after", 5)
    assert result.exit_code == 0
    assert "valid perplexity  12.5\n" in result.stdout
    assert "lmkit generate runs/gru" in result.stderr
    assert (api.last.out, api.last.overwrite, api.last.stop_after) == (Path("here"), True, 5)
    assert api.last.recipe.valid_paths == ("v.txt",)
    assert json.loads(lmkit("train", "a.txt", "--json").stdout)["run"] == "runs/gru"


def test_an_error_of_the_run_keeps_its_exit_code(lmkit, api):
    """What the training raises reaches the shell as its exit code."""
    api.failure = UsageError("it exists already")
    result = lmkit("train", "a.txt")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "error: it exists already")
