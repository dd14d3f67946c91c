"""The options for reading an ARPA file; light, since the import command reads it."""

from dataclasses import dataclass

from lmkit import option


@dataclass(frozen=True)
class ArpaOptions:
    """How to read the words of a file."""

    tokenizer: str | None = option(
        None,
        "tokenizer of the file: word, char, byte or sentencepiece:FILE with the tokenizer's model "
        "(default: the one in the file, else word)",
    )
    encoding: str = option("utf-8", "encoding of the file, such as latin-1")
    quantize: bool = option(
        False,
        "store probabilities in 8 bits and links in their shortest form, as lmkit train --quantize does",
    )
    keep_names: bool = option(False, "keep the names @s@, @/s@ and @unk@ instead of <s>, </s> and <unk>")
