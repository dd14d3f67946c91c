"""New words in a trained model: their probabilities come from the unknown word, and nothing else changes."""

import pytest
import torch

from lmkit.contracts import Encoder, Vocabulary
from lmkit.errors import UsageError
from lmkit.neural.growth import NewTokens, copy_weights
from lmkit.neural.trainable import TrainableModel
from lmkit.options import choose

OLD, ADDED, UNKNOWN = 9, 3, 1
COUNTS, STILL_UNKNOWN = torch.tensor([6, 3, 0]), 10
SHARES = torch.tensor([10, 6, 3, 1]).double() / 20
"""Of the unknown word, and of the new ones; none counts less than one."""

SMALL = {"hidden_size": 6}
KINDS = {
    "tied": {"name": "gru", **SMALL},
    "untied": {"name": "lstm", **SMALL, "tied": False, "embedding_size": 4},
    "sampled": {"name": "rnn", **SMALL, "output": "sampled", "samples": 4},
    "mixture": {"name": "rnn", **SMALL, "output": "mixture", "experts": 3},
    "window": {"name": "window", **SMALL, "order": 3},
    "direct": {"name": "window", **SMALL, "order": 3, "direct": True, "tied": False},
    "elmo": {"name": "elmo", **SMALL, "inputs": "tokens", "samples": 0},
}
"""Models whose unknown word is divided exactly."""


def vocabulary(size: int) -> Vocabulary:
    return Vocabulary(size, 0, UNKNOWN, str(size))


def made(table: dict, size: int) -> TrainableModel:
    chosen = choose("model", _long(table), "test")
    model = chosen.load()(chosen.options, vocabulary(size)).double().eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return model


def _long(table: dict) -> dict:
    if table["name"] in ("window", "elmo"):
        return table
    return {**table, "name": "recurrent", "cell": {"name": table["name"]}}


def grown(table: dict, **changes) -> tuple[TrainableModel, TrainableModel]:
    """A model, and the same one with new words."""
    old = made(table, OLD)
    new = made({**table, **changes}, OLD + ADDED)
    copy_weights(new, old, NewTokens(OLD, UNKNOWN, COUNTS, STILL_UNKNOWN))
    return old, new


def probabilities(model: TrainableModel, ids: list[int]) -> list[torch.Tensor]:
    """The distributions of the next token after a text, of each direction."""
    causal = list(model.directions.values()) if isinstance(model, Encoder) else [model]
    with torch.no_grad():
        tensor = torch.tensor([ids])
        return [one.next_log_probs(one.log_probs(tensor, one.initial_state(1))[1])[0].exp() for one in causal]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", [[2, 5, 8], [1, 0, 3, 1]])
def test_the_unknown_word_is_divided_by_counts(kind: str, ids: list[int]) -> None:
    """After any old text old words have their probabilities, and the unknown word's is shared with the new ones."""
    old, new = grown(KINDS[kind])
    for before, after in zip(probabilities(old, ids), probabilities(new, ids), strict=True):
        known = [i for i in range(OLD) if i != UNKNOWN]
        torch.testing.assert_close(after[known], before[known], rtol=1e-10, atol=1e-12)
        shared = after[[UNKNOWN, *range(OLD, OLD + ADDED)]]
        torch.testing.assert_close(shared, before[UNKNOWN] * SHARES, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_word_is_read_as_the_unknown_word(kind: str) -> None:
    """Its embedding is a copy, so that the text after it has the probabilities that it had."""
    _, new = grown(KINDS[kind])
    pairs = zip(probabilities(new, [2, OLD + 1, 4]), probabilities(new, [2, UNKNOWN, 4]), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_shortlist_of_an_encoder_keeps_its_length() -> None:
    """New words past it are in the class of the unknown word, which keeps its probability."""
    old, new = grown({**KINDS["elmo"], "output_words": 5})
    for before, after in zip(probabilities(old, [2, 3]), probabilities(new, [2, 3]), strict=True):
        torch.testing.assert_close(after[2:5], before[2:5], rtol=1e-10, atol=1e-12)
        classes = [UNKNOWN, *range(5, OLD)]
        torch.testing.assert_close(
            after[[*classes, *range(OLD, OLD + ADDED)]].sum(), before[classes].sum(), rtol=1e-10, atol=1e-12
        )


def test_a_shortlist_that_is_not_full_gets_some_of_the_new_words() -> None:
    """The first ones have classes of their counts; those past it share the rest with the unknown word, evenly."""
    old, new = grown({**KINDS["elmo"], "output_words": OLD + 1, "tied": False})
    for before, after in zip(probabilities(old, [2, 3]), probabilities(new, [2, 3]), strict=True):
        unknown = before[UNKNOWN]
        torch.testing.assert_close(after[OLD], unknown * SHARES[1], rtol=1e-6, atol=1e-12)
        rest = after[[UNKNOWN, OLD + 1, OLD + 2]]
        torch.testing.assert_close(rest, (unknown * (1 - SHARES[1]) / 3).expand(3), rtol=1e-6, atol=1e-12)


def test_an_adaptive_softmax_gets_new_words_in_its_last_cluster() -> None:
    """Each is a mean word of that cluster; words of other clusters keep their probabilities, and it its own."""
    table = {"name": "rnn", **SMALL, "output": "adaptive", "tied": False, "cutoffs": [3, 6]}
    old, new = grown(table)
    before, after = probabilities(old, [2, 5])[0], probabilities(new, [2, 5])[0]
    torch.testing.assert_close(after[:6], before[:6], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(after[6:].sum(), before[6:].sum(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(after[6:OLD] / after[6], before[6:] / before[6], rtol=1e-10, atol=1e-12)
    mean = before[6:].log().mean().exp() / before[6:].sum()
    expected = mean / (1 + ADDED * mean) * before[6:].sum()
    torch.testing.assert_close(after[OLD:], expected.expand(ADDED), rtol=1e-10, atol=1e-12)


def test_the_cutoffs_of_a_model_do_not_move_with_its_vocabulary() -> None:
    """The default depends on the size, so the model's options have the real ones."""
    model = made({"name": "rnn", **SMALL, "output": "adaptive", "tied": False}, 64)
    assert model.options.cutoffs == (4, 16)


def test_weights_without_rows_of_words_are_an_error() -> None:
    """Their name and both shapes are in the message."""
    with pytest.raises(UsageError, match=r"--new-words: the weights .* cannot get new words \(shape"):
        grown(KINDS["tied"], hidden_size=7)
