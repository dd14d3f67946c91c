"""Decode ids to text, at once or as a stream."""

from collections.abc import Callable, Iterable, Sequence

from lmkit.blame import described, remedy_for
from lmkit.contracts import Tokenizer
from lmkit.errors import PluginError

LINE_END = "\n"
INCOMPLETE = "\ufffd"
"""The text of an incomplete character."""

EVERY = 256
"""A line is decoded after each token up to this length, then after every second one, and so on: in linear time."""


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt: `</s>` ends each of its lines except the last."""
    ids: list[int] = []
    for number, line in enumerate(prompt.split(LINE_END)):
        if number:
            ids.append(tokenizer.vocabulary.eos_id)
        ids += tokenizer.ids(line).tolist()
    return ids


def decode_lines(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of ids, with a line end for each `</s>`."""
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
    """Stream the text of a continuation piece by piece while tokens arrive.

    It holds back text that further tokens may change: the bytes of an incomplete character.

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
        """Add a token."""
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
        """Return the rest of the text.

        Raises PluginError if the tokenizer decoded earlier tokens differently before.
        """
        if not text.startswith(self._told):
            raise PluginError(
                f"{described(self._tokenizer)} decodes a prefix of a text differently, so the text cannot be streamed "
                f"(--json prints it at the end); {remedy_for(self._tokenizer)}"
            )
        if rest := text[len(self._told) :]:
            self._tell(rest)

    def _show(self, line: str) -> None:
        if len(line) <= len(self._shown) or self._held:
            return
        if not line.startswith(self._shown):
            self._held = True  # `finish` reports the error
            return
        piece = line[len(self._shown) :]
        self._shown = line
        self._told += piece
        self._tell(piece)
