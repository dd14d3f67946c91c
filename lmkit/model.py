"""A trained model with its tokenizer: text in, scores, vectors and continuations out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit import runs
from lmkit.adaptation.adapt import NO_ADAPTATION, Adaptation
from lmkit.contracts import Encoder, LanguageModel, Tokenizer, Vocabulary
from lmkit.corpus.readers import Line, Text, given_lines
from lmkit.corpus.word_lists import Words
from lmkit.embedding import BATCH_SIZE
from lmkit.errors import ModelError, UsageError, suggest
from lmkit.evaluation.record_list import Records
from lmkit.evaluation.records import LineRecords
from lmkit.evaluation.surprisal import surprisals
from lmkit.generation import Continuation, Generation, Settings
from lmkit.kinds import is_neural
from lmkit.onnx_export.options import ENGINES, TORCH
from lmkit.option_owners import DECODER, DEFAULT_DECODER, decoder_owners, distribute
from lmkit.options import Chosen, choose
from lmkit.part_files import as_names
from lmkit.scoring import score as scoring
from lmkit.scoring.directions import FORWARD
from lmkit.scoring.line_scores import line_scores
from lmkit.scoring.sentence_scores import sentence_scores
from lmkit.scoring.signature import signature
from lmkit.scoring.split_words import read_as_typed
from lmkit.workers import Workers

if TYPE_CHECKING:
    import torch


class Model:
    """A trained model with its tokenizer, the result of `load`.

    `run.model` is the LanguageModel or Encoder, with any additions of its plugin.
    """

    def __init__(
        self, run: runs.LoadedRun, split_unknown: str = "auto", adaptation: Adaptation = NO_ADAPTATION
    ) -> None:
        self.run = run
        self.split_unknown = split_unknown
        self.adaptation = adaptation
        self._engines: dict[str, LanguageModel] = {}
        if isinstance(run.model, Encoder):
            run.model.use_tokenizer(self.tokenizer)

    def __repr__(self) -> str:
        return f"<lmkit model {self.run.model_choice.name} in {self.run.directory}>"

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the model and of its tokenizer."""
        return self.run.model.vocabulary

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.run.model.device

    def parameter_count(self) -> int:
        """The number of parameters."""
        return self.run.model.parameter_count()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer, under the rule for words that its vocabulary lacks (`split_words.RULES`)."""
        return read_as_typed(self.run.tokenizer, self.split_unknown)

    @cached_property
    def causal(self) -> LanguageModel:
        """The model as a causal one, which adapts as chosen; ModelError if it is an encoder."""
        if not isinstance(self.run.model, LanguageModel):
            raise ModelError(
                f"{self.run.directory} holds an encoder, which sees both sides and has no causal score; give a causal "
                "model, or use lmkit eval, which scores each of its directions"
            )
        return self._adapted(self.run.model)

    @cached_property
    def directions(self) -> dict[str, LanguageModel]:
        """The causal models for scores: itself as "forward", or an encoder's "forward" and "backward".

        They adapt to the text as chosen in `load`.
        """
        found = self.run.model.directions
        if not found:
            raise ModelError(
                f"{self.run.directory} holds an encoder without causal models, so it has no scores; give another run"
            )
        return {direction: self._adapted(model) for direction, model in found.items()}

    def _adapted(self, model: LanguageModel) -> LanguageModel:
        try:
            return self.adaptation.wrap(model)
        except UsageError as error:
            raise UsageError(f"{self.run.directory}: {error}") from error

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder for vectors: the model itself, or a causal neural one with its states as vectors.

        Raises ModelError for a model without vectors, such as an n-gram.
        """
        model = self.run.model
        if isinstance(model, Encoder):
            return model
        if not is_neural(model):
            raise ModelError(
                f"{self.run.directory} holds a model without vectors ({self.run.model_choice.name}); "
                "give a run of an encoder or of a neural model"
            )
        from lmkit.embedding.causal import CausalEncoder

        return CausalEncoder(model, self.tokenizer)

    def embed(
        self,
        sentences: Iterable[str] | Iterable[Sequence[str]],
        layer: str | int = "all",
        pool: str = "none",
        *,
        separator: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> list[torch.Tensor]:
        """The vectors of each sentence, float32 on the CPU: (layers, tokens, features), or (tokens, features).

        sentences: strings, split by the run's tokenizer, with one vector per token; or lists of words, with one per
        word, which may be `lmkit.corpus.word_lists.Words` of a text. separator: the string between the words of a
        list; None: a space, or "" between words of scripts without spaces (Chinese, Thai).
        layer: "all", "top", "mix" (the mean, unless the encoder has a trained mix) or a number from 0; all except
        "all" remove the first dimension. pool: "none", or "mean", "max", "first" or "last" over the tokens, which
        remove their dimension; zeros for a sentence without tokens.
        Raises UsageError for an unknown layer or pooling, ModelError for a model without vectors.
        """
        from lmkit.embedding.batches import embed_all
        from lmkit.embedding.layers import selection

        select = selection(self.encoder, layer, pool)
        return list(
            embed_all(self.encoder, sentences, select=select, batch_size=batch_size, separator=separator)
        )

    def tokenize(self, sentence: str) -> list[tuple[int, int]]:
        """The characters [start, end) of each token of a string, in the order of its vectors from `embed`."""
        return [(start, end) for start, end in self.tokenizer.encode(sentence).spans.tolist()]

    @property
    def splits(self) -> str | None:
        """The rule by which unknown words are split; None if they are not."""
        return None if self.tokenizer is self.run.tokenizer else self.split_unknown

    def score(
        self, text: str | Sequence[str], *, batch_size: int = 32, independent: bool = False
    ) -> scoring.Score:
        """The figures of `lmkit eval` for a text, or a sequence of lines, in memory.

        "" and [] have no lines, which is a DataError; "\\n" and [""] have a blank one, whose only token is `</s>`.
        independent: score each line by itself, from the initial state, whatever the model's reset policy.
        """
        return self.score_text(Text.from_lines(text), batch_size=batch_size, independent=independent)

    def score_text(
        self,
        text: Iterable[Line],
        *,
        batch_size: int = 32,
        direction: str | None = None,
        independent: bool = False,
        workers: Workers | None = None,
    ) -> scoring.Score:
        """The same for text from files: `score_text(Text(["test.txt"], DataOptions()))`.

        direction: for an encoder, a key of `directions`. workers: have opened the same model of that direction.
        """
        model = self.causal if direction is None else self.directions[direction]
        adapts = self.adaptation != NO_ADAPTATION
        return scoring.evaluate(
            model,
            self.tokenizer,
            text,
            signature=self.signature(direction or FORWARD, independent=independent),
            carried=None if adapts else self.run.carried,
            direction=direction or FORWARD,
            batch_size=self._rows(batch_size),
            independent=independent,
            workers=workers,
        )

    def signature(self, direction: str = FORWARD, *, independent: bool = False) -> str:
        """The conditions under which scores are comparable (docs/scores.md), as `lmkit eval` prints them."""
        return signature(
            self.run,
            direction,
            split_unknown=self.splits,
            independent=independent,
            adaptation=self.adaptation,
        )

    def _rows(self, batch_size: int) -> int:
        """The rows of a batch: one for a model that learns, since each row has weights."""
        return batch_size if self.adaptation.dynamic is None else 1

    def surprisal(
        self,
        text: str | Sequence[str],
        by: str = "word",
        *,
        spans: Iterable[tuple[int, int, int]] | None = None,
        entropy: bool = False,
        rank: bool = False,
        oov: str = "model",
        batch_size: int = 32,
        independent: bool = False,
    ) -> Records:
        """The surprisal in bits of each word, token, char, line or span of a text, or of lines, in memory.

        spans: (line from 1, start, end) for by="span". oov: "spelled" adds the bits of unknown words' spellings, so
        that the records of a text add up to its bits in bits per byte. independent: as in `score`. See
        `lmkit.evaluation.surprisal.surprisals`. A list of `Record`, which a notebook shows as coloured text.
        """
        lines = Text.from_lines(text)
        found = self.surprisal_text(
            lines, by, spans=spans, entropy=entropy, rank=rank, oov=oov,
            batch_size=batch_size, independent=independent,
        )  # fmt: skip
        return Records(record for line in found for record in line.records())

    def surprisal_text(
        self, text: Iterable[Line], by: str = "word", **settings: Any
    ) -> Iterator[LineRecords]:
        """The same for text from files, line by line as it is read: `surprisal_text(Text(["test.txt"], ...))`."""
        if "batch_size" in settings:
            settings["batch_size"] = self._rows(settings["batch_size"])
        return surprisals(self.causal, self.tokenizer, text, by, **settings)

    def line_scores(
        self, text: str | bytes | Sequence[str], *, batch_size: int = 32, independent: bool = False
    ) -> np.ndarray:
        """(lines,) float64: the natural log-probability of each line, including its `</s>`.

        text: a text, its UTF-8, or lines, counted as in `score`. independent: as in `score`. The fastest
        way to score many lines; `score` gives comparable figures.
        Raises DataError for bytes that are not UTF-8 text, and for a text without lines.
        """
        raw = text if isinstance(text, bytes) else b""
        if not isinstance(text, bytes):
            lines = [line.removesuffix("\n").encode("utf-8", "surrogatepass") for line in given_lines(text)]
            raw = b"\n".join([*lines, b""])
        return line_scores(
            self.causal, self.tokenizer, raw, batch_size=self._rows(batch_size), independent=independent
        )

    def sentence_scores(self, sentences: Sequence[str]) -> np.ndarray:
        """(sentences,) float64: the natural log-probability of each as a separate text, including `</s>`.

        For a bidirectional encoder, the sum of both directions (two-sided): for ranking, not a log-probability.
        Raises UsageError for a single string.
        """
        scores = sentence_scores(self.directions, self.tokenizer, sentences)
        return scores[0] if len(scores) == 1 else scores.sum(0)

    def top_k(
        self,
        context: str | Sequence[str] = "",
        k: int = 10,
        *,
        start: bool = False,
        separator: str | None = None,
    ) -> list[tuple[str, float]]:
        """The k most probable next tokens and their natural log-probabilities, the best first.

        context: a text, or words, with separators as in `embed`. Impossible tokens are omitted. start: the context
        begins a line; else the text before it is unknown. `</s>` and `<unk>` are the line's end and the unknown token.
        """
        if k < 1:
            raise UsageError(f"k is {k}: it must be at least 1")
        model = self.causal
        import torch

        ids = torch.tensor([self._ids(context, separator)], dtype=torch.int64, device=model.device)
        with torch.no_grad():
            _, state = model.log_probs(ids, model.initial_state(1, start=start))
            log_probs, found = model.top_k(state, k)
        pairs = zip(found[0].tolist(), log_probs[0].tolist(), strict=True)
        return [(self._symbol(token), log_prob) for token, log_prob in pairs if log_prob > -math.inf]

    def count(
        self,
        words: str | Sequence[str],
        *,
        start: bool = False,
        end: bool = False,
        separator: str | None = None,
    ) -> int:
        """The count of any number of consecutive words in the training text; without words, its number of tokens.

        words: a text, or words, with separators as in `embed`. start, end: only at the beginning, or the end, of a
        line. A word outside the vocabulary is counted like all such words. Raises ModelError for a model without
        counts.
        """
        vocabulary = self.tokenizer.vocabulary
        before, after = [vocabulary.size] * start, [vocabulary.eos_id] * end
        return self.causal.count([*before, *self._ids(words, separator), *after])

    def _ids(self, text: str | Sequence[str], separator: str | None) -> list[int]:
        """The ids of a text, or of the text of words."""
        if not isinstance(text, str):
            from lmkit.embedding.alignment import as_text

            words = text if separator is None or isinstance(text, Words) else Words(text, separator)
            text, _ = as_text(self.tokenizer, words)
        return self.tokenizer.ids(text).tolist()

    def _symbol(self, token: int) -> str:
        vocabulary = self.tokenizer.vocabulary
        special = {vocabulary.eos_id: "</s>", vocabulary.unk_id: "<unk>"}
        return special.get(token) or self.tokenizer.decode([token])

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 50,
        decoder: str | type | Chosen = DEFAULT_DECODER,
        num: int = 1,
        seed: int | None = None,
        stop: str | None = None,
        no_repeat_ngram: int | None = None,
        engine: str = TORCH,
        on_text: Callable[[str], None] | None = None,
        **options: Any,
    ) -> list[Continuation]:
        """`num` continuations of `prompt`; options are the decoder's: `generate("The", temperature=0.8)`.

        stop: "line" ends a continuation with the line. no_repeat_ngram: n, if no n-gram of tokens may occur twice in
        the prompt and its continuation. engine: "torch", or "onnx" for steps in onnxruntime, with the same numbers but
        for rounding, or "onnx-int8" for an output layer in eight bits besides. on_text: called with each piece of the
        first continuation's text as it is generated, or at its end if the decoder finds it only then; the pieces
        together are the text.
        """
        settings = Settings(max_tokens, num, seed, stop, no_repeat_ngram)
        return self._generation(settings, decoder, options, engine).one(prompt, on_text)

    def generate_each(
        self,
        prompts: Iterable[str],
        *,
        decoder: str | type | Chosen = DEFAULT_DECODER,
        engine: str = TORCH,
        **options: Any,
    ) -> Iterator[list[Continuation]]:
        """The continuations of each prompt, in order, as from `generate` with these options.

        Several prompts are continued at once. With a seed, every prompt has that seed.
        """
        own = {item.name: options.pop(item.name) for item in fields(Settings) if item.name in options}
        return self._generation(Settings(**own), decoder, options, engine).each(prompts)

    def _generation(
        self, settings: Settings, decoder: str | type | Chosen, options: Mapping[str, Any], engine: str
    ) -> Generation:
        if not isinstance(decoder, Chosen):
            keywords = Model.generate.__kwdefaults__ or ()
            table = distribute(decoder_owners, {DECODER: as_names(decoder)}, options, keywords)["decoder"]
            decoder = choose("decoder", table, "decoder")
        model = self.causal if engine == TORCH else self._onnx(engine)
        return Generation(model, self.tokenizer, decoder.load()(decoder.options), settings)

    def _onnx(self, engine: str) -> LanguageModel:
        """The model with its steps in onnxruntime, made at the first call."""
        if engine not in ENGINES:
            raise UsageError(f"engine is '{engine}'; {suggest(engine, (TORCH, *ENGINES))}")
        if self.adaptation != NO_ADAPTATION:
            raise UsageError("a cache and dynamic evaluation need the engine torch; leave out --engine")
        if self.device.type != "cpu":
            raise UsageError(f"--engine {engine} is for the CPU: give --device cpu, or leave it out")
        if engine not in self._engines:
            from lmkit.onnx_export.engine import onnx_engine

            self._engines[engine] = onnx_engine(self.run, ENGINES[engine])
        return self._engines[engine]
