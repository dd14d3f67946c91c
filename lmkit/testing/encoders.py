"""The rules for encoders: vectors depend only on their sentence."""

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lmkit import states
from lmkit.contracts import Encoder, Tokenizer
from lmkit.options import choose
from lmkit.plugins import Part
from lmkit.recurrence import TrainableModel
from lmkit.testing.models import PICKLED
from lmkit.testing.samples import TEXT, UNSEEN, small_options

TOLERANCE = 1e-6
"""The tolerance for another order of sums, relative to the largest number of the vectors, or to 1."""

Sentence = str | Sequence[str]

LINES: list[Sentence] = [*TEXT, *UNSEEN, " ".join(TEXT * 3), TEXT[0]]
WORDS: list[Sentence] = [line.split() for line in (*TEXT, *UNSEEN, " ".join(TEXT * 3), TEXT[0])]
TOKENIZERS = ("word", "char")


@cache
def _tokenizer(name: str) -> Tokenizer:
    options = {"min_count": 1}
    chosen = choose("tokenizer", {"name": f"lmkit:{name}", **options}, "conformance")
    return chosen.load().fit(TEXT, chosen.options)


def built(part: Part, tokenizer: str = "word") -> Encoder:
    """A small encoder with its initial weights, over the vocabulary of a tokenizer fitted on TEXT."""
    torch.manual_seed(0)
    found = _tokenizer(tokenizer)
    encoder: Encoder = part.load()(small_options(part), found.vocabulary)
    encoder.use_tokenizer(found)
    if isinstance(encoder, nn.Module):
        encoder.eval()
    return encoder


def check_sizes(part: Part) -> None:
    """The encoder has its vocabulary and tokenizer, at least one layer and one feature, and a parameter count."""
    encoder = built(part)
    assert encoder.vocabulary == encoder.tokenizer.vocabulary, f"its vocabulary is {encoder.vocabulary}"
    assert encoder.num_layers >= 1, f"num_layers is {encoder.num_layers}"
    assert encoder.width >= 1, f"width is {encoder.width}"
    assert encoder.parameter_count() >= 0, f"parameter_count() is {encoder.parameter_count()}"


@torch.no_grad()
def check_shapes(part: Part) -> None:
    """A sentence has (layers, tokens, features): one vector per token of a string, or per word of a list of words."""
    for name in TOKENIZERS:
        encoder = built(part, name)
        for sentences in (LINES, WORDS):
            found = encoder.embed(sentences)  # pyright: ignore[reportArgumentType]
            assert len(found) == len(sentences), f"{len(found)} tensors for {len(sentences)} sentences"
            for sentence, vectors in zip(sentences, found, strict=True):
                tokens = len(encoder.tokenizer.ids(sentence)) if isinstance(sentence, str) else len(sentence)
                wanted = (encoder.num_layers, tokens, encoder.width)
                assert vectors.shape == wanted, (
                    f"{sentence!r} has the shape {tuple(vectors.shape)}, not {wanted}"
                )
                assert vectors.is_floating_point(), f"the vectors are {vectors.dtype}"
                assert bool(vectors.isfinite().all()), f"{sentence!r} has NaN or an infinity"


@torch.no_grad()
def check_empty(part: Part) -> None:
    """No sentences give no tensors, one without tokens has no vectors, and every word has one, even an empty word."""
    for name in TOKENIZERS:
        encoder = built(part, name)
        none = (encoder.num_layers, 0, encoder.width)
        assert encoder.embed([]) == [], "no sentences give tensors"
        for sentences in ([""], [[]], ["", TEXT[0]], [[], ["the"]]):
            shape = tuple(encoder.embed(sentences)[0].shape)
            assert shape == none, f"a sentence without tokens has the shape {shape}, not {none}"
        words = ["the", "", " ", "\u3000", "cat"]
        for sentence in (words, [""]):
            (vectors,) = encoder.embed([sentence])
            assert vectors.shape[1] == len(sentence), f"{sentence} have {vectors.shape[1]} vectors"
            assert bool(vectors.isfinite().all()), f"{sentence} have NaN or an infinity"


@torch.no_grad()
def check_independence(part: Part) -> None:
    """A sentence has the same vectors alone, in any batch, in any order and after any others, within 1e-6."""
    for name in TOKENIZERS:
        for sentences in (LINES, WORDS):
            encoder = built(part, name)
            together = _embed(encoder, sentences)
            alone = [_embed(encoder, [sentence])[0] for sentence in sentences]
            order = torch.randperm(len(sentences)).tolist()
            mixed = _embed(encoder, [sentences[index] for index in order])
            few = _embed(encoder, sentences[2:4])
            for index, wanted in enumerate(together):
                _close("alone", sentences[index], alone[index], wanted)
                _close("in another order", sentences[index], mixed[order.index(index)], wanted)
            for sentence, got, wanted in zip(sentences[2:4], few, together[2:4], strict=True):
                _close("in a smaller batch", sentence, got, wanted)


@torch.no_grad()
def check_repeated(part: Part) -> None:
    """The same call gives the same bits, after embedding other sentences."""
    encoder = built(part)
    for sentences in (LINES, WORDS):
        first = _embed(encoder, sentences)
        _embed(encoder, sentences[::-2])
        for sentence, got, wanted in zip(sentences, _embed(encoder, sentences), first, strict=True):
            assert torch.equal(got, wanted), f"{sentence!r} differs"


@torch.no_grad()
def check_encoded(part: Part) -> None:
    """A string has the same vectors whether or not its encoding is given with it."""
    lines = [line for line in LINES if isinstance(line, str)]
    for name in TOKENIZERS:
        encoder = built(part, name)
        encodings = [encoder.tokenizer.encode(line) for line in lines]
        for line, got, wanted in zip(
            lines, encoder.embed_encoded(lines, encodings), encoder.embed(lines), strict=True
        ):
            assert torch.equal(got, wanted), f"{line!r} differs"


@torch.no_grad()
def check_encoder_save(part: Part) -> None:
    """A saved and loaded encoder gives the same bits, and no file is a pickle."""
    encoder = built(part)
    with tempfile.TemporaryDirectory() as folder:
        encoder.save(Path(folder))
        pickles = [path.name for path in Path(folder).rglob("*") if path.suffix in PICKLED]
        assert not pickles, f"it writes {', '.join(pickles)}"
        again: Encoder = part.load().load(Path(folder), small_options(part), encoder.vocabulary)
        again.use_tokenizer(encoder.tokenizer)
        if isinstance(again, nn.Module):
            again.eval()
        for got, wanted in zip(_embed(again, LINES), _embed(encoder, LINES), strict=True):
            assert torch.equal(got, wanted), "the vectors differ"


@torch.no_grad()
def check_encoder_seed(part: Part) -> None:
    """The same seed gives the same encoder."""
    for got, wanted in zip(_embed(built(part), LINES), _embed(built(part), LINES), strict=True):
        assert torch.equal(got, wanted), "the vectors differ"


@torch.no_grad()
def check_directions(part: Part) -> None:
    """The causal models of an encoder, if any, have next-token probabilities that sum to one."""
    encoder = built(part)
    for direction, model in encoder.directions.items():
        assert model.vocabulary == encoder.vocabulary, f"the {direction} one has another vocabulary"
        ids = torch.from_numpy(encoder.tokenizer.ids(TEXT[0]).astype(np.int64))[None]
        _, state = model.log_probs(ids, model.initial_state(1))
        off = float((model.next_log_probs(state).double().exp().sum() - 1).abs())
        assert off < 1e-5, f"the sum of the {direction} one is off by {off:.3g}"


def check_encoder_training(part: Part) -> None:
    """In an encoder that the trainer trains, the loss of windows reaches every parameter."""
    encoder = built(part)
    if not isinstance(encoder, TrainableModel):
        return
    from lmkit.corpus.store import TokenStore

    encoder.train()
    eos = encoder.vocabulary.eos_id
    lines = [np.append(encoder.tokenizer.ids(line), eos) for line in TEXT]
    streams = encoder.streams(TokenStore.from_lines(lines, encoder.vocabulary), 2, 7)
    state = encoder.blank_state(streams.batch_size)
    for step in range(2):
        loss, state = encoder.step_loss(streams.window(step), state)
        assert loss.shape == (), f"the loss has the shape {tuple(loss.shape)}"
        assert bool(loss.isfinite()), f"the loss is {float(loss)}"
        loss.backward()
        state = states.detach(state)
    for name, parameter in encoder.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert reached, f"none reaches {name}"


def _embed(encoder: Encoder, sentences: Sequence[Sentence]) -> list[Tensor]:
    return encoder.embed(sentences)  # pyright: ignore[reportArgumentType]


def _close(where: str, sentence: Sentence, got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape, f"{where} {sentence!r} has the shape {tuple(got.shape)}"
    if wanted.numel():
        off = float((got.double() - wanted.double()).abs().max()) / max(1.0, float(wanted.abs().max()))
        assert off <= TOLERANCE, f"{where} the vectors of {sentence!r} differ by {off:.3g}"


CHECKS = (
    check_sizes,
    check_shapes,
    check_empty,
    check_independence,
    check_repeated,
    check_encoded,
    check_encoder_save,
    check_encoder_seed,
    check_directions,
    check_encoder_training,
)
