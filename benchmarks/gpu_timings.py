"""The timings of gpu_check: steps beside plain PyTorch, the loss, and windows of one layer."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING
from unittest import mock

import torch
import torch.nn.functional as F
from cells import make, step
from launches import trainer
from recorded_calls import CallRecorder
from torch import nn

from lmkit.devices import allow_tf32
from lmkit.neural import output
from lmkit.recurrence import tiers
from lmkit.training.loop import Trainer
from lmkit.training.step_graph import WARM_UPS, StepGraphs

if TYPE_CHECKING:
    from gpu_check import Setting


WINDOWS = (
    ("lstm", "torch"),
    ("lstm", "window kernel"),
    ("mycell", "loop"),
    ("mycell", "compiled steps"),
    ("mycell", "window kernel"),
)


def timings(setting: "Setting") -> Iterator[tuple[str, Callable[[], str]]]:
    """Names, and what measures them."""
    sizes = (650, 2, 64, 70, 33278) if setting.full else (16, 2, 4, 7, 100)
    hidden, layers, batch, bptt, vocabulary = sizes
    for precision in ("fp32", "tf32", "bf16"):
        shape = f"{layers}x{hidden}, {vocabulary:,} words, {precision}"
        yield (
            f"lmkit step, {shape}",
            lambda p=precision: rate(setting, lmkit_step(setting, sizes, p), batch * bptt),
        )
        yield (
            f"lmkit step, {shape}, CUDA graph",
            lambda p=precision: rate(setting, lmkit_step(setting, sizes, p, cuda_graph=True), batch * bptt),
        )
        yield (
            f"PyTorch step, {shape}",
            lambda p=precision: rate(setting, plain_step(setting, sizes, p), batch * bptt),
        )
        for way in ("kernel", "torch"):
            yield (
                f"loss alone, {vocabulary:,} words, {precision}, {way}",
                lambda p=precision, w=way: loss(setting, sizes, p, w),
            )
    for name, tier in WINDOWS:
        if tier not in ("torch", "loop") and not setting.full:
            continue
        for kind in ("fp32", "bf16"):
            yield (
                f"{name} layer, {tier}, {hidden} units, {kind}",
                lambda n=name, t=tier, k=kind: window(setting, sizes, n, t, k),
            )


def rate(setting: "Setting", run: Callable[[], None], tokens: int) -> str:
    return f"{tokens / seconds(setting, run):,.0f} tokens/s"


def seconds(setting: "Setting", run: Callable[[], None]) -> float:
    """Of one call, from several in a row, since a wait after each would hide what overlaps."""
    calls = 20 if setting.full else 2
    for _ in range(WARM_UPS + 2):
        run()
    wait(setting)
    begun = time.perf_counter()
    for _ in range(calls):
        run()
    wait(setting)
    return (time.perf_counter() - begun) / calls


def wait(setting: "Setting") -> None:
    if setting.device.type == "cuda":
        torch.cuda.synchronize()


def lmkit_step(
    setting: "Setting", sizes: tuple[int, ...], precision: str, *, cuda_graph: bool = False
) -> Callable[[], None]:
    hidden, layers, batch, bptt, vocabulary = sizes
    table = {
        "name": "recurrent", "cell": "lstm", "hidden_size": hidden, "num_layers": layers, "dropout": 0.0,
        "tied": False, "reset": "never",
    }  # fmt: skip
    options = {
        "batch_size": batch,
        "bptt": bptt,
        "precision": precision,
        "max_steps": 10**6,
        "cuda_graph": cuda_graph,
    }
    made = trainer(table, vocabulary=vocabulary, line=25, device=setting.device, **options)
    made._reads_after = lambda _: False
    if cuda_graph:
        record_on_cpu(made)

    def run() -> None:
        made.state = type(made.state)(step=1)
        made._step(lambda: False)

    return run


def record_on_cpu(made: Trainer) -> None:
    """Rehearse CUDA graphs where there are none: record torch's operations instead."""
    if made.graphs is None:
        made.graphs = StepGraphs(made.model, made._window_gradients, CallRecorder())


def plain_step(setting: "Setting", sizes: tuple[int, ...], precision: str) -> Callable[[], None]:
    """The same model in PyTorch alone: nn.LSTM, and bfloat16 by autocast."""
    hidden, layers, batch, bptt, vocabulary = sizes
    device = setting.device
    embedding, output = nn.Embedding(vocabulary, hidden).to(device), nn.Linear(hidden, vocabulary).to(device)
    lstm = nn.LSTM(hidden, hidden, layers, batch_first=True).to(device)
    parameters = [*embedding.parameters(), *lstm.parameters(), *output.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    ids = torch.randint(vocabulary, (batch, bptt + 1), device=device)

    def run() -> None:
        allow_tf32(precision == "tf32")
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            features, _ = lstm(embedding(ids[:, :-1]))
            loss = F.cross_entropy(output(features).flatten(0, 1).float(), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        allow_tf32(False)

    return run


def loss(setting: "Setting", sizes: tuple[int, ...], precision: str, way: str) -> str:
    """The output layer's loss of a window, forward and backward, by its kernel or by torch's operations."""
    hidden, _, batch, bptt, vocabulary = sizes
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.manual_seed(0)
    features, weight = (torch.randn(n, hidden).to(setting.device, dtype) for n in (batch * bptt, vocabulary))
    bias = torch.zeros(vocabulary, device=setting.device)
    given = [tensor.requires_grad_() for tensor in (features, weight, bias)]
    targets = torch.randint(vocabulary, (batch * bptt,)).to(setting.device)

    def run() -> None:
        torch.autograd.grad(output.cross_entropy(*given, targets), given)

    allow_tf32(precision == "tf32")
    try:
        with (
            mock.patch.object(output, "row_losses_for", return_value=None)
            if way == "torch"
            else nullcontext()
        ):
            return f"{1000 * seconds(setting, run):.2f} ms"
    finally:
        allow_tf32(False)


def window(setting: "Setting", sizes: tuple[int, ...], name: str, tier: str, kind: str) -> str:
    """A window of one layer, forward and backward."""
    hidden, _, batch, bptt, _ = sizes
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    cell = make(name, hidden).to(setting.device, dtype)
    cell.use_tier(tier if tier in ("torch", "loop") else "compiled")
    xs, weights = (torch.randn(bptt, batch, hidden).to(setting.device, dtype) for _ in range(2))
    state = cell.initial_state(batch)
    run = step(cell, lambda x: cell.run(x, state, None)[0], xs.requires_grad_(), weights)
    with mock.patch.object(tiers, "_WITH_WINDOW_KERNELS", {"cuda"} if tier == "window kernel" else set()):
        time = seconds(setting, run)
    if tier == "window kernel":
        assert [*tiers._history(cell).window_kernels.values()] != [None], "the kernel was not used"
    return f"{1000 * time:.2f} ms"
