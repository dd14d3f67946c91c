"""The choice of a device: what `auto` takes, and what is refused in words."""

from types import SimpleNamespace

import pytest
import torch

from lmkit.contracts import Vocabulary
from lmkit.devices import LEAST_PARAMETERS, pick_device, place
from lmkit.errors import UsageError
from lmkit.options import choose
from lmkit.training.snapshot import machine


@pytest.fixture
def gpu(monkeypatch) -> None:
    """A machine with a GPU that is never used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("parameters", "device"), [(None, "cuda"), (LEAST_PARAMETERS, "cuda"), (LEAST_PARAMETERS - 1, "cpu")]
)
def test_auto_takes_a_gpu_for_large_models(parameters, device):
    """A model of unknown size counts as large."""
    assert pick_device("auto", parameters).type == device


def test_auto_without_a_gpu(monkeypatch):
    """It is the CPU, whatever the size, also where a device of another kind is there."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto", 10**9).type == "cpu"


@pytest.mark.usefixtures("gpu")
def test_counting_models_stay_on_the_cpu():
    """However many n-grams they have, since they have no weights of torch."""
    chosen = choose("model", "ngram", "model")
    model = chosen.load()(chosen.options, Vocabulary(4, 0, 1, "test"))
    model.parameter_count = lambda: 10**9
    place(model, "auto")
    assert model.device.type == "cpu"


@pytest.mark.parametrize("name", ["mps", "xpu", "meta"])
def test_devices_that_nobody_tested_are_refused(name):
    """Whether the machine has one or not, in one line."""
    with pytest.raises(UsageError, match=f"--device {name}.*use auto or cpu") as error:
        pick_device(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_devices_that_are_not_there(name):
    """A name that torch does not know, and a GPU that the machine lacks."""
    with pytest.raises(UsageError, match=f"--device {name} is not available on this machine"):
        pick_device(name)


def test_cublas_is_told_before_cuda_starts(monkeypatch):
    """Without overriding what the user has set; the CPU needs nothing."""
    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.delenv(name, raising=False)
    environment = {}
    monkeypatch.setattr("lmkit.devices.os", SimpleNamespace(environ=environment))
    pick_device("cpu")
    assert environment == {}
    pick_device("auto")
    assert environment == {name: ":4096:8"}
    environment[name] = ":16:8"
    pick_device("auto")
    assert environment == {name: ":16:8"}


def test_a_checkpoint_names_the_card(monkeypatch):
    """With CUDA and cuDNN, on which the last bits depend; on a CPU there is none."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "some card")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91000)
    weight = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32)
    model = SimpleNamespace(parameters=lambda: iter([weight]))
    found = machine(model, 1)
    assert (found["device"], found["card"], found["cuda"], found["cudnn"]) == (
        "cuda",
        "some card",
        "13.0",
        "91000",
    )
    assert "card" not in machine(torch.nn.Linear(1, 1), 1)
