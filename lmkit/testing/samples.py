"""Inputs for the checks: small texts, a vocabulary, small options and a model that is a table."""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lmkit import strict_json
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import ModelError
from lmkit.option_fields import fields_of
from lmkit.options import resolve
from lmkit.plugins import Part
from lmkit.states import State

TEXT = (
    "the cat sat on the mat",
    "The dog barked: 'no, no!' and ran 1,234.5 miles",
    "two  spaces,   three, and a tab\there",
    "  white space before and after  ",
    "这是一个没有空格的中文句子。",
    "混合 mixed 文本 with English 单词",
    "",
    "na\u00efve \u00e9t\u00e9, wide\u3000space, no-break\u00a0space",
)
"""Lines to fit a tokenizer on, some of them difficult."""

UNSEEN = ("quixotic zephyrs \u2603", "未曾见过的漢字", "e\u0301 \U0001f600!", "   ")
"""Lines with characters and words that TEXT lacks."""

VOCABULARY = Vocabulary(size=11, eos_id=0, unk_id=1, fingerprint="conformance")

SMALL = {"hidden_size": 8, "embedding_size": 8, "num_layers": 2}


def small_options(part: Part) -> Any:
    """The part's default options, with small sizes."""
    sizes = {item.name: SMALL[item.name] for item in fields_of(part.spec.options) if item.name in SMALL}
    return resolve(part.spec.options, sizes, part.long_name)


def random_ids(rows: int, time: int, *, seed: int = 0) -> Tensor:
    """(rows, time) ids of VOCABULARY."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY.size, (rows, time), generator=generator)


def random_lines(count: int = 40) -> list[np.ndarray]:
    """Lines of ids of VOCABULARY, without `</s>`; some are empty."""
    rng = np.random.default_rng(0)
    words = [i for i in range(VOCABULARY.size) if i != VOCABULARY.eos_id]
    return [rng.choice(words, rng.integers(0, 9)).astype(np.int32) for _ in range(count)]


class BigramTable(LanguageModel):
    """p(token | previous token) from a table: the smallest language model, to test decoders.

    table: (size + 1, size) log-probabilities; row i follows token i, a text begins after `</s>`, and the last row
    is for no information.
    """

    def __init__(self, vocabulary: Vocabulary, table: Tensor) -> None:
        self.vocabulary = vocabulary
        self.table = table

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        return torch.full((batch_size,), self.vocabulary.eos_id if start else self.vocabulary.size)

    def next_log_probs(self, state: State) -> Tensor:
        assert isinstance(state, Tensor)
        return self.table[state]

    def advance(self, ids: Tensor, state: State) -> State:
        return ids

    def save(self, directory: Path) -> None:
        (directory / "table.json").write_text(strict_json.dumps(self.table.tolist()))

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        table = torch.tensor(json.loads((directory / "table.json").read_text()))
        if table.shape != (vocabulary.size + 1, vocabulary.size):
            raise ModelError(
                f"{directory}: a table of {tuple(table.shape)} is not one for {vocabulary.size} tokens"
            )
        return cls(vocabulary, table)


def random_bigram(vocabulary: Vocabulary = VOCABULARY, *, seed: int = 0, k: float = 0.5) -> BigramTable:
    """A table of random counts, smoothed by adding k."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 20, (vocabulary.size + 1, vocabulary.size), generator=generator) + k
    return BigramTable(vocabulary, (counts / counts.sum(-1, keepdim=True)).log())
