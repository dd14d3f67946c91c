"""Start from a trained model: its weights, its tokenizer, its options; what may change, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

import lmkit
from lmkit import recipe as recipes
from lmkit.cli import cli
from lmkit.errors import CheckpointError, ModelError, UsageError
from lmkit.run_facts import describe
from lmkit.training.report import Silent
from lmkit.training.resume import resume_run
from lmkit.training.run import train_recipe

SMALL = {"hidden_size": 6, "batch_size": 2, "bptt": 5, "threads": 1}
OLD_TEXT = "the cat sat on the mat\nthe dog saw a bird\n" * 20
NEW_TEXT = "the owl sat on the old log\na bird saw the owl\n" * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two texts, and runs trained on the first."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "old.txt").write_text(OLD_TEXT)
    (folder / "new.txt").write_text(NEW_TEXT)
    lmkit.train(folder / "old.txt", model="lstm", tokenizer="word", out=folder / "lstm", max_steps=9, **SMALL)
    lmkit.train(folder / "old.txt", model="ngram", tokenizer="word", out=folder / "ngram", order=2, threads=1)
    return folder


def adapt(folder: Path, out: Path, run: str = "lstm", **options: Any) -> lmkit.Model:
    settings = {"batch_size": 2, "bptt": 5, "threads": 1, "max_steps": 6, **options}
    return lmkit.train(folder / "new.txt", init_from=folder / run, out=out, **settings)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def reports(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def line(*words: Any) -> Result:
    return CliRunner().invoke(cli, ["train", *map(str, words)])


@pytest.mark.parametrize(
    "model",
    [
        {"model": "gru"},
        {"model": "window", "order": 3},
        {"model": "elmo", "samples": 0},
        {"model": "rnn", "output": "adaptive", "tied": False, "cutoffs": [3, 6]},
        {"model": "rnn", "output": "sampled", "samples": 3},
        {"model": "rnn", "tokenizer": "byte"},
    ],
)
def test_training_starts_at_the_weights_of_the_run(folder: Path, tmp_path: Path, model: dict) -> None:
    """With a rate of zero they stay; tokenizer and options are those of the run too."""
    old = lmkit.train(folder / "old.txt", out=tmp_path / "old", max_steps=3, **{**SMALL, **model})
    settings = {"batch_size": 3, "bptt": 7, "max_steps": 2, "learning_rate": 0.0, "threads": 1}
    new = lmkit.train(folder / "new.txt", init_from=tmp_path / "old", out=tmp_path / "new", **settings)
    assert_same(tmp_path / "old", tmp_path / "new")
    assert new.tokenizer.vocabulary == old.tokenizer.vocabulary
    assert new.run.model_choice == old.run.model_choice


def test_the_loss_before_training_is_reported(folder: Path, tmp_path: Path) -> None:
    """As step 0 of metrics.jsonl, where it is that of the old weights, and in the terminal."""
    result = line(
        folder / "new.txt", "--init-from", folder / "lstm", "--max-steps", 3, "--batch-size", 2, "--valid",
        folder / "old.txt", "--out", tmp_path / "new",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "before training  validation loss" in result.stderr
    first = reports(tmp_path / "new")[0]
    score = lmkit.load(folder / "lstm").score(OLD_TEXT)
    assert first["step"] == 0
    assert first["valid_perplexity"] == pytest.approx(score.perplexity, rel=1e-5)


def test_a_training_without_gain_keeps_the_old_weights(folder: Path, tmp_path: Path) -> None:
    """They were validated first, and are the best so far."""
    adapt(folder, tmp_path / "new", learning_rate=50.0, clip_norm=0.0, valid_every=2)
    assert_same(folder / "lstm", tmp_path / "new")
    manifest = json.loads((tmp_path / "new" / "lmkit.json").read_text())
    assert manifest["training"]["step"] == 0
    assert manifest["training"]["valid_loss"] == reports(tmp_path / "new")[0]["valid_loss"]


def test_with_an_average_the_start_is_its_first_value(folder: Path, tmp_path: Path) -> None:
    """The average begins at the old weights, which are validated before the first step."""
    adapt(folder, tmp_path / "new", average=0.9, learning_rate=0.0)
    assert_same(folder / "lstm", tmp_path / "new")


def test_frozen_layers_keep_the_weights_of_the_run(folder: Path, tmp_path: Path) -> None:
    """While the others are trained on the new text."""
    adapt(folder, tmp_path / "new", freeze="stack", valid_every=1, learning_rate=0.01)
    old, new = weights(folder / "lstm"), weights(tmp_path / "new")
    changed = {name for name, tensor in new.items() if not torch.equal(tensor, old[name])}
    assert changed
    assert not [name for name in changed if name.startswith("stack.")]


@pytest.mark.parametrize("new_words", [0, 4])
def test_a_resumed_run_needs_no_start(folder: Path, tmp_path: Path, new_words: int) -> None:
    """It continues to the same bits after the run that it began from is deleted."""
    for name in ("whole", "stopped"):
        shutil.copytree(folder / "lstm", tmp_path / "start")
        settings = {"init_from": tmp_path / "start", "new_words": new_words, "dropout": 0.2, "max_steps": 8}
        lmkit.train(
            folder / "new.txt", out=tmp_path / name, stop_after=3 if name == "stopped" else None,
            batch_size=2, bptt=5, threads=1, **settings,
        )  # fmt: skip
        shutil.rmtree(tmp_path / "start")
    lmkit.resume(tmp_path / "stopped")
    assert_same(tmp_path / "whole", tmp_path / "stopped")


def test_its_recipe_repeats_it(folder: Path, tmp_path: Path) -> None:
    """From the same weights; other weights in their place are refused."""
    shutil.copytree(folder / "lstm", tmp_path / "start")
    settings = {"init_from": tmp_path / "start", "new_words": 4, "batch_size": 2, "bptt": 5, "threads": 1}
    lmkit.train(folder / "new.txt", out=tmp_path / "a", max_steps=4, **settings)
    recipe = recipes.build(recipes.read_recipe(tmp_path / "a" / "recipe.toml"))
    assert recipe.init is not None
    assert (recipe.init.run, recipe.init.new_words) == (str(tmp_path / "start"), 4)
    assert describe(tmp_path / "a")["init_from"] == str(tmp_path / "start")
    train_recipe(recipe, out=tmp_path / "b", reporter=Silent())
    assert_same(tmp_path / "a", tmp_path / "b")
    lmkit.train(
        folder / "old.txt", model="lstm", tokenizer="word", out=tmp_path / "start", overwrite=True, seed=1,
        max_steps=1, **SMALL,
    )  # fmt: skip
    with pytest.raises(UsageError, match="its weights are not those that the recipe names"):
        train_recipe(recipe, out=tmp_path / "c", reporter=Silent())


def test_a_recipe_may_name_only_the_start(folder: Path, tmp_path: Path) -> None:
    """Then the model and the tokenizer are those of the run."""
    (tmp_path / "adapt.toml").write_text(
        f'[data]\ntrain = ["{folder / "new.txt"}"]\n[init]\nrun = "{folder / "lstm"}"\n[train]\nmax_steps = 1\n'
    )
    result = line("--recipe", tmp_path / "adapt.toml", "--out", tmp_path / "a")
    assert result.exit_code == 0, result.stderr
    lmkit.train(recipe=tmp_path / "adapt.toml", out=tmp_path / "b")
    for name in "ab":
        assert lmkit.load(tmp_path / name).run.model_choice == lmkit.load(folder / "lstm").run.model_choice


def test_a_start_replaces_the_model_of_a_recipe(folder: Path, tmp_path: Path) -> None:
    """So that a recipe of another model gives its settings of training."""
    new = adapt(folder, tmp_path / "new", recipe="zaremba-small", max_steps=1)
    assert new.run.model_choice == lmkit.load(folder / "lstm").run.model_choice
    recipe = recipes.build(recipes.read_recipe(tmp_path / "new" / "recipe.toml"))
    assert recipe.train.optimizer == "sgd"


def test_options_that_change_no_shape_may_change(folder: Path, tmp_path: Path) -> None:
    """Such as the dropout; the rest is as in the run."""
    model = adapt(folder, tmp_path / "new", dropout=0.5, locked=True, output_dropout=0.1)
    options = model.run.model_choice.options
    assert (options.dropout, options.locked, options.output_dropout) == (0.5, True, 0.1)
    assert options.hidden_size == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 7}, "keeps the size and form of .*hidden_size was 6, now 7"),
        ({"tied": False, "dropout": 0.1}, "tied was True, now False; leave"),
        ({"num_layers": 2}, "num_layers was 1, now 2"),
        ({"model": "gru"}, "keeps the model of .*cell.name was 'lmkit:lstm', now 'lmkit:gru'"),
        ({"model": "window"}, "keeps the model of .*name was 'lmkit:recurrent', now 'lmkit:window'"),
        ({"tokenizer": "char"}, "keeps the tokenizer of .*was 'lmkit:word', now 'lmkit:char'"),
        ({"min_count": 9}, "keeps the tokenizer of .*min_count was 2, now 9"),
    ],
)
def test_other_models_and_tokenizers_are_refused(
    folder: Path, tmp_path: Path, options: dict, message: str
) -> None:
    """With the options to leave out; nothing is written."""
    with pytest.raises(UsageError, match=message):
        adapt(folder, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_models_without_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    """A model of counts has nothing to start from, and a missing run is an error of the model."""
    with pytest.raises(UsageError, match="this ngram model has no weights to start from"):
        adapt(folder, tmp_path / "new", run="ngram")
    with pytest.raises(ModelError, match="does not exist"):
        adapt(folder, tmp_path / "new", run="none")


def test_flags_that_do_not_go_together(folder: Path, tmp_path: Path) -> None:
    """New words without a start, and a start for a resumed run, are errors of use."""
    result = line(folder / "new.txt", "--new-words", 3, "--out", tmp_path / "new")
    assert (result.exit_code, "also give --init-from RUN" in result.stderr) == (2, True)
    with pytest.raises(UsageError, match="also give init_from"):
        lmkit.train(folder / "new.txt", new_words=3, out=tmp_path / "new")
    result = line("--resume", folder / "lstm", "--init-from", folder / "lstm")
    assert (result.exit_code, "leave --init-from out" in result.stderr) == (2, True)


def test_resuming_with_other_text_says_how_to_go_on(folder: Path) -> None:
    """The message has the command that trains on other text from the same weights."""
    recipe = recipes.read_recipe(folder / "lstm" / "recipe.toml")
    recipe["data"]["train"] = [str(folder / "new.txt")]
    message = r"the training text and the validation text; .*lmkit train TEXT --init-from .*lstm --out DIR"
    with pytest.raises(CheckpointError, match=message):
        resume_run(folder / "lstm", recipes.build(recipe), reporter=Silent())


def test_new_words_get_ids_and_their_share_of_the_unknown_word(folder: Path, tmp_path: Path) -> None:
    """Old ids stay; the new text's log-probability is that of the unknown words, divided by their counts."""
    old = lmkit.load(folder / "lstm")
    new = adapt(folder, tmp_path / "new", new_words=10, learning_rate=0.0, max_steps=1)
    words = old.tokenizer.decode(range(2, old.tokenizer.vocabulary.size)).split()
    assert new.tokenizer.ids(" ".join(words)).tolist() == old.tokenizer.ids(" ".join(words)).tolist()
    assert new.tokenizer.ids("owl log old").min() >= old.tokenizer.vocabulary.size
    assert new.score(OLD_TEXT).log_prob == pytest.approx(old.score(OLD_TEXT).log_prob, rel=1e-6)


def test_new_words_are_limited_to_the_most_frequent(folder: Path, tmp_path: Path) -> None:
    """Of the words that occur at least min_count times."""
    new = adapt(folder, tmp_path / "new", new_words=1, max_steps=1)
    size = lmkit.load(folder / "lstm").tokenizer.vocabulary.size
    assert new.tokenizer.vocabulary.size == size + 1
    assert new.tokenizer.ids("owl log").tolist() == [size, 1]


def test_pieces_and_bytes_need_no_new_words(folder: Path, tmp_path: Path) -> None:
    """They spell every word."""
    lmkit.train(folder / "old.txt", tokenizer="byte", out=tmp_path / "old", max_steps=1, **SMALL)
    with pytest.raises(UsageError, match="pieces and bytes spell any word"):
        lmkit.train(folder / "new.txt", init_from=tmp_path / "old", new_words=3, out=tmp_path / "new")


def test_new_characters_of_a_character_model(folder: Path, tmp_path: Path) -> None:
    """They get ids after the old ones."""
    (tmp_path / "old.txt").write_text("abab\n" * 40)
    lmkit.train(tmp_path / "old.txt", tokenizer="char", out=tmp_path / "old", max_steps=1, **SMALL)
    (tmp_path / "new.txt").write_text("abcdd\n" * 40)
    settings = {"init_from": tmp_path / "old", "new_words": 5, "max_steps": 1, "batch_size": 2, "threads": 1}
    new = lmkit.train(tmp_path / "new.txt", out=tmp_path / "new", **settings)
    assert new.tokenizer.ids("abcd").tolist() == [2, 3, 5, 4]
