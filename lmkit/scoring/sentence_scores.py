"""Compute the log-probabilities of separate sentences, each as a text by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.word_lists import refuse_one_string
from lmkit.errors import UsageError
from lmkit.neural.batching import by_length
from lmkit.scoring.directions import FORWARD, from_the_end
from lmkit.scoring.line_scores import CHUNK, sums_of_lines
from lmkit.scoring.stream import takes_blocks

TOKENS = 16384
"""Tokens scored in one call, including padding; a longer sentence is a separate call."""


def sentence_scores(
    models: Mapping[str, LanguageModel],
    tokenizer: Tokenizer,
    sentences: Sequence[str],
) -> np.ndarray:
    """(directions, sentences) float64: natural log-probabilities, including `</s>`.

    models: by direction, as a model's `directions` gives them. Unlike in a stream, every sentence starts at
    `initial_state`, whatever the model does at line ends. The sum over directions is the two-sided score of a
    bidirectional encoder: for ranking sentences; not a log-probability.
    Raises UsageError for a single string, or for items that are not strings.
    """
    refuse_one_string(sentences, "sentences")
    sentences = list(sentences)
    for number, sentence in enumerate(sentences, 1):
        if not isinstance(sentence, str):
            raise UsageError(f"sentence {number} is a {type(sentence).__name__}: give strings")
    if list(models) == [FORWARD] and takes_blocks(models[FORWARD]):
        blocks = (_block_of(tokenizer, group) for group in _groups(sentences))
        found = [sums_of_lines(models[FORWARD], ids, ends) for ids, ends in blocks]
        return found[0][None] if len(found) == 1 else np.concatenate([np.zeros(0), *found])[None]
    eos = tokenizer.vocabulary.eos_id
    rows = [np.append(tokenizer.ids(sentence), eos).astype(np.int64) for sentence in sentences]
    scores = np.zeros((len(models), len(rows)))
    for place, (direction, model) in enumerate(models.items()):
        read = rows if direction == FORWARD else [from_the_end(row) for row in rows]
        _score(model, read, scores[place])
    return scores


def _groups(sentences: Sequence[str]) -> Iterator[Sequence[str]]:
    """The sentences in groups of CHUNK characters or a few more."""
    first = size = 0
    for place, sentence in enumerate(sentences):
        size += len(sentence)
        if size >= CHUNK:
            yield sentences[first : place + 1]
            first, size = place + 1, 0
    if first < len(sentences):
        yield sentences[first:]


def _block_of(tokenizer: Tokenizer, sentences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The ids of sentences, each with `</s>`, and the end of each in them."""
    text = "\n".join(sentences)
    if text.count("\n") == len(sentences) - 1 and "\0" not in text:
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            pass  # half a surrogate pair, with which only some tokenizers can deal
        else:
            return tokenizer.block_ids(raw)
    eos = np.int32(tokenizer.vocabulary.eos_id)
    rows = [np.append(tokenizer.ids(sentence), eos) for sentence in sentences]
    return np.concatenate(rows), np.cumsum([len(row) for row in rows])


def _score(model: LanguageModel, rows: Sequence[np.ndarray], scores: np.ndarray) -> None:
    """Fill in scores (sentences,) of rows of ids."""
    import torch

    @torch.no_grad()
    def scored(ids: torch.Tensor) -> torch.Tensor:
        return model.log_probs(ids.to(model.device), model.initial_state(len(ids)))[0].cpu()

    for batch in by_length([len(row) for row in rows], most_tokens=TOKENS):
        lengths = torch.tensor([len(rows[index]) for index in batch])
        ids = torch.zeros(len(batch), int(lengths.max()), dtype=torch.int64)
        for place, index in enumerate(batch):
            ids[place, : len(rows[index])] = torch.from_numpy(rows[index])
        found = scored(ids)
        inside = torch.arange(ids.shape[1]) < lengths[:, None]
        # A selection, not a product, since values past the end of a row are arbitrary.
        kept = torch.where(inside, found.double(), 0.0)
        scores[batch] = kept.sum(1).numpy()
