"""Third-party parts, installed by pip from separate distributions, work in every command."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TEXT = "the cat sat on the mat and the dog lay by the door\na bird sang in the tree by the house\n" * 20
QUICK = ("--max-steps", "3", "--hidden-size", "8", "--batch-size", "4", "--bptt", "8", "--threads", "1")
OWNERS = {
    "mycell": ("lmkit-demo-cell", "1.2.0"),
    "lowercase-letters": ("lmkit-demo-tokenizer", "0.3.0"),
    "bigram": ("lmkit-demo-bigram", "0.5.0"),
    "epsilon": ("lmkit-demo-decoder", "0.4.0"),
    "neighbours": ("lmkit-demo-encoder", "0.7.0"),
}
"""Each part of another distribution: its owner and version."""
RUNS = {
    "cell": ("--model", "mycell", *QUICK),
    "option": ("--model", "recurrent", "--cell", "mycell", "--forget-bias", "1", *QUICK),
    "tokenizer": ("--model", "gru", "--tokenizer", "lowercase-letters", *QUICK),
    "bigram": ("--model", "bigram", "--k", "0.5"),
    "together": ("--model", "bigram", "--tokenizer", "lowercase-letters"),
}
"""The name of each run and the flags that train it."""
SPEAK = ("--prompt", "the ", "--decoder", "epsilon", "--epsilon", "0.05", "--max-tokens", "5", "--seed", "3")

COMMANDS = """
import contextlib, io, json, sys
from lmkit.cli import cli
outcomes = {}
for name, line in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(line)
        except SystemExit as end:
            code = end.code
    outcomes[name] = (code, out.getvalue(), err.getvalue())
print(json.dumps(outcomes))
"""
PYTHON = """
import json
import lmkit
from lmkit.recurrence import Recurrent

trained = lmkit.train("text.txt", model="mycell", tokenizer="lowercase-letters", out="trained", max_steps=2,
                      hidden_size=8, forget_bias=2.0, threads=1)
loaded = lmkit.load("trained")
print(json.dumps({
    "cell": loaded.run.model_choice.options.cell.name,
    "bias": loaded.run.model_choice.options.cell.options.forget_bias,
    "same": loaded.score("the cat").log_prob == trained.score("the cat").log_prob,
    "texts": len(loaded.generate("the ", decoder="epsilon", epsilon=0.2, max_tokens=4, seed=1, num=2)),
    "width": Recurrent(3, 4, cell="mycell").output_size,
}))
"""


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


def python(code: str, folder: Path, plugins: list[Path], given: str = "") -> str:
    """What Python prints, in a folder, with these distributions installed."""
    env = {
        **os.environ,
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, plugins)),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, env=env, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def commands(lines: dict[str, tuple[str, ...]], folder: Path, plugins: list[Path]) -> dict[str, Outcome]:
    """Run command lines one after another in one process, since each start of torch takes seconds."""
    found = json.loads(python(COMMANDS, folder, plugins, json.dumps(lines)))
    return {name: Outcome(*outcome) for name, outcome in found.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commands")
    (path / "text.txt").write_text(TEXT, encoding="utf-8")
    pair = {"sentence_good": "the cat sat", "sentence_bad": "teh cta sta", "UID": "order"}
    (path / "pairs.jsonl").write_text(json.dumps(pair) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def demos(plugin_folders: dict[str, Path]) -> list[Path]:
    return [plugin_folders[owner] for owner, _ in OWNERS.values()]


@pytest.fixture(scope="module")
def outcomes(folder: Path, demos: list[Path]) -> dict[str, Outcome]:
    """Every run trained, scored and asked to speak, and a few lines more."""
    lines: dict[str, tuple[str, ...]] = {}
    for name, flags in RUNS.items():
        lines[f"train {name}"] = ("train", "text.txt", *flags, "--out", name, "--json")
        lines[f"eval {name}"] = ("eval", name, "text.txt", "--json")
        for time in ("once", "again"):
            lines[f"generate {name} {time}"] = ("generate", name, *SPEAK, "--json")
    encoder = ("--model", "neighbours", "--tokenizer", "lowercase-letters", *QUICK)
    lines["train encoder"] = ("train", "text.txt", *encoder, "--out", "encoder", "--json")
    for suffix in ("safetensors", "parquet"):
        lines[f"embed {suffix}"] = ("embed", "encoder", "text.txt", "--out", f"vectors.{suffix}", "--json")
    lines["embed words"] = (
        "embed",
        "encoder",
        "text.txt",
        "--words",
        "--layer",
        "all",
        "--out",
        "words.parquet",
    )
    lines["eval encoder"] = ("eval", "encoder", "text.txt")
    lines |= of_several_runs()
    lines["embed without"] = ("--no-plugins", "embed", "encoder", "text.txt", "--out", "no.parquet")
    lines["repeat"] = ("train", "--recipe", "option/recipe.toml", "--out", "repeated", "--json")
    lines["help"] = ("train", "--model", "bigram", "--help")
    lines["show"] = ("plugins", "show", "epsilon")
    lines["list without"] = ("--no-plugins", "plugins", "list", "--json")
    lines["train without"] = ("--no-plugins", "train", "text.txt", "--model", "mycell")
    for name in RUNS:
        lines[f"eval {name} without"] = ("--no-plugins", "eval", name, "text.txt")
    lines["compare without"] = ("--no-plugins", "compare", "bigram", "--data", "text.txt")
    lines["decoder without"] = ("--no-plugins", "generate", "cell", *SPEAK)
    return commands(lines, folder, demos)


def of_several_runs() -> dict[str, tuple[str, ...]]:
    """The commands that show what several models make of one text, on the bigrams and another's cell."""
    both, data = ("bigram", "cell"), ("--data", "text.txt")
    lines: dict[str, tuple[str, ...]] = {
        "compare": ("compare", *both, *data, "--plot", "compare.png"),
        "fill": ("fill", *both, "the ____ sat", "--candidates", "cat,dog", "--why", "--plot", "why.png"),
        "propose": ("fill", *both, "the cat ____", "--top", "3"),
        "context": ("context", *both, *data, "--longest", "6", "--windows", "20", "--plot", "context.png"),
        "minimal-pairs": ("minimal-pairs", *both, "pairs.jsonl"),
        "distances": ("distances", *both, "--language", "en", "--count", "2", "--farthest", "1"),
        "interpolate": ("interpolate", "tokenizer", "together", *data, "--out", "mixed"),
        "eval mixed": ("eval", "mixed", "text.txt"),
        "generate mixed": ("generate", "mixed", *SPEAK),
    }
    return {name: (*line, "--json") for name, line in lines.items()}


@pytest.mark.parametrize("name", RUNS)
def test_every_command(outcomes: dict[str, Outcome], folder: Path, name: str) -> None:
    """train, eval and generate take another's cell, tokenizer, decoder and counting model by name."""
    assert outcomes[f"train {name}"].json["parameters"] > 0
    score = outcomes[f"eval {name}"].json
    assert score["perplexity"] > 1
    assert not score["withheld"]
    once, again = (outcomes[f"generate {name} {time}"].json for time in ("once", "again"))
    assert once == again
    assert once[0]["log_prob"] < 0
    manifest = json.loads((folder / name / "lmkit.json").read_text(encoding="utf-8"))
    for part, origin in manifest["distributions"].items():
        owner, _, bare = part.rpartition(":")
        assert owner == OWNERS.get(bare, ("lmkit", ""))[0]
        if bare in OWNERS:
            assert (origin["distribution"], origin["version"]) == OWNERS[bare]


def test_commands_of_several_runs(outcomes: dict[str, Outcome], folder: Path) -> None:
    """compare, fill, context, minimal-pairs and distances measure another's models as they do the built-ins."""
    both = {"bigram", "cell"}
    assert {row["run"] for row in outcomes["compare"].json} == both
    filled = {name: [row for row in outcomes["fill"].json if row["run"] == name] for name in both}
    for rows in filled.values():
        assert {row["text"] for row in rows} == {"cat", "dog"}
        assert rows[0]["why"]["words"]
    assert sorted(row["run"] for row in outcomes["propose"].json) == ["bigram"] * 3 + ["cell"] * 3
    assert outcomes["minimal-pairs"].json.keys() == both
    assert outcomes["minimal-pairs"].json["bigram"]["paradigms"] == {"order": 100}
    assert outcomes["distances"].json["runs"].keys() == both
    for picture in ("compare", "why", "context"):
        assert (folder / f"{picture}.png").stat().st_size > 1000


def test_compare_obeys_no_plugins(outcomes: dict[str, Outcome]) -> None:
    """The process that scores a run for compare is under the rules of the command line, and its error is compare's."""
    assert outcomes["compare without"].code == 6
    assert outcomes["compare without"].out == ""


def test_context_of_another_counting_model(outcomes: dict[str, Outcome]) -> None:
    """Bigrams see one token back: the curve is flat from there on, and there is no gradient."""
    runs = outcomes["context"].json["runs"]
    assert runs["bigram"]["context"]["nats"] == pytest.approx([runs["bigram"]["context"]["nats"][0]] * 6)
    assert runs["cell"]["gradients"]
    assert not runs["bigram"]["gradients"]


def test_mixture_of_others(outcomes: dict[str, Outcome]) -> None:
    """Another's bigrams and a network over another's tokenizer, mixed: no worse than either, and it speaks."""
    mixed = outcomes["interpolate"].json
    assert sum(part["weight"] for part in mixed["parts"].values()) == pytest.approx(1)
    bits = {
        name: outcomes[f"eval {name}"].json["bits_per_byte"] for name in ("mixed", "tokenizer", "together")
    }
    assert bits["mixed"] <= min(bits.values()) + 1e-6
    (spoken,) = outcomes["generate mixed"].json
    assert 0 < len(spoken["text"]) <= 5
    assert spoken["log_prob"] < 0


def test_an_encoder(outcomes: dict[str, Outcome], folder: Path) -> None:
    """train and embed take another's encoder; eval says that it has no score, and `--no-plugins` whose it is."""
    trained = outcomes["train encoder"].json
    assert trained["parameters"] > 0
    assert trained["valid_perplexity"] is None
    for suffix in ("safetensors", "parquet"):
        figures = outcomes[f"embed {suffix}"].json
        assert (figures["sentences"], figures["layers"], figures["features"]) == (40, 1, 8)
        assert (folder / f"vectors.{suffix}").stat().st_size > 0
    assert outcomes["embed words"].code == 0, outcomes["embed words"].err
    assert outcomes["eval encoder"].code == 4
    assert "encoder" in outcomes["eval encoder"].err
    assert outcomes["embed without"].code == 6
    assert "pip install 'lmkit-demo-encoder==0.7.0'" in outcomes["embed without"].err


def test_recipe_repeats_the_run(outcomes: dict[str, Outcome], folder: Path) -> None:
    """The recipe of a run names plugins in full, keeps their options, and gives the same weights again."""
    recipe = (folder / "option" / "recipe.toml").read_text(encoding="utf-8")
    assert 'name = "lmkit-demo-cell:mycell"' in recipe
    assert "forget_bias = 1.0" in recipe
    assert outcomes["repeat"].json["steps"] == 3
    weights = [(folder / name / "model.safetensors").read_bytes() for name in ("option", "repeated")]
    assert weights[0] == weights[1]


def test_help_and_description(outcomes: dict[str, Outcome]) -> None:
    """Help and `plugins show` list another's options in a separate section, and how to use the part."""
    page = outcomes["help"].out
    assert "Options of model lmkit-demo-bigram:bigram" in page
    assert "added to every count" in page
    assert "lmkit-demo-cell:mycell" in page
    assert "lmkit generate RUN --decoder lmkit-demo-decoder:epsilon" in outcomes["show"].out


def test_no_plugins(outcomes: dict[str, Outcome]) -> None:
    """`--no-plugins` leaves third parties out of every command, and the built-ins in."""
    parts = outcomes["list without"].json["parts"]
    assert {part["long_name"].partition(":")[0] for part in parts} == {"lmkit"}
    assert outcomes["train without"].code == 2
    assert "no model or cell called 'mycell'" in outcomes["train without"].err
    assert outcomes["decoder without"].code == 2
    for name in RUNS:
        assert outcomes[f"eval {name} without"].code == 6


def test_missing_plugin(outcomes: dict[str, Outcome], folder: Path) -> None:
    """A model whose plugin is not installed: exit code 6, one line, the distribution and version to install."""
    lines = {name: ("eval", name, "text.txt") for name in RUNS}
    found = commands(lines, folder, [])
    wanted = {
        "cell": "mycell",
        "option": "mycell",
        "tokenizer": "lowercase-letters",
        "bigram": "bigram",
        "together": "bigram",
    }
    for name, bare in wanted.items():
        message = found[name].err.strip()
        owner, version = OWNERS[bare]
        assert found[name].code == 6
        assert len(message.splitlines()) == 1, message
        assert f"'{bare}' of the distribution '{owner}'" in message
        assert f"pip install '{owner}=={version}'" in message


def test_python(folder: Path, demos: list[Path]) -> None:
    """`lmkit.train`, `lmkit.load`, `score`, `generate` and `Recurrent` take them too."""
    found = json.loads(python(PYTHON, folder, demos))
    assert found == {"cell": "lmkit-demo-cell:mycell", "bias": 2.0, "same": True, "texts": 2, "width": 4}
