"""The recurrent language model: windows, resets, ties, and the options that it refuses."""

import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import Vocabulary
from lmkit.corpus.streams import Window
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


@pytest.mark.parametrize("tied", [True, False])
def test_sampled_training_is_that_of_the_softmax(tied):
    """With every word in the sample, loss and gradients in training are those of the exact output layer."""
    tokens = torch.randint(0, 9, (2, 12), generator=torch.Generator().manual_seed(1))
    inputs = torch.cat([torch.full((2, 1), 9), tokens[:, :-1]], 1)
    found = {}
    for output in ("softmax", "sampled"):
        model = make(output=output, samples=5000, tied=tied)
        model.start_at(torch.arange(9))
        loss, _ = model.step_loss(Window(inputs, tokens, None), model.blank_state(2))
        loss.backward()
        found[output] = loss, {name: p.grad.to_dense() for name, p in model.named_parameters()}
    torch.testing.assert_close(found["sampled"][0], found["softmax"][0])
    for name, gradient in found["softmax"][1].items():
        torch.testing.assert_close(found["sampled"][1][name], gradient, msg=name)


def test_sampled_training_leaves_other_words_alone():
    """The gradient of embedding and bias has rows only for the words of the window and of the sample."""
    model = make(output="sampled", samples=50)
    model.sample_from(torch.tensor([0] * 8 + [10**15]))
    inputs, targets = torch.tensor([[9, 3]]), torch.tensor([[3, 5]])
    loss, _ = model.step_loss(Window(inputs, targets, None), model.blank_state(1))
    loss.backward()
    for weight in (model.embedding.weight, model.output.bias):
        assert weight.grad.is_sparse
        assert weight.grad._indices()[0].tolist() == [3, 5, 8]


def test_mixture_may_be_tied_to_an_embedding_of_another_width():
    """The softmaxes of a mixture are over features as wide as the embedding, whatever the stack's width is."""
    model = make(output="mixture", experts=3, embedding_size=4)
    scores, _ = model.log_probs(torch.randint(0, 9, (2, 3)), model.initial_state(2))
    assert scores.shape == (2, 3)
    torch.testing.assert_close(
        model.next_log_probs(model.initial_state(1)).exp().sum(), torch.tensor(1.0, dtype=torch.float64)
    )


def test_penalties_are_their_definition():
    """alpha mean(dropped^2) + beta mean of the squared changes of the raw output, only in training."""
    model = make(activation_penalty=2.0, temporal_penalty=3.0)
    ids = torch.randint(0, 9, (2, 4))
    outputs, _ = model.features(ids, model.blank_state(2))
    wanted = 2 * outputs.square().mean() + 3 * (outputs[:, 1:] - outputs[:, :-1]).square().mean()
    torch.testing.assert_close(model.penalty, wanted)
    assert make().penalty is None
    plain = make()
    plain.features(ids, plain.blank_state(2))
    assert plain.penalty is None


def test_init_range_bounds_every_weight():
    """With an init range, all weights are drawn from it."""
    model = make(init_range=0.01)
    for name, weight in model.named_parameters():
        assert 0 < float(weight.detach().abs().max()) <= 0.01, name
