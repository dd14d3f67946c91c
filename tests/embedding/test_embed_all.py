"""Sentences in batches: order, memory and the guarantee that a sentence's vectors are its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmkit.contracts import Encoder
from lmkit.embedding.alignment import align
from lmkit.embedding.batches import embed_all
from lmkit.embedding.layers import selection
from lmkit.errors import UsageError

CASES = {
    "gru": ("gru", "word", {}),
    "lstm, characters": ("lstm", "char", {}),
    "minGRU, residual": ("min-gru", "byte", {"residual": True, "norm": "rms"}),
    "window": ("window", "word", {}),
    "elmo lstm": ("elmo", "word", {"samples": 0}),
    "elmo gru, tokens": ("elmo", "char", {"cell": "gru", "inputs": "tokens"}),
    "elmo minGRU": ("elmo", "word", {"cell": "min-gru"}),
    "elmo layer-norm LSTM": ("elmo", "sentencepiece", {"cell": "layer-norm-lstm"}),
}
words = st.sampled_from(["the", "cat", "sat", "mat", "dog", "Zebra", "naïve", "a", "", " ", "漢字", "x" * 60])
word_lists = st.lists(words, max_size=12)
strings = st.one_of(st.builds(" ".join, word_lists), st.text("the cat\t", max_size=30))


class Recording(Encoder):
    """Vectors of ones; remembers what each batch was."""

    num_layers, width = 2, 3  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def embed(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> list[Tensor]:
        self.batches.append([len(sentence) for sentence in sentences])
        return [torch.ones(2, len(sentence), 3) * len(sentence) for sentence in sentences]

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Any) -> "Recording":
        return cls()


def close(got: Tensor, wanted: Tensor) -> bool:
    limit = 1e-6 * max(1.0, float(wanted.abs().max())) if wanted.numel() else 0.0
    return got.shape == wanted.shape and (not wanted.numel() or float((got - wanted).abs().max()) <= limit)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_sentence_has_vectors_of_its_own(case: str, data: st.DataObject, trained_model) -> None:
    """Alone, in any batch, order or padding and after any others: the same to 1e-6, and twice the same bits."""
    name, tokenizer, options = CASES[case]
    model = trained_model(name, tokenizer, **options)
    kind = data.draw(st.sampled_from([strings, word_lists]))
    sentences = data.draw(st.lists(kind, min_size=1, max_size=6))
    order = data.draw(st.permutations(range(len(sentences))))
    batch_size = data.draw(st.integers(1, 4))
    together = model.embed(sentences)
    mixed = model.embed([sentences[i] for i in order], batch_size=batch_size)
    with torch.no_grad():  # with gradients, stacks go another way, which ends in other last bits
        direct = model.encoder.embed(sentences)
    for index, wanted in enumerate(together):
        (alone,) = model.embed([sentences[index]])
        assert close(alone, wanted)
        assert close(mixed[order.index(index)], wanted)
        assert close(direct[index], wanted)
    assert all(torch.equal(a, b) for a, b in zip(model.embed(sentences), together, strict=True))


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte", "sentencepiece"])
@pytest.mark.parametrize("options", [{"inputs": "tokens"}, {}], ids=["tokens", "characters"])
def test_words_are_read_as_their_text(trained_model, tokenizer: str, options: dict[str, str]) -> None:
    """A list of words has what the text of them has: forward of a word's last token, backward of its first."""
    model = trained_model("elmo", tokenizer, **options)
    words = ["the", "", "cat", "naïve", "door"]
    text = " ".join(filter(None, words))
    spans = [(0, 3), (0, 0), (4, 7), (8, 13), (14, 18)]
    (of_words,), (of_text,) = model.embed([words]), model.embed([text])
    half = of_text.shape[-1] // 2
    tokens = model.tokenize(text)
    torch.testing.assert_close(of_words[..., :half], align(of_text, tokens, spans, "last")[..., :half])
    torch.testing.assert_close(of_words[..., half:], align(of_text, tokens, spans, "first")[..., half:])


def test_a_generator_is_no_sentence(trained_model) -> None:
    """What can be gone through only once is refused, not found empty."""
    with pytest.raises(UsageError, match="sentence 1"):
        trained_model("gru").embed([(word for word in ["a", "b"])])


def test_order_is_kept_and_lengths_are_alike() -> None:
    """Sentences of like lengths share a batch, and come back where they were."""
    lengths = [3, 9, 0, 4, 8, 1, 3, 9]
    encoder = Recording()
    found = list(embed_all(encoder, [["w"] * n for n in lengths], batch_size=3))
    assert [vectors.shape[1] for vectors in found] == lengths
    assert encoder.batches == [[9, 9, 8], [4, 3, 3], [1, 0]]


def test_a_long_sentence_is_alone_and_little_is_read_ahead() -> None:
    """At most `block_tokens` are read ahead and `batch_tokens` padded ones make a batch, whatever a line holds."""
    encoder = Recording()
    read: list[int] = []

    def sentences():
        for number, length in enumerate([5, 44_000, 5, 5] + [5] * 100):
            read.append(number)
            yield ["w"] * length

    found = embed_all(encoder, sentences(), batch_tokens=40, block_tokens=50)
    assert next(found).shape[1] == 5
    assert len(read) == 2
    assert next(found).shape[1] == 44_000
    assert encoder.batches == [[5], [44_000]]
    next(found)
    assert len(read) <= 13
    assert all(sum(batch) <= 40 for batch in encoder.batches[2:])
    assert len(list(found)) == 101


def test_select_is_applied_to_each_sentence() -> None:
    """A layer and a pooling are taken sentence by sentence, as float32 on the CPU."""
    encoder = Recording()
    found = list(embed_all(encoder, [["a"], [], ["b"] * 4], select=selection(encoder, "top", "mean")))
    assert [vectors.tolist() for vectors in found] == [[1.0] * 3, [0.0] * 3, [4.0] * 3]


def test_what_is_not_a_list_of_sentences_is_refused(trained_model) -> None:
    """One string, both kinds in one call, or words that are not strings: a UsageError that says so."""
    model = trained_model("gru")
    wrong: list[tuple[Any, str]] = [
        ("the cat", "one string is not a list of sentences"),
        (["the cat", ["the"]], "sentence 2: give strings or lists of words"),
        ([["the", 3]], "sentence 1 is neither"),
        ([3], "sentence 1 is neither"),
        ([None], "sentence 1 is neither"),
    ]
    for sentences, said in wrong:
        with pytest.raises(UsageError, match=said):
            model.embed(sentences)


def test_layers_and_pools_of_the_api(trained_model) -> None:
    """`Model.embed`: "all" has every layer, others one; a pooling leaves the tokens out."""
    model = trained_model("gru")
    (every,) = model.embed(["the cat sat"])
    assert every.shape == (3, 3, 8)
    assert torch.equal(model.embed(["the cat sat"], "top")[0], every[2])
    assert torch.equal(model.embed(["the cat sat"], 0)[0], every[0])
    assert torch.allclose(model.embed(["the cat sat"], "mix")[0], every.mean(0), atol=1e-6)
    assert torch.equal(model.embed(["the cat sat"], "top", "max")[0], every[2].amax(0))
    assert model.embed(["", "the"], "all", "mean")[0].tolist() == [[0.0] * 8] * 3
    with pytest.raises(UsageError, match="0 to 2"):
        model.embed([], 3)
    with pytest.raises(UsageError, match="there is no pooling 'sum'"):
        model.embed([], "top", "sum")


def test_a_list_of_words_may_be_any_sequence(trained_model) -> None:
    """Tuples of words and generators of sentences are taken too."""
    model = trained_model("gru")
    given_as = cast(Any, (sentence for sentence in (("the", "cat"), ["a"])))
    assert [v.shape[1] for v in model.embed(given_as)] == [2, 1]
