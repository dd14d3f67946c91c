"""Optimisers on sparse gradients: the rows of the gradient change as under torch's own, the others not at all."""

import pytest
import torch
from torch import nn

from lmkit.errors import UsageError
from lmkit.training.row_adam import RowAdamW, RowSGD

SHAPE = (6, 3)
IDS = torch.tensor([1, 4])


def gradients() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(len(IDS), *SHAPE[1:]) for _ in range(4)]


def trained(optimiser: type[torch.optim.Optimizer], *, rows: bool, **options: float) -> nn.Parameter:
    """A matrix after four steps on gradients in the rows IDS: of the matrix, or of those rows as one by itself."""
    torch.manual_seed(0)
    start = torch.randn(SHAPE)
    parameter = nn.Parameter(start.clone() if rows else start[IDS].clone())
    made = optimiser([parameter], lr=0.1, **options)
    for gradient in gradients():
        parameter.grad = (
            torch.sparse_coo_tensor(IDS[None], gradient, SHAPE, check_invariants=False) if rows else gradient
        )
        made.step()
    return parameter


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (RowAdamW, torch.optim.AdamW, {"betas": (0.8, 0.95), "weight_decay": 0.1, "fused": True}),
        (RowSGD, torch.optim.SGD, {"weight_decay": 0.1}),
    ],
)
def test_rows_change_as_under_torchs_optimiser(ours, theirs, options):
    """The rows of the gradient change as a matrix of only them does; the other rows stay as they are."""
    found, wanted = trained(ours, rows=True, **options), trained(theirs, rows=False, **options)
    torch.testing.assert_close(found[IDS], wanted)
    torch.manual_seed(0)
    others = [0, 2, 3, 5]
    assert torch.equal(found[others], torch.randn(SHAPE)[others])


@pytest.mark.parametrize("ours", [RowAdamW, RowSGD])
def test_dense_gradients_are_torchs(ours):
    """A parameter with a dense gradient is updated by torch's own code, beside one with a sparse gradient."""
    parameters, twin = [nn.Parameter(torch.ones(SHAPE)) for _ in range(2)], nn.Parameter(torch.ones(SHAPE))
    made, plain = ours(parameters, lr=0.1), ours.__base__([twin], lr=0.1)
    parameters[0].grad = twin.grad = torch.arange(18.0).view(SHAPE)
    parameters[1].grad = torch.sparse_coo_tensor(IDS[None], torch.ones(2, 3), SHAPE, check_invariants=False)
    made.step()
    plain.step()
    assert torch.equal(parameters[0], twin)
    assert parameters[1].grad.is_sparse


def test_momentum_needs_all_rows():
    """SGD with momentum on a sparse gradient is refused, with the remedy."""
    with pytest.raises(UsageError, match="leave --momentum out"):
        trained(RowSGD, rows=True, momentum=0.9)


def test_state_can_be_loaded_into_torchs_adamw():
    """The state has torch's names and shapes, so that checkpoints do not depend on the kind of gradient."""
    parameter = nn.Parameter(torch.ones(SHAPE))
    made = RowAdamW([parameter], fused=True)
    parameter.grad = torch.sparse_coo_tensor(IDS[None], torch.ones(2, 3), SHAPE, check_invariants=False)
    made.step()
    torch.optim.AdamW([nn.Parameter(torch.ones(SHAPE))], fused=True).load_state_dict(made.state_dict())
