"""Each operator of torch in onnxruntime, against torch."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytestmark = pytest.mark.pipelines

FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum of three": lambda x, y: x + y * 2 - 1 / (3 + y.abs()),
    "activations": lambda x, y: torch.relu(x) + F.silu(y) + F.gelu(x) + F.softplus(y) + F.elu(x) + F.selu(y),
    "more activations": lambda x, y: F.leaky_relu(x, 0.2) + F.hardtanh(y) + F.hardsigmoid(x) + F.mish(y),
    "gelu by tanh": lambda x, y: F.gelu(x, approximate="tanh") + y,
    "log sigmoid": lambda x, y: F.logsigmoid(x) + F.softsign(y) + F.relu6(3 * x),
    "exponentials": lambda x, y: torch.exp(x) + torch.expm1(y) + torch.log1p(x.abs()) + torch.log(y.abs() + 1),
    "expm1 near zero": lambda x, y: torch.expm1(1e-6 * x) * 1e6,
    "roots and powers": lambda x, y: x.abs().sqrt() + (y.abs() + 1).rsqrt() + x**2 + (y.abs() + 1) ** 0.3,
    "rounding": lambda x, y: x.floor() + y.ceil() + x.sign() + x.neg().reciprocal(),
    "waves": lambda x, y: torch.sin(x) + torch.cos(y) + torch.erf(x) + torch.atan(y),
    "bounds": lambda x, y: x.clamp(-0.5, 0.5) + y.clamp(min=0) + torch.maximum(x, y) - torch.minimum(x, y),
    "choices": lambda x, y: torch.where((x > 0) & ~(y <= 0.2) | (x == y), x, y).masked_fill(y != y.abs(), 0.5),
    "mask as a number": lambda x, y: (x > 0) * y + (y >= 0).float(),
    "whole numbers": lambda x, y: (x * 3).long() * y + (y < x).long(),
    "softmaxes": lambda x, y: x.softmax(-1) + y.log_softmax(-1),
    "sums": lambda x, y: x.sum(-1, keepdim=True) + y.mean(-1, keepdim=True) + x.amax(-1, True) - y.amin(-1, True),
    "logsumexp": lambda x, y: x.logsumexp(-1, keepdim=True) + y.cumsum(-1),
    "norms": lambda x, y: F.layer_norm(x, (6,)) + F.rms_norm(y, (6,)),
    "own norm": lambda x, y: (x - x.mean(-1, True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt(),
    "parts": lambda x, y: torch.cat([*x.chunk(3, -1), y[:, :2], *y.split([1, 5], -1)], -1),
    "turned": lambda x, y: (x.t()[None].transpose(1, 2) + y.unsqueeze(1).squeeze(1))[0],
    "heads": lambda x, y: (x.view(-1, 2, 3) @ y.view(-1, 3, 2)).flatten(1),
    "outer": lambda x, y: (x[:, :, None] * y[:, None, :]).sum(-1).reshape(x.shape[0] * 6 // 6, 6),
    "einsum": lambda x, y: torch.einsum("bni,bnj->bij", x.unflatten(-1, (2, 3)), y.unflatten(-1, (2, 3))).flatten(1),
    "reversed": lambda x, y: x.flip(-1) + y.roll(1, -1) + F.pad(x, (1, 2))[:, 1:7],
    "expanded": lambda x, y: x[:, :1].expand(-1, 6) + y + torch.ones_like(x) + x.new_zeros(x.shape),
    "interpolated": lambda x, y: torch.lerp(x, y, 0.3) + torch.addcmul(x, x, y, value=0.5) + torch.rsub(x, 1),
    "by index": lambda x, y: x[:, torch.tensor([2, 0, 1])] + y.gather(1, torch.zeros_like(y[:, :3]).long()),
    "a column": lambda x, y: x.select(1, 2)[:, None] * y + x[..., -1:],
    "alpha": lambda x, y: torch.add(x, y, alpha=2) - torch.sub(x, y, alpha=0.5),
}  # fmt: skip


class Called(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, tensors: list[Tensor]) -> Any:
        return [self.function(*tensors)]


def in_onnxruntime(function: Callable[..., Any], *tensors: Tensor) -> Callable[..., Any]:
    """The function in onnxruntime, written from these examples, whose first axis is free."""
    import onnxruntime

    from lmkit.onnx_export.emitter import Emitter, View
    from lmkit.onnx_export.forms import model_of
    from lmkit.onnx_export.graph import Graph, onnx, tensor
    from lmkit.onnx_export.operators import HANDLERS
    from lmkit.onnx_export.tracing import trace

    graph = Graph()
    emitter = Emitter(graph, HANDLERS)
    names = [f"x{index}" for index in range(len(tensors))]
    views = [View.whole(name, x.dtype, x.dim()) for name, x in zip(names, tensors, strict=True)]
    (out,) = emitter.run(trace(Called(function), [list(tensors)], [[0]]), views)
    graph.name_as(emitter.name(out), "y")
    inputs = [tensor(name, x.dtype, ["n", *x.shape[1:]]) for name, x in zip(names, tensors, strict=True)]
    model = model_of(graph.proto("g", inputs, [tensor("y", out.dtype, ["n", *[None] * (len(out.axes) - 1)])]))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda *found: session.run(None, {n: x.numpy() for n, x in zip(names, found, strict=True)})[0]


@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_operator(name: str) -> None:
    """A function written from three rows gives torch's numbers for one, three and five rows."""
    function = FUNCTIONS[name]
    run = in_onnxruntime(function, torch.randn(3, 6), torch.randn(3, 6))
    for rows in (1, 3, 5):
        x, y = torch.randn(rows, 6), torch.randn(rows, 6)
        found, wanted = torch.from_numpy(run(x, y)), function(x, y)
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.usefixtures("onnx")
def test_infinities_stay() -> None:
    """What the cells with exponential gates start from goes through as it is."""
    run = in_onnxruntime(lambda x: torch.maximum(x, x - 1) + math.inf * 0.5, torch.zeros(2, 1))
    assert run(torch.tensor([[-1.0], [-math.inf]])).tolist()[0] == [math.inf]


@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: torch.special.i0(x), "aten.i0"),
        (lambda x: x.sort(-1)[0], "aten.sort"),
        (lambda x: x * x.shape[0], "the length of a text or the number of rows"),
        (lambda x: x * float(x.sum()), "cannot be traced"),
        (lambda x: x * len(x), "x.shape"),
        (lambda x: x + torch.rand_like(x), "aten.rand"),
    ],
)
def test_what_cannot_be_written_is_named(function: Callable[[Tensor], Tensor], named: str) -> None:
    """An operator without a form in ONNX, values that decide what is computed, and chance are refused by name."""
    from lmkit.onnx_export.tracing import NotExportableError

    with pytest.raises(NotExportableError, match=named):
        in_onnxruntime(function, torch.ones(3, 2))
