"""Several processes train as one: the same losses, norms and weights, whatever their number."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).with_name("together.py")
SAME = ("gru", "lstm", "adaptive", "sampled", "mixture", "window", "elmo", "elmo sampled", "plateau")
CLIP_NORM = 0.02
NEAR = 1e-12
SECONDS = 1500
"""A limit for processes that hang, far above what a loaded machine needs."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What each of three processes found; all trainings in one start of them."""
    folder = tmp_path_factory.mktemp("together")
    ranks = [subprocess.Popen([sys.executable, str(SCRIPT), str(rank), str(folder)]) for rank in range(3)]
    try:
        assert [rank.wait(SECONDS) for rank in ranks] == [0, 0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return [torch.load(folder / f"results-{rank}.pt") for rank in range(3)]


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of losses, norms and weights."""
    assert len(one["steps"]) == len(other["steps"])
    steps = torch.tensor(one["steps"]) - torch.tensor(other["steps"])
    weights = [(w - other["weights"][name]).abs().max() for name, w in one["weights"].items()]
    return max(float(steps.abs().max()), *map(float, weights))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", SAME)
def test_any_number_of_processes_trains_alike(results, name, count):
    """With dropout and every step clipped, two or three processes differ from one by rounding only.

    Three have 1, 1 and 2 of four streams, so that a mean of means would be wrong.
    """
    one, several = results[0][name, 1], results[0][name, count]
    assert all(norm > CLIP_NORM for _, norm in one["steps"])
    assert furthest(one, several) < NEAR
    assert several["state"] == one["state"]


@pytest.mark.parametrize("name", SAME)
def test_all_processes_have_the_same_bits(results, name):
    """Each process ends with the weights of the one that leads, to the last bit, and in the same state."""
    for rank in (1, 2):
        lead, follower = results[0][name, 3], results[rank][name, 3]
        assert furthest(lead, follower) == 0
        assert lead["state"] == follower["state"]


def test_two_runs_are_equal(results):
    """Two trainings of two processes are the same, to the last bit."""
    assert furthest(results[0]["gru", 2], results[0]["again", 2]) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_resumes(results, count):
    """Two processes stop after 5 of 12 steps; one, two or three continue as if none had stopped."""
    whole, rest = results[0]["gru", 1], results[0]["resumed", count]
    assert len(rest["steps"]) == 7
    assert furthest({**whole, "steps": whole["steps"][5:]}, rest) < NEAR


@pytest.mark.parametrize("count", [2, 3])
def test_all_stop_after_the_same_step(results, count):
    """A request to stop that reaches one process stops all after the step that it is in."""
    for rank in range(count):
        found = results[rank]["stopped", count]
        assert found["stopped"]
        assert found["state"]["step"] == 6
