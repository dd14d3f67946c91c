"""Exact resume: a run that stopped and went on is, to the last bit, one that never stopped."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lmkit
from lmkit import recipe as recipes
from lmkit.errors import CheckpointError
from lmkit.training import checkpoint
from lmkit.training.loop import DivergedError
from lmkit.training.report import Silent
from lmkit.training.resume import resume_run
from lmkit.training.run import train_recipe

SMALL = {
    "model": {"name": "gru", "hidden_size": 8, "num_layers": 2, "dropout": 0.2},
    "tokenizer": {"name": "word", "min_count": 1},
    "train": {"batch_size": 3, "bptt": 5, "max_steps": 23, "valid_every": 4, "log_every": 1, "threads": 1},
}
STEPS_PER_EPOCH = 19
CLOCKS = ("seconds", "cpu_seconds", "tokens_per_second")


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text.txt"
    lines = [
        f"the {a} {b} the {c}"
        for a in ("cat", "dog", "cow")
        for b in ("sat on", "saw")
        for c in ("mat", "log")
    ]
    path.write_text("\n".join(lines * 4) + "\n", encoding="utf-8")
    return path


def settings(text: Path, **changes) -> recipes.Recipe:
    tables = {name: {**table, **changes.get(name, {})} for name, table in SMALL.items()}
    return recipes.build({**tables, "data": {"train": [str(text)]}})


def start(text: Path, out: Path, stop_after: int | None = None, **changes):
    return train_recipe(settings(text, **changes), out=out, stop_after=stop_after, reporter=Silent())


def go_on(run: Path, stop_after: int | None = None):
    recipe = recipes.build(recipes.read_recipe(run / "recipe.toml"))
    return resume_run(run, recipe, stop_after=stop_after, reporter=Silent())


def assert_same_run(one: Path, other: Path) -> None:
    """Best weights, last checkpoint and metrics are the same bits; only clocks may differ."""
    assert_same_tensors(one / "model.safetensors", other / "model.safetensors")
    last = [max((run / "checkpoints").glob("step-*")) for run in (one, other)]
    assert last[0].name == last[1].name
    for path in last[0].glob("*.safetensors"):
        assert_same_tensors(path, last[1] / path.name)
    states = [json.loads((folder / "state.json").read_text())["state"] for folder in last]
    for state in states:
        assert state.pop("seconds") > 0
        assert state.pop("cpu_seconds") > 0
    assert states[0] == states[1]
    assert metrics(one) == metrics(other)


def assert_same_tensors(one: Path, other: Path) -> None:
    ours, theirs = load_file(one), load_file(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), f"{one.name}: {name}"


def metrics(run: Path) -> list[dict]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in CLOCKS} for r in records]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "plateau"])
def test_stopping_changes_nothing(tmp_path, text, cell, optimizer, schedule):
    """Every cell, optimiser and schedule, stopped in the middle of an epoch and between validations."""
    changes = {
        "model": {"name": cell},
        "train": {"optimizer": optimizer, "schedule": schedule, "momentum": 0.5, "learning_rate": 0.05},
    }
    start(text, tmp_path / "whole", **changes)
    start(text, tmp_path / "parts", stop_after=7, **changes)
    go_on(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    "options",
    [
        {"clip_value": 0.01},
        {"beta1": 0.5, "beta2": 0.9},
        {"vary_bptt": True, "bptt": 9},
        {"schedule": "one-cycle"},
        {"schedule": "one-cycle", "optimizer": "sgd", "momentum": 0.5},
        {"schedule": "epochs", "decay_after": 1, "max_steps": 45},
        {"schedule": "epochs", "decay_at": [1, 2], "max_steps": 45},
        {"average": 0.9},
        {"precision": "bf16"},
        {"rates": ["embedding=0.3", "stack.layers.0=0.1"], "freeze": ["stack.layers.1"]},
        {"freeze": "embedding", "optimizer": "sgd", "momentum": 0.5},
        {"asgd_trigger": 1, "valid_every": 2, "learning_rate": 1.0, "schedule": "constant"},
    ],
    ids=str,
)
def test_stopping_changes_nothing_with_any_option(tmp_path, text, options):
    """Each option of training, stopped in the middle of an epoch and in later ones."""
    start(text, tmp_path / "whole", train=options)
    start(text, tmp_path / "plain")
    assert metrics(tmp_path / "whole") != metrics(tmp_path / "plain")
    start(text, tmp_path / "parts", stop_after=7, train=options)
    for stop in (10, 21, None):
        go_on(tmp_path / "parts", stop)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_mean_of_steps_is_saved(tmp_path, text):
    """From the trigger on, checkpoints have the mean of the weights of all steps since."""
    options = {"asgd_trigger": 1, "valid_every": 2, "learning_rate": 1.0, "save_every": 1, "keep": 100}
    start(text, tmp_path / "run", train=options)
    folders = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    state = json.loads((folders[-1] / "state.json").read_text())["state"]
    begun = state["averaged_from"]
    assert len(folders) == state["step"] > begun + 5
    assert [(folder / "average.safetensors").exists() for folder in folders] == [
        step >= begun for step in range(1, len(folders) + 1)
    ]
    seen = [load_file(folder / "model.safetensors") for folder in folders[begun:]]
    for name, tensor in load_file(folders[-1] / "average.safetensors").items():
        mean = torch.stack([weights[name].double() for weights in seen]).mean(0)
        torch.testing.assert_close(tensor.double(), mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stop_after", [1, 4, STEPS_PER_EPOCH - 1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1, 23])
@pytest.mark.parametrize("reset", ["line", "document", "never"])
def test_any_step_is_a_place_to_stop(tmp_path, text, stop_after, reset):
    """At the first step, at a validation, around an epoch's end, at the very end; with the hidden state carried."""
    changes = {"model": {"reset": reset}}
    start(text, tmp_path / "whole", **changes)
    start(text, tmp_path / "parts", stop_after=stop_after, **changes)
    go_on(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_early_stopping_goes_on_counting(tmp_path, text):
    """Validations without improvement before the stop count after it."""
    changes = {
        "train": {"patience": 2, "valid_every": 2, "learning_rate": 1.0, "max_steps": 60, "warmup": 0.0}
    }
    whole = start(text, tmp_path / "whole", **changes)
    assert whole.summary["steps"] < 60
    start(text, tmp_path / "parts", stop_after=whole.summary["steps"] - 1, **changes)
    go_on(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    "model",
    [
        {"output": "sampled", "samples": 3},
        {"output": "mixture", "experts": 2},
        {"activation_penalty": 2.0, "temporal_penalty": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_stopping_changes_nothing_with_any_output_layer(tmp_path, text, model, optimizer):
    """A sampled loss draws the same samples after a stop, and no layer keeps a state that a checkpoint lacks."""
    changes = {"model": model, "train": {"optimizer": optimizer}}
    start(text, tmp_path / "whole", **changes)
    start(text, tmp_path / "parts", stop_after=9, **changes)
    go_on(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("model", [{"name": "gru"}, {"name": "elmo", "inputs": "tokens", "num_layers": 1}])
def test_answers_keep_their_weight(tmp_path, model):
    """A resumed run weighs the same tokens; without the weight it is another run, in both directions."""
    text = "distances:en,count=30,farthest=1,cause=either"

    def changes(weight):
        sizes = {"hidden_size": 8, "num_layers": 1, "dropout": 0.2}
        return {"model": {**sizes, **model}, "train": {"answer_weight": weight}}

    start(text, tmp_path / "whole", **changes(10.0))
    start(text, tmp_path / "parts", stop_after=7, **changes(10.0))
    go_on(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    start(text, tmp_path / "other", **changes(1.0))
    assert metrics(tmp_path / "other")[0]["loss"] != metrics(tmp_path / "whole")[0]["weighted_loss"]


def test_many_stops_are_one_run(tmp_path, text):
    """A run may stop as often as it likes."""
    start(text, tmp_path / "whole")
    start(text, tmp_path / "parts", stop_after=3)
    for stop in (5, 11, 12, 20, None):
        go_on(tmp_path / "parts", stop)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_metrics_are_cut_back(tmp_path, text):
    """Lines written after the checkpoint that is resumed from are forgotten, not doubled."""
    start(text, tmp_path / "whole")
    start(text, tmp_path / "parts", stop_after=8)
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "loss": 1.0}\n{"step": 10, "lo')
    go_on(tmp_path / "parts")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("model", "hidden_size", 9),
        ("train", "learning_rate", 0.5),
        ("train", "seed", 1),
        ("tokenizer", "min_count", 2),
    ],
)
def test_other_settings_are_refused_with_the_differences(tmp_path, text, table, name, value):
    """Another architecture, tokenizer or training is exit code 5, and each difference is listed."""
    start(text, tmp_path / "run", stop_after=5)
    recipe = settings(text, **{table: {name: value}})
    with pytest.raises(CheckpointError, match=f"{table}.{name} was .* now {value}") as caught:
        resume_run(tmp_path / "run", recipe, reporter=Silent())
    assert caught.value.exit_code == 5


def test_another_text_is_refused(tmp_path, text):
    """Resuming with text that has changed since is exit code 5."""
    start(text, tmp_path / "run", stop_after=5)
    text.write_text(text.read_text().replace("cow", "hen"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="the training text"):
        go_on(tmp_path / "run")


def test_a_longer_run_is_said_not_to_be_the_same(tmp_path, text, caplog):
    """Limits may be moved, with a warning that the schedule then is another."""
    start(text, tmp_path / "run", stop_after=5)
    resume_run(tmp_path / "run", settings(text, train={"max_steps": 30}), reporter=Silent())
    assert "train.max_steps was 23, now 30" in caplog.text


def test_another_machine_is_said_not_to_be_exact(tmp_path, text, caplog):
    """What bit-equality depends on is recorded; a difference is named."""
    start(text, tmp_path / "run", stop_after=5)
    for path in (tmp_path / "run" / "checkpoints").glob("*/state.json"):
        facts = json.loads(path.read_text())
        facts["machine"]["torch"] = "1.0"
        path.write_text(json.dumps(facts))
        digests = json.loads((path.parent / "manifest.json").read_text())
        digests["state.json"] = checkpoint.sha256(path)
        (path.parent / "manifest.json").write_text(json.dumps(digests))
    go_on(tmp_path / "run")
    assert "torch was '1.0'" in caplog.text


@pytest.mark.parametrize("point", checkpoint.CRASH_POINTS)
def test_a_crash_inside_a_save_loses_nothing(tmp_path, text, point, monkeypatch):
    """At every named moment of a save: what is on the disk resumes to the bits of a run that never crashed."""

    class Crash(BaseException):
        pass

    saves = 0

    def crash(name: str) -> None:
        nonlocal saves
        saves += name == point
        if saves == 3:
            raise Crash

    changes = {"train": {"save_every": 3}}
    start(text, tmp_path / "whole", **changes)
    monkeypatch.setattr(checkpoint, "crash_point", crash)
    with pytest.raises(Crash):
        start(text, tmp_path / "parts", **changes)
    monkeypatch.undo()
    go_on(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_full_disk_keeps_the_ones_before(tmp_path, text, monkeypatch, caplog):
    """A save that fails warns and is tried again; exit code 5 only when it was the last."""
    full = {"now": False}

    def no_room(name: str) -> None:
        if full["now"] and name == "tensors":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "crash_point", no_room)
    changes = {"train": {"save_every": 3}}
    start(text, tmp_path / "whole", stop_after=6, **changes)
    full["now"] = True
    with pytest.raises(CheckpointError, match="No space left") as caught:
        go_on(tmp_path / "whole", 11)
    assert caught.value.exit_code == 5
    assert "tries again" in caplog.text
    full["now"] = False
    go_on(tmp_path / "whole", 12)
    start(text, tmp_path / "plain", stop_after=12, **changes)
    assert_same_run(tmp_path / "whole", tmp_path / "plain")
    assert not list((tmp_path / "whole" / "checkpoints").glob(".step*"))


def test_a_file_that_cannot_grow_is_a_full_disk(tmp_path, text):
    """What safetensors itself raises when a write fails is a full disk too: one line and exit code 5."""
    line = [
        "train", str(text), "--model", "gru", "--hidden-size", "64", "--tokenizer", "word", "--max-steps", "40",
        "--save-every", "5", "--threads", "1", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); from lmkit.cli import main; main()"
    )
    found = subprocess.run([sys.executable, "-c", limit, *line], capture_output=True, text=True, check=False)
    assert found.returncode == 5, found.stderr
    assert "tries again" in found.stderr
    assert "free some space" in found.stderr
    assert not (tmp_path / "run" / "lmkit.json").exists()


def test_changing_what_is_free_leaves_the_model_loadable(tmp_path, text):
    """A resumed run that writes its recipe again, and finds no better weights, can still be loaded."""
    start(text, tmp_path / "run", stop_after=22, train={"learning_rate": 1.0, "warmup": 0.0})
    recipe = settings(text, train={"learning_rate": 1.0, "warmup": 0.0, "log_every": 7})
    resume_run(tmp_path / "run", recipe, reporter=Silent())
    assert "log_every = 7" in (tmp_path / "run" / "recipe.toml").read_text()
    lmkit.load(tmp_path / "run")


def test_a_stop_that_has_passed_stops_at_once(tmp_path, text):
    """`--stop-after` of fewer steps than were made trains no more."""
    start(text, tmp_path / "run", stop_after=9)
    assert go_on(tmp_path / "run", 3).summary["steps"] == 9


def test_text_that_has_moved_is_the_same_text(tmp_path, text):
    """Fingerprints say whether it is the text; where it lies is free."""
    start(text, tmp_path / "run", stop_after=5)
    moved = text.rename(tmp_path / "moved.txt")
    resume_run(tmp_path / "run", settings(moved), reporter=Silent())


def test_an_option_younger_than_the_checkpoint_has_its_default(tmp_path, text):
    """A checkpoint of a version that lacked an option is resumed with the option's default."""
    start(text, tmp_path / "run", stop_after=5)
    for path in (tmp_path / "run" / "checkpoints").glob("*/state.json"):
        facts = json.loads(path.read_text())
        del facts["recipe"]["train"]["momentum"]
        path.write_text(json.dumps(facts))
        digests = json.loads((path.parent / "manifest.json").read_text())
        digests["state.json"] = checkpoint.sha256(path)
        (path.parent / "manifest.json").write_text(json.dumps(digests))
    go_on(tmp_path / "run")


@pytest.mark.parametrize("limit", ["max_time", "max_cpu_time"])
def test_a_schedule_by_the_clock_is_said_not_to_be_exact(tmp_path, text, caplog, limit):
    """With a limit of time the learning rate follows the clock, so that no two runs are alike."""
    start(text, tmp_path / "run", stop_after=2, train={limit: 600.0})
    go_on(tmp_path / "run", 3)
    assert "depends on the clock" in caplog.text


def damage(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, text, caplog):
    """A flipped byte in the newest is noticed, named, and the one before it resumed to the same end."""
    changes = {"train": {"save_every": 3}}
    start(text, tmp_path / "whole", **changes)
    start(text, tmp_path / "parts", stop_after=9, **changes)
    damage(max((tmp_path / "parts" / "checkpoints").glob("step-*")))
    go_on(tmp_path / "parts")
    assert "step-000000009 is damaged" in caplog.text
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_all_damaged_is_an_error_never_a_fresh_start(tmp_path, text):
    """With no whole checkpoint left, or none at all, --resume is exit code 5."""
    start(text, tmp_path / "run", stop_after=9, train={"save_every": 3})
    for folder in (tmp_path / "run" / "checkpoints").glob("step-*"):
        damage(folder)
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        go_on(tmp_path / "run")
    with pytest.raises(CheckpointError, match="does not exist"):
        resume_run(tmp_path / "nowhere", settings(text), reporter=Silent())


def test_the_newest_checkpoints_are_kept(tmp_path, text):
    """`keep` says how many."""
    start(text, tmp_path / "run", train={"save_every": 2, "keep": 3})
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-000000020", "step-000000022", "step-000000023"]


COMMAND = [sys.executable, "-c", "from lmkit.cli import main; main()"]


def launch(text: Path, out: Path, *flags: str) -> "subprocess.Popen[str]":
    line = [
        "train", str(text), "--model", "gru", "--hidden-size", "8", "--tokenizer", "word", "--batch-size", "3",
        "--bptt", "5", "--max-steps", "3000", "--valid-every", "50", "--save-every", "20", "--log-every", "1",
        "--threads", "1", "--out", str(out),
    ]  # fmt: skip
    return subprocess.Popen(
        [*COMMAND, *line, *flags], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def resume(out: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    line = [*COMMAND, "train", "--resume", str(out), *flags]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def wait_for_checkpoint(run: Path, process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        if any((run / "checkpoints").glob("step-*")):
            return
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)
    raise AssertionError("no checkpoint after 30 seconds")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_bits(tmp_path, text, number, code):
    """SIGTERM and SIGINT end the step, save, say how to go on, and exit with 128 plus the signal's number."""
    process = launch(text, tmp_path / "parts")
    wait_for_checkpoint(tmp_path / "parts", process)
    process.send_signal(number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == code, messages
    assert "--resume" in messages
    lmkit.load(tmp_path / "parts")
    reached = max((tmp_path / "parts" / "checkpoints").glob("step-*")).name
    stop = str(int(reached.removeprefix("step-")) + 30)
    again = resume(tmp_path / "parts", "--stop-after", stop)
    assert again.returncode == 0, again.stderr
    assert launch(text, tmp_path / "whole", "--stop-after", stop).wait(timeout=60) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_two_runs_in_one_directory(tmp_path, text):
    """The second refuses while the first trains."""
    process = launch(text, tmp_path / "run")
    wait_for_checkpoint(tmp_path / "run", process)
    second = resume(tmp_path / "run")
    third = launch(text, tmp_path / "run", "--overwrite")
    _, messages = third.communicate(timeout=60)
    process.kill()
    process.communicate()
    assert second.returncode == third.returncode == 5
    assert "another process is training in it" in second.stderr
    assert "another process is training in it" in messages


def test_interrupting_twice_stops_at_once(tmp_path, text):
    """The second SIGINT does not wait for the step's end; the last checkpoint stays whole."""
    process = launch(text, tmp_path / "run")
    wait_for_checkpoint(tmp_path / "run", process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert resume(tmp_path / "run", "--stop-after", "1").returncode == 0


def test_a_loss_that_is_no_number_keeps_the_last_good_state(tmp_path, text, monkeypatch):
    """The step is named, and checkpoints and best weights from before it stay."""
    start(text, tmp_path / "run", stop_after=6, train={"optimizer": "sgd", "learning_rate": 0.1})
    folder = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    recipe = recipes.build(recipes.read_recipe(tmp_path / "run" / "recipe.toml"))
    spoil = lambda gradients, *_, **__: [g.fill_(math.inf) for g in gradients] and torch.tensor(1.0)  # noqa: E731
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", spoil)
    with pytest.raises(DivergedError, match="at step 8"):
        resume_run(tmp_path / "run", recipe, reporter=Silent())
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    lmkit.load(tmp_path / "run")
