"""The output of commands: messages and progress on stderr, rows of figures on stdout."""

import contextlib
import logging
import math
import os
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from lmkit.notes import NOTE
from lmkit.values import duration, figure

if TYPE_CHECKING:
    from rich.progress import TaskID

    from lmkit.cli.bars import Display
    from lmkit.evaluation.tables import Table

BAR_AFTER = 2.0
"""Seconds before an iteration gets a bar."""

LINE_EVERY = 10.0
"""Seconds between plain lines if stderr is not a terminal."""

MAX_EXPONENT = 700.0
"""exp of more than about 709 overflows."""

LEAST_WIDTH = 20
"""Columns of the narrowest terminal that tables are fitted to."""

COLOURS = {"error": "31", "warning": "33"}  # ANSI red and yellow

LABELS = (*COLOURS, "note")
"""The labels of messages."""

T = TypeVar("T")


def say(text: str, label: str = "") -> None:
    """Print a message for people on stderr; each line follows a label such as "error".

    Characters that are not printable are escaped. The message appears above any bars. Earlier output to stdout is
    flushed first, so that both keep their order in one file.
    """
    with contextlib.suppress(OSError, ValueError):  # an error of stdout is raised where it is written
        sys.stdout.flush()
    start = f"{label}: " if label else ""
    if label in COLOURS and "NO_COLOR" not in os.environ and sys.stderr.isatty():
        start = f"\033[{COLOURS[label]}m{label}:\033[0m "
    for line in printable(text).split("\n"):
        shown = "\n".join(_fold(start + line)) if sys.stderr.isatty() else start + line
        if _display is None:
            print(shown, file=sys.stderr, flush=True)
        else:
            _display.say(shown)


def printable(text: str, also: str = "\n") -> str:
    """Escape everything except line ends, so that no name or content of a file can control the terminal.

    A character that is not printable becomes the escape of a Python string, as `\\x1b` or `\\ud800`; Unicode spaces
    are kept. also: other characters to keep.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c in also or c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text
    )


def shown(text: str) -> str:
    """A generated text for stdout: with escapes on a terminal, elsewhere unchanged.

    Tabs are kept, and the joiners of Indic and Persian scripts.
    """
    return printable(text, "\n\t\u200c\u200d") if sys.stdout.isatty() else text


@contextlib.contextmanager
def about(run: str) -> Iterator[None]:
    """Inside the block, messages begin with the label of their run; "" for none."""
    global _run
    before, _run = _run, run
    try:
        yield
    finally:
        _run = before


_run = ""
"""The run of the current messages."""
_explained: set[str] = set()
"""The messages about runs, without their numbers, that were explained for an earlier run."""


def about_run(text: str, run: str | None = None) -> str:
    """A message with the label of its run; what follows the fact is left out if an earlier run's message had it.

    run: by default the one that `about` says.
    """
    run = _run if run is None else run
    if not run:
        return text
    pattern = re.sub(r"\d[\d.,]*", "", text)
    if pattern in _explained:
        text = re.split("[:;] ", text, maxsplit=1)[0]
    _explained.add(pattern)
    return f"{run}: {text}"


class MessageHandler(logging.Handler):
    """Print log records of lmkit as messages, each only once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()
        self._silent: set[str] = set()

    def silence(self, name: str) -> None:
        """Ignore the logger of that name."""
        self._silent.add(name)

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().splitlines())
        if record.name in self._silent:
            return
        text = about_run(text, getattr(record, "about", None))
        if text in self._said:
            return
        self._said.add(text)
        say(text, "" if record.levelno < NOTE else record.levelname.lower())


def start_messages(verbose: bool, packages: Iterable[str] = ()) -> MessageHandler:
    """Send log records to stderr from now on: warnings and notes, and with `verbose` also details.

    packages: packages of plugins, whose details are also shown.
    """
    handler = MessageHandler()
    # The root, since each plugin has its own logger.
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, MessageHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(NOTE)
    for name in ("lmkit", *packages):
        logging.getLogger(name).setLevel(logging.INFO if verbose else NOTE)
    return handler


def progress(items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]:
    """`items`, with a bar on stderr after two seconds; without one if stderr is not a terminal."""
    return _with_bar(items, total, label) if sys.stderr.isatty() else items


def _with_bar(items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    begun = time.monotonic()
    bar: TaskID | None = None
    try:
        for done, item in enumerate(items):
            if bar is None and time.monotonic() - begun > BAR_AFTER:
                bar = _shown().add(printable(label), total)
            if bar is not None:
                _shown().update(bar, done)
            yield item
    finally:
        if bar is not None:
            _remove(bar)


_display: "Display | None" = None
"""The display of the bars of this process, if there are any."""


def _shown() -> "Display":
    """The display of this process, created with its first bar, since it needs rich."""
    global _display
    if _display is None:
        from lmkit.cli.bars import Display

        _display = Display()
    return _display


def _remove(bar: "TaskID") -> None:
    if _display is not None:
        _display.remove(bar)


def close_bars() -> None:
    """Remove remaining bars from the screen, for example after an error."""
    global _display
    if _display is not None:
        _display.close()
    _display = None


class TrainReporter:
    """The `lmkit.training.report.Reporter` of the command line: a live line, or plain lines at intervals."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._total: int | None = None
        self._bar: TaskID | None = None
        self._last = 0.0

    def __call__(self, items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]:
        """Show a bar for work before the training: reading, fitting a tokenizer, counting."""
        return progress(items, total=total, label=label)

    def start(self, total_steps: int | None, description: str) -> None:
        """Begin a training of `total_steps` updates."""
        self._total = total_steps
        self._last = time.monotonic()
        say(description)
        if self._live:
            self._bar = _shown().add("training", total_steps)

    def step(
        self,
        step: int,
        *,
        tokens: int,
        loss: float,
        loss_name: str,
        grad_norm: float,
        learning_rate: float,
        tokens_per_second: float,
        seconds_left: float | None,
    ) -> None:
        """Report an update. loss: nats per token. loss_name: "loss" for one that a perplexity follows from."""
        total = "" if self._total is None else f"/{self._total}"
        begin = f"step {step}{total}  {loss_name.replace('_', ' ')} {loss:.3f}"
        likely = f"  perplexity {perplexity(loss)}" if loss_name == "loss" else ""
        speed = f"  {tokens_per_second:,.0f} tokens/s"
        left = "" if seconds_left is None else f"  {duration(seconds_left)} left"
        text = begin + likely + speed + left
        if self._bar is not None:
            _shown().update(self._bar, step, [text, begin + speed + left, begin + left])
        elif time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            say(text)

    def validation(self, step: int, loss: float, best: bool, bits_per_byte: float | None = None) -> None:
        """Report a validation: its loss in nats per token, and its bits per byte if they are known."""
        say(
            f"{f'step {step}' if step else 'before training'}  "
            f"validation loss {loss:.3f}  perplexity {perplexity(loss)}"
            + ("" if bits_per_byte is None else f"  bits per byte {bits_per_byte:.4f}")
            + ("  (best)" if best else "")
        )

    def message(self, text: str) -> None:
        """Print any other line."""
        say(text)

    def finish(self) -> None:
        """End the training, for any reason."""
        if self._bar is not None:
            _remove(self._bar)
            self._bar = None


def perplexity(loss: float) -> str:
    """exp(loss) in about four digits; "inf" if it overflows."""
    return "inf" if loss > MAX_EXPONENT else f"{math.exp(loss):.4g}"


def write_rows(rows: Iterable[tuple[str, object]]) -> None:
    """Print labels and values in two columns on stdout; long values are folded on a terminal."""
    pairs = [(label, printable(figure(value))) for label, value in rows]
    width = max((cell_width(label) for label, _ in pairs), default=0)
    for label, value in pairs:
        print(folded(f"{label}{' ' * (width - cell_width(label))}  {value}", indent=width + 2))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table for stdout: fitted to the width of a terminal, or else Markdown.

    left: how many columns are text, aligned to the left; those after them are numbers, aligned to the right.
    """
    titles, *cells = [[printable(cell).replace("\n", "\\n") for cell in row] for row in (header, *rows)]
    if not sys.stdout.isatty():
        return _markdown([titles, *cells], left)
    from lmkit.cli.tables import fitted

    return fitted(titles, cells, left=left, width=terminal_width(), styled="NO_COLOR" not in os.environ)


def shown_table(found: "Table") -> str:
    """The same for a table of `lmkit.evaluation.tables`, and its note below it."""
    text = table(found.header, found.rows, left=found.left)
    return text + f"\n\n{folded(printable(found.note))}" if found.note else text


def folded(text: str, indent: int = 0) -> str:
    """Return a text for stdout with its lines broken at spaces on a terminal; elsewhere unchanged.

    indent: the spaces before all lines but the first.
    """
    return "\n".join(_fold(text, indent)) if sys.stdout.isatty() else text


def _fold(text: str, indent: int = 0) -> list[str]:
    width = terminal_width()
    if len(text) <= width and text.isascii():
        return [text]  # without rich, which takes a while to import
    from lmkit.cli.tables import fold

    return fold(text, width, min(indent, width // 2))


def terminal_width() -> int:
    """The columns of the terminal; those of $COLUMNS if it is set."""
    return max(LEAST_WIDTH, shutil.get_terminal_size().columns)


def _markdown(table: Sequence[Sequence[str]], left: int) -> str:
    """A table of Markdown whose columns are aligned."""
    table = [[cell.replace("|", "\\|") for cell in row] for row in table]
    widths = [max(3, *map(cell_width, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        padded = []
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            space = " " * (width - cell_width(cell))
            padded.append(cell + space if place < left else space + cell)
        lines.append(f"| {' | '.join(padded)} |")
    rules = ["-" * width if place < left else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return "\n".join([lines[0], f"| {' | '.join(rules)} |", *lines[1:]])


def cell_width(text: str) -> int:
    """The width of a text in a terminal: two columns for a Chinese character, none for a combining mark."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
