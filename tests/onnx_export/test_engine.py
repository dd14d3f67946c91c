"""`lmkit generate --engine onnx`: the texts of torch, from a file that agrees with the model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit import states
from lmkit.cli import cli
from lmkit.errors import UsageError

PROMPTS = ["the cat", "", "on the", "mat sat"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty."""
    monkeypatch.setattr("lmkit.onnx_export.engine.user_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "onnx"


def engine_of(run: Path, **options: Any) -> Any:
    """The engine itself."""
    from lmkit.onnx_export.engine import onnx_engine

    model = lmkit.load(run, device="cpu")
    return onnx_engine(model.run, **options)


@pytest.mark.pipelines
@pytest.mark.usefixtures("onnx", "cache")
@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": "greedy"},
        {"decoder": "sample", "seed": 3, "num": 3},
        {"decoder": "sample", "seed": 4, "top_k": 3, "stop": "line"},
        {"decoder": "beam", "num": 2},
        {"decoder": "greedy", "no_repeat_ngram": 4},
    ],
)
def test_the_same_texts(trained: Path, settings: dict[str, Any]) -> None:
    """Every decoder gives torch's texts, alone and together, and their log-probabilities."""
    model = lmkit.load(trained, device="cpu")
    wanted = list(model.generate_each(PROMPTS, max_tokens=12, **settings))
    found = list(model.generate_each(PROMPTS, max_tokens=12, engine="onnx", **settings))
    assert [[one.text for one in each] for each in found] == [[one.text for one in each] for each in wanted]
    alone = model.generate(PROMPTS[0], max_tokens=12, engine="onnx", **settings)
    assert [one.text for one in alone] == [one.text for one in wanted[0]]
    for each, other in zip(found, wanted, strict=True):
        assert [one.log_prob for one in each] == pytest.approx([one.log_prob for one in other], abs=1e-4)


@pytest.mark.pipelines
@pytest.mark.usefixtures("onnx")
def test_the_file_is_made_once(trained: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second engine reads the file of the first; one that is damaged, or of other numbers, is written again."""
    from lmkit.onnx_export import engine

    engine_of(trained)
    (path,) = cache.iterdir()
    right = path.read_bytes()
    made = []
    original = engine.step_model
    monkeypatch.setattr(engine, "step_model", lambda *args: made.append(args) or original(*args))
    engine_of(trained)
    assert made == []
    for wrong in (b"damaged", right.replace(b"Sigmoid", b"Softmax")):
        path.write_bytes(wrong)
        engine_of(trained)
        assert path.read_bytes() == right
    assert len(made) == 2
    engine_of(trained, weights="int8")
    assert len(list(cache.iterdir())) == 2


@pytest.mark.pipelines
@pytest.mark.usefixtures("onnx")
def test_without_a_cache(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home, or with a cache that cannot be written, gets the engine too."""
    monkeypatch.setattr("lmkit.onnx_export.engine.user_cache", lambda _name: None)
    assert engine_of(trained).vocabulary.size == 7
    monkeypatch.setattr("lmkit.onnx_export.engine.user_cache", lambda _name: trained / "lmkit.json" / "x")
    assert engine_of(trained).vocabulary.size == 7


@pytest.mark.pipelines
@pytest.mark.usefixtures("onnx", "cache")
def test_states(trained: Path) -> None:
    """The engine keeps the contract of a model: calls without rows or steps, and a start without information."""
    torch_model: Any = lmkit.load(trained, device="cpu").causal
    model = engine_of(trained)
    for start in (True, False):
        found = model.next_log_probs(model.initial_state(3, start=start))
        wanted = torch_model.next_log_probs(torch_model.initial_state(3, start=start))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    state = model.initial_state(2)
    scores, after = model.log_probs(torch.zeros(2, 0, dtype=torch.long), state)
    assert scores.shape == (2, 0)
    assert all(torch.equal(a, b) for a, b in zip(states.leaves(after), states.leaves(state), strict=True))
    empty = states.take(state, torch.zeros(0, dtype=torch.long))
    empty = model.advance(torch.zeros(0, dtype=torch.long), empty)
    assert model.next_log_probs(empty).shape == (0, 7)
    assert model.next_log_probs(model.initial_state(0)).shape == (0, 7)
    ids = torch.tensor([[2, 3, 4], [5, 2, 0]])
    reset = torch.tensor([[False, True, False], [False, False, True]])
    found, _ = model.log_probs(ids, model.initial_state(2), reset=reset)
    wanted, _ = torch_model.log_probs(ids, torch_model.initial_state(2), reset=reset)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.pipelines
@pytest.mark.usefixtures("onnx", "cache")
def test_int8(trained: Path) -> None:
    """The engine in eight bits gives nearly torch's log-probabilities."""
    torch_model: Any = lmkit.load(trained, device="cpu").causal
    model = engine_of(trained, weights="int8")
    found = model.next_log_probs(model.initial_state(1))
    wanted = torch_model.next_log_probs(torch_model.initial_state(1))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-2)
    assert lmkit.load(trained, device="cpu").generate("the", engine="onnx-int8", max_tokens=3)


@pytest.mark.pipelines
@pytest.mark.usefixtures("onnx", "cache")
def test_command(trained: Path) -> None:
    """The command prints the text of the engine torch."""
    line = ["generate", str(trained), "--prompt", "the cat", "--seed", "1", "--max-tokens", "9", "--json"]
    found = [
        json.loads(CliRunner().invoke(cli, [*line, "--engine", name]).stdout) for name in ("torch", "onnx")
    ]
    assert found[0][0]["text"] == found[1][0]["text"]


def test_refusals(trained: Path) -> None:
    """An engine that does not exist, and options that need torch, are usage errors."""
    model = lmkit.load(trained, device="cpu")
    with pytest.raises(UsageError, match="did you mean 'onnx'"):
        model.generate("the", engine="onx")
    with pytest.raises(UsageError, match="need the engine torch"):
        lmkit.load(trained, device="cpu", cache=10).generate("the", engine="onnx")
    line = ["generate", str(trained), "--engine", "onnx", "--int8"]
    done = CliRunner().invoke(cli, line)
    assert (done.exit_code, "--engine onnx-int8" in done.stderr) == (2, True)
