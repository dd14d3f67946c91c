"""The score of a text: perplexities and bits per byte, with a signature that shows when they are comparable."""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lmkit import html
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.readers import Line, Text
from lmkit.corpus.resets import is_reset
from lmkit.errors import DataError
from lmkit.perplexity import perplexity
from lmkit.scoring.directions import FORWARD
from lmkit.scoring.line_code import LineCoder
from lmkit.scoring.measured_lines import NO_LINES, measured_lines
from lmkit.scoring.stimuli import StreamWatch
from lmkit.scoring.stream import WINDOW, takes_blocks
from lmkit.scoring.tally import Tally, add_blocks
from lmkit.scoring.unknown import warn_of_unknown
from lmkit.workers import Workers

log = logging.getLogger(__name__)

FARTHER = 2
"""A state may be carried this many times as far as in training before there is a warning."""
ESCAPED_LIMIT = 0.01
"""Above this share of escaped bytes, the figures describe the escape code, not the model."""
SPELLING_LIMIT = 0.2
"""Above this share of the bits, a note says that the spellings of unknown words matter."""


def label(name: str) -> str:
    """The name of a figure for people: "perplexity excluding OOV"."""
    return name.replace("_", " ").replace("oov", "OOV")


@dataclass(frozen=True)
class Score:
    """The report of `lmkit eval`. A figure that is None is withheld, and `withheld` gives the reason."""

    perplexity: float | None
    perplexity_excluding_oov: float | None
    bits_per_byte: float | None
    word_perplexity: float | None
    bits_per_character: float | None
    log_prob: float
    """Of the whole text, natural logarithm, without residual bits; -inf if a probability is zero."""
    tokens: int
    oov_tokens: int
    lines: int
    words: int
    num_bytes: int
    bits: float | None
    """The length of the code of the raw text, the numerator of bits per byte."""
    residual_bits: float
    """The part of these that restores the text from the ids."""
    spelling_bits: float
    """The part of these that spells unknown words."""
    escaped_lines: int
    signature: str
    withheld: dict[str, str]
    novelty_known: bool = True
    """Whether the tokenizer has an estimate of how often new words occur (`Tokenizer.novelty`)."""

    @property
    def spelling_share(self) -> float | None:
        """The share of the bits that spell unknown words; None if the bits are withheld."""
        return self.spelling_bits / self.bits if self.bits else None

    @property
    def notices(self) -> list[str]:
        """Notes on the figures."""
        found = []
        share = self.spelling_share
        if share is not None and self.oov_tokens and not self.novelty_known:
            found.append(
                "bits per byte are not comparable on this text, which has unknown tokens: the model is from a file "
                "that does not say how often new words occur"
            )
        if share is not None and share > SPELLING_LIMIT:
            tokens = (
                f"unknown token{'s' if self.oov_tokens > 1 else ''} ({self.oov_tokens / self.tokens:.1%})"
            )
            found.append(
                f"{share:.0%} of the bits spell the {self.oov_tokens:,} {tokens}, "
                "which the model does not predict: bits per byte depend as much on the vocabulary as on the "
                "model; use more training text, or a tokenizer such as sentencepiece, to have fewer"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """The figures under their stable names, for scripts."""
        possible = math.isfinite(self.log_prob)
        return {
            "perplexity": self.perplexity,
            "perplexity_excluding_oov": self.perplexity_excluding_oov,
            "bits_per_byte": self.bits_per_byte,
            "word_perplexity": self.word_perplexity,
            "bits_per_character": self.bits_per_character,
            "log_prob": self.log_prob if possible else None,  # JSON has no infinity
            "tokens": self.tokens,
            "oov_tokens": self.oov_tokens,
            "lines": self.lines,
            "words": self.words,
            "bytes": self.num_bytes,
            "bits": self.bits,
            "residual_bits": self.residual_bits,
            "spelling_bits": self.spelling_bits,
            "spelling_share": self.spelling_share,
            "escaped_lines": self.escaped_lines,
            "signature": self.signature,
            "withheld": self.withheld
            if possible
            else {**self.withheld, "log_prob": self.withheld["perplexity"]},
        }

    def withheld_by_reason(self) -> dict[str, list[str]]:
        """The labels of the withheld figures, by the reason."""
        found: dict[str, list[str]] = {}
        for name, why in self.withheld.items():
            if name != "perplexity_excluding_oov" or self.oov_tokens:
                found.setdefault(why, []).append(label(name))
        return found

    def table(self) -> list[tuple[str, str]]:
        """Rows of label and value for people."""
        figures = [
            ("perplexity", self.perplexity, ".3f"),
            (
                label("perplexity_excluding_oov"),
                self.perplexity_excluding_oov if self.oov_tokens else None,
                ".3f",
            ),
            ("bits per byte", self.bits_per_byte, ".4f"),
            ("word perplexity", self.word_perplexity, ".3f"),
            ("bits per character", self.bits_per_character, ".4f"),
        ]
        rows = [(label, format(value, form)) for label, value, form in figures if value is not None]
        rows += [(", ".join(names), f"withheld: {why}") for why, names in self.withheld_by_reason().items()]
        spelling = self.spelling_share
        share = f" ({self.oov_tokens / self.tokens:.2%})" if self.oov_tokens else ""
        rows += [
            ("tokens", f"{self.tokens:,} in {self.lines:,} lines"),
            ("out of vocabulary", f"{self.oov_tokens:,}{share}"),
            *(
                [("spelling of unknowns", f"{spelling:.1%} of the bits")]
                if self.oov_tokens and spelling
                else []
            ),
            ("signature", self.signature),
        ]
        return rows

    def _repr_html_(self) -> str:
        rows = html.table(("figure", "value"), self.table(), caption="Score of the text", left=2)
        return html.fragment(rows, *map(html.note, self.notices))


def evaluate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: Iterable[Line],
    *,
    signature: str,
    carried: int | None = None,
    direction: str = FORWARD,
    batch_size: int = 32,
    window: int = WINDOW,
    independent: bool = False,
    workers: Workers | None = None,
) -> Score:
    """Score a text as one stream: every token, including the `</s>` of each line.

    independent: score each line by itself instead, from the initial state. workers: see `measure_lines`.

    carried: over how many tokens training carried a state at most; a warning says when the text asks for more.
    direction: in which the model reads a line; a key of the model's `directions`.
    Raises DataError when the text has no lines.
    """
    tally = Tally()
    coder = LineCoder(tokenizer)
    if isinstance(text, Text) and takes_blocks(model) and workers is None and direction == FORWARD:
        text = add_blocks(tally, text.blocks(), model, coder)
    stretch = longest = 0
    policy = "line" if independent else model.reset_policy
    watch = StreamWatch(policy)
    figures = measured_lines(
        model, tokenizer, text,
        direction=direction, batch_size=batch_size, window=window, independent=independent, workers=workers,
    )  # fmt: skip
    for line, encoding, table in figures:
        scores = table[:, 0]
        code = coder.code(line, encoding.ids, scores)
        tally.add(line, encoding.ids == tokenizer.vocabulary.unk_id, scores, code)
        watch.add(line)
        stretch = 0 if not line.inside and is_reset(policy, line.starts_document) else stretch
        stretch += len(table) - line.continues
        longest = max(longest, stretch)
    if carried is not None and longest > FARTHER * carried:
        log.warning(
            "the state was carried over %s tokens of this text, but never over more than %s in training: "
            "an undertrained model may fail there; train longer, or with --reset line",
            f"{longest:,}", f"{carried:,}",
        )  # fmt: skip
    if not tally.lines:
        raise DataError(NO_LINES)
    watch.report()
    warn_of_unknown(tally.oov_tokens, tally.tokens, tally.lines)
    return summarise(
        tally, signature, normalized=model.normalized, novelty_known=tokenizer.novelty is not None
    )


def summarise(tally: Tally, signature: str, *, normalized: bool = True, novelty_known: bool = True) -> Score:
    """The figures computed from the sums, and the reasons for withheld ones."""
    withheld: dict[str, str] = {}
    figures: dict[str, float | None] = {
        "perplexity": perplexity(tally.nats / tally.tokens),
        "perplexity_excluding_oov": perplexity(
            (tally.nats - tally.oov_nats) / max(tally.tokens - tally.oov_tokens, 1)
        ),
        "bits_per_byte": tally.bits / (tally.num_bytes + tally.lines),
        "word_perplexity": perplexity(tally.bits * math.log(2) / (tally.words + tally.lines)),
        "bits_per_character": tally.bits / (tally.characters + tally.lines),
    }

    def withhold(names: tuple[str, ...], why: str) -> None:
        for name in names:
            figures[name] = None
            withheld[name] = why

    if not tally.scripts.is_segmented:
        withhold(
            ("word_perplexity",),
            f"{tally.scripts.share:.0%} of the letters belong to scripts written without spaces between words, and "
            "no spaces separate words",
        )
    bits: float | None = tally.bits
    escaped = tally.escaped_bytes / max(tally.num_bytes + tally.lines, 1)
    if escaped > ESCAPED_LIMIT:
        withhold(
            ("bits_per_byte", "word_perplexity", "bits_per_character"),
            cannot_restore(escaped),
        )
    if math.isnan(tally.nats):
        bits = None
        withhold(tuple(figures), "the model gives some token of the text a probability that is not a number")
    elif math.isinf(tally.nats):
        bits = None
        withhold(tuple(figures), "the model gives some token of the text the probability zero")
    if not normalized:
        bits = None
        withhold(tuple(figures), "the model's scores are not probabilities: they do not sum to one")
    return Score(
        **figures,
        log_prob=-tally.nats,
        tokens=tally.tokens,
        oov_tokens=tally.oov_tokens,
        lines=tally.lines,
        words=tally.words,
        num_bytes=tally.num_bytes + tally.lines,
        bits=bits,
        residual_bits=tally.residual_bits,
        spelling_bits=tally.spelling_bits,
        escaped_lines=tally.escaped_lines,
        signature=signature,
        withheld=withheld,
        novelty_known=novelty_known,
    )


def cannot_restore(share: float) -> str:
    """The reason to withhold bits, given the share of bytes in escaped lines."""
    return (
        f"{share:.1%} of the bytes are in lines that the tokenizer cannot restore: "
        "train with one that restores all text, such as byte, or sentencepiece or hf with their default options"
    )
