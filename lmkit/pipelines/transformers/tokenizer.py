"""The tokenizer of a run as `AutoTokenizer`, with the ids of lmkit.

It gives one id for each token of a string, or for each word of a list (`is_split_into_words=True`), and also the
`characters` of the tokens, from which an encoder restores the text. For a causal model, `<s>` comes first, and a line
end is the id of `</s>`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lmkit import run_paths, runs
from lmkit.contracts import Tokenizer
from lmkit.errors import ModelError, UsageError
from lmkit.generation.text import INCOMPLETE, LINE_END, decode_lines, split_lines
from lmkit.options import choose
from lmkit.pipelines import needs
from lmkit.pipelines.spelling import TEXT, WORD, kept_tokens, pieces_of, spell
from lmkit.pipelines.transformers.config import CHARACTERS, local_folder
from lmkit.scoring.split_words import read_as_typed

base: Any = needs("transformers.tokenization_utils_base", "transformers")

CAUSAL: dict[str, Any] = {"bos_token": "<s>", "eos_token": LINE_END}
"""The settings of the tokenizer of a causal model."""
MASK = "attention_mask"
OFFSETS, SPECIAL, LENGTH = "offset_mapping", "special_tokens_mask", "length"
"""What a tokenizer returns on request: of each token its characters and whether it is `<s>` or padding."""


class LmkitTokenizer(base.PreTrainedTokenizerBase):
    """The tokenizer of a run. Padding, which lmkit's vocabularies lack, is an additional id: vocabulary.size.

    With the settings `CAUSAL`, the next id is that of `<s>`, with which each text begins unless
    `add_special_tokens=False`, and texts may have several lines. The attention mask of `<s>` is 0, so that means over
    tokens, as in sentence-transformers, leave its empty vector out; causal models read it all the same. Ids that do not
    begin with `<s>` continue a text, so the text of a word has the space before it.

    part: the name and options of the tokenizer and the fingerprint of its vocabulary; by default, those of the run
    in the folder. name_or_path: the folder with the tokenizer's files. Raises ModelError if they are missing.
    """

    model_input_names = ("input_ids", "attention_mask", CHARACTERS)
    is_fast = False

    def __init__(
        self, part: Mapping[str, Any] | None = None, name_or_path: str | Path = "", **kwargs: Any
    ) -> None:
        folder = local_folder(name_or_path)
        part = _part(folder) if part is None else dict(part)
        self.inner = _load_tokenizer(part, folder)
        kwargs.pop("added_tokens_decoder", None)
        kwargs.setdefault("pad_token", "<pad>")
        if self.inner.vocabulary.unk_id is not None:
            kwargs.setdefault("unk_token", "<unk>")
        super().__init__(part=part, name_or_path=str(name_or_path), **kwargs)

    def _encode_plus(
        self,
        text: Any,
        text_pair: Any = None,
        *,
        add_special_tokens: bool = True,
        padding_strategy: Any = False,
        truncation_strategy: Any = None,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: Any = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        **_ignored: Any,
    ) -> Any:
        if text_pair is not None or return_overflowing_tokens:
            raise UsageError("an lmkit tokenizer supports no pairs or overflowing tokens: leave them out")
        left_out = {
            name
            for name, wanted in (
                (OFFSETS, return_offsets_mapping),
                (SPECIAL, return_special_tokens_mask),
                (LENGTH, return_length),
                (MASK, return_attention_mask is not False),
            )
            if not wanted
        }
        single = isinstance(text, str) or (is_split_into_words and all(isinstance(w, str) for w in text))
        cut = truncation_strategy not in (None, base.TruncationStrategy.DO_NOT_TRUNCATE)
        rows = [
            self._row(sentence, is_split_into_words, max_length if cut else None, special=add_special_tokens)
            for sentence in ([text] if single else text)
        ]
        batch = self.pad(
            {
                name: [row[name] for row in rows]
                for name in (rows[0] if rows else ("input_ids",))
                if name not in left_out
            },
            padding=padding_strategy,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=padding_side,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
        )
        if single and return_tensors is None:
            # The length stays a list, as in tokenizers of transformers.
            return base.BatchEncoding(
                {name: values if name == LENGTH else values[0] for name, values in batch.items()}
            )
        return batch

    def _row(self, sentence: Any, words: bool, limit: int | None, *, special: bool) -> dict[str, Any]:
        """The fields of a string or a list of words, of at most `limit` tokens; special: with `<s>`.

        Offsets are characters of the string, or of each word.
        """
        if isinstance(sentence, str) == words:
            wanted = "a list of words" if words else "a string (or say is_split_into_words=True)"
            raise UsageError(f"a sentence is of the type {type(sentence).__name__}: give {wanted}")
        if words:
            ids, pieces = [self._first_id(word) for word in sentence], list(sentence)
            spans = np.stack([np.arange(len(ids)), np.arange(1, len(ids) + 1)], 1)
            offsets = [(0, len(word)) for word in sentence]
        else:
            ids, spans = self._encode(sentence)
            pieces = pieces_of(sentence, spans)
            offsets = [(start, end) for start, end in spans.tolist()]
        first = [self.bos_token_id] if special and self.bos_token else []
        left = None if limit is None else max(limit - len(first), 0)
        kept = kept_tokens(spans, left, left=self.truncation_side == "left")
        found = (first + ids[kept])[:limit]
        row: dict[str, Any] = {
            "input_ids": found,
            MASK: ([0] * len(first) + [1] * len(ids[kept]))[:limit],
            OFFSETS: ([(0, 0)] * len(first) + offsets[kept])[:limit],
            SPECIAL: ([1] * len(first) + [0] * len(ids[kept]))[:limit],
            LENGTH: len(found),
        }
        if CHARACTERS in self.model_input_names:
            row[CHARACTERS] = spell(pieces[kept], WORD if words else TEXT)
        return row

    def _encode(self, text: str) -> tuple[list[int], np.ndarray]:
        """The ids of a text and the characters of each, (tokens, 2); a line end is a token for a causal model."""
        ids: list[int] = []
        spans = [np.zeros((0, 2), np.int64)]
        begin = 0
        for line in text.split(LINE_END) if self.bos_token else [text]:
            if begin:
                ids.append(self.inner.vocabulary.eos_id)
                spans.append(np.array([[begin - 1, begin]]))
            encoding = self.inner.encode(line)
            ids += encoding.ids.tolist()
            spans.append(encoding.spans + begin)
            begin += len(line) + 1
        return ids, np.concatenate(spans)

    def pad(self, encoded_inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Pad as transformers does, offsets too, and pad the characters to the longest row, always on the right."""
        if isinstance(encoded_inputs, Sequence):
            encoded_inputs = {name: [row[name] for row in encoded_inputs] for name in encoded_inputs[0]}
        fields = dict(encoded_inputs)
        rows, offsets = fields.pop(CHARACTERS, None), fields.pop(OFFSETS, None)
        batch = super().pad(fields, *args, **kwargs)
        if offsets is not None:
            left = (kwargs.get("padding_side") or self.padding_side) == "left"
            batch[OFFSETS] = _like(
                batch["input_ids"], _padded_offsets(batch["input_ids"], offsets, left=left)
            )
        if rows is not None:
            batch[CHARACTERS] = _like(batch["input_ids"], rows)
        return batch

    def _add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Raise UsageError, since the model has no weights for new tokens."""
        named = ", ".join(map(str, new_tokens[:3]))
        raise UsageError(
            f"an lmkit tokenizer has the vocabulary that its model was trained with, so {named} cannot be added: train "
            "a run on text with these words, or add them with lmkit train --init-from RUN --new-words N, and export it"
        )

    @property
    def vocab_size(self) -> int:
        return self.inner.vocabulary.size

    def __len__(self) -> int:
        return self.vocab_size + (2 if self.bos_token else 1)

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        return {}

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        return {}

    def get_vocab(self) -> dict[str, int]:
        """Ids by their text; the last of several with one text."""
        return {self._text_of(id_): id_ for id_ in range(len(self))}

    def tokenize(self, text: str, **_ignored: Any) -> list[str]:
        return pieces_of(text, self._encode(text)[1])

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        vocabulary = self.inner.vocabulary
        special = {
            self.unk_token: vocabulary.unk_id,
            self.eos_token: vocabulary.eos_id,
            self.pad_token: self.vocab_size,
            self.bos_token: self.vocab_size + 1,
        }
        return special[tokens] if tokens in special else self._first_id(tokens)

    def _first_id(self, word: str) -> int:
        """The id of a word: its first. The model's vectors for the word do not depend on it."""
        found = self.inner.ids(word)
        return int(found[0]) if found.size else self.inner.vocabulary.unk_id or 0

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        if isinstance(ids, int):
            return self._text_of(ids)
        return [
            self._text_of(id_) for id_ in map(int, ids) if not skip_special_tokens or id_ < self.vocab_size
        ]

    def _convert_id_to_token(self, id_: int) -> str:
        """For `stop_strings`, which must be able to spell any text."""
        if id_ == self.inner.vocabulary.unk_id:
            raise UsageError(
                "stop_strings need a vocabulary that spells any text (bytes, pieces): leave them out, or stop at "
                "tokens with eos_token_id"
            )
        return self._text_of(id_)

    def _text_of(self, id_: int) -> str:
        """The text of a token after another one; padding and `<s>` by name."""
        if id_ >= self.vocab_size:
            return self.pad_token if id_ == self.vocab_size else self.bos_token
        return self._continuation([id_]) if self.bos_token else self.inner.decode([id_])

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def _decode(self, token_ids: Any, skip_special_tokens: bool = False, **_ignored: Any) -> str:
        """The text of ids; padding has none, and `<s>` has its name unless special tokens are skipped."""
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        ids = [id_ for id_ in ids if id_ != self.vocab_size]
        if not self.bos_token:
            return self.inner.decode(ids)
        first, *texts = split_lines(ids, self.bos_token_id)
        begin = "" if skip_special_tokens else self.bos_token
        return self._continuation(first) + "".join(begin + decode_lines(self.inner, text) for text in texts)

    def _continuation(self, ids: list[int]) -> str:
        """The text that ids add to a text before them: a word has the space before it."""
        whole = decode_lines(self.inner, [self._some_token, *ids])
        return whole[len(self.inner.decode([self._some_token])) :]

    @cached_property
    def _some_token(self) -> int:
        """A token with a text that no later token changes."""
        vocabulary = self.inner.vocabulary
        ids = (id_ for id_ in range(vocabulary.size) if id_ not in (vocabulary.eos_id, vocabulary.unk_id))
        plain = (id_ for id_ in ids if (text := self.inner.decode([id_])).strip() and INCOMPLETE not in text)
        return next(plain, vocabulary.eos_id)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return int(bool(self.bos_token))

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the tokenizer's files as in a run; those of an existing run are kept."""
        folder = Path(save_directory) / run_paths.TOKENIZER
        if not (Path(save_directory) / run_paths.MANIFEST).exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.inner.save(folder)
        return tuple(str(path) for path in folder.rglob("*") if path.is_file())


def _part(folder: Path) -> dict[str, Any]:
    """The tokenizer's entry in a run."""
    manifest = runs.read_manifest(folder)
    vocabulary = manifest.get("vocabulary")
    fingerprint = vocabulary.get("fingerprint") if isinstance(vocabulary, dict) else None
    return {"tokenizer": manifest.get("tokenizer"), "fingerprint": fingerprint}


def _load_tokenizer(part: Mapping[str, Any], folder: Path) -> Tokenizer:
    """The tokenizer in a folder, as `lmkit.load` uses it; ModelError unless it is unchanged since it was saved."""
    where = f"{folder}: part"
    if not isinstance(part.get("tokenizer"), dict):
        raise ModelError(f"{where}: damaged: it has no tokenizer; export the run again")
    try:
        chosen = choose("tokenizer", part["tokenizer"], where)
    except UsageError as error:
        raise ModelError(str(error)) from error
    tokenizer = chosen.load().load(folder / run_paths.TOKENIZER, chosen.options)
    if tokenizer.vocabulary.fingerprint != part.get("fingerprint"):
        raise ModelError(
            f"{folder / run_paths.TOKENIZER}: has changed since it was saved; export the run again"
        )
    return read_as_typed(tokenizer)


def _padded_offsets(ids: Any, rows: Any, *, left: bool) -> list[list[tuple[int, int]]]:
    """Rows of offsets, as long as those of ids; padding has the offsets (0, 0)."""
    padded = []
    for found, row in zip(ids, rows, strict=True):
        empty = [(0, 0)] * (len(found) - len(row))
        padded.append([*empty, *row] if left else [*row, *empty])
    return padded


def _like(ids: Any, rows: Any) -> Any:
    """Rows of characters in the same type as ids: a list, or a padded array or tensor."""
    plain = [row if isinstance(row, list) else np.asarray(row).tolist() for row in rows]
    longest = max((len(row) for row in plain), default=0)
    padded = [row + [0] * (longest - len(row)) for row in plain]
    if isinstance(ids, Tensor):
        return torch.tensor(padded, dtype=torch.int64)
    return np.array(padded, np.int64) if isinstance(ids, np.ndarray) else cast(Any, padded)
