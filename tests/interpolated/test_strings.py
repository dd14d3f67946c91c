"""Mixtures of models with different tokenizers, by word and by line: probabilities, checked by counting all strings."""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import lmkit
from lmkit.cli import cli
from lmkit.corpus.readers import Text
from lmkit.errors import DataError, ModelError, UsageError
from lmkit.scoring.strings import EVENTS, REGULAR, WHOLE, string_scores

LINES = ["ab a", "a b ab", "b", "aab ab a", "ba ab", "a a", "", "ab ba b", "b ab", "abb a"]
TOKENIZERS = {
    "word": {"name": "word", "min_count": 1},
    "cut": {"name": "word", "min_count": 3},
    "char": {"name": "char", "min_count": 1},
    "byte": {"name": "byte"},
    "pieces": {"name": "sentencepiece", "vocab_size": 264},
}
LETTERS = "ab "


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bigrams of words, characters, bytes and pieces of a language of two letters, and its text."""
    folder = tmp_path_factory.mktemp("strings")
    (folder / "text.txt").write_text("\n".join(LINES), encoding="utf-8")
    settings = {"model": "ngram", "order": 2, "smoothing": "witten-bell"}
    for name, tokenizer in TOKENIZERS.items():
        lmkit.train(folder / "text.txt", tokenizer=tokenizer, out=folder / name, **settings)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def mixtures(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them mixed, by word and by line, with equal weights."""
    found = {}
    for by in EVENTS:
        found[by] = tmp_path_factory.mktemp("mixtures") / by
        lmkit.interpolate([models[name] for name in TOKENIZERS], None, found[by], by=by, weights=[0.2] * 5)
    return found


@pytest.fixture(scope="module")
def all_runs(models: dict[str, Path], mixtures: dict[str, Path]) -> dict[str, Path]:
    """The parts and the mixture by word."""
    return {name: models[name] for name in TOKENIZERS} | {"mixture": mixtures["word"]}


def strings(letters: str, longest: int) -> list[str]:
    """All strings of these letters, up to a length."""
    return ["".join(s) for n in range(longest + 1) for s in itertools.product(letters, repeat=n)]


def events(run: Path, lines: Sequence[str], by: str = "word") -> list[np.ndarray]:
    """The log-probabilities of each line's words and end, or of the line."""
    model = lmkit.load(run)
    if model.causal.units is not None:
        scored = model.causal.text_log_probs(
            Text.from_lines(lines), batch_size=32, window=512, independent=True
        )
        return [scores[scores != 0] for _, scores in scored]
    found = string_scores(model.causal, model.run.tokenizer, Text.from_lines(lines), by)
    return [np.array([score.whole]) if score.words is None else score.words for score in found]


@pytest.mark.parametrize("by", EVENTS)
@pytest.mark.parametrize("name", [*TOKENIZERS, "mixture"])
def test_lines_sum_to_at_most_one(
    models: dict[str, Path], mixtures: dict[str, Path], name: str, by: str
) -> None:
    """The probabilities of all short lines, with any white space, sum to much of 1 and to no more."""
    run = mixtures[by] if name == "mixture" else models[name]
    total = sum(math.exp(found.sum()) for found in events(run, strings("ab ", 5), by))
    assert 0.3 < total <= 1


@pytest.mark.parametrize("before", ["", "ab a", "aab"])
@pytest.mark.parametrize("name", [*TOKENIZERS, "mixture"])
def test_next_words_and_the_end_sum_to_at_most_one(all_runs: dict[str, Path], name: str, before: str) -> None:
    """After some words, all words and the end of the line are disjoint events: a mixture of them is a probability."""
    words = strings("ab", 7)[1:]
    place = len(before.split())
    lines = [f"{before} {word}".strip() for word in words]
    total = sum(math.exp(found[place]) for found in events(all_runs[name], lines))
    total += math.exp(events(all_runs[name], [before])[0][-1] - REGULAR)
    assert 0.5 < total <= 1 + 1e-9


@pytest.mark.parametrize("name", ["char", "byte", "pieces"])
@torch.no_grad()
def test_a_word_has_the_probability_of_its_tokens_and_of_its_end(models: dict[str, Path], name: str) -> None:
    """Step by step: p(b, then a space or the end | "a" has ended), from the model's distributions alone."""
    loaded = lmkit.load(models[name])
    model, tokenizer = loaded.causal, loaded.run.tokenizer
    starts = tokenizer.word_starts()
    space = tokenizer.ids(" ")[0]
    ends = [i for i in range(model.vocabulary.size) if (starts[i] if starts is not None else i == space)]
    ends.append(model.vocabulary.eos_id)

    def prefix(line: str) -> float:
        """The log-probability that a line begins with these tokens, and that a word ends after them."""
        state, total = model.initial_state(1), -math.log1p(-tokenizer.novelty)
        for token in tokenizer.ids(line).tolist():
            total += float(model.next_log_probs(state)[0, token]) + math.log1p(-tokenizer.novelty)
            state = model.advance(torch.tensor([token]), state)
        mass = model.next_log_probs(state)[0, ends].exp().sum()
        return total + math.log(float(mass)) + 2 * math.log1p(-tokenizer.novelty)

    (found,) = events(models[name], ["a ab b"])
    assert found[0] == pytest.approx(prefix("a"), abs=1e-6)
    assert found[1] == pytest.approx(prefix("a ab") - prefix("a"), abs=1e-6)
    assert found[2] == pytest.approx(prefix("a ab b") - prefix("a ab"), abs=1e-6)


def test_words_and_lines_agree_with_the_code_of_the_line(models: dict[str, Path]) -> None:
    """By word, a regular line costs its model's bits without those of white space; by line, all bits of `eval`."""
    for name in TOKENIZERS:
        model = lmkit.load(models[name], split_unknown="never")
        for line in ("ab a", "aab  abb", "c\tb ", ""):
            score = model.score([line])
            (whole,) = events(models[name], [line], "line")
            assert whole.sum() == pytest.approx(-score.bits * math.log(2))
            (words,) = events(models[name], [line])
            if len(words) == 1 and line:
                assert words[0] == pytest.approx(whole[0] + WHOLE)
            elif not score.oov_tokens and name not in ("word", "cut"):
                # A tokenizer that may have to escape lines pays 2e-5 bits for a flag by line.
                assert words.sum() == pytest.approx(whole[0] + REGULAR, abs=2e-5)
            else:
                assert words.sum() >= whole[0] + REGULAR


def test_mixture_is_the_weighted_mean(models: dict[str, Path], tmp_path: Path) -> None:
    """Event by event p = sum of weight * p_part; eval, surprisal and compare report the same bits."""
    parts, lines = ["word", "char", "pieces"], ["ab a b", "a  b", "ab aab", "xyz ab", "", " a"]
    (tmp_path / "t.txt").write_text("\n".join(lines), encoding="utf-8")
    for by in EVENTS:
        out, weights = tmp_path / by, np.log([0.2, 0.5, 0.3])
        given = [*(models[name] for name in parts), "--by", by, "--weights", "0.2,0.5,0.3", "--out", out]
        assert run("interpolate", *given).exit_code == 0
        wanted = 0.0
        for rows in zip(*(events(models[name], lines, by) for name in parts), strict=True):
            if len({len(row) for row in rows}) > 1:  # some tokenizer does not give the line words
                lone = [events(models[name], [line], "line")[0] for name in parts for line in ["xyz ab"]]
                rows = [row + WHOLE for row in lone]
            wanted -= np.logaddexp.reduce(np.stack(rows) + weights[:, None]).sum() / math.log(2)
        model = lmkit.load(out)
        score = model.score(lines)
        assert score.bits == pytest.approx(wanted)
        assert score.bits_per_byte == pytest.approx(wanted / score.num_bytes)
        for unit in model.causal.units:
            records = model.surprisal(lines, unit)
            assert math.fsum(record.surprisal for record in records) == pytest.approx(wanted)
        result = run("compare", out, models["char"], tmp_path / "t.txt", "--json")
        assert result.exit_code == 0, result.stderr
        assert wanted == pytest.approx(next(r for r in json.loads(result.stdout) if r["run"] == by)["bits"])
    records = lmkit.load(tmp_path / "word").surprisal("ab a b")
    assert [record.text for record in records] == ["ab", "a", "b", ""]


def test_fitted_weights(models: dict[str, Path], tmp_path: Path) -> None:
    """Without --weights, EM fits them: no part is better on the text, and giving the same weights gives the same."""
    pair = [models["word"], models["char"]]
    (tmp_path / "valid.txt").write_text("ab a\nb abb\naab bb\na  b\n", encoding="utf-8")
    result = run(
        "interpolate", *pair, tmp_path / "valid.txt", "--by", "word", "--out", tmp_path / "a", "--json"
    )
    found = json.loads(result.stdout)
    weights = [part["weight"] for part in found["parts"].values()]
    assert (found["by"], sum(weights)) == ("word", pytest.approx(1))
    assert found["perplexity"] <= min(part["perplexity"] for part in found["parts"].values()) + 1e-9
    again = lmkit.interpolate(pair, tmp_path / "valid.txt", tmp_path / "b", by="word", weights=weights)
    assert again.perplexity == pytest.approx(found["perplexity"], rel=1e-4)
    assert lmkit.load(tmp_path / "a").score_text(
        Text.from_lines(["ab a", "b abb", "aab bb", "a  b"])
    ).perplexity == (pytest.approx(found["perplexity"]))
    table = run("interpolate", *pair, tmp_path / "valid.txt", "--by", "line", "--out", tmp_path / "c")
    assert "bits per byte" in table.stdout


def test_given_weights_by_token(models: dict[str, Path], tmp_path: Path) -> None:
    """--weights work for one vocabulary too, with a text or without; the weighted mean is exact."""
    lmkit.train(
        models["text.txt"], model="ngram", order=1, tokenizer=TOKENIZERS["word"], out=tmp_path / "one"
    )
    pair = [models["word"], tmp_path / "one"]
    found = lmkit.interpolate(pair, None, tmp_path / "mix", weights=[0.3, 0.7])
    assert (found.perplexity, list(found.weights.values())) == (None, [0.3, 0.7])
    rows = [
        np.exp([r.surprisal * -math.log(2) for r in lmkit.load(p).surprisal(LINES)])
        for p in (*pair, found.run)
    ]
    np.testing.assert_allclose(rows[2], 0.3 * rows[0] + 0.7 * rows[1], rtol=1e-6)
    measured = lmkit.interpolate(pair, models["text.txt"], tmp_path / "again", weights=[0.3, 0.7])
    assert measured.perplexity == pytest.approx(lmkit.load(found.run).score(LINES).perplexity)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "0.5"], "1 numbers for 2 runs"),
        (["--weights", "0.5,0.6"], "sum to 1"),
        (["--weights", "1.5,-0.5"], "at least 0"),
        (["--weights", "half,half"], "not numbers"),
        (["--weights", "nan,1"], "sum to 1"),
        (["--weights", "0.5,0.5", "--cache", "10"], "first mix"),
        (["--by", "word", "--cache", "10"], "leave out --cache or --by"),
        (["--by", "word"], "give TEXT after the runs"),
        ([], "another vocabulary"),
    ],
)
def test_wrong_settings(models: dict[str, Path], tmp_path: Path, options: list[str], message: str) -> None:
    """Each is one line with the remedy, and nothing is written."""
    text = [] if options == ["--by", "word"] else [models["text.txt"]]
    result = run("interpolate", models["word"], models["char"], *text, *options, "--out", tmp_path / "out")
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "out").exists()
    if not options:
        assert "--by word" in result.stderr


def test_what_has_no_probability_is_refused(mixtures: dict[str, Path], tmp_path: Path) -> None:
    """Tokens, letters, entropies and continuations of a mixture of words have no probability; a line says so."""
    (tmp_path / "t.txt").write_text("ab a", encoding="utf-8")
    for command in (
        ["surprisal", mixtures["word"], tmp_path / "t.txt", "--by", "token"],
        ["surprisal", mixtures["line"], tmp_path / "t.txt", "--by", "word"],
        ["surprisal", mixtures["word"], tmp_path / "t.txt", "--entropy"],
        ["generate", mixtures["word"], "--prompt", "ab"],
        ["fill", mixtures["word"], "ab ____", "--candidates", "a,b"],
        ["eval", mixtures["word"], tmp_path / "t.txt", "--cache", "10"],
    ):
        result = run(*command)
        assert result.exit_code == 2, (command, result.output)
        assert "probabilities" in result.stderr
        assert result.stderr.count("\n") == 1
    for by, message in (("word", "no part of one by word"), ("token", "no probabilities of tokens")):
        with pytest.raises(UsageError, match=message):
            lmkit.interpolate(list(mixtures.values()), None, tmp_path / "out", by=by, weights=[0.5, 0.5])


def test_a_mixture_is_a_part_by_line_and_can_be_damaged(
    models: dict[str, Path], mixtures: dict[str, Path], tmp_path: Path
) -> None:
    """By line, a mixture by word is a part of another; a damaged table of weights is an error."""
    pair, lines = [mixtures["word"], models["word"]], ["ab a b", "aab", "a  b"]
    lmkit.interpolate(pair, None, tmp_path / "two", by="line", weights=[0.25, 0.75])
    rows = [
        np.exp(lmkit.load(mixtures["word"]).line_scores(lines)),
        np.exp(np.concatenate(events(models["word"], lines, "line"))),
    ]
    found = np.exp(lmkit.load(tmp_path / "two").line_scores(lines))
    np.testing.assert_allclose(found, 0.25 * rows[0] + 0.75 * rows[1], rtol=1e-9)
    path = tmp_path / "two" / "weights.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"line"', '"lime"'), encoding="utf-8")
    with pytest.raises(ModelError, match=r"weights\.json"):
        lmkit.load(tmp_path / "two")


def test_text_without_lines(models: dict[str, Path], tmp_path: Path) -> None:
    """There is nothing to fit on."""
    with pytest.raises(DataError, match="no lines"):
        lmkit.interpolate([models["word"], models["char"]], Text.from_lines([]), tmp_path / "out", by="word")
