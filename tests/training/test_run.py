"""From a recipe to a run's directory: what it holds, what is refused, what is left after a failure."""

import json
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

import lmkit
from lmkit import recipe as recipes
from lmkit.contracts import Vocabulary
from lmkit.corpus.distances import DistanceText
from lmkit.corpus.store import TokenStore
from lmkit.errors import DataError, UsageError
from lmkit.training.neural_run import made
from lmkit.training.report import Silent
from lmkit.training.run import train_recipe
from lmkit.training.text import Corpus, with_defaults

SMALL = {"hidden_size": 8, "max_steps": 6, "batch_size": 2, "bptt": 8, "min_count": 1}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat\nthe dog sat on the log\n" * 40, encoding="utf-8")
    return path


def train(text, out, **options):
    return lmkit.train(text, out=out, tokenizer="word", **{**SMALL, **options})


def test_a_run_is_a_directory_that_loads(tmp_path, text):
    """Recipe, tokenizer, weights, metrics and manifest are there, and the loaded model scores as the trained one."""
    model = train(text, tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")} == {
        "checkpoints", "lmkit.json", "metrics.jsonl", "model.safetensors", "recipe.toml", "tokenizer",
    }  # fmt: skip
    again = lmkit.load(tmp_path / "run")
    assert again.score("the cat").log_prob == model.score("the cat").log_prob
    manifest = json.loads((tmp_path / "run" / "lmkit.json").read_text())
    assert manifest["model"]["name"] == "lmkit:recurrent"
    assert manifest["model"]["cell"]["name"] == "lmkit:gru"
    assert manifest["distributions"]["lmkit:gru"]["version"] == lmkit.__version__


def test_its_recipe_repeats_it(tmp_path, text):
    """Training from the recipe that a run wrote gives the same weights."""
    first = train(text, tmp_path / "a", seed=3)
    recipe = recipes.build(recipes.read_recipe(tmp_path / "a" / "recipe.toml"))
    train_recipe(recipe, out=tmp_path / "b", reporter=Silent())
    assert lmkit.load(tmp_path / "b").score("the dog").log_prob == first.score("the dog").log_prob


def test_an_existing_run_is_not_overwritten_unasked(tmp_path, text):
    """The refusal names --overwrite, and a directory that is no run is never replaced."""
    train(text, tmp_path / "run")
    with pytest.raises(UsageError, match="--overwrite"):
        train(text, tmp_path / "run")
    train(text, tmp_path / "run", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not a run of lmkit"):
        train(text, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_failure_leaves_nothing_half_written(tmp_path, text):
    """Bad data, or weights that explode before the first validation, leave no directory behind."""
    with pytest.raises(DataError):
        train(tmp_path / "nowhere.txt", tmp_path / "a")
    with pytest.raises(lmkit.errors.LmkitError, match="loss became"):
        train(text, tmp_path / "b", optimizer="sgd", learning_rate=1e30, clip_norm=0, warmup=0)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_an_empty_directory_is_free(tmp_path, text):
    """An --out that exists and is empty is used, also after a lock has been in it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    train(text, tmp_path / "run")


def test_a_failure_leaves_the_run_that_was_to_be_overwritten(tmp_path, text):
    """--overwrite removes the old run only when the new text could be read."""
    train(text, tmp_path / "run")
    with pytest.raises(DataError):
        train(tmp_path / "nowhere.txt", tmp_path / "run", overwrite=True)
    lmkit.load(tmp_path / "run")


def test_strangers_files_are_no_part_of_the_model(tmp_path, text):
    """A file that somebody puts into a run's directory may be removed again."""
    train(text, tmp_path / "run", stop_after=2)
    (tmp_path / "run" / "words.tsv").write_text("mine")
    lmkit.resume(tmp_path / "run")
    (tmp_path / "run" / "words.tsv").unlink()
    lmkit.load(tmp_path / "run")


def test_default_names_count_up(tmp_path, text, monkeypatch):
    """Without --out the run is runs/NAME, then runs/NAME-2."""
    monkeypatch.chdir(tmp_path)
    assert [str(train(text, None).run.directory) for _ in range(2)] == ["runs/gru", "runs/gru-2"]


def test_the_text_chooses_the_tokenizer(tmp_path, text):
    """Words where spaces separate them, characters where they do not."""
    chinese = tmp_path / "zh.txt"
    chinese.write_text("今天天气很好，我去打球。\n" * 60, encoding="utf-8")
    options = {k: v for k, v in SMALL.items() if k != "min_count"}
    assert lmkit.train(text, out=tmp_path / "en", **options).run.tokenizer_choice.name == "lmkit:word"
    assert lmkit.train(chinese, out=tmp_path / "zh", **options).run.tokenizer_choice.name == "lmkit:char"


def test_unknown_options_are_named_with_a_suggestion(tmp_path, text):
    """From Python too, a misspelt option is an error that says what was meant."""
    with pytest.raises(UsageError, match="did you mean 'hidden_size'"):
        lmkit.train(text, out=tmp_path / "x", hiden_size=8)


def test_options_find_their_owner_in_any_order(tmp_path, text):
    """A cell's own option may come before the name of the cell; the outermost table that has a name gets it."""
    model = train(text, tmp_path / "x", model="recurrent", activation="relu", cell="rnn", hidden_size=6)
    table = model.run.manifest["model"]
    assert table["cell"] == {"name": "lmkit:rnn", "activation": "relu"}
    assert table["hidden_size"] == 6


def test_resume_from_python(tmp_path, text):
    """`lmkit.resume` is `lmkit train --resume`."""
    whole = train(text, tmp_path / "a")
    train(text, tmp_path / "b", stop_after=2)
    assert lmkit.resume(tmp_path / "b").score("the cat").log_prob == whole.score("the cat").log_prob
    with pytest.raises(lmkit.errors.CheckpointError, match="no run to resume"):
        lmkit.resume(tmp_path)


def test_no_data_named_means_pydocs_for_two_minutes():
    """The first command of a new user needs no text; a given limit is kept."""
    plain = with_defaults(recipes.build({}), Silent())
    assert plain.train_paths == ("pydocs:train",)
    assert plain.valid_paths == ("pydocs:valid",)
    assert plain.train.max_time == 120
    assert with_defaults(recipes.build({"train": {"max_epochs": 1}}), Silent()).train.max_time is None
    assert with_defaults(recipes.build({"train": {"max_cpu_time": 9}}), Silent()).train.max_time is None
    named = with_defaults(recipes.build({"data": {"train": ["x.txt"]}}), Silent())
    assert named.train.max_time is None


def test_a_counting_model_names_the_options_of_steps(tmp_path, text, caplog):
    """Options of training in steps are named once for a model that is counted; its own and limits are not."""
    own = {"model": "ngram", "order": 2, "tokenizer": "word", "seed": 1, "max_steps": 9}
    lmkit.train(text, **own, batch_size=4, out=tmp_path / "ngram")
    (warning,) = [record.message for record in caplog.records if "no effect" in record.message]
    assert warning.endswith("these options have no effect: batch_size")


def test_the_loss_of_training_is_weighted(tmp_path):
    """By hand for the first window: the sum of weight times loss by the sum of weights. Validation has no weights."""
    text, valid = "distances:en,count=40,farthest=0", "distances:en,count=20,farthest=0,seed=1"
    found = {}
    for weight in (1.0, 5.0):
        # A rate of zero keeps the initial weights of the network.
        out = tmp_path / f"{weight:g}"
        options = {"batch_size": 1, "bptt": 30, "max_steps": 2, "log_every": 1, "learning_rate": 0.0}
        model = train(text, out, valid=valid, answer_weight=weight, hidden_size=8, dropout=0.0, **options)
        reports = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        loss = reports[0]["loss" if weight == 1 else "weighted_loss"]
        found[weight] = loss, model.run.manifest["training"]["valid_loss"]
    tokens, places, start = [], [], 0
    for sentence, first, last in DistanceText.parse(text):
        encoding = model.tokenizer.encode(sentence)
        tokens += [*encoding.ids.tolist(), model.vocabulary.eos_id]
        places += range(start + len(sentence[:first].split()), start + len(sentence[:last].split()))
        start = len(tokens)
    weights = torch.ones(30)
    weights[[place for place in places if place < 30]] = 5
    causal, ids = model.causal, torch.tensor([tokens[:30]])
    resets = torch.tensor(
        [[place == 0 or tokens[place - 1] == model.vocabulary.eos_id for place in range(30)]]
    )
    with torch.no_grad():
        scores, _ = causal.log_probs(ids, causal.initial_state(1), reset=resets)
    assert found[5.0][0] == pytest.approx(float(-(scores[0] * weights).sum() / weights.sum()), rel=1e-4)
    assert found[1.0][0] == pytest.approx(float(-scores.mean()), rel=1e-4)
    assert found[5.0][1] == pytest.approx(found[1.0][1])


def test_an_answer_weight_needs_answers(tmp_path, text):
    """Exit code 2 with the remedy, before anything is written."""
    with pytest.raises(UsageError, match=r"--answer-weight 10.* has none: train on distances:zh") as caught:
        train(text, tmp_path / "run", answer_weight=10.0)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("output", ["softmax", "sampled", "mixture"])
def test_a_new_model_knows_the_frequencies_of_the_text(output):
    """The output bias starts at the log frequencies of the tokens, by which a sampled loss draws its samples."""
    vocabulary = Vocabulary(6, 0, 1, "test")
    store = TokenStore.from_lines([np.array([2, 3, 3, 4, 4, 4, 4, 0])] * 50, vocabulary)
    corpus = SimpleNamespace(tokenizer=SimpleNamespace(vocabulary=vocabulary), train=store)
    recipe = recipes.build({"model": {"name": "gru", "hidden_size": 3, "output": output}})
    model = made(recipe, cast(Corpus, corpus))
    frequencies = torch.tensor([1, 0, 1, 2, 4, 0]) / 8
    torch.testing.assert_close(model.output.bias.exp(), frequencies, atol=1e-3, rtol=0)
    if output == "sampled":
        torch.testing.assert_close(model.output._frequency.float(), frequencies, atol=1e-3, rtol=0)
    zero = recipes.build({"model": {"name": "gru", "hidden_size": 3}, "train": {"output_bias": "zero"}})
    assert not made(zero, cast(Corpus, corpus)).output.bias.any()
