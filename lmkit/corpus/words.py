"""Words between white space as KenLM sees it: one definition for counts, tokens and surprisal."""

WHITE_SPACE = "\0\t\n\r "
"""What separates words in KenLM (util/file_piece.hh, kSpaces); `str.split` knows many more characters."""

# bytes.split also splits at \v and \f, but not at NUL: \v and \f become two bytes that UTF-8 never uses.
_HIDE = bytes.maketrans(b"\0\t\n\r\v\f", b"    \xfe\xff")
_SHOW = bytes.maketrans(b"\xfe\xff", b"\v\f")


def hidden(raw: bytes) -> bytes:
    """UTF-8 in a form of the same length that `bytes.split` splits into these words, at spaces only."""
    return raw.translate(_HIDE)


def shown(words: bytes) -> bytes:
    """The UTF-8 of words in the form of `hidden`."""
    return words.translate(_SHOW)


def count_words(raw: bytes) -> int:
    """The number of words in a line of UTF-8."""
    return len(hidden(raw).split())
