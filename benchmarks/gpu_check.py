"""Check and time lmkit on a GPU: everything that a machine without one cannot show, as one table.

    python benchmarks/gpu_check.py              on a card, within --seconds
    python benchmarks/gpu_check.py --rehearse   the same on the CPU, tiny, so that nothing is first tried on a card

Checks come before timings. What does not fit into the time is listed as skipped. The exit code is 1 if a check failed.
"""

import argparse
import importlib.util
import json
import math
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import torch
from cells import make, resets_of
from gpu_timings import record_on_cpu, timings
from launches import trainer
from safetensors.torch import load_file

import lmkit
from lmkit.corpus.readers import Text
from lmkit.devices import pick_device
from lmkit.errors import first_line, with_kind
from lmkit.neural import output, row_losses
from lmkit.neural.row_losses import by_torch
from lmkit.recurrence import GatedCell, Recurrent
from lmkit.recurrence.engine import kernel_window
from lmkit.recurrence.gpu.kernel import make_window_kernel
from lmkit.recurrence.gpu.trial import try_kernel
from lmkit.training.feed import Ahead, Feed, OnDevice
from lmkit.training.snapshot import card

BASE = {"name": "recurrent", "hidden_size": 32, "num_layers": 2, "dropout": 0.0, "reset": "line"}
ENCODER = {"name": "elmo", "hidden_size": 32, "num_layers": 2, "dropout": 0.0}
MODELS: dict[str, dict[str, Any]] = {
    **{cell: BASE | {"cell": cell} for cell in ("lstm", "gru", "rnn", "gru-v3", "layer-norm-lstm", "mogrifier-lstm",
       "min-gru", "min-lstm", "sru", "qrnn", "rg-lru", "xlstm-slstm", "xlstm-mlstm")},
    "weight drop": BASE | {"weight_drop": 0.3, "locked": True, "word_dropout": 0.1},
    "projection": BASE | {"projection_size": 16, "cell_clip": 3.0, "residual": True, "norm": "layer"},
    "sampled": BASE | {"output": "sampled", "samples": 5},
    "adaptive": BASE | {"output": "adaptive", "tied": False},
    "mixture": BASE | {"output": "mixture", "experts": 3},
    "window": {"name": "window", "hidden_size": 32},
    "elmo, characters": ENCODER | {"inputs": "characters", "filters": "1x16,2x16", "character_size": 8},
    "elmo, tokens": ENCODER | {"inputs": "tokens"},
}  # fmt: skip
FEW = ("lstm", "min-gru", "sampled", "elmo, characters")
"""Those that a check takes which is the same for all."""
SMALL = {"vocabulary": 60, "batch_size": 4, "bptt": 12}


@dataclass(frozen=True)
class Setting:
    """device: that is checked. folder: for runs. full: the sizes of a GPU, or tiny ones."""

    device: torch.device
    folder: Path
    full: bool

    def text(self) -> Path:
        path = self.folder / "text.txt"
        lines = [
            f"the {a} {b} the {c} ."
            for a in ("cat", "dog", "cow")
            for b in ("sat on", "saw")
            for c in ("mat", "log")
        ]
        path.write_text("\n".join(lines * 4) + "\n", encoding="utf-8")
        return path

    def train(self, name: str, table: dict[str, Any], **options: Any) -> Path:
        """The directory of a run on the device; with stop_after, of a part of it."""
        settings = {"max_steps": 12, "batch_size": 4, "bptt": 9, "log_every": 1, "valid_every": 6, **options}
        out = self.folder / name
        text = self.text()
        lmkit.train(
            text, valid=text, out=out, overwrite=True, model=table, tokenizer={"name": "word", "min_count": 1},
            device=str(self.device), **settings,
        )  # fmt: skip
        return out

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        return MODELS if self.full else {name: MODELS[name] for name in FEW}


# Checks: each returns what it found, and fails by an AssertionError.


def scores(setting: Setting) -> str:
    """Perplexities of one run on the CPU and on the device are equal to 1e-5, relative."""
    worst = 0.0
    lines = setting.text().read_text(encoding="utf-8").splitlines()
    for name, table in setting.models.items():
        run = setting.train("scores", table)
        both = [lmkit.load(run, device=device) for device in ("cpu", str(setting.device))]
        for direction in both[0].directions:
            here, there = (model.score_text(Text.from_lines(lines), direction=direction) for model in both)
            difference = abs(there.log_prob / here.log_prob - 1)
            assert difference <= 1e-5, f"{name}: {difference:.1e}"
            worst = max(worst, difference)
    return f"{len(setting.models)} models, at most {worst:.1e}"


def losses(setting: Setting) -> str:
    """The losses of 10 steps are those of the CPU to 1e-3; in TF32 and bfloat16 to 1 % of float32's."""
    worst = 0.0
    for name, table in setting.models.items():
        if name == "weight drop":
            continue  # the devices draw different masks
        wanted = recorded(table, torch.device("cpu"))
        for precision, limit in (("fp32", 1e-3), ("tf32", 1e-2), ("bf16", 1e-2)):
            found = recorded(table, setting.device, precision=precision)
            difference = max(abs(a / b - 1) for a, b in zip(found, wanted, strict=True))
            assert difference <= limit, f"{name}, {precision}: {difference:.1e}"
            worst = max(worst, difference if precision == "fp32" else 0.0)
    return f"{len(setting.models)} models, at most {worst:.1e} in float32"


def recorded(table: dict[str, Any], device: torch.device, **options: Any) -> list[float]:
    torch.manual_seed(0)
    made = trainer(table, line=9, device=device, **SMALL, **{"max_steps": 10, **options})
    if options.get("cuda_graph"):
        record_on_cpu(made)
    torch.manual_seed(1)
    found = []
    for number in range(made.options.max_steps):
        made.state = type(made.state)(step=number)
        figures = made._step(lambda: False).figures or made._check_figures()
        assert figures is not None
        found.append(figures.loss)
    assert made.graphs is None or made.graphs.recorded, "nothing was recorded: see the note above"
    return found


def resume(setting: Setting) -> str:
    """A run that stopped and went on has the bits of one that never stopped."""
    for name in FEW:
        whole = setting.train("whole", MODELS[name] | {"dropout": 0.2})
        parts = setting.train("parts", MODELS[name] | {"dropout": 0.2}, stop_after=5)
        lmkit.resume(parts)
        last = [max((run / "checkpoints").glob("step-*")) for run in (whole, parts)]
        for path in last[0].glob("*.safetensors"):
            ours, theirs = load_file(path), load_file(last[1] / path.name)
            differ = [key for key in ours if not torch.equal(ours[key], theirs[key])]
            assert not differ, f"{name}, {path.name}: {', '.join(differ[:3])}"
    return f"{len(FEW)} models"


def waits(setting: Setting) -> str:
    """No operation of a step makes the host wait, as CUDA itself sees it."""
    # Some of torch's kernels are others for many tokens.
    sizes = {"vocabulary": 5000, "batch_size": 64, "bptt": 70} if setting.full else SMALL
    for table in setting.models.values():
        made = trainer(table, line=9, device=setting.device, **sizes)
        made._reads_after = lambda _: False
        made._step(lambda: False)
        made.state = type(made.state)(step=1)
        with without_waits(setting.device):
            made._step(lambda: False)
    return f"{len(setting.models)} models"


@contextmanager
def without_waits(device: torch.device) -> Iterator[None]:
    """Inside the block, an operation that waits for a CUDA device is an error."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def feeds(setting: Setting) -> str:
    """Windows cut from the text on the device, and those copied one step ahead, are those of the host."""
    streams = trainer(BASE, line=9, device=setting.device, **SMALL).streams
    ways: list[Feed] = [OnDevice(streams, setting.device)]
    if setting.device.type == "cuda":
        ways.append(Ahead(streams, setting.device))
    for way in ways:
        for step in range(7):
            pairs = zip(way(step).tensors(), streams.window(step).tensors(), strict=True)
            assert all(torch.equal(there.cpu(), here) for there, here in pairs), f"{way}, step {step}"
    return f"{len(ways)} ways"


def bad_step(setting: Setting) -> str:
    """A step with a gradient of NaN leaves the weights as they were."""
    for optimizer in ("adamw", "sgd"):
        for kind in ("softmax", "sampled"):
            table = BASE | {"output": kind}
            made = trainer(table, line=9, device=setting.device, optimizer=optimizer, **SMALL)
            made._figures.read_at_once = False
            if setting.device.type == "cpu":
                for group in made.optimiser.param_groups:
                    group.update(foreach=False, fused=True)
            made._reads_after = lambda _: False
            step_loss = made.model.step_loss
            made._step(lambda: False)
            before = [p.detach().clone() for p in made.model.parameters()]
            made.model.step_loss = lambda *args, own=step_loss: (own(*args)[0] * math.nan, args[1])
            made.state = type(made.state)(step=1)
            made._step(lambda: False)
            after = list(made.model.parameters())
            assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), f"{optimizer}, {kind}"
    return "AdamW and SGD, with dense and sparse gradients"


def buffers(setting: Setting) -> str:
    """cuDNN reads weights where they are: torch never warns that it copies them."""
    cases = {
        "equal layers": {},
        "dropout": {"dropout": 0.2},
        "weight drop": {"weight_drop": 0.3},
        "gru": {"cell": "gru"},
    }
    for name, table in cases.items():
        for precision in ("fp32", "bf16"):
            made = trainer(BASE | {"cell": "lstm", "reset": "never"} | table, line=9, device=setting.device,
                           precision=precision, **SMALL)  # fmt: skip
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                made._step(lambda: False)
            found = [str(one.message) for one in caught if "contiguous" in str(one.message)]
            assert not found, f"{name}, {precision}: {found[0]}"
    return ", ".join(cases)


def layers(setting: Setting) -> str:
    """Equal layers in one call of torch's kernel have the outputs of a call each, to 1e-4."""
    torch.manual_seed(0)
    stack = Recurrent(8, 32, 3, "lstm", tier="torch").to(setting.device)
    x = torch.randn(4, 20, 8, device=setting.device)
    together, apart = stack(x)[0], stack.layer_outputs(x)[0][-1]
    difference = float((together - apart).detach().norm() / apart.detach().norm())
    assert difference < 1e-4, f"{difference:.1e}"
    return f"{difference:.1e}"


def loss_kernel(setting: Setting) -> str:
    """The loss of a large vocabulary is computed by its kernel, which agrees with torch."""
    if setting.device.type == "cpu":
        return "no kernel on a CPU"
    for dtype in row_losses.LARGEST_ERROR:
        kernel = row_losses.row_losses_for(torch.empty(1, device=setting.device, dtype=dtype))
        assert kernel is not None, f"{dtype}: see the note above"
        row_losses.check(kernel, setting.device, dtype)
    return ", ".join(str(dtype) for dtype in row_losses.LARGEST_ERROR)


def cuda_graph(setting: Setting) -> str:
    """Recorded steps have the losses of others to 1e-4, with resets and dropout, and are repeated without a wait."""
    cases = {
        "lstm": {"cell": "lstm", "reset": "never"},
        "gru, a loop": {"cell": "gru", "tier": "loop", "dropout": 0.2},
        "min-gru": {"cell": "min-gru"},
    }
    # On a CPU the loss reads a value, unless it is computed as by the kernel.
    on_cpu = setting.device.type == "cpu"
    with mock.patch.object(output, "row_losses_for", return_value=by_torch) if on_cpu else nullcontext():
        for name, table in cases.items():
            for precision in ("fp32", "bf16"):
                plain, own = (
                    recorded(
                        BASE | table, setting.device, precision=precision, max_steps=20, cuda_graph=graph
                    )
                    for graph in (False, True)
                )
                difference = max(abs(a / b - 1) for a, b in zip(own, plain, strict=True))
                assert difference <= (1e-4 if precision == "fp32" else 1e-2), (
                    f"{name}, {precision}: {difference:.1e}"
                )
        made = trainer(BASE | cases["lstm"], line=9, device=setting.device, cuda_graph=True, **SMALL)
        record_on_cpu(made)
        made._reads_after = lambda _: False
        for number in range(20):
            made.state = type(made.state)(step=number)
            with without_waits(setting.device) if number > 15 else nullcontext():
                made._step(lambda: False)
    return ", ".join(cases)


def tiers(setting: Setting) -> str:
    """Compiled steps and torch's kernel have the outputs and gradients of the loop, resets included, to 1e-4."""
    worst, shape = 0.0, (20, 4, 32)
    for name, tier in (("lstm", "torch"), ("gru", "torch"), ("mycell", "compiled"), ("gru", "compiled")):
        if tier == "compiled" and not setting.full:
            continue  # compiling takes half a minute
        results = []
        for one in ("loop", tier):
            torch.manual_seed(0)
            cell = make(name, shape[-1]).to(setting.device)
            cell.use_tier(one)
            xs = torch.randn(shape).to(setting.device).requires_grad_()
            torch.manual_seed(0)
            resets = resets_of("many", shape, str(setting.device))
            ys, _ = cell.run(xs, cell.initial_state(shape[1]), resets)
            results.append([ys, *torch.autograd.grad(ys.square().sum(), [xs, *cell.parameters()])])
        for loop, other in zip(*results, strict=True):
            difference = float((loop - other).detach().norm() / loop.detach().norm())
            assert difference < 1e-4, f"{name}, {tier}: {difference:.1e}"
            worst = max(worst, difference)
    return f"at most {worst:.1e}"


def window_kernels(setting: Setting) -> str:
    """One kernel for a window has the outputs, states and gradients of the cell's own steps, at full size."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    names = {"mycell": (torch.float32, torch.bfloat16)}  # each takes seconds to compile
    names |= dict.fromkeys(("lstm", "gru", "gru-v3", "layer-norm-lstm", "xlstm-slstm"), (torch.bfloat16,))
    units, shape = (648, (20, 64, 648)) if setting.full else (20, (3, 4, 20))
    for name, dtypes in names.items():
        cell = cast(GatedCell, make(name, units)).to(setting.device)
        kernel = make_window_kernel(cell)
        for dtype in dtypes if setting.full else ():
            xs = torch.empty(shape, device=setting.device, dtype=dtype)
            assert kernel.fits(xs), f"{name} does not fit"
            try_kernel(cell.to(dtype), xs, partial(kernel_window, cell, kernel))
    return f"{len(names)} cells" if setting.full else f"{len(names)} cells: written, not run on a CPU"


def commands(setting: Setting) -> str:
    """Surprisals, vectors and texts come from the device, with the CPU's values."""
    run = setting.train("scores", BASE)
    here, there = (lmkit.load(run, device=device) for device in ("cpu", str(setting.device)))
    sentences = ["the cat sat on the mat", "the dog saw"]
    for ours, theirs in zip(here.embed(sentences), there.embed(sentences), strict=True):
        torch.testing.assert_close(ours, theirs.cpu(), rtol=1e-4, atol=1e-5)
    assert abs(here.sentence_scores(sentences) - there.sentence_scores(sentences)).max() < 1e-3
    assert there.generate(max_tokens=5, seed=0)
    return "embed, sentence_scores, generate"


CHECKS: tuple[Callable[[Setting], str], ...] = (
    scores, losses, resume, waits, feeds, bad_step, buffers, layers, loss_kernel, cuda_graph, tiers, window_kernels,
    commands,
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU with tiny sizes")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=220, help="start nothing more after this time")
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args(arguments)
    begun = time.perf_counter()
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        device = torch.device("cpu") if settings.rehearse else pick_device(settings.device)
        setting = Setting(device, Path(folder), full=not settings.rehearse)
        parts = [("check", check.__doc__ or "", lambda c=check: c(setting)) for check in CHECKS]
        parts += [("time", name, measure) for name, measure in timings(setting)]
        for kind, name, run in parts:
            if time.perf_counter() - begun > settings.seconds:
                rows.append((kind, name, "skipped: no time left"))
                continue
            try:
                rows.append((kind, name, run()))
            except Exception as error:  # a failure of one part leaves the others
                traceback.print_exc()
                rows.append((kind, name, f"FAILED: {with_kind(error, first_line)}"))
            print(f"{rows[-1]}", file=sys.stderr, flush=True)
    facts = {"torch": torch.__version__, "device": str(device), **card(device), "lmkit": lmkit.__version__}
    if settings.json:
        print(json.dumps({"facts": facts, "rows": rows}))
    else:
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
        print("\n| | what | found |\n|---|---|---|")
        print("\n".join(f"| {kind} | {name} | {found} |" for kind, name, found in rows))
        print(f"\n{time.perf_counter() - begun:.0f} seconds")
    return int(any(found.startswith("FAILED") for _, _, found in rows))


if __name__ == "__main__":
    sys.exit(main())
