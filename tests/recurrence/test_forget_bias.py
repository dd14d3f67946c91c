"""--forget-bias: every cell with a forget gate has it, and it moves that gate alone."""

from typing import Any

import pytest
import torch

from lmkit import states
from lmkit.option_fields import fields_of
from lmkit.options import choose
from lmkit.plugins import registry

MEMORIES = {
    "lstm": 1,
    "layer-norm-lstm": 1,
    "mogrifier-lstm": 1,
    "sru": 1,
    "qrnn": 0,
    "min-lstm": 0,
    "xlstm-slstm": 1,
    "xlstm-mlstm": 0,
}
"""The cells with a forget gate, and which part of the state the gate multiplies."""


def make(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    chosen = choose("cell", {"name": name, **options}, "cell")
    return chosen.load()(5, 8, chosen.options).double()


def test_who_has_it() -> None:
    """It is an option of every built-in cell with a forget gate and of no other."""
    having = {
        part.spec.name
        for part in registry().parts("cell")
        if part.plugin.builtin and "forget_bias" in {item.name for item in fields_of(part.spec.options)}
    }
    assert having == set(MEMORIES)


@pytest.mark.parametrize("name", MEMORIES)
def test_it_moves_the_forget_gate_alone(name: str) -> None:
    """It is added to one bias of one gate, and with a very low one nothing is left of the memory before."""
    before, after = make(name).state_dict(), make(name, forget_bias=-200.0).state_dict()
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert len(changed) == 1
    moved = (after[changed[0]] - before[changed[0]]).flatten()
    torch.testing.assert_close(
        moved[moved != 0], torch.full((4 if name == "xlstm-mlstm" else 8,), -200.0).double()
    )

    cell = make(name, forget_bias=-200.0)
    xs = torch.randn(2, 3, 5, dtype=torch.float64)
    _, state = cell.sequence(xs, cell.initial_state(3))
    leaves = list(states.leaves(state))
    leaves[MEMORIES[name]] = leaves[MEMORIES[name]] + 1
    (_, kept), (_, changed_state) = (cell.sequence(xs[:1], one) for one in (state, tuple(leaves)))
    memories = [states.leaves(one)[MEMORIES[name]] for one in (kept, changed_state)]
    torch.testing.assert_close(*memories, rtol=0, atol=1e-12)
