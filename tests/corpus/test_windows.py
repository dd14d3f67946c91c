"""The windows of training: the lengths, and that an epoch reads each token once."""

import numpy as np
import pytest

from lmkit.corpus.windows import Place, Windows


def lengths(windows: Windows, epoch: int) -> list[int]:
    """The lengths of all windows of an epoch, which must join without gaps."""
    found, end = [], 0
    for step in range(windows.first_step(epoch), windows.first_step(epoch + 1)):
        place = windows.place(step)
        assert (place.epoch, place.first) == (epoch, end)
        end = place.last
        found.append(place.last - place.first)
    assert end == windows.length
    return found


@pytest.mark.parametrize(
    ("length", "bptt", "wanted"), [(8, 4, [4, 4]), (9, 4, [4, 4, 1]), (3, 3, [3]), (5, 1, [1] * 5)]
)
def test_equal_windows(length, bptt, wanted):
    """Without a seed every window has `bptt` tokens, and the last of each epoch takes what is left."""
    windows = Windows(length, bptt)
    assert lengths(windows, 0) == lengths(windows, 3) == wanted
    assert windows.first_step(3) == 3 * len(wanted)
    assert windows.place(2 * len(wanted)) == Place(2, 0, wanted[0])


@pytest.mark.parametrize(("length", "bptt"), [(1, 70), (4, 2), (70, 70), (71, 70), (10_000, 35), (999, 1)])
def test_an_epoch_of_windows_that_vary_reads_each_token_once(length, bptt):
    """They join without gaps, only the last may be shorter than 5, and epochs differ."""
    windows = Windows(length, bptt, seed=3)
    epochs = [lengths(windows, epoch) for epoch in range(4)]
    assert all(one >= 5 for epoch in epochs for one in epoch[:-1])
    assert length < 1000 or epochs[0] != epochs[1]


def test_the_distribution_of_lengths():
    """5 % around half of `bptt` and the others around it, with a standard deviation of 5 (rounded down)."""
    found = np.array(lengths(Windows(2_000_000, 70, seed=0), 0)[:-1])
    short = found < 52
    assert short.mean() == pytest.approx(0.05, abs=0.005)
    assert found[short].mean() == pytest.approx(34.5, abs=0.5)
    assert found[~short].mean() == pytest.approx(69.5, abs=0.2)
    assert found[~short].std() == pytest.approx(5.0, abs=0.1)


def test_a_step_alone_gives_its_window():
    """In any order of questions, the answer is the same; another seed gives others."""
    forward, backward, other = (Windows(3000, 20, seed) for seed in (1, 1, 2))
    steps = range(500)
    wanted = [forward.place(step) for step in steps]
    assert [backward.place(step) for step in reversed(steps)] == wanted[::-1]
    assert [other.place(step) for step in steps] != wanted


def test_epochs_of_steps():
    """Whole numbers at the ends of epochs, and shares of the epoch's steps between them."""
    windows = Windows(1000, 20, seed=1)
    assert windows.epochs(0) == 0
    for epoch in (1, 2, 5):
        assert windows.epochs(windows.first_step(epoch)) == epoch
    size = windows.first_step(3) - windows.first_step(2)
    assert windows.epochs(windows.first_step(2) + 1) == pytest.approx(2 + 1 / size)
