"""What the contracts' defaults promise, and the family of errors."""

import numpy as np
import pytest
import torch

from lmkit import errors
from lmkit.contracts import Encoding, LanguageModel, Tokenizer, Vocabulary
from lmkit.errors import LmkitError, listed
from lmkit.testing import random_bigram

MODEL = random_bigram()


def test_default_log_probs() -> None:
    """Built from next_log_probs and advance: the scores of a table are the table's entries."""
    ids = torch.tensor([[4, 5, 0], [7, 7, 2]])
    scores, state = MODEL.log_probs(ids, MODEL.initial_state(2))
    before = torch.tensor([[0, 4, 5], [0, 7, 7]])
    assert torch.equal(scores, MODEL.table[before, ids])
    assert torch.equal(MODEL.next_log_probs(state), MODEL.table[ids[:, -1]])


def test_default_reset() -> None:
    """reset[b, t] puts row b at the start of a text before token t, and only that row."""
    ids = torch.tensor([[4, 5], [4, 5]])
    reset = torch.tensor([[False, True], [False, False]])
    scores, _ = MODEL.log_probs(ids, MODEL.initial_state(2), reset=reset)
    assert scores[0, 1] == MODEL.table[0, 5]
    assert scores[1, 1] == MODEL.table[4, 5]


def test_default_scan() -> None:
    """Row [b, t] is the distribution from which ids[b, t] was drawn."""
    ids = torch.randint(11, (3, 6))
    reset = torch.rand(3, 6) < 0.4
    rows = torch.cat([chunk for chunk, _ in MODEL.scan(ids, MODEL.initial_state(3), reset=reset)], 1)
    scores, _ = MODEL.log_probs(ids, MODEL.initial_state(3), reset=reset)
    assert torch.equal(rows.gather(2, ids[..., None])[..., 0], scores)


def test_time_zero() -> None:
    """No tokens: no scores, no chunks and the state as it was."""
    state = MODEL.initial_state(3, start=False)
    scores, after = MODEL.log_probs(torch.zeros(3, 0, dtype=torch.long), state)
    assert scores.shape == (3, 0)
    assert after is state
    assert list(MODEL.scan(torch.zeros(3, 0, dtype=torch.long), state)) == []


def test_model_defaults() -> None:
    """A model that says nothing resets at lines, has no parameters, is on the CPU and cannot be fitted."""
    assert LanguageModel.reset_policy == "line"
    assert MODEL.parameter_count() == 0
    assert MODEL.device == torch.device("cpu")
    with pytest.raises(NotImplementedError):
        MODEL.fit(None, None)  # pyright: ignore[reportArgumentType]


def test_tokenizer_defaults() -> None:
    """By default ids are encode's, every token is a word and no round trip is promised."""

    class Lengths(Tokenizer):
        vocabulary = Vocabulary(9, 0, None, "lengths")

        def encode(self, line):
            return Encoding(np.array([len(line)], np.int32), np.array([[0, len(line)]]))

        fit = load = classmethod(lambda cls, *_: cls())  # pyright: ignore
        decode = residual_bits = save = None  # pyright: ignore

    tokenizer = Lengths()
    assert tokenizer.ids("four").tolist() == [4]
    assert tokenizer.word_starts() is None
    assert not tokenizer.lossless


def test_contracts_are_abstract() -> None:
    """A class that leaves a method out cannot be made."""

    class Half(LanguageModel):
        def initial_state(self, batch_size, *, start=True):
            return torch.zeros(batch_size)

    with pytest.raises(TypeError, match="abstract"):
        Half()  # pyright: ignore[reportAbstractUsage]


@pytest.mark.parametrize(
    ("name", "code"),
    [("UsageError", 2), ("DataError", 3), ("ModelError", 4), ("CheckpointError", 5), ("PluginError", 6)],
)
def test_exit_codes(name: str, code: int) -> None:
    """Each kind of error has the exit code that scripts rely on."""
    error = getattr(errors, name)
    assert issubclass(error, LmkitError)
    assert error.exit_code == code


def test_listed() -> None:
    """One problem is its own message; several are counted and listed a line each."""
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "2 problems:\n  a\n  b"
