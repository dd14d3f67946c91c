"""lmkit's models in the lm-evaluation-harness: its scores are those of lmkit, on tasks from local files."""

import json
import math
import random
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import lmkit
from lmkit.errors import ModelError, UsageError
from lmkit.evaluation.minimal_pairs import accuracies
from lmkit.evaluation.pair_files import Pair
from lmkit.generation.text import prompt_ids

pipelines = pytest.mark.pipelines
EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "harness"
WORDS = ["the", "cat", "dog", "sat", "ran", "on", "mat", "a", "good."]
KINDS = {
    "ngram": {"model": "ngram", "order": 3, "tokenizer": "word", "min_count": 1},
    "line": {"model": "gru", "reset": "line", "tokenizer": "word", "min_count": 1},
    "document": {"model": "lstm", "reset": "document", "tokenizer": "char"},
    "never": {"model": "gru", "reset": "never", "tokenizer": "sentencepiece", "vocab_size": 280},
}
"""Models by the place where their state is reset, with tokenizers of every kind."""


def sentences(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(2, 7))) for _ in range(count)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small run of each kind."""
    folder = tmp_path_factory.mktemp("harness")
    (folder / "text.txt").write_text("\n".join(sentences(200)) + "\n", encoding="utf-8")
    for name, options in KINDS.items():
        neural = (
            {}
            if name == "ngram"
            else {"hidden_size": 16, "max_steps": 30, "batch_size": 4, "bptt": 16, "lr": 0.02}
        )
        lmkit.train(folder / "text.txt", out=folder / name, **options, **neural)
    return {name: folder / name for name in KINDS}


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, runs: dict[str, Path]) -> Path:
    return runs[request.param]


def adapter(run: Path, **settings: Any) -> Any:
    pytest.importorskip("lm_eval")
    from lmkit.pipelines.harness.model import LmkitLM

    return LmkitLM(run, device="cpu", **settings)


def requests(*arguments: Any) -> list[Any]:
    """What the harness passes: the arguments of each request."""
    return [SimpleNamespace(args=one if isinstance(one, tuple) else (one,)) for one in arguments]


def evaluated(run: Path, task: str, rows: list[dict[str, str]], folder: Path) -> dict[str, Any]:
    """The harness's figures of a run on a task of the examples, with these rows."""
    lm = adapter(run)
    import lm_eval
    import yaml
    from lm_eval.tasks import TaskManager

    config = yaml.safe_load((EXAMPLES / f"{task}.yaml").read_text(encoding="utf-8"))
    folder.mkdir(exist_ok=True)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config["dataset_kwargs"] = {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")}
    # Without the harness's own tasks, whose thousands of files it would read.
    tasks = TaskManager(include_defaults=False)
    found = lm_eval.simple_evaluate(lm, tasks=[config], bootstrap_iters=0, task_manager=tasks)
    assert found is not None
    return found["results"][config["task"]]


def command() -> Any:
    """The module behind `python -m lmkit.pipelines.harness`."""
    return import_module("lmkit.pipelines.harness.__main__")


def reference(model: lmkit.Model, context: str, continuation: str) -> tuple[float, bool]:
    """Token by token: the tokens of the whole text behind those of the context."""
    tokens = prompt_ids(model.tokenizer, context + continuation)
    first = len(prompt_ids(model.tokenizer, context))
    state, score, greedy = model.causal.initial_state(1), 0.0, True
    with torch.no_grad():
        for place, token in enumerate(tokens):
            row = model.causal.next_log_probs(state)[0].double()
            if place >= first:
                score += float(row[token])
                greedy = greedy and bool(row[token] >= row.max())
            state = model.causal.advance(torch.tensor([token]), state)
            if token == model.vocabulary.eos_id and model.causal.reset_policy == "line":
                state = model.causal.initial_state(1)
    return score, greedy


@pipelines
@pytest.mark.parametrize("batch_size", [1, "auto"])
def test_loglikelihood(run: Path, batch_size: int | str) -> None:
    """Scores and greediness are those of a pass token by token: after a context, across lines, at a text's start."""
    model = lmkit.load(run, device="cpu")
    pairs = [
        ("", "the cat sat"), ("", "the cat sat\n"), ("the cat", " sat on"), ("the cat\nthe", " dog ran\n"),
        ("the cat\n", "the dog\na cat\n"), ("a\n\nthe", " mat"), ("", ""), ("the cat", ""), ("the", " zebra"),
        ("a dog", " sat on the mat\n"), ("the cat", " sat on"),
    ]  # fmt: skip
    for context in ("the", "the cat", "a dog\nthe"):
        pairs.append((context, model.generate(context, decoder="greedy", max_tokens=1)[0].text))
    pairs += [(first, " " + second) for first, second in zip(sentences(20, 1), sentences(20, 2), strict=True)]
    found = adapter(run, batch_size=batch_size).loglikelihood(requests(*pairs), disable_tqdm=True)
    wanted = [reference(model, *pair) for pair in pairs]
    np.testing.assert_allclose(
        [score for score, _ in found], [score for score, _ in wanted], atol=1e-6, rtol=1e-6
    )
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
    assert len({greedy for (_, greedy), (_, text) in zip(found, pairs, strict=True) if text}) == 2


@pipelines
def test_white_space_and_tokens_of_both_sides(runs: dict[str, Path]) -> None:
    """For words, the place of a space between two texts changes nothing; a word that both share is scored whole."""
    lm = adapter(runs["ngram"])
    scores = lm.loglikelihood(
        requests(("the cat", " sat"), ("the cat ", "sat"), ("the ca", "t sat"), ("the", " cat sat")),
        disable_tqdm=True,
    )
    assert scores[0] == scores[1]
    assert scores[2] == scores[3]
    lm = adapter(runs["document"])  # of characters, a space is one
    one, other = lm.loglikelihood(requests(("the cat", " sat"), ("the cat ", "sat")), disable_tqdm=True)
    assert one[0] < other[0]


@pipelines
def test_scores_of_minimal_pairs(run: Path) -> None:
    """With its line end, a sentence has the score of `sentence_scores`; equal tokens have equal scores."""
    model, texts = lmkit.load(run, device="cpu"), [*sentences(40, 3), "the cat", "the cat"]
    found = adapter(run).loglikelihood(requests(*(("", text + "\n") for text in texts)), disable_tqdm=True)
    np.testing.assert_allclose(
        [score for score, _ in found], model.sentence_scores(texts), atol=1e-5, rtol=1e-6
    )
    assert found[-1] == found[-2]


@pipelines
def test_rolling_is_eval(run: Path) -> None:
    """A text's log-probability is its code in `lmkit eval`, with unknown words spelled; the empty text is certain."""
    texts = ["the cat sat\nthe zebra ran\n", "a dog", "the cat\n\n  the\tdog\n", ""]
    found = adapter(run).loglikelihood_rolling(requests(*texts), disable_tqdm=True)
    scores = [lmkit.load(run, device="cpu").score(text) for text in texts[:3]]
    np.testing.assert_allclose(found[:3], [-(score.bits or 0) * math.log(2) for score in scores], rtol=1e-9)
    assert found[3] == 0


@pipelines
def test_generation(run: Path) -> None:
    """Greedy texts are lmkit's, cut before the first of the strings in `until`, in order, whatever their settings."""
    model, lm = lmkit.load(run, device="cpu"), adapter(run)
    prompts = ["the", "a dog\nthe cat", "", "the mat"]
    settings = [
        {"max_gen_toks": 20},
        {"max_gen_toks": 12, "until": ["t", "\n"]},
        {"until": "a", "do_sample": False},
    ]
    asked = [(prompt, one) for prompt in prompts for one in settings]
    found = lm.generate_until(requests(*asked), disable_tqdm=True)
    for (prompt, one), text in zip(asked, found, strict=True):
        whole = model.generate(prompt, decoder="greedy", max_tokens=one.get("max_gen_toks", 256))[0].text
        for end in one.get("until", []):
            whole = whole.split(end)[0]
        assert text == whole


@pipelines
def test_sampling(runs: dict[str, Path]) -> None:
    """Sampled texts repeat with the harness's seed, and several of one prompt differ."""
    lm, found = adapter(runs["document"]), []
    asked = requests(*[("the", {"do_sample": True, "temperature": 1.5, "max_gen_toks": 20})] * 3)
    for _ in range(2):
        torch.manual_seed(1)
        found.append(lm.generate_until(asked, disable_tqdm=True))
    assert found[0] == found[1]
    assert len(set(found[0])) == 3
    with pytest.raises(UsageError, match=r"'top_pp'.*top_p"):
        lm.generate_until(requests(("the", {"top_pp": 0.5})), disable_tqdm=True)


@pipelines
@pytest.mark.parametrize("kind", ["ngram", "line"])
def test_accuracy_on_pairs(kind: str, runs: dict[str, Path], tmp_path: Path) -> None:
    """The harness's accuracy on a file of pairs is that of `lmkit minimal-pairs`, where a tie is half right there."""
    good, bad = sentences(60, 4), sentences(60, 5)
    pairs = [(a, b) for a, b in zip(good, bad, strict=True) if sorted(a.split()) != sorted(b.split())]
    ties = [("the zebra", "the lion"), ("lion ran", "panda ran")]
    for chosen, tied in ((pairs, 0), (pairs + ties, 2)):
        rows = [{"sentence_good": a, "sentence_bad": b} for a, b in chosen]
        found = evaluated(runs[kind], "minimal_pairs", rows, tmp_path / str(tied))["acc,none"]
        given = [Pair(a, b, "own") for a, b in chosen]
        own = accuracies(given, lmkit.minimal_pairs([runs[kind]], given, device="cpu")[kind])["own"]
        assert own.ties == tied
        assert own.percent is not None
        assert found * len(chosen) == pytest.approx(own.percent / 100 * len(chosen) + tied / 2)
        assert 0 < found < 1


@pipelines
def test_last_words(runs: dict[str, Path], tmp_path: Path) -> None:
    """Accuracy and perplexity on last words are those of the reference."""
    texts = [text for text in sentences(50, 6) if " " in text]
    found = evaluated(runs["ngram"], "last_words", [{"text": text} for text in texts], tmp_path)
    model = lmkit.load(runs["ngram"])
    split = [text.rsplit(" ", 1) for text in texts]
    wanted = [reference(model, context, " " + word) for context, word in split]
    assert found["acc,none"] == pytest.approx(np.mean([greedy for _, greedy in wanted]))
    assert found["perplexity,none"] == pytest.approx(np.exp(-np.mean([score for score, _ in wanted])))
    assert 0 < found["acc,none"] < 1


@pipelines
def test_bits_per_byte(run: Path, tmp_path: Path) -> None:
    """On texts that end with a line end, the harness's bits per byte are lmkit's, with unknown words too."""
    pages = ["".join(text + "\n" for text in [*sentences(5, seed), "the zebra ran"]) for seed in (7, 8)]
    found = evaluated(run, "pages", [{"text": page} for page in pages], tmp_path)
    scores = [lmkit.load(run, device="cpu").score(page) for page in pages]
    bits, size = sum(score.bits or 0 for score in scores), sum(score.num_bytes for score in scores)
    assert found["bits_per_byte,none"] == pytest.approx(bits / size)


@pipelines
def test_not_a_number(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that are not numbers, which the harness would count as right, are an error for every kind of score."""
    lm = adapter(runs["line"])

    def broken(ids: torch.Tensor, state: Any, **_: Any) -> tuple[torch.Tensor, Any]:
        return torch.full(ids.shape, math.nan), state

    monkeypatch.setattr(lm.causal, "log_probs", broken)
    for score, given in ((lm.loglikelihood, ("the", " cat")), (lm.loglikelihood_rolling, "the cat")):
        with pytest.raises(ModelError, match="not a number"):
            score(requests(given), disable_tqdm=True)


@pipelines
def test_mistakes(runs: dict[str, Path], tmp_path: Path) -> None:
    """Wrong arguments, encoders and scores that are no probabilities are one line that says what to do."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"run": None}, "run=DIRECTORY"),
        ({"pretrained": "x"}, "pretrained=.*run"),
        ({"batch_size": "many"}, "--batch_size is 'many'"),
        ({"split_unknown": "no"}, "split_unknown is 'no'"),
    ]
    for settings, said in wrong:
        with pytest.raises(UsageError, match=said):
            adapter(**{"run": runs["ngram"], **settings})
    text = runs["ngram"].parent / "text.txt"
    lmkit.train(text, model="elmo", hidden_size=8, filters="1x4", max_steps=1, out=tmp_path / "elmo")
    with pytest.raises(ModelError, match="holds an encoder"):
        adapter(tmp_path / "elmo")
    lmkit.train(text, model="ngram", smoothing="stupid-backoff", order=2, out=tmp_path / "backoff")
    lm = adapter(tmp_path / "backoff")
    assert lm.loglikelihood(requests(("the", " cat")), disable_tqdm=True)[0][0] < 0
    with pytest.raises(ModelError, match="not probabilities"):
        lm.loglikelihood_rolling(requests("the cat"), disable_tqdm=True)


@pipelines
@pytest.mark.usefixtures("quiet_messages")
def test_command(
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The harness's command finds the model, reads a task of the examples offline, and prints the accuracy."""
    pytest.importorskip("lm_eval")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(
        '{"sentence_good": "the cat sat", "sentence_bad": "cat the zebra"}\n', encoding="utf-8"
    )
    options = ["--model_args", f"run={runs['ngram']}", "--tasks", "local_minimal_pairs"]
    monkeypatch.setattr(
        sys, "argv", ["lm-eval", "--model", "lmkit", *options, "--include_path", str(EXAMPLES)]
    )
    command().main()
    assert "|local_minimal_pairs|" in capsys.readouterr().out


@pipelines
def test_errors_of_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of lmkit ends the command with one line and its exit code."""
    pytest.importorskip("lm_eval")
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: adapter(Path("nowhere")))
    with pytest.raises(SystemExit) as end:
        command().main()
    assert end.value.code == 4
    assert capsys.readouterr().err.startswith("error: nowhere is not a run's directory")


def test_without_the_harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the library, the command is one line that says which extra brings it."""
    for name in ("lm_eval", "lm_eval.__main__"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as end:
        command().main()
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith("[harness]'\n")
