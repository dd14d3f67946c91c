"""The options of the built-in tokenizers; light, since every command reads them."""

from dataclasses import dataclass

from lmkit import option
from lmkit.specs import MOST_IDS

"""Ids are int32."""


@dataclass(frozen=True)
class WordOptions:
    """Which words get an id of their own."""

    vocab_size: int = option(50_000, "most ids, </s> and the unknown word among them", min=3, max=MOST_IDS)
    min_count: int = option(2, "how often a word must occur", min=1)
    unk_word: str | None = option(
        None, "a word of the text that stands for the unknown word, such as <unk>: it gets no id of its own"
    )


@dataclass(frozen=True)
class CharOptions:
    """Which characters get an id of their own."""

    vocab_size: int | None = option(None, "most ids, </s> and the unknown character among them", min=3)
    min_count: int = option(1, "how often a character must occur", min=1)


@dataclass(frozen=True)
class SentencePieceOptions:
    """How sentencepiece is trained; with the defaults every line can be restored."""

    vocab_size: int = option(8000, "pieces; fewer when the text has not so many", min=3, max=MOST_IDS)
    model_type: str = option("unigram", "how pieces are found", choices=("unigram", "bpe"))
    byte_fallback: bool = option(True, "spell rare characters in bytes, so that nothing is unknown")
    normalization: str = option(
        "identity",
        "what is done to the text first; all but identity lose characters",
        choices=("identity", "nfkc", "nfkc_cf", "nmt_nfkc", "nmt_nfkc_cf"),
    )
    remove_extra_whitespaces: bool = option(False, "trim lines and merge spaces, which cannot be undone")
    character_coverage: float = option(
        0.9995, "share of the text's characters that get a piece", min=0.98, max=1
    )
    threads: int = option(4, "threads of the trainer", min=1, max=1024)
    max_lines: int = option(1_000_000, "train on a sample of so many lines", min=1000)
