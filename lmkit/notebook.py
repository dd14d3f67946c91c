"""Progress in notebooks: a bar below the cell that works, which is updated in place."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from lmkit.html import Html, fragment, note, table, tag
from lmkit.perplexity import perplexity
from lmkit.values import duration

T = TypeVar("T")

BAR_AFTER = 2.0
"""Seconds before an iteration gets a bar."""
UPDATE_EVERY = 0.5
"""Seconds between updates: each is a message to the browser."""
VALIDATIONS_SHOWN = 10


def in_notebook() -> bool:
    """Whether this process is the kernel of a Jupyter notebook."""
    # Nothing imports IPython but the kernel itself, which has done so.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class NotebookReporter:
    """A `lmkit.training.report.Reporter` for notebooks, and a Progress: use it in the kernel of one."""

    def __init__(self) -> None:
        self._output = _Output()
        self._lines: list[str] = []
        self._validations: list[list[str]] = []
        self._total: int | None = None
        self._now = self._left = ""
        self._done = 0

    def __call__(self, items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]:
        """Show a bar after two seconds; it disappears with the last item."""
        return _with_bar(items, total, label)

    def start(self, total_steps: int | None, description: str) -> None:
        """Begin a training of `total_steps` updates."""
        self._total = total_steps
        self._now = "starting"
        self.message(description)

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
        """Show an update. loss: nats per token."""
        self._done = step
        of = "" if self._total is None else f" of {self._total}"
        self._now = (
            f"step {step}{of}, {loss_name.replace('_', ' ')} {loss:.3f}, {tokens_per_second:,.0f} tokens/s"
        )
        self._left = "" if seconds_left is None else f", {duration(seconds_left)} left"
        self._show(in_time=True)

    def validation(self, step: int, loss: float, best: bool, bits_per_byte: float | None = None) -> None:
        """Add a row to the table of validations."""
        bits = "" if bits_per_byte is None else f"{bits_per_byte:.4f}"
        when = str(step) if step else "before training"
        self._validations.append(
            [when, f"{loss:.3f}", f"{perplexity(loss):.4g}", bits, "best" if best else ""]
        )
        self._show()

    def message(self, text: str) -> None:
        """Add a line."""
        self._lines.append(text)
        self._show()

    def finish(self) -> None:
        """Leave the messages and validations, without the bar."""
        if self._now:
            self._lines.append(self._now)
        self._now = self._left = ""
        self._show()

    def _show(self, *, in_time: bool = False) -> None:
        parts: list[Html] = [note(line) for line in self._lines]
        if self._validations:
            header = ("step", "validation loss", "perplexity", "bits per byte", "")
            shown = self._validations[-VALIDATIONS_SHOWN:]
            parts.append(table(header, shown, caption="Validations"))
        if self._now:
            parts.append(_bar(self._done, self._total, self._now + self._left))
        self._output.show(parts, self._now or "\n".join(self._lines), in_time=in_time)


class _Output:
    """A place below the cell."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._last = 0.0

    def show(self, parts: list[Html], text: str, *, in_time: bool = False) -> None:
        """Replace what is shown. text: for displays without HTML. in_time: skip it soon after the last one."""
        if in_time and time.monotonic() - self._last < UPDATE_EVERY:
            return
        self._last = time.monotonic()
        # The kernel has it.
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        data = {"text/html": fragment(*parts) if parts else "", "text/plain": text}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def _with_bar(items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    begun = time.monotonic()
    output: _Output | None = None
    try:
        for done, item in enumerate(items):
            if output is None and time.monotonic() - begun > BAR_AFTER:
                output = _Output()
            if output is not None:
                text = f"{label}: {done:,}" + ("" if total is None else f" of {total:,}")
                output.show([_bar(done, total, text)], text, in_time=True)
            yield item
    finally:
        if output is not None:
            output.show([], "")


def _bar(done: int, total: int | None, text: str) -> Html:
    share = {} if total is None else {"value": done, "max": max(total, 1)}
    return tag("p", tag("progress", aria_label=text, **share), " ", text, class_="note")
