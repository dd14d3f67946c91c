"""The text of ids, whole or as it grows."""

from collections.abc import Callable, Iterable, Sequence

from lmkit.contracts import Tokenizer
from lmkit.errors import PluginError

LINE_END = "\n"
INCOMPLETE = "\ufffd"
"""The text of the first bytes of a character while its last ones are missing."""

EVERY = 256
"""A line is decoded once for each token up to this length, then for each two, and so on: in linear time."""


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt: `</s>` ends each of its lines but the last."""
    ids: list[int] = []
    for number, line in enumerate(prompt.split(LINE_END)):
        if number:
            ids.append(tokenizer.vocabulary.eos_id)
        ids += tokenizer.ids(line).tolist()
    return ids


def decode_lines(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of ids, each `</s>` a line end."""
    return LINE_END.join(tokenizer.decode(line) for line in split_lines(ids, tokenizer.vocabulary.eos_id))


def split_lines(ids: Iterable[int], eos: int) -> list[list[int]]:
    """The ids of each line, without `</s>`."""
    lines: list[list[int]] = [[]]
    for token in ids:
        if token == eos:
            lines.append([])
        else:
            lines[-1].append(token)
    return lines


class GrowingText:
    """Tells the text of a continuation piece by piece while its tokens come; the pieces together are the text.

    What further tokens may still change is held back: the bytes of a character that is not complete.

    before: the ids of the prompt.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int], tell: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._eos = tokenizer.vocabulary.eos_id
        self._tell = tell
        self._line = split_lines(before, self._eos)[-1]
        self._shown = tokenizer.decode(self._line)  # of this line
        self._told = ""  # of the whole text
        self._waiting = 0
        self._held = False

    def add(self, token: int) -> None:
        """One more token follows."""
        if token == self._eos:
            self._show(self._tokenizer.decode(self._line) + LINE_END)
            self._line, self._shown, self._waiting = [], "", 0
            return
        self._line.append(token)
        self._waiting += 1
        if self._waiting * EVERY > len(self._line):
            self._waiting = 0
            self._show(self._tokenizer.decode(self._line).rstrip(INCOMPLETE))

    def finish(self, text: str) -> None:
        """Tell what is left of the text.

        Raises PluginError where the tokenizer has changed what it said of fewer tokens.
        """
        if not text.startswith(self._told):
            kind = type(self._tokenizer)
            raise PluginError(
                f"the tokenizer {kind.__module__}:{kind.__qualname__} decodes the first tokens of a text otherwise "
                "than the whole, so that it cannot be shown as it is made (--json prints it at its end); report it "
                "to its author"
            )
        if rest := text[len(self._told) :]:
            self._tell(rest)

    def _show(self, line: str) -> None:
        if len(line) <= len(self._shown) or self._held:
            return
        if not line.startswith(self._shown):
            self._held = True  # `finish` says why
            return
        piece = line[len(self._shown) :]
        self._shown = line
        self._told += piece
        self._tell(piece)
