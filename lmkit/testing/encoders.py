"""The rules for encoders: vectors depend only on their sentence."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from lmkit import states
from lmkit.contracts import Encoder, Tokenizer
from lmkit.options import choose
from lmkit.plugins import Part
from lmkit.recurrence import TrainableModel
from lmkit.testing.models import PICKLED
from lmkit.testing.rules import NoInput, RuleBook, making, no_input
from lmkit.testing.samples import TEXT, UNSEEN, small_options

TOLERANCE = 1e-6
"""The tolerance for another order of sums, relative to the largest number of the vectors, or to 1."""

Sentence = str | Sequence[str]

LINES: list[Sentence] = [*TEXT, *UNSEEN, " ".join(TEXT * 3), TEXT[0]]
WORDS: list[Sentence] = [line.split() for line in (*TEXT, *UNSEEN, " ".join(TEXT * 3), TEXT[0])]
TOKENIZERS = ("word", "char")


@dataclass(frozen=True)
class Sentences:
    """Sentences, strings or lists of words, and the tokenizer whose vocabulary the encoder has."""

    tokenizer: str
    sentences: tuple[Sentence, ...]

    def __str__(self) -> str:
        few = ", ".join(map(repr, self.sentences[:3]))
        more = f" and {len(self.sentences) - 3} more" if len(self.sentences) > 3 else ""
        return f"the sentences {few}{more} (tokenizer {self.tokenizer})"

    def smaller(self) -> Iterator[Self]:
        """Fewer sentences, then shorter ones."""
        for size in (len(self.sentences) // 2, 1):
            for start in range(0, len(self.sentences), size or 1):
                rest = self.sentences[:start] + self.sentences[start + size :]
                if size and rest:
                    yield replace(self, sentences=rest)
        for index, sentence in enumerate(self.sentences):
            if len(sentence) > 1:
                half = sentence[: len(sentence) // 2]
                yield replace(self, sentences=(*self.sentences[:index], half, *self.sentences[index + 1 :]))


def all_sentences(part: Part) -> list[Sentences]:
    """Strings and lists of words, by words and by characters."""
    return [Sentences(name, tuple(found)) for name in TOKENIZERS for found in (LINES, WORDS)]


def strings(part: Part) -> list[Sentences]:
    """The strings, by words and by characters."""
    return [Sentences(name, tuple(LINES)) for name in TOKENIZERS]


RULES = RuleBook(all_sentences)


@cache
def _tokenizer(name: str) -> Tokenizer:
    options = {"min_count": 1}
    chosen = choose("tokenizer", {"name": f"lmkit:{name}", **options}, "conformance")
    return chosen.load().fit(TEXT, chosen.options)


def built(part: Part, tokenizer: str = "word") -> Encoder:
    """A small encoder with its initial weights, over the vocabulary of a tokenizer fitted on TEXT."""
    torch.manual_seed(0)
    found = _tokenizer(tokenizer)
    with making():
        encoder: Encoder = part.load()(small_options(part), found.vocabulary)
    encoder.use_tokenizer(found)
    if isinstance(encoder, nn.Module):
        encoder.eval()
    return encoder


@RULES(
    "set vocabulary, num_layers and width to what embed gives, and count the parameters",
    about=("__init__",),
    cases=no_input,
)
def check_sizes(part: Part, _: NoInput) -> None:
    """The encoder has its vocabulary and tokenizer, at least one layer and one feature, and a parameter count."""
    encoder = built(part)
    assert encoder.vocabulary == encoder.tokenizer.vocabulary, f"its vocabulary is {encoder.vocabulary}"
    assert encoder.num_layers >= 1, f"num_layers is {encoder.num_layers}"
    assert encoder.width >= 1, f"width is {encoder.width}"
    assert encoder.parameter_count() >= 0, f"parameter_count() is {encoder.parameter_count()}"


@RULES(
    "return from embed one tensor a sentence, (num_layers, tokens of a string or words of a list, width)",
    about=("embed",),
)
@torch.no_grad()
def check_shapes(part: Part, text: Sentences) -> None:
    """A sentence has (layers, tokens, features): one vector per token of a string, or per word of a list of words."""
    encoder = built(part, text.tokenizer)
    found = _embed(encoder, text.sentences)
    assert len(found) == len(text.sentences), f"{len(found)} tensors for {len(text.sentences)} sentences"
    for sentence, vectors in zip(text.sentences, found, strict=True):
        tokens = len(encoder.tokenizer.ids(sentence)) if isinstance(sentence, str) else len(sentence)
        wanted = (encoder.num_layers, tokens, encoder.width)
        assert vectors.shape == wanted, f"the vectors have the shape {tuple(vectors.shape)}, not {wanted}"
        assert vectors.is_floating_point(), f"the vectors are {vectors.dtype}"
        assert bool(vectors.isfinite().all()), "the vectors have NaN or an infinity"


@RULES(
    "give every word of a list a vector, even one that the tokenizer has no tokens for, and a sentence without tokens "
    "a tensor of (num_layers, 0, width)",
    about=("embed",),
    cases=no_input,
)
@torch.no_grad()
def check_empty(part: Part, _: NoInput) -> None:
    """No sentences give no tensors, one without tokens has no vectors, and every word has one, even an empty word."""
    for name in TOKENIZERS:
        encoder = built(part, name)
        none = (encoder.num_layers, 0, encoder.width)
        assert encoder.embed([]) == [], "no sentences give tensors"
        for sentences in ([""], [[]], ["", TEXT[0]], [[], ["the"]]):
            shape = tuple(encoder.embed(sentences)[0].shape)
            assert shape == none, f"{sentences[0]!r} has the shape {shape}, not {none}"
        for sentence in ([""], [" "], ["the", "", " ", "\u3000", "cat"]):
            (vectors,) = encoder.embed([sentence])
            assert vectors.shape[1] == len(sentence), f"the words {sentence} have {vectors.shape[1]} vectors"
            assert bool(vectors.isfinite().all()), f"the words {sentence} have NaN or an infinity"


@RULES(
    "mask padding, normalise over features and not over the batch, and carry no state from call to call",
    about=("embed",),
)
@torch.no_grad()
def check_independence(part: Part, text: Sentences) -> None:
    """A sentence has the same vectors alone, in any batch, in any order and after any others, within 1e-6."""
    encoder, sentences = built(part, text.tokenizer), text.sentences
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


@RULES("keep nothing of a call in self", about=("embed",))
@torch.no_grad()
def check_repeated(part: Part, text: Sentences) -> None:
    """The same call gives the same bits, after embedding other sentences."""
    encoder = built(part, text.tokenizer)
    first = _embed(encoder, text.sentences)
    _embed(encoder, text.sentences[::-2])
    for sentence, got, wanted in zip(text.sentences, _embed(encoder, text.sentences), first, strict=True):
        assert torch.equal(got, wanted), f"the vectors of {sentence!r} differ"


@RULES(
    "make embed_encoded give what embed gives; or remove it", about=("embed_encoded", "embed"), cases=strings
)
@torch.no_grad()
def check_encoded(part: Part, text: Sentences) -> None:
    """A string has the same vectors whether or not its encoding is given with it."""
    lines = [sentence for sentence in text.sentences if isinstance(sentence, str)]
    encoder = built(part, text.tokenizer)
    encodings = [encoder.tokenizer.encode(line) for line in lines]
    found = encoder.embed_encoded(lines, encodings)
    for line, got, wanted in zip(lines, found, encoder.embed(lines), strict=True):
        assert torch.equal(got, wanted), f"the vectors of {line!r} differ"


@RULES(
    "write in save every number that vectors depend on, in safetensors, npy or JSON, and read it back in load",
    about=(
        "load",
        "save",
    ),
    cases=no_input,
)
@torch.no_grad()
def check_encoder_save(part: Part, _: NoInput) -> None:
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


@RULES(
    "initialise parameters with torch's random numbers only",
    about=("__init__",),
    cases=no_input,
)
@torch.no_grad()
def check_encoder_seed(part: Part, _: NoInput) -> None:
    """The same seed gives the same encoder."""
    for got, wanted in zip(_embed(built(part), LINES), _embed(built(part), LINES), strict=True):
        assert torch.equal(got, wanted), "the vectors differ"


@RULES(
    "end next_log_probs of each direction with log_softmax",
    about=("directions",),
    cases=no_input,
)
@torch.no_grad()
def check_directions(part: Part, _: NoInput) -> None:
    """The causal models of an encoder, if any, have next-token probabilities that sum to one."""
    encoder = built(part)
    for direction, model in encoder.directions.items():
        assert model.vocabulary == encoder.vocabulary, f"the {direction} one has another vocabulary"
        ids = torch.from_numpy(encoder.tokenizer.ids(TEXT[0]).astype(np.int64))[None]
        state = model.log_probs(ids, model.initial_state(1))[1]
        off = float((model.next_log_probs(state).double().exp().sum() - 1).abs())
        assert off < 1e-5, f"the sum of the {direction} one is off by {off:.3g}"


@RULES(
    "use every parameter in the loss, without detach or .data; give one that is not trained requires_grad=False",
    about=(
        "__init__",
        "step_loss",
    ),
    cases=no_input,
)
def check_encoder_training(part: Part, _: NoInput) -> None:
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
        assert reached or not parameter.requires_grad, f"no gradient reaches {name}"


def _embed(encoder: Encoder, sentences: Sequence[Sentence]) -> list[Tensor]:
    return encoder.embed(sentences)  # pyright: ignore[reportArgumentType]


def _close(where: str, sentence: Sentence, got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape, f"{where} {sentence!r} has the shape {tuple(got.shape)}"
    if wanted.numel():
        off = float((got.double() - wanted.double()).abs().max()) / max(1.0, float(wanted.abs().max()))
        assert off <= TOLERANCE, f"{where} the vectors of {sentence!r} differ by {off:.2g}"
