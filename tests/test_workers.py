"""Work shared among processes: its order, its errors, and the same bytes as in one process."""

import operator
import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import lmkit
from lmkit.cli import cli
from lmkit.corpus.readers import Text
from lmkit.embedding.batches import EncodedSentence, embed_encoded
from lmkit.embedding.layers import selection
from lmkit.errors import LmkitError, UsageError
from lmkit.scoring.stream import LOG_PROB, Sentence, measure_lines
from lmkit.workers import Workers


class Loopback(Workers):
    """Workers without processes: jobs and results are pickled, as they are on their way to a process."""

    def __init__(self, opened: Any) -> None:
        self.opened = opened
        self.jobs = 0

    def __exit__(self, *error: object) -> None: ...

    def map(self, function: Callable[[Any, Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        for job in jobs:
            self.jobs += 1
            sent, one = pickle.loads(pickle.dumps((function, job)))
            yield pickle.loads(pickle.dumps(sent(self.opened, one)))


def test_results_come_in_order():
    """Results are those of the jobs, in their order; more jobs than can wait are read as needed."""
    jobs = iter(range(50))
    with Workers(2, partial(list, range(100))) as workers:
        found = workers.map(operator.getitem, jobs)
        assert next(found) == 0
        assert next(jobs) < 10
        assert list(found)[:3] == [1, 2, 3]


def test_an_error_of_a_worker_is_raised():
    """The error of a job, and that of opening, is the error of the whole, of the same class."""
    with pytest.raises(IndexError), Workers(1, partial(list, range(3))) as workers:
        list(workers.map(operator.getitem, [0, 7]))
    with pytest.raises(ValueError, match="invalid literal"), Workers(1, partial(int, "x")) as workers:
        list(workers.map(operator.add, [1]))


def test_a_killed_worker_is_an_error():
    """A worker that is killed ends the work with one line; nothing hangs."""
    with pytest.raises(LmkitError, match="a worker ended"), Workers(1, os.getpid) as workers:
        list(workers.map(os.kill, [signal.SIGKILL]))


@pytest.mark.parametrize("policy", ["line", "document"])
def test_divided_scores_are_the_same_bits(trained, policy):
    """Blocks are divided only where the state is reset, so that every figure keeps its bits."""
    model = lmkit.load(trained, device="cpu").causal
    model.reset_policy = policy
    random = np.random.default_rng(1)
    lines = [
        Sentence(
            np.append(random.integers(1, model.vocabulary.size, 9), model.vocabulary.eos_id), place % 7 == 0
        )
        for place in range(60)
    ]
    workers = Loopback(model)
    one = list(measure_lines(model, lines, LOG_PROB, block=35))
    shared = list(measure_lines(model, lines, LOG_PROB, block=35, workers=workers))
    assert workers.jobs > 2
    assert all(np.array_equal(a, b) for a, b in zip(one, shared, strict=True))


def test_one_stream_cannot_be_divided(trained):
    """A model that is never reset is refused, unless each line is scored by itself."""
    model = lmkit.load(trained, device="cpu").causal
    model.reset_policy = "never"
    lines = [Sentence(np.array([model.vocabulary.eos_id]), True)] * 3
    with pytest.raises(UsageError, match="--independent"):
        list(measure_lines(model, lines, LOG_PROB, workers=Loopback(model)))
    found = measure_lines(model, lines, LOG_PROB, independent=True, workers=Loopback(model))
    assert len(list(found)) == 3


def test_divided_vectors_are_the_same_bits(trained):
    """Sentences are embedded in the same blocks, so that every vector keeps its bits."""
    encoder = lmkit.load(trained, device="cpu").encoder
    select = selection(encoder, "top", "mean")
    texts = ["the cat sat", "", "on the mat the cat", "a dog"] * 5
    sentences = [EncodedSentence.of(text, encoder) for text in texts]
    workers = Loopback((encoder, select))
    one = list(embed_encoded(encoder, sentences, select=select, block_tokens=8))
    shared = list(embed_encoded(encoder, sentences, select=select, block_tokens=8, workers=workers))
    assert workers.jobs > 2
    assert all(torch.equal(a, b) for a, b in zip(one, shared, strict=True))


def test_surprisal_is_the_same(trained):
    """Records and their order do not depend on workers, measures of whole distributions included."""
    model = lmkit.load(trained, device="cpu")
    text = Text.from_lines(["the cat sat on the mat", "a dog sat"] * 4)
    settings = {"entropy": True, "rank": True, "independent": True}
    shared = model.surprisal_text(text, workers=Loopback(model.causal), **settings)
    assert list(shared) == list(model.surprisal_text(text, **settings))


def test_refusals(trained, tmp_path, capsys):
    """--workers is refused, with exit code 2, for models that adapt to a text and for other devices than the CPU."""
    text = tmp_path / "text.txt"
    text.write_text("the cat\n")
    for options, part in ((["--cache", "9"], "--cache adapts"), (["--device", "meta"], "on the CPU")):
        with pytest.raises(SystemExit) as end:
            cli.main(["eval", str(trained), str(text), "--workers", "2", *options])
        assert end.value.code == 2
        assert part in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("command", ["eval", "surprisal", "embed"])
def test_the_commands_write_the_same_bytes(trained, tmp_path, capsysbinary, command):
    """`lmkit eval`, `surprisal` and `embed` write the same bytes with two workers."""
    text = tmp_path / "text.txt"
    text.write_text("".join(f"the cat sat on the {word}\n" for word in ("mat", "dog", "cat")) * 900)
    outputs = []
    for options in ([], ["--workers", "2"]):
        out = tmp_path / f"{len(options)}.safetensors"
        line = [command, str(trained), str(text), *options]
        line += ["--out", str(out)] if command == "embed" else ["--independent"]
        with pytest.raises(SystemExit) as end:
            cli.main(line)
        assert end.value.code == 0
        found = capsysbinary.readouterr().out
        outputs.append(out.read_bytes() if command == "embed" else found)
    assert outputs[0] == outputs[1]
