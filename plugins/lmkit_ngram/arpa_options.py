"""What reading an ARPA file can be told; light, since the import command reads it."""

from dataclasses import dataclass

from lmkit import option


@dataclass(frozen=True)
class ArpaOptions:
    """How the words of a file are taken."""

    keep_names: bool = option(False, "take @s@, @/s@ and @unk@ as they stand, not for <s>, </s> and <unk>")
