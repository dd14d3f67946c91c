"""Progress bars: one live display on stderr, with messages above it."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from lmkit.values import duration

BESIDE = 20
"""Columns for the name of a bar and the bar, if the text beside it can be shortened."""


class Display:
    """Bars below one another; other output to stderr appears above them.

    The display disappears with the last bar.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4, max_width=40)),
            _Status(table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=Console(stderr=True),
            transient=True,
            expand=True,
            # Rows on stdout may go to a file while bars are on the screen.
            redirect_stdout=False,
        )

    def add(self, label: str, total: int | None) -> TaskID:
        """Add a bar."""
        self._progress.start()
        return self._progress.add_task(label, total=total, text="")

    def update(self, bar: TaskID, done: int, texts: Sequence[str] = ()) -> None:
        """Move a bar. texts: alternatives to the percentage beside it, from long to short."""
        room = self._progress.console.width - BESIDE
        text = next((text for text in texts if len(text) <= room), texts[-1] if texts else "")
        self._progress.update(bar, completed=done, text=text)

    def remove(self, bar: TaskID) -> None:
        """Remove a bar, and with the last one the display."""
        if bar in self._progress.task_ids:
            self._progress.remove_task(bar)
        if not self._progress.task_ids:
            self._progress.stop()

    def close(self) -> None:
        """Remove all bars."""
        for bar in self._progress.task_ids:
            self.remove(bar)

    def say(self, text: str) -> None:
        """Print a line, which may have colours, above the bars."""
        self._progress.console.print(Text.from_ansi(text), soft_wrap=True)


class _Status(ProgressColumn):
    """The text beside a bar: the task's own, or the percentage and the remaining time."""

    def render(self, task: Task) -> Text:
        if task.fields["text"]:
            return Text(task.fields["text"])
        if task.total is None:
            return Text(f"{task.completed:,.0f}")
        left = task.time_remaining
        return Text(f"{task.percentage:3.0f}%" + ("" if left is None else f"  {duration(left)} left"))
