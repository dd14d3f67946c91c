"""The options of the built-in tokenizers; light, since every command reads them."""

from dataclasses import dataclass

from lmkit import option
from lmkit.specs import MOST_IDS


@dataclass(frozen=True)
class WordOptions:
    """The vocabulary of words."""

    file: str | None = option(
        None,
        "read the vocabulary from this file, one word per line, instead of counting the text; vocab_size and "
        "min_count then have no effect (short form: word:FILE)",
    )
    vocab_size: int = option(
        50_000, "maximum number of ids, including </s> and the unknown word", min=3, max=MOST_IDS
    )
    min_count: int = option(2, "minimum count of a word", min=1)
    unk_word: str | None = option(None, "a word of the text to read as the unknown word, such as <unk>")


@dataclass(frozen=True)
class CharOptions:
    """The vocabulary of characters."""

    vocab_size: int | None = option(
        None, "maximum number of ids, including </s> and the unknown character", min=3
    )
    min_count: int = option(1, "minimum count of a character", min=1)


@dataclass(frozen=True)
class SentencePieceOptions:
    """The training of sentencepiece; with the defaults every line can be restored."""

    file: str | None = option(
        None,
        "use this trained sentencepiece model instead of training one; the other options then have no effect "
        "(short form: sentencepiece:FILE)",
    )
    vocab_size: int = option(8000, "number of pieces; fewer if the text is too small", min=3, max=MOST_IDS)
    model_type: str = option("unigram", "sentencepiece algorithm", choices=("unigram", "bpe"))
    byte_fallback: bool = option(True, "spell rare characters as bytes, so that none is unknown")
    normalization: str = option(
        "identity",
        "normalization of the text; all but identity lose characters",
        choices=("identity", "nfkc", "nfkc_cf", "nmt_nfkc", "nmt_nfkc_cf"),
    )
    remove_extra_whitespaces: bool = option(False, "trim lines and merge spaces; this cannot be undone")
    character_coverage: float = option(
        0.9995, "share of the text's characters that pieces cover", min=0.98, max=1
    )
    threads: int = option(4, "threads for training the tokenizer", min=1, max=1024)
    max_lines: int = option(1_000_000, "train on a sample of at most this many lines", min=1000)


@dataclass(frozen=True)
class HuggingFaceOptions:
    """The file of the tokenizer, or the training of byte-level BPE."""

    file: str | None = option(
        None,
        "use this tokenizer.json, or the one in this folder, instead of learning byte-level BPE; vocab_size and "
        "min_count then have no effect (short form: hf:FILE)",
    )
    end_token: str | None = option(
        None,
        "token of the file that ends every line (default: its special token </s>, <|endoftext|>, <|end_of_text|> or "
        "<eos>, else one more id)",
    )
    vocab_size: int = option(8000, "number of pieces; fewer if the text is too small", min=257, max=MOST_IDS)
    min_count: int = option(2, "minimum count of a pair of pieces to join", min=1)


@dataclass(frozen=True)
class JiebaOptions:
    """The vocabulary of words, and how jieba finds them."""

    vocab_size: int = option(
        50_000, "maximum number of ids, including </s> and the unknown word", min=3, max=MOST_IDS
    )
    min_count: int = option(2, "minimum count of a word", min=1)
    hmm: bool = option(True, "also find words that jieba's dictionary lacks, by its hidden Markov model")
