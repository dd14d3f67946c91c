"""Windows reach a device as the streams give them, from the text on the device or one step ahead."""

import contextlib

import numpy as np
import pytest
import torch

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams, Window
from lmkit.host_copies import on_host
from lmkit.training import feed
from lmkit.training.feed import Ahead, OnDevice, feed_for

CPU = torch.device("cpu")


def streams(policy: str = "line", *, both_ways: bool = False, weighted: bool = False) -> Streams:
    random = np.random.default_rng(0)
    lines = [random.integers(2, 50, length) for length in random.integers(1, 9, 40)]
    for ids in lines:
        ids[-1] = 0
    store = TokenStore.from_lines(lines, Vocabulary(50, 0, 1, "random"))
    if weighted:
        store.weights = np.ones(store.num_tokens, np.float32)
    made = Streams(store, 3, 8, policy, 50, both_ways=both_ways)
    made.vary(1)
    return made


def assert_equal(found: Window, wanted: Window) -> None:
    assert [t.dtype for t in found.tensors()] == [t.dtype for t in wanted.tensors()]
    assert all(torch.equal(a, b) for a, b in zip(found.tensors(), wanted.tensors(), strict=True))


@pytest.mark.parametrize("policy", ["line", "document", "never"])
def test_windows_cut_from_a_text_on_the_device(policy, monkeypatch):
    """Those of all epochs, in any order, with windows of several lengths; the text is copied in pieces."""
    monkeypatch.setattr(feed, "TOKENS_AT_ONCE", 7)
    own = streams(policy)
    cut = OnDevice(own, CPU)
    for step in [*range(25), 3, 0]:
        assert_equal(cut(step), own.window(step))


def test_the_host_has_a_copy_of_what_is_cut_on_the_device():
    """On "meta", which has no values to read."""
    own = streams()
    found, wanted = OnDevice(own, torch.device("meta"))(2), own.window(2)
    assert {t.device.type for t in found.tensors()} == {"meta"}
    assert all(torch.equal(on_host(a), b) for a, b in zip(found.tensors(), wanted.tensors(), strict=True))


def test_a_window_is_cut_without_a_wait(launches):
    """As the whole step is computed without one."""
    cut = OnDevice(streams(), torch.device("meta"))
    with launches.watching() as device:
        cut(3)
    assert device.launched.total() <= 12


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a card that is not there, whose memory is the CPU's; it has 8,000 bytes left."""
    asked: list[str] = []

    class Stream:
        def __init__(self, *_: object) -> None:
            self.name = "other"

        def wait_stream(self, other: "Stream") -> None:
            asked.append(f"{self.name} waits for {other.name}")

    current = Stream()
    current.name = "current"

    @contextlib.contextmanager
    def within(stream: Stream):
        asked.append(f"on {stream.name}")
        yield
        asked.append("back")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (8_000, 20_000))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda _, stream: asked.append(f"used by {stream.name}")
    )
    monkeypatch.setattr(Window, "to", lambda window, device: asked.append("copied") or window)
    monkeypatch.setattr(feed, "OnDevice", lambda *_: "on the device")
    return asked


def test_the_next_window_is_copied_while_one_is_computed(card):
    """Each is copied once, on the other stream, and its memory stays until the present one has used it."""
    own = streams()
    ahead = Ahead(own, torch.device("cuda"))
    assert_equal(ahead(0), own.window(0))
    uses = ["used by current"] * 3
    assert card == [
        "on other",
        "copied",
        "back",
        "current waits for other",
        *uses,
        "on other",
        "copied",
        "back",
    ]
    card.clear()
    assert_equal(ahead(1), own.window(1))
    assert card == ["current waits for other", *["used by current"] * len(own.window(1).tensors()),
                    "on other", "copied", "back"]  # fmt: skip


def test_a_window_that_was_not_expected(card):
    """As after a resumed training: it is copied now."""
    own = streams()
    ahead = Ahead(own, torch.device("cuda"))
    for step in (5, 2, 3):
        assert_equal(ahead(step), own.window(step))
    assert card.count("copied") == 5


def test_a_text_is_on_the_card_if_it_fits(card, monkeypatch):
    """Within a share of the free memory; windows with more than ids and resets come one step ahead."""
    cuda = torch.device("cuda")
    assert isinstance(feed_for(streams(), cuda), Ahead)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100_000, 200_000))
    assert feed_for(streams(), cuda) == "on the device"
    assert isinstance(feed_for(streams(weighted=True), cuda), Ahead)
    assert isinstance(feed_for(streams(both_ways=True), cuda), Ahead)
    assert_equal(feed_for(streams(), CPU)(4), streams().window(4))
