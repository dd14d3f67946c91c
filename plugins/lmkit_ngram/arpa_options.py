"""What reading an ARPA file can be told; light, since the import command reads it."""

from dataclasses import dataclass

from lmkit import option


@dataclass(frozen=True)
class ArpaOptions:
    """How the words of a file are taken."""

    tokenizer: str | None = option(
        None,
        "what cuts text into its words: word, char, byte or sentencepiece:FILE with the tokenizer's model "
        "(default: what the file's own note says, else word)",
    )
    encoding: str = option("utf-8", "how its words are encoded, such as latin-1")
    keep_names: bool = option(False, "keep the names @s@, @/s@ and @unk@ instead of <s>, </s> and <unk>")
