"""The input vectors of tokens: from their characters, or learned for each token."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmkit.contracts import Tokenizer, Vocabulary
from lmkit.errors import UsageError
from lmkit.host_copies import on_host, send
from lmkit_elmo.char_cnn import CharacterEncoder
from lmkit_elmo.characters import BOS_ROW, EOS_ROW, spelled
from lmkit_elmo.options import BiLMOptions
from lmkit_elmo.words import WordVectors

BOUNDARIES = 2
"""Number of ids after the vocabulary's: the boundaries before and after a sentence."""


class CharacterInputs(nn.Module):
    """Vectors (..., width) from the characters of each token; words need not be in the vocabulary."""

    def __init__(self, options: BiLMOptions, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        self.encoder = CharacterEncoder(
            embedding_size=options.character_size,
            filters=parse_filters(options.filters),
            num_highways=options.num_highways,
            width=width,
            activation=options.activation,
            project=options.project_filters,
        )
        self.words = WordVectors(self.encoder)
        self.vocabulary = vocabulary
        self.spellings: list[str] = []
        """The spelling of every id of the vocabulary."""
        self._rows = torch.zeros(0, 0, dtype=torch.int16)

    def use_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Store the spelling of ids."""
        self.spellings = [symbol.decode("utf-8", "replace") for symbol in tokenizer.symbols()]
        rows = [spelled(self.spellings), BOS_ROW[None], EOS_ROW[None]]
        self._rows = torch.cat(rows).to(torch.int16)

    def forward(self, ids: Tensor) -> Tensor:
        """(..., width) of ids, including those of the two boundaries."""
        distinct, places = on_host(ids).unique(return_inverse=True)
        return self.encoder.embed_rows(self._rows[distinct].long())[send(places, ids.device)]

    def token_vectors(self, ids: Sequence[int], spellings: Sequence[str]) -> Tensor:
        """(tokens, width) of ids; an unknown one is read by its spelling in the text."""
        words = self._words(ids, spellings)
        if not torch.is_grad_enabled():
            return self.words(words)
        places = {word: place for place, word in enumerate(dict.fromkeys(words))}
        return self.encoder.embed_words(list(places))[[places[word] for word in words]]

    def token_codes(self, ids: Sequence[int], spellings: Sequence[str]) -> Tensor:
        """(tokens, 50) the characters that `token_vectors` reads."""
        return spelled(self._words(ids, spellings))

    def _words(self, ids: Sequence[int], spellings: Sequence[str]) -> list[str]:
        unknown = self.vocabulary.unk_id
        return [text if i == unknown else self.spellings[i] for i, text in zip(ids, spellings, strict=True)]

    def code_vectors(self, codes: Tensor) -> Tensor:
        """(tokens, width) from characters (tokens, 50)."""
        return self.encoder.convolved(codes)

    def boundaries(self) -> Tensor:
        """(2, width): the boundaries before and after a sentence."""
        if not torch.is_grad_enabled():
            return self.words.boundaries()
        return self.encoder.embed_rows(torch.stack([BOS_ROW, EOS_ROW]))


class TokenInputs(nn.Module):
    """Vectors (..., width) from a table with a row for each id, the two boundaries last."""

    def __init__(self, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary.size, width)
        self.edges = nn.Parameter(torch.empty(BOUNDARIES, width))
        for weight in (self.embedding.weight, self.edges):
            nn.init.uniform_(weight, -0.1, 0.1)

    def use_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Do nothing: ids are enough."""

    def forward(self, ids: Tensor) -> Tensor:
        """(..., width) of ids, including those of the two boundaries."""
        size = self.embedding.num_embeddings
        inside = ids < size
        vectors = self.embedding(ids.masked_fill(~inside, 0))
        edges = self.edges[(ids - size).clamp(min=0)]
        return torch.where(inside[..., None], vectors, edges)

    def token_vectors(self, ids: Sequence[int], spellings: Sequence[str]) -> Tensor:
        """(tokens, width) of a string's tokens."""
        return self.code_vectors(self.token_codes(ids, spellings).to(self.edges.device))

    def token_codes(self, ids: Sequence[int], spellings: Sequence[str]) -> Tensor:
        """(tokens,) the ids."""
        return torch.tensor(ids, dtype=torch.int64)

    def code_vectors(self, codes: Tensor) -> Tensor:
        """(tokens, width) of ids (tokens,)."""
        return self.embedding(codes)

    def boundaries(self) -> Tensor:
        """(2, width): the boundaries before and after a sentence."""
        return self.edges


def parse_filters(text: str) -> list[tuple[int, int]]:
    """[(1, 32), (2, 64)] from "1x32,2x64"; UsageError for anything else."""
    try:
        filters = [
            (int(size), int(number)) for size, _, number in (part.partition("x") for part in text.split(","))
        ]
    except ValueError:
        filters = []
    if not filters or not all(1 <= size <= 50 and 1 <= number <= 65536 for size, number in filters):
        raise UsageError(f"--filters {text!r}: write width x number of features of each, such as 1x32,2x64")
    return filters
