"""Count what a training step asks of a GPU, without one: operations launched, and waits of the host.

The model is on torch's device "meta", which has shapes and no values. An operation that would make the host wait for a
GPU, or that mixes its tensors with those of the CPU, raises an error that names it. Views launch nothing.

    python benchmarks/launches.py --hidden 650 --layers 2 --batch 64 --bptt 70 --vocabulary 33278
"""

import argparse
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.options import choose
from lmkit.recurrence import tiers
from lmkit.recurrence.gpu import kernel
from lmkit.recurrence.gpu.kernel import Sizes
from lmkit.training.loop import Trainer
from lmkit.training.metrics import Metrics
from lmkit.training.options import TrainOptions
from lmkit.training.report import Silent

META = torch.device("meta")
READS = (
    *(
        "_local_scalar_dense",
        "nonzero",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "equal",
        "is_nonzero",
    ),
    *("masked_select", "repeat_interleave", "bincount"),
)
"""Operations whose result, or its shape, the host has to wait for."""
COPIES = ("_to_copy", "copy_")
CREATORS = ("empty", "empty_like", "new_empty", "new_empty_strided", "empty_strided", "detach")
"""Operations that launch nothing, besides views."""


class Device(TorchDispatchMode):
    """Takes the device "meta" for a GPU. launched: how often each operation ran on it."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        kinds, name = {t.device.type for t in given}, func.overloadpacket.__name__
        if name in COPIES:
            self._copy(name, given, args, kwargs)
        elif "meta" in kinds:
            if name in READS or (name == "index" and _has_mask(args[1])):
                raise AssertionError(f"{func}: the host waits for the device")
            if any(t.device.type == "cpu" and t.dim() for t in given):
                raise AssertionError(f"{func}: tensors of the CPU and of the device together")
        # It has no form without values, and returns nothing.
        found = None if name == "_fused_sgd_" else func(*args, **kwargs)
        if any(t.device == META for t in tree_leaves(found) if isinstance(t, Tensor)) or "meta" in kinds:
            returns = func._schema.returns
            is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
            self.launched[name] += not (is_view or name in CREATORS)
        return found

    def _copy(self, name: str, given: list[Tensor], args: Any, kwargs: Any) -> None:
        from_, to = given[-1].device.type, given[0].device.type
        if name == "_to_copy":
            to = (kwargs.get("device") or given[0].device).type
        waits = not (kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,)))
        if {from_, to} == {"cpu", "meta"} and (waits or to == "cpu") and given[-1].dim():
            raise AssertionError(f"{name} from {from_} to {to}: the host waits for the device")


def _has_mask(indices: Any) -> bool:
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


@contextlib.contextmanager
def watching() -> Iterator[Device]:
    """Inside the block, operations on "meta" are counted and checked, as are tensors made of numbers of the host."""
    tensor, new_tensor = torch.tensor, Tensor.new_tensor

    def made(data: Any, *args: Any, **kwargs: Any) -> Tensor:
        if torch.device(kwargs.get("device") or "cpu").type == "meta":
            raise AssertionError("torch.tensor: the host waits until its numbers are on the device")
        return tensor(data, *args, **kwargs)

    def new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.device == META:
            raise AssertionError("new_tensor: the host waits until its numbers are on the device")
        return new_tensor(self, *args, **kwargs)

    with (
        mock.patch.object(torch, "tensor", made),
        mock.patch.object(Tensor, "new_tensor", new),
        fused_on_meta(),
        mock.patch("torch.nn.utils.clip_grad._device_has_foreach_support", return_value=True),
        Device() as device,
    ):
        yield device


def fused_on_meta() -> Any:
    """Inside the block, torch's fused optimisers take parameters on "meta" too."""
    supported = "torch.optim.optimizer._get_fused_kernels_supported_devices"
    return mock.patch(supported, return_value=["cpu", "cuda", "meta"])


class _OneLaunch:
    """Stands in for a kernel of Triton, which has no form without values."""

    def __getitem__(self, grid: tuple[int]) -> Any:
        return lambda *args, **options: args[0].neg_()


@contextlib.contextmanager
def window_kernels() -> Iterator[None]:
    """Inside the block, "meta" runs kernels for whole windows, which nobody tries, as one operation each."""
    sizes = Sizes(rows=32, units=16)
    with (
        mock.patch.object(tiers, "_WITH_WINDOW_KERNELS", {"meta"}),
        mock.patch.object(tiers, "_compilable", return_value=True),
        mock.patch.object(tiers, "try_kernel"),
        mock.patch.object(kernel, "_loaded", return_value=(_OneLaunch(), _OneLaunch())),
        mock.patch.object(kernel, "sizes", return_value=sizes),
    ):
        yield


class Words(Tokenizer):
    """Spells each id as a word, for encoders that read characters."""

    def __init__(self, size: int) -> None:
        self.vocabulary = Vocabulary(size, 0, 1, "random")

    def symbols(self) -> list[bytes]:
        return [f"w{i}".encode() for i in range(self.vocabulary.size)]

    def encode(self, line: str) -> Encoding:
        raise NotImplementedError

    fit = load = classmethod(lambda cls, *_: cls(8))  # pyright: ignore
    decode = residual_bits = save = encode  # pyright: ignore


def trainer(
    table: dict[str, Any], *, vocabulary: int, line: int, device: torch.device = META, **options: Any
) -> Trainer:
    """A trainer of a model on a device, with random text in lines of this many tokens."""
    words = Words(vocabulary)
    chosen = choose("model", table, "model")
    model = chosen.load()(chosen.options, words.vocabulary)
    if hasattr(model, "use_tokenizer"):
        model.use_tokenizer(words)
    settings = TrainOptions(**{"max_steps": 10, **options})
    model.sample_from(torch.ones(vocabulary))
    model = model.to(device)
    count = settings.batch_size * settings.bptt * 3
    random = np.random.default_rng(0)
    lines = [random.integers(2, vocabulary, min(line, count)) for _ in range(max(1, count // line))]
    for ids in lines:
        ids[-1] = 0
    store = TokenStore.from_lines(lines, words.vocabulary)
    streams = model.streams(store, settings.batch_size, settings.bptt)
    with fused_on_meta():
        return Trainer(
            model,
            streams,
            settings,
            validation_tokens=0,
            validate=None,
            keep_best=lambda: None,
            metrics=Metrics(None),
            reporter=Silent(),
        )


def second_step(made: Trainer) -> Counter[str]:
    """The operations that the second step launches; AssertionError if one makes the host wait.

    The first step makes the optimiser's state and begins the text with a reset.
    """
    with mock.patch.object(Trainer, "_reads_after", return_value=False), watching() as device:
        for step in range(2):
            made.state = type(made.state)(step=step)
            device.launched.clear()
            made._step(lambda: False)
        return +device.launched


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in {"hidden": 650, "layers": 2, "batch": 64, "bptt": 70, "vocabulary": 33278}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    base = {"name": "recurrent", "hidden_size": a.hidden, "num_layers": a.layers, "dropout": 0.3}
    cells = ("lstm", "gru-v3", "mogrifier-lstm", "min-gru", "xlstm-slstm", "xlstm-mlstm")
    tables = {cell: base | {"cell": cell} for cell in cells}
    tables["gru, a loop"] = base | {"cell": "gru", "tier": "loop"}
    tables |= {
        f"lstm, {name}": tables["lstm"] | {"output": name, "tied": False} for name in ("adaptive", "mixture")
    }
    compiled = ("lstm", "gru", "gru-v3", "layer-norm-lstm", "sru", "xlstm-slstm")
    tables |= {f"{cell}, window kernels": base | {"cell": cell, "tier": "compiled"} for cell in compiled}
    sizes = {"vocabulary": a.vocabulary, "line": 25, "batch_size": a.batch, "bptt": a.bptt}
    print("| model | without resets | with resets |\n|---|---:|---:|")
    for name, table in tables.items():
        with window_kernels() if table.get("tier") == "compiled" else contextlib.nullcontext():
            steps = [second_step(trainer(table | {"reset": reset}, **sizes)) for reset in ("never", "line")]
        print(f"| {name} |" + "".join(f" {step.total():,} |" for step in steps), flush=True)


if __name__ == "__main__":
    main()
