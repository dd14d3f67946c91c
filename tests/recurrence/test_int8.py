"""Products for generation: copies of weights follow the weights, and int8 stays near float32."""

import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel
from torch import nn

from lmkit.contracts import Vocabulary
from lmkit.errors import UsageError
from lmkit.neural.linear import USES, linear
from lmkit.notes import NOTE
from lmkit.options import choose
from lmkit.recurrence.int8 import FEW_ROWS, Int8Product, to_int8

VNNI = torch.cpu._is_vnni_supported() and "fbgemm" in torch.backends.quantized.supported_engines
needs_vnni = pytest.mark.skipif(not VNNI, reason="the processor has no int8 products")


def make(**table) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    table = {"name": "recurrent", "hidden_size": 64, "num_layers": 2, **table}
    options = choose("model", table, "model").options
    return RecurrentLanguageModel(options, Vocabulary(300, 0, 1, "test")).eval()


@pytest.mark.parametrize("rows", [1, 3])
@torch.no_grad()
def test_copies_of_weights_follow_the_weights(rows):
    """A weight that changes between products gives what it now is, never what its copy was made from."""
    weight, bias = nn.Parameter(torch.randn(700, 200)), torch.randn(700)
    x = torch.randn(rows, 200)
    for _ in range(3):
        for _ in range(USES + 2):
            torch.testing.assert_close(linear(x, weight, bias), x @ weight.t() + bias, rtol=1e-4, atol=1e-4)
        weight.mul_(1.5)


@needs_vnni
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1, 40])
@torch.no_grad()
def test_int8_product_is_near_and_by_row(rows):
    """The error is that of 8 bits, whatever a row's scale; a row's product is the same in any batch."""
    torch.manual_seed(0)
    weight, bias = torch.randn(96, 64), torch.randn(96)
    product = Int8Product(weight, bias)
    x = torch.randn(rows, 64) * torch.logspace(-3, 3, rows)[:, None]
    found, wanted = product(x) - bias, x @ weight.t()
    error = (found - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert float(error.max()) < 0.02
    alone = torch.cat([product(row[None]) for row in x]) - bias
    torch.testing.assert_close(alone / wanted.norm(), found / wanted.norm(), rtol=1e-4, atol=1e-5)


@needs_vnni
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    "projection", [{}, {"projection_size": 48, "projection_clip": 0.5}], ids=["", "projected"]
)
@torch.no_grad()
def test_int8_model_scores_alike(cell, projection):
    """Scores move by little; scan, log_probs and steps agree with each other as they did."""
    model = make(cell=cell, **projection)
    ids = torch.randint(0, 300, (3, 20))
    exact, _ = model.log_probs(ids, model.initial_state(3))
    to_int8(model)
    scores, state = model.log_probs(ids, model.initial_state(3))
    assert 0 < float((scores - exact).abs().max()) < 0.05
    stepped = model.initial_state(3)
    for t in range(20):
        stepped = model.advance(ids[:, t], stepped)
    torch.testing.assert_close(model.next_log_probs(stepped), model.next_log_probs(state), rtol=0, atol=0.02)
    torch.testing.assert_close(model.next_log_probs(state).exp().sum(1), torch.ones(3))


@needs_vnni
@torch.no_grad()
def test_what_has_no_int8_products_stays(caplog):
    """A cell that owns its products stays in float32, with a warning; so does the embedding, tied to the output."""
    model = make(cell=choose("cell", "mogrifier-lstm", "cell"))
    embedding = model.embedding.weight.clone()
    to_int8(model)
    assert "MogrifierLSTMCell" in caplog.text
    assert torch.equal(model.embedding.weight, embedding)


def test_int8_is_refused_for_weights_elsewhere():
    """Only a CPU has these products."""
    with torch.device("meta"):
        elsewhere = make()
    with pytest.raises(UsageError, match="give --device cpu"):
        to_int8(elsewhere)


def test_without_int8_products_the_model_stays_in_float32(monkeypatch, caplog):
    """A processor without the instructions: a notice names them, and the model works as it was."""
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    model = make()
    with caplog.at_level(NOTE):
        to_int8(model)
    assert "AVX-512 VNNI" in caplog.text
    assert not model.int8
    assert torch.is_tensor(model.output.weight)
