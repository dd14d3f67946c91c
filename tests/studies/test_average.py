"""`lmkit average`: the mean of weights, in a run like any other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

import lmkit
from lmkit.cli import cli
from lmkit.errors import LmkitError
from lmkit.studies.average import mean

LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GRUs of two seeds (a has four checkpoints), one of another size, one of another text, and an n-gram."""
    folder = tmp_path_factory.mktemp("average")
    (folder / "text.txt").write_text("\n".join(LINES * 20), encoding="utf-8")
    (folder / "other.txt").write_text("\n".join(LINES[1:] * 20), encoding="utf-8")
    common = {"tokenizer": {"name": "word", "min_count": 1}}
    sizes = {"hidden_size": 4, "batch_size": 2, "bptt": 8, "max_steps": 8, "device": "cpu", **common}
    text = folder / "text.txt"
    lmkit.train(text, model="gru", seed=1, save_every=2, keep=4, out=folder / "a", **sizes)
    lmkit.train(text, model="gru", seed=2, out=folder / "b", **sizes)
    lmkit.train(text, model="gru", out=folder / "wide", **(sizes | {"hidden_size": 5}))
    lmkit.train(folder / "other.txt", model="gru", out=folder / "other", **sizes)
    lmkit.train(text, model="ngram", out=folder / "ngram", **common)
    return folder


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.double() for name, tensor in load_file(path / "model.safetensors").items()}


def test_weights_of_runs_are_averaged(folder: Path, tmp_path: Path) -> None:
    """Every weight is the mean, in float64, of those of the runs, rounded once."""
    result = run("average", folder / "a", folder / "b", "--out", tmp_path / "mean", "--json")
    assert json.loads(result.stdout)["of"] == [str(folder / "a"), str(folder / "b")]
    one, two, found = (weights(path) for path in (folder / "a", folder / "b", tmp_path / "mean"))
    for name, tensor in found.items():
        assert torch.equal(tensor, ((one[name] + two[name]) / 2).float().double()), name


def test_weights_of_checkpoints_are_averaged(folder: Path, tmp_path: Path) -> None:
    """--last 3 averages the last three checkpoints."""
    made = lmkit.average(folder / "a", tmp_path / "mean", last=3)
    assert [path.name for path in made.of] == [f"step-{step:09d}" for step in (4, 6, 8)]
    saved = [weights(path) for path in made.of]
    for name, tensor in weights(made.run).items():
        assert torch.equal(tensor, (sum(one[name] for one in saved) / 3).float().double()), name  # pyright: ignore


def test_a_run_like_any_other(folder: Path, tmp_path: Path) -> None:
    """The average has a recipe, says in `info` what it is, evaluates and generates; --overwrite replaces it."""
    out = tmp_path / "mean"
    line = ("average", folder / "a", folder / "b", "--out", out)
    assert run(*line).exit_code == 0
    assert (out / "recipe.toml").read_bytes() == (folder / "a" / "recipe.toml").read_bytes()
    assert "the mean of the weights of" in run("info", out).stdout
    assert run("eval", out, folder / "text.txt").exit_code == 0
    assert run("generate", out, "--prompt", "the", "--max-tokens", 2).exit_code == 0
    assert run(*line).exit_code == 2
    assert run(*line, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("names", "more", "code", "says"),
    [
        (("a",), (), 2, "two runs or more"),
        (("a", "b"), ("--last", 2), 2, "of one run, not of 2"),
        (("a", "wide"), (), 2, "hidden_size was 4, now 5"),
        (("a", "other"), (), 2, "another vocabulary"),
        (("a", "ngram"), (), 4, "without trained weights"),
        (("b",), ("--last", 5), 5, "--keep 5 and a smaller --save-every"),
    ],
)
def test_errors(
    folder: Path, tmp_path: Path, names: tuple[str, ...], more: tuple[object, ...], code: int, says: str
) -> None:
    """Runs that do not fit together are refused in one line, and nothing is written."""
    result = run("average", *(folder / name for name in names), *more, "--out", tmp_path / "new")
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    """A checkpoint that has changed since it was saved is named."""
    shutil.copytree(folder / "a", tmp_path / "a")
    (tmp_path / "a" / "checkpoints" / "step-000000008" / "state.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LmkitError, match="step-000000008: damaged"):
        lmkit.average(tmp_path / "a", tmp_path / "mean", last=2)


def test_whole_numbers_are_kept() -> None:
    """A buffer of whole numbers has no mean; that of the first is kept."""
    found = mean(
        [
            {"n": torch.tensor([3]), "w": torch.tensor([1.0])},
            {"n": torch.tensor([3]), "w": torch.tensor([2.0])},
        ]
    )
    assert found["n"].tolist() == [3]
    assert found["w"].tolist() == [1.5]
