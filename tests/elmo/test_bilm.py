"""The bidirectional encoder: two language models over shared inputs, and vectors that know no other sentence."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import lmkit
from lmkit import states
from lmkit.cli import cli
from lmkit.contracts import Vocabulary
from lmkit.corpus.readers import Text
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams
from lmkit.errors import ModelError, UsageError
from lmkit.options import choose
from lmkit.plugins import registry
from lmkit.scoring.directions import from_the_end
from lmkit.training.validation import validate

ELMO = registry().find("model", "elmo")
LINES = [
    "the cat sat on the mat",
    "a dog barked",
    "the dog sat",
    "it was a very long day for the cat and for the dog",
    "day",
    "the mat was long",
]


def tokenizer_of(lines: list[str]) -> Any:
    """A word tokenizer that keeps every word."""
    chosen = choose("tokenizer", {"name": "word", "min_count": 1}, "test")
    return chosen.load().fit(lines, chosen.options)


def encoder(cell: str = "lstm", **options: Any) -> Any:
    """A small encoder in evaluation mode with its first weights."""
    torch.manual_seed(0)
    table = {"name": "elmo", "cell": cell, "hidden_size": 6, "filters": "1x4,2x5", "dropout": 0.0, **options}
    chosen = choose("model", table, "test")
    tokenizer = tokenizer_of(LINES)
    model = chosen.load()(chosen.options, tokenizer.vocabulary)
    model.use_tokenizer(tokenizer)
    return model.eval()


def lmkit_(*arguments: object) -> str:
    """The standard output of a command."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def store_of(model: Any, lines: list[str] = LINES) -> TokenStore:
    return TokenStore.build(Text.from_lines(lines), model.tokenizer)


def test_windows_read_both_ways() -> None:
    """The backward half of a window has each line from its end, resets where the forward half has them."""
    model = encoder()
    store = store_of(model)
    streams = Streams(store, 1, 5, "line", model.start_id, both_ways=True)
    windows = [streams.window(step) for step in range(streams.steps_per_epoch)]
    backward = [window.backward for window in windows]
    targets = torch.cat([window.targets for window in backward if window], 1)[0].numpy()
    wanted = np.concatenate([from_the_end(line) for line in store.lines()])
    assert targets.tolist() == wanted.tolist()
    inputs = torch.cat([window.inputs for window in backward if window], 1)[0].numpy()
    starts = np.concatenate([[0], store.line_ends[:-1]])
    before = np.concatenate([[model.start_id], wanted[:-1]])
    before[starts] = model.start_id
    assert inputs.tolist() == before.tolist()


@pytest.mark.parametrize("inputs", ["characters", "tokens"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "min-gru"])
@torch.no_grad()
def test_loss_is_that_of_two_causal_models(cell: str, inputs: str) -> None:
    """The loss of training is the mean of what the forward and the backward model are scored with."""
    model = encoder(cell, inputs=inputs)
    store = store_of(model)
    streams = model.streams(store, 1, 7)
    state, total = model.blank_state(1), 0.0
    for step in range(streams.steps_per_epoch):
        window = streams.window(step)
        loss, state = model.step_loss(window, state)
        total += float(loss) * window.targets.numel()
    assert total / store.num_tokens == pytest.approx(validate(model, store).loss, rel=1e-5)


@torch.no_grad()
def test_backward_model_reads_from_the_end() -> None:
    """The backward model's first token is predicted from the boundary after the sentence, its last is `</s>`."""
    model = encoder()
    backward = model.directions["backward"]
    ids = torch.tensor(model.tokenizer.ids("the cat sat").tolist())
    scores, _ = backward.log_probs(
        torch.cat([ids.flip(0), ids.new_tensor([backward.vocabulary.eos_id])])[None],
        backward.initial_state(1),
    )
    vectors = model.inputs(ids).flip(0)
    read = torch.cat([model.inputs.boundaries()[1:], vectors])
    outputs, _ = model.backward_stack(read[None])
    wanted = model.output(outputs[0]).gather(1, torch.cat([ids.flip(0), ids.new_tensor([0])])[:, None])
    torch.testing.assert_close(scores[0], wanted[:, 0])


def test_shortlist_is_a_distribution() -> None:
    """Ids past the shortlist share the unknown's probability, so that all probabilities sum to one."""
    torch.manual_seed(0)
    model = encoder(output_words=5)
    output = model.output
    features, size = torch.randn(4, output.width), model.vocabulary.size
    rows = output(features)
    assert rows.shape == (4, size)
    torch.testing.assert_close(rows.exp().sum(1), torch.ones(4))
    unknown = model.vocabulary.unk_id
    torch.testing.assert_close(rows[:, 5:], rows[:, unknown : unknown + 1].expand(4, size - 5))
    targets = torch.tensor([0, unknown, 4, size - 1])
    torch.testing.assert_close(output.target_log_probs(features, targets), rows[range(4), targets])
    torch.testing.assert_close(output.loss(features, targets), -rows[range(4), targets].mean())


def test_start_at_gives_the_frequencies() -> None:
    """Without features, the shortlist predicts the relative frequencies, with those past it on the unknown token."""
    model = encoder(output_words=5)
    counts = torch.arange(model.vocabulary.size) ** 2
    model.start_at(counts)
    found = model.output(torch.zeros(1, model.output.width)).exp()[0].detach()
    assert float(found.sum()) == pytest.approx(1)
    unknown = model.vocabulary.unk_id
    known = [index for index in range(5) if index != unknown]
    torch.testing.assert_close(found[known], (counts / counts.sum())[known].float(), atol=2e-3, rtol=0)


def brute(model: Any, sentence: str) -> Tensor:
    """The vectors of a sentence, a direction, a step and a layer at a time."""
    x = model.inputs(torch.tensor(model.tokenizer.ids(sentence).tolist()))
    edges = model.inputs.boundaries()
    halves = []
    for stack, words, first in (
        (model.forward_stack, x, edges[0]),
        (model.backward_stack, x.flip(0), edges[1]),
    ):
        state, steps = stack.initial_state(1), []
        for vector in [first, *words]:
            outputs, state = stack.layer_outputs(vector[None, None], state)
            steps.append(torch.stack([layer[0, 0] for layer in outputs]))
        layers = torch.stack(steps[1:], 1)
        halves.append(layers if stack is model.forward_stack else layers.flip(1))
    return torch.cat([torch.cat([x, x], 1)[None], torch.cat(halves, 2)])


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {}),
        ("gru", {"inputs": "tokens"}),
        ("qrnn", {}),
        ("lstm", {"projection_size": 4, "projection_clip": 3.0}),
        ("gru", {"residual": False, "num_layers": 3}),
    ],
)
@torch.no_grad()
def test_vectors_are_those_of_a_plain_reading(cell: str, options: dict[str, Any]) -> None:
    """In a batch of sentences of all lengths each has the vectors of being read alone, step by step."""
    model = encoder(cell, **options)
    for sentence, found in zip(LINES, model.embed(LINES), strict=True):
        assert found.shape == (model.num_layers, len(sentence.split()), model.width)
        torch.testing.assert_close(found, brute(model, sentence), rtol=0, atol=1e-6)


@torch.no_grad()
def test_lists_of_words() -> None:
    """A list of words has the vectors of the string, one a word; a word out of the vocabulary is spelled too."""
    model = encoder()
    lines = [*LINES, "a zyxt sat"]
    for line, found, words in zip(
        lines, model.embed(lines), model.embed([x.split() for x in lines]), strict=True
    ):
        torch.testing.assert_close(found, words, msg=line)
    spelled, other = model.embed([["zyxt"], ["zyxu"]])
    assert not torch.equal(spelled, other)
    tokens = encoder(inputs="tokens")
    assert [v.shape[1] for v in tokens.embed([["the", "", "cat"], []])] == [3, 0]
    assert tokens.embed([["the", "", "cat"]])[0][:, 1].abs().max() == 0


def test_carried_states_have_no_graph() -> None:
    """What a stateful call keeps does not hold on to all that led to it."""
    model = encoder()
    model.embed(LINES[:2], stateful=True)
    assert not any(leaf.requires_grad for state in model._carried for leaf in states.leaves(state))


def test_without_an_output_layer_nothing_is_trained() -> None:
    """--no-softmax is refused by its name, before the first step."""
    model = encoder(softmax=False)
    with pytest.raises(UsageError, match="--no-softmax"):
        model.streams(None, 2, 8)  # pyright: ignore[reportArgumentType]


@torch.no_grad()
def test_stateful_carries_rows() -> None:
    """A stateful call goes on where the same row of the last call ended; forgetting resets it."""
    model = encoder()
    first = model.embed(LINES[:2], stateful=True)
    again = model.embed(LINES[:2], stateful=True)
    assert not torch.allclose(first[0][1:], again[0][1:], atol=1e-4)
    torch.testing.assert_close(first[0][0], again[0][0])
    model.forget()
    torch.testing.assert_close(model.embed(LINES[:2], stateful=True)[1], first[1])


def test_no_softmax_no_score() -> None:
    """An encoder without an output layer says that it has no scores."""
    model = encoder(softmax=False)
    with pytest.raises(ModelError, match="no output layer"):
        _ = model.directions
    assert model.embed(["the cat"])[0].shape[1] == 2


def test_impossible_options() -> None:
    """Invalid filters, filters that do not fit and a shortlist without an unknown token are usage errors."""
    with pytest.raises(UsageError, match="filters"):
        encoder(filters="3,4")
    with pytest.raises(UsageError, match="sum to the width"):
        encoder(project_filters=False)
    chosen = choose("model", {"name": "elmo", "inputs": "tokens", "output_words": 5}, "test")
    with pytest.raises(UsageError, match="no unknown token"):
        chosen.load()(chosen.options, Vocabulary(9, 0, None, "x"))


def test_train_eval_resume(tmp_path: Path) -> None:
    """A run that stops and goes on, averages and all, is the run that never stopped; eval has both directions."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES * 40) + "\n")
    settings = [
        "--model", "elmo", "--hidden-size", "8", "--filters", "1x4,2x4", "--max-steps", "12", "--batch-size", "4",
        "--bptt", "8", "--average", "0.9", "--samples", "4", "--threads", "1",
    ]  # fmt: skip
    for name, extra in (("whole", []), ("halves", ["--stop-after", "5"])):
        lmkit_("train", text, *settings, "--out", tmp_path / name, *extra)
    lmkit_("train", "--resume", tmp_path / "halves")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "halves")]
    assert weights[0] == weights[1]
    scores = json.loads(lmkit_("eval", tmp_path / "whole", text, "--json"))
    assert scores.keys() == {"forward", "backward"}
    assert "direction:backward" in scores["backward"]["signature"]
    assert all(1 < score["perplexity"] < 100 and score["oov_tokens"] == 0 for score in scores.values())
    model = lmkit.load(tmp_path / "whole")
    assert model.directions["forward"].vocabulary == model.tokenizer.vocabulary
    with pytest.raises(ModelError, match="lmkit eval"):
        model.score("the cat")
    assert json.loads((tmp_path / "whole" / "lmkit.json").read_text())["kind"] == "encoder"
    assert math.isfinite(
        model.score_text(Text.from_lines(LINES), direction="backward").bits_per_byte or math.inf
    )
