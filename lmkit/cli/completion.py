"""Shell completion for the names of parts and recipes, and the directories of runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from lmkit import shipped
from lmkit.part_files import is_file, use
from lmkit.plugins import registry
from lmkit.run_paths import is_run, is_unfinished


class PartFile(click.ParamType):
    """FILE.py:CLASS, whose part `lmkit.part_files.use` takes; the value is the part's name."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value if ctx is not None and ctx.resilient_parsing else use(value)


class PartName(PartFile):
    """The name of a registered part, which the registry checks, with a suggestion; or FILE.py:CLASS."""

    name = "name"

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(value, param, ctx) if is_file(value) else value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        # Of several names separated by commas, the last is completed.
        before, comma, last = incomplete.rpartition(",")
        parts = (part for kind in self.kinds for part in registry().parts(kind))
        return [
            CompletionItem(f"{before}{comma}{name}", help=part.spec.summary)
            for part in parts
            if (name := part.display_name).startswith(last)
        ]


class RecipeName(click.ParamType):
    """The name of a recipe that ships with lmkit."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = (name for name in shipped.names() if name.startswith(incomplete))
        return [CompletionItem(name, help=shipped.about(name)["task"]) for name in found]


class RunPath(click.Path):
    """The directory of a run. unfinished: accept a training without a model."""

    def __init__(self, *, unfinished: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.unfinished = unfinished

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        given = ctx.params.get(param.name or "")
        taken = {str(one) for one in given} if isinstance(given, tuple) else set()
        runs = [path for path in runs_from(incomplete, unfinished=self.unfinished) if path not in taken]
        # The shell completes the path if there is no run nearby.
        return [CompletionItem(path) for path in runs] or [CompletionItem(incomplete, type="dir")]


class RunOrText(click.ParamType):
    """An argument of RUN... TEXT...: a run until the line has one, then any path."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        given = ctx.params.get(param.name or "") or ()
        if not any(is_run(Path(item)) for item in given):
            runs = [CompletionItem(path) for path in runs_from(incomplete)]
            if runs:
                return runs
        return [CompletionItem(incomplete, type="file")]


def runs_from(incomplete: str, *, unfinished: bool = False) -> Iterator[str]:
    """The runs whose paths begin with the typed text: in the typed folder, and one level below."""
    typed = incomplete[: len(incomplete) - len(Path(incomplete).name)]
    if incomplete.endswith("/"):
        typed = incomplete
    start = incomplete.removeprefix(typed)

    def wanted(path: Path) -> bool:
        return is_run(path) or (unfinished and is_unfinished(path))

    for path in _folders(Path(typed or ".")):
        if not path.name.startswith(start) or (path.name.startswith(".") and not start):
            continue
        if wanted(path):
            yield f"{typed}{path.name}"
        else:
            yield from (f"{typed}{path.name}/{below.name}" for below in _folders(path) if wanted(below))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.expanduser().iterdir() if path.is_dir())
    except (OSError, RuntimeError):  # the second where there is no such home
        return []
