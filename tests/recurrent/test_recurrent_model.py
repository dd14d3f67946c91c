"""The recurrent language model: windows, resets, ties, and the options that it refuses."""

import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import Vocabulary
from lmkit.errors import ModelError, UsageError
from lmkit.options import choose

VOCABULARY = Vocabulary(9, 0, 1, "test")


def make(**options) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "gru", "hidden_size": 5, "num_layers": 2, "dropout": 0.0, **options}
    return RecurrentLanguageModel(choose("model", table, "model").options, VOCABULARY).double()


def test_windows_of_training_score_what_log_probs_scores():
    """Losses of carried training windows add up to the score of the whole text in one piece."""
    model = make()
    tokens = torch.randint(0, 9, (2, 12))
    inputs = torch.cat([torch.full((2, 1), model.start_id), tokens[:, :-1]], 1)
    state, total = model.blank_state(2), 0.0
    for first in range(0, 12, 5):
        part = slice(first, first + 5)
        loss, state = model.window_loss(inputs[:, part], tokens[:, part], state)
        total += loss * inputs[:, part].numel()
    scores, _ = model.log_probs(tokens, model.initial_state(2))
    torch.testing.assert_close(total, -scores.sum(), rtol=1e-12, atol=1e-12)


def test_every_target_of_a_carried_window_reaches_the_recurrence():
    """The first target of a window has a gradient into the recurrent weights, as the others have."""
    model = make(num_layers=1)
    _, state = model.window_loss(
        torch.randint(0, 9, (1, 4)), torch.randint(0, 9, (1, 4)), model.blank_state(1)
    )
    inputs, target = torch.tensor([[3]]), torch.tensor([[4]])
    loss, _ = model.window_loss(inputs, target, tuple((h.detach(),) for (h,) in state))
    loss.backward()
    assert float(model.stack.layers[0].weight_hh.grad.norm()) > 0


def test_reset_is_a_new_text():
    """`reset[b, t]` scores token t as the first of a text, and the state goes on from there."""
    model = make()
    tokens = torch.randint(0, 9, (2, 8))
    reset = torch.zeros(2, 8, dtype=torch.bool)
    reset[0, 0] = reset[1, 3] = reset[1, 7] = True
    _, dirty = model.log_probs(torch.randint(0, 9, (2, 3)), model.initial_state(2))
    scores, state = model.log_probs(tokens, dirty, reset=reset)
    fresh = lambda row, part: model.log_probs(tokens[row : row + 1, part], model.initial_state(1))  # noqa: E731
    torch.testing.assert_close(scores[0], fresh(0, slice(0, 8))[0][0])
    torch.testing.assert_close(scores[1, 3:7], fresh(1, slice(3, 7))[0][0])
    last, after = fresh(1, slice(7, 8))
    torch.testing.assert_close(scores[1, 7:], last[0])
    torch.testing.assert_close(state[0][1], after[0][0])


def test_tied_weights_are_one_parameter(tmp_path):
    """A tied output layer is the embedding: counted once, saved once, still one after loading."""
    model = make().float()
    assert model.output.weight is model.embedding.weight
    untied = make(tied=False).float()
    assert untied.parameter_count() - model.parameter_count() == 9 * 5
    model.save(tmp_path)
    loaded = RecurrentLanguageModel.load(tmp_path, model.options, VOCABULARY)
    assert loaded.output.weight is loaded.embedding.weight
    torch.testing.assert_close(loaded.output.weight, model.output.weight, rtol=0, atol=0)


def test_tied_weights_need_equal_widths():
    """The error says which width would do."""
    with pytest.raises(UsageError, match="--embedding-size 5, not 3"):
        make(embedding_size=3)
    assert make(embedding_size=3, tied=False).embedding.weight.shape == (9, 3)


def test_weights_of_another_configuration_are_listed(tmp_path):
    """Loading compares names, shapes and types with the configuration before it allocates anything."""
    model = make().float()
    model.save(tmp_path)
    other = make(hidden_size=6, num_layers=1)
    with pytest.raises(
        ModelError, match=r"embedding.weight has shape \[9, 5\], wanted \[9, 6\].*layers.1.*not a weight"
    ):
        RecurrentLanguageModel.load(tmp_path, other.options, VOCABULARY)
