"""Matrix products with weights in int8, for generation and scoring on a CPU.

Without this module `--int8` would not exist, and one stream of text would be generated 2.2 to 2.3 times as fast as by
a loop over nn.LSTM, not 6.1 to 6.5 times; 64 streams 2.7, not 6.3 times (two layers of 650 units, docs/benchmarks.md).
The perplexity of the LSTM measured there moves from 304.62 to 304.67. It takes two of torch's kernels, because each
is the faster for some number of rows (FEW_ROWS).
"""

import logging
import warnings
from typing import cast

import torch
from torch import Tensor, nn

from lmkit.errors import UsageError
from lmkit.neural.language_model import NeuralLanguageModel
from lmkit.neural.output import OutputLayer
from lmkit.neural.sampled import SampledOutputLayer
from lmkit.notes import NOTE
from lmkit.recurrence.cells import Cell, GatedCell
from lmkit.recurrence.engine import GatedStep, each_step
from lmkit.recurrence.projection import owns_products
from lmkit.recurrence.stack import Recurrent
from lmkit.states import State

FEW_ROWS = 8
"""FBGEMM is faster up to this many rows, oneDNN for more; both give the same sums."""

LEVELS, ZERO = 127, 128
"""Activations in [-1, 1] are the whole numbers from ZERO - LEVELS to ZERO + LEVELS, in eight bits."""

SMALLEST = torch.finfo(torch.float32).tiny

log = logging.getLogger(__name__)


class Int8Product:
    """x W' + b with W in int8, a scale for each row of it, and x rounded to 255 levels of its own row's range.

    Each row of x is scaled by its own largest value, so that no row depends on its neighbours in a batch.
    weight: (outputs, inputs) float32 on a CPU.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.out_features, self.in_features = weight.shape
        self.scales = weight.abs().amax(1).clamp_min(SMALLEST) / LEVELS
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._few = _fbgemm_packed(weight, self.scales)
        whole = (weight / self.scales[:, None]).round_().clamp_(-LEVELS, LEVELS).to(torch.int8)
        self._many = torch.ops.onednn.qlinear_prepack(whole, None)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        rows = x.reshape(-1, self.in_features)
        largest = torch.linalg.vector_norm(rows, torch.inf, 1, keepdim=True).clamp_min_(SMALLEST)
        products = (self._by_fbgemm if len(rows) <= FEW_ROWS else self._by_onednn)(rows / largest)
        scaled = products * largest if self.bias is None else torch.addcmul(self.bias, products, largest)
        return scaled.view(*x.shape[:-1], self.out_features)

    def _by_fbgemm(self, rows: Tensor) -> Tensor:
        kernel = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        return kernel(rows, 1 / LEVELS, ZERO, self._few)

    def _by_onednn(self, rows: Tensor) -> Tensor:
        whole = (rows * LEVELS).round_().add_(ZERO).to(torch.uint8)
        return torch.ops.onednn.qlinear_pointwise(
            whole, 1 / LEVELS, ZERO, self._many, self.scales, self._zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip


class Int8OutputLayer(OutputLayer):
    """An output layer whose weight is in int8; it gives no gradient."""

    def __init__(self, layer: OutputLayer) -> None:
        nn.Module.__init__(self)
        self.bias = layer.bias
        self.product = Int8Product(layer.weight, layer.bias)

    @property
    def width(self) -> int:
        return self.product.in_features

    def logits(self, features: Tensor) -> Tensor:
        return self.product(features)


class Int8Cell(Cell):
    """A gated cell whose products are in int8."""

    def __init__(self, cell: GatedCell) -> None:
        super().__init__(cell.input_size, cell.hidden_size, cell.options)
        self.cell = cell
        self.product_ih = Int8Product(cell.weight_ih, cell.bias_ih)
        self.step = GatedStep(cell, Int8Product)

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    def initial_state(self, batch_size: int) -> State:
        return self.cell.initial_state(batch_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.step(self.product_ih(x), state)

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        return each_step(self, self.step, self.product_ih(xs), state, resets)


def int8_products() -> bool:
    """Whether the processor and this build of torch have the products in int8."""
    return "fbgemm" in torch.backends.quantized.supported_engines and torch.cpu._is_vnni_supported()


def to_int8(model: NeuralLanguageModel) -> None:
    """Give the output layer and the gated cells of `model` weights in int8, in place; it can then only be read.

    Cells that own their products and adaptive output layers stay as they are, with a warning; so does the whole model
    where the processor has no instructions for it. Raises UsageError if the model is not on the CPU.
    """
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        raise UsageError("--int8 is for the CPU: give --device cpu, or leave it out")
    if not int8_products():
        log.log(
            NOTE,
            "--int8 needs a processor with int8 products (AVX-512 VNNI); weights stay in float32 on this one",
        )
        return
    left = set()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in (OutputLayer, SampledOutputLayer):
                setattr(parent, name, Int8OutputLayer(cast(OutputLayer, child)))
        if isinstance(parent, Recurrent):
            for index, cell in enumerate(parent.layers):
                if owns_products(cast(Cell, cell)):
                    parent.layers[index] = Int8Cell(cast(GatedCell, cell))
                else:
                    left.add(type(cell).__name__)
    model.int8 = True
    if left:
        log.log(NOTE, "%s: no int8 weights for it; it stays in float32", ", ".join(sorted(left)))


def _fbgemm_packed(weight: Tensor, scales: Tensor) -> object:
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():
        # torch warns that it will remove quantised tensors; the kernel below takes nothing else.
        warnings.simplefilter("ignore", UserWarning)
        quantised = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
    engine = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        return torch.ops.quantized.linear_prepack(quantised, None)
    finally:
        torch.backends.quantized.engine = engine
