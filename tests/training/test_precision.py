"""Training in bfloat16 and TF32: near float32, with weights, loss and validation in float32."""

import math
from collections.abc import Callable

import pytest
import torch

from lmkit.devices import allow_tf32
from lmkit.neural import precision
from lmkit.neural.output import OutputLayer
from lmkit.recurrence import compiling
from lmkit.training.loop import Trainer

CELLS = ("rnn", "lstm", "gru", "gru-v3", "layer-norm-lstm", "mogrifier-lstm", "min-gru", "min-lstm", "sru", "qrnn",
         "rg-lru", "xlstm-slstm", "xlstm-mlstm")  # fmt: skip
BASE = {"name": "recurrent", "hidden_size": 16, "dropout": 0.0, "reset": "line"}
ENCODER = {"name": "elmo", "hidden_size": 16, "num_layers": 2, "dropout": 0.0}
MODELS = {cell: BASE | {"cell": cell} for cell in CELLS} | {
    "two layers": BASE | {"num_layers": 2, "projection_size": 8, "norm": "layer", "residual": True},
    "sampled": BASE | {"output": "sampled", "samples": 20},
    "adaptive": BASE | {"output": "adaptive", "tied": False},
    "mixture": BASE | {"output": "mixture", "experts": 2},
    "weight drop": BASE | {"weight_drop": 0.3},
    "compiled": BASE | {"cell": "gru", "tier": "compiled"},
    "window": {"name": "window", "hidden_size": 16},
    "characters": ENCODER | {"inputs": "characters", "filters": "1x8,2x8", "character_size": 4},
    "tokens": ENCODER | {"inputs": "tokens", "output_words": 20},
}


@pytest.fixture
def trainer(launches) -> Callable[..., Trainer]:
    def make(table: dict, **options) -> Trainer:
        torch.manual_seed(0)
        sizes = {"vocabulary": 60, "line": 9, "batch_size": 4, "bptt": 12}
        return launches.trainer(table, device=torch.device("cpu"), **sizes, **options)

    return make


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_nearly_the_loss_and_gradient_of_float32(trainer, name, monkeypatch):
    """The loss within 1 %, the whole gradient within 5 % of its norm; all in float32 after the step."""
    monkeypatch.setattr(compiling, "compiled", compiling.uncompiled)
    losses, gradients = [], []
    for kind in ("fp32", "bf16"):
        made = trainer(MODELS[name], precision=kind, clip_norm=0.0)
        torch.manual_seed(1)
        losses.append(made._step(lambda: False).figures.loss)
        dense = [p.grad.to_dense() if p.grad.is_sparse else p.grad for p in made.model.parameters()]
        assert {g.dtype for g in dense} == {p.dtype for p in made.model.parameters()} == {torch.float32}
        gradients.append(torch.cat([g.flatten() for g in dense]))
    assert not torch.equal(*gradients)
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert (gradients[1] - gradients[0]).norm() < 0.05 * gradients[0].norm()


@pytest.mark.parametrize("cell", ["lstm", "min-gru"])
def test_losses_of_a_training_are_within_a_percent(trainer, cell):
    """Each of 200 steps, on text that can be learned, with weights and state carried from step to step."""
    losses = []
    for kind in ("fp32", "bf16"):
        made = trainer(
            BASE | {"cell": cell}, precision=kind, max_steps=200, schedule="constant", learning_rate=5e-3
        )
        found = []
        for step in range(200):
            made.state = type(made.state)(step=step)
            found.append(made._step(lambda: False).figures.loss)
        losses.append(torch.tensor(found))
    assert losses[0][-1] < 0.9 * losses[0][0]
    assert ((losses[1] - losses[0]) / losses[0]).abs().max() < 0.01


def test_what_stays_in_float32(trainer):
    """Biases of output layers; inside the block everything else is bfloat16, once for weights that are shared."""
    made = trainer(BASE | {"output": "softmax"})
    model = made.model
    with precision.computing(model, "bf16"):
        assert model.output.weight is model.embedding.weight
        assert model.embedding.weight.dtype == torch.bfloat16
        kept = {id(layer.bias) for layer in model.modules() if isinstance(layer, OutputLayer)}
        assert {p.dtype for p in model.parameters() if id(p) not in kept} == {torch.bfloat16}
        assert model.output.bias.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(isinstance(p, torch.nn.Parameter) for p in model.parameters())


def test_weights_come_back_after_an_error(trainer):
    """They are the same objects."""
    model = trainer(BASE).model
    before = dict(model.named_parameters())
    with pytest.raises(ZeroDivisionError), precision.computing(model, "bf16"):
        1 / 0  # noqa: B018
    assert all(p is before[name] for name, p in model.named_parameters())


def test_tf32_holds_in_steps_only():
    """Both switches, which torch itself sets differently."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    allow_tf32(False)
    with precision.computing(torch.nn.Linear(1, 1), "tf32"):
        assert [s.allow_tf32 for s in switches] == [True, True]
    assert [s.allow_tf32 for s in switches] == [False, False]


def test_a_state_of_integers_stays_one():
    """The window model's state is ids, which bfloat16 cannot hold."""
    state = (torch.tensor([30001]), torch.tensor([math.pi]))
    entered = precision.entering(state, "bf16")
    assert [t.dtype for t in entered] == [torch.int64, torch.bfloat16]
    assert precision.entering(state, "tf32") is state
