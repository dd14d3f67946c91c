"""Parallel streams: every token is a target once, and states are reset by the policy."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams, Window
from lmkit.errors import DataError
from lmkit.notes import NOTE

START = 100
VOCABULARY = Vocabulary(START, 0, 1, "test")


def store(*lengths: int) -> TokenStore:
    """Lines of the given lengths; tokens count up, so that each is known by its place."""
    ends = np.cumsum([0, *lengths])
    return TokenStore.from_lines([np.arange(a, b) for a, b in pairwise(ends)], VOCABULARY)


def epoch(streams: Streams) -> list[Window]:
    """All windows of one pass."""
    return [streams.window(step) for step in range(streams.steps_per_epoch)]


def test_an_epoch_is_the_corpus_cut_into_streams():
    """Targets, read stream by stream, are the corpus; each input is the token before its target."""
    streams = Streams(store(7, 9, 8), batch_size=3, bptt=5, reset_policy="never", start_id=START)
    windows = epoch(streams)
    targets = torch.cat([w.targets for w in windows], 1)
    inputs = torch.cat([w.inputs for w in windows], 1)
    assert targets.flatten().tolist() == list(range(24))
    assert inputs.flatten().tolist() == [START, *range(23)]
    assert [w.targets.shape[1] for w in windows] == [5, 3]
    assert streams.steps_per_epoch == 2


@pytest.mark.parametrize(("policy", "starts"), [("line", [0, 7, 16]), ("document", [0, 16]), ("never", [0])])
def test_resets_follow_the_policy(policy, starts):
    """The state is reset before the first token of a line, of a document, or only of the corpus."""
    corpus = store(7, 9, 8)
    corpus.document_starts = np.array([0, 2])
    streams = Streams(corpus, batch_size=2, bptt=4, reset_policy=policy, start_id=START)
    found = []
    for window in epoch(streams):
        reset = torch.zeros_like(window.targets, dtype=torch.bool) if window.reset is None else window.reset
        found += window.targets[reset].tolist()
        assert (window.inputs == START).equal(reset)
    assert sorted(found) == starts


def test_a_short_corpus_shrinks_the_batch_with_a_notice(caplog):
    """Fewer tokens than a batch of windows: fewer streams, and the log says so."""
    with caplog.at_level(NOTE):
        streams = Streams(store(25), batch_size=8, bptt=10, reset_policy="never", start_id=START)
    assert streams.batch_size == 2
    assert "it is read in 2" in caplog.text
    assert Streams(store(3), batch_size=8, bptt=10, reset_policy="never", start_id=START).bptt == 3


def test_a_corpus_of_one_token_is_refused_with_the_size_needed():
    """Nothing can be predicted from nothing: exit code 3 and the number that is needed."""
    with pytest.raises(DataError, match="at least 2") as caught:
        Streams(store(1), batch_size=1, bptt=4, reset_policy="never", start_id=START)
    assert caught.value.exit_code == 3


def test_weights_follow_their_tokens():
    """Each target has the weight of its place, forward and backward; without weights there are none."""
    text = store(4, 5, 3)
    bare = Streams(text, batch_size=2, bptt=4, reset_policy="line", start_id=START, both_ways=True).window(0)
    assert bare.weights is None
    text.weights = np.arange(12, dtype=np.float32) / 2
    for window in epoch(
        Streams(text, batch_size=2, bptt=4, reset_policy="line", start_id=START, both_ways=True)
    ):
        for way in (window, window.backward):
            assert way is not None
            assert way.weights is not None
            assert torch.equal(way.weights, way.targets / 2)
