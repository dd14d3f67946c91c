"""Arguments and options that several commands share."""

import functools
import itertools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lmkit import run_paths
from lmkit.adaptation.options import CacheOptions, DynamicOptions
from lmkit.cli import console
from lmkit.cli.completion import PartFile, PartName, RunOrText, RunPath
from lmkit.cli.option_flags import SpecCommand, collected
from lmkit.corpus.options import DataOptions
from lmkit.errors import LmkitError, UsageError
from lmkit.files import check_new, new_file
from lmkit.option_fields import fields_of
from lmkit.option_owners import DATA
from lmkit.options import resolve
from lmkit.part_files import FilePart
from lmkit.plugins import registry
from lmkit.recipe import DEFAULT_MODEL

if TYPE_CHECKING:
    from lmkit.api import Model

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

run_argument = click.argument("run", type=RunPath(path_type=Path))
"""RUN, a run's directory."""

runs_argument = click.argument(
    "runs", metavar="RUN...", nargs=-1, required=True, type=RunPath(path_type=Path)
)
"""RUN RUN ..., the directories of several runs."""

items_argument = click.argument("items", metavar="RUN... TEXT...", nargs=-1, required=True, type=RunOrText())
"""RUN... TEXT..., which `split_items` separates."""

data_option = click.option(
    "--data",
    "texts",
    metavar="TEXT",
    multiple=True,
    type=click.Path(),
    help="Another TEXT; may be repeated.",
)

device_option = click.option(
    "--device", metavar="TEXT", default="auto", show_default=True, help="cpu, cuda, cuda:1 ..."
)


def _code_option(*names: str) -> Callable[[CommandT], CommandT]:
    return click.option(
        *names,
        metavar="FILE.py:CLASS",
        multiple=True,
        type=PartFile(),
        is_eager=True,
        expose_value=False,
        help="Run this file of Python, whose class a RUN needs: a RUN's own copy is never run. May be repeated.",
    )


def code_flags() -> str:
    """The options --code, each after a space, that a command after this one needs for the same parts."""
    parts = (part for part in registry().parts() if isinstance(part, FilePart))
    written = dict.fromkeys(part.written for part in parts if part.written)
    return "".join(f" --code {shlex.quote(one)}" for one in written)


code_option = _code_option("--code", "--cell")
"""--code; also --cell, since that is what was typed when the run was trained."""
training_code_option = _code_option("--code")
"""--code for the commands in which --cell chooses the cell to train."""

nonfinite_option = click.option(
    "--allow-nonfinite", is_flag=True, help="Load a model even if it contains NaN or infinite weights."
)


split_option = click.option(
    "--split-unknown",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Split words that the vocabulary lacks, such as 'good.' (auto: only in ordinary running text).",
)

int8_option = click.option(
    "--int8", is_flag=True, help="Use int8 weights: faster on a CPU, slightly less exact (docs/models.md)."
)


independent_option = click.option(
    "--independent",
    is_flag=True,
    help="Score each line by itself, for lists of separate sentences, whatever the model's reset policy.",
)


def adaptation_options(command: CommandT) -> CommandT:
    """--cache, --dynamic and their settings, as the argument `adapt`: keyword arguments for `lmkit.api.load`."""

    @functools.wraps(command)
    def call(*, cache: int | None, dynamic: bool, **arguments: Any) -> None:
        names = [name for name in arguments if name.startswith(("cache_", "dynamic_"))]
        given = {name: value for name in names if (value := arguments.pop(name)) is not None}
        tables = {
            kind: {
                name.removeprefix(f"{kind}_"): value
                for name, value in given.items()
                if name.startswith(f"{kind}_")
            }
            for kind in ("cache", "dynamic")
        }
        adapt = {}
        for kind, needs, wanted in (
            ("cache", "--cache 2000", cache is not None),
            ("dynamic", "--dynamic", dynamic),
        ):
            if wanted:
                adapt[kind] = tables[kind]
            elif tables[kind]:
                raise UsageError(
                    f"--{kind}-{next(iter(tables[kind]))} has no effect alone: also give {needs}"
                )
        if cache is not None:
            adapt["cache"]["size"] = cache
        command(adapt=adapt, **arguments)

    add_cache = cache_option("words seen there are more probable")
    wrapped = add_cache(theta_option(str(CacheOptions().theta))(_weight_option(call)))
    return _dynamic_options(wrapped)  # pyright: ignore[reportReturnType]


def _dynamic_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--dynamic and its settings."""
    known = {item.name: item for item in fields_of(DynamicOptions)}
    types = {"bptt": click.IntRange(min=1), "stats": click.Path(), "decay": click.FloatRange(0, 1)}
    for name in ("epsilon", "decay", "stats", "bptt", "rate"):
        item = known[name]
        default = "" if item.default is None else f" [default: {item.default}]"
        command = click.option(
            f"--dynamic-{name}",
            metavar={"stats": "TEXT", "bptt": "N"}.get(name, "X"),
            type=types.get(name, click.FloatRange(min=0)),
            help=f"{item.help[0].upper()}{item.help[1:]}.{default}",
        )(command)
    shows = "Learn from the text while scoring it (dynamic evaluation; neural models)."
    return click.option("--dynamic", is_flag=True, help=shows)(command)


def cache_option(shows: str) -> Callable[[CommandT], CommandT]:
    """--cache, the number of tokens in a continuous cache."""
    count = click.IntRange(min=1)
    return click.option(
        "--cache",
        metavar="N",
        type=count,
        help=f"Add a continuous cache of the last N tokens, e.g. 2000: {shows}.",
    )


def theta_option(default: str) -> Callable[[CommandT], CommandT]:
    """--cache-theta."""
    shows = f"How much more similar contexts count in the cache; 0: all equally. [default: {default}]"
    return click.option("--cache-theta", metavar="X", type=click.FloatRange(min=0), help=shows)


_weight_option = click.option(
    "--cache-weight",
    metavar="X",
    type=click.FloatRange(0, 1),
    help=f"Weight of the cache's probability. [default: {CacheOptions().weight}]",
)


def json_option(shows: str = "Print the figures as JSON.") -> Callable[[CommandT], CommandT]:
    """--json, as the argument as_json."""
    return click.option("--json", "as_json", is_flag=True, help=shows)


def overwrite_option(replaces: str) -> Callable[[CommandT], CommandT]:
    """--overwrite."""
    return click.option("--overwrite", is_flag=True, help=f"Replace {replaces}.")


def out_option(
    shows: str, *, metavar: str = "FILE", required: bool = False, long_name: bool = True
) -> Callable[[CommandT], CommandT]:
    """--out, a path; long_name: --output is the same, unless parts have an option of that name."""
    path = click.Path(path_type=Path)
    names = ["-o", "--out", *(["--output"] if long_name else [])]
    return click.option(*names, metavar=metavar, type=path, required=required, help=shows)


def model_option(shows: str = "The model") -> Callable[[CommandT], CommandT]:
    """--model, for a SpecCommand, which reads it from the line itself."""
    return click.option(
        "-m",
        "--model",
        metavar="NAME",
        type=PartName("model", "cell"),
        expose_value=False,
        help=f"{shows}, or a cell for the recurrent one; or FILE.py:CLASS (default {DEFAULT_MODEL}).",
    )


def tokenizer_option(command: CommandT) -> CommandT:
    """--tokenizer, for a SpecCommand, which reads it from the line itself."""
    return click.option(
        "--tokenizer",
        metavar="NAME[:FILE]",
        type=PartName("tokenizer"),
        expose_value=False,
        help="Tokenizer, or one from a file, as in word:FILE (default: chosen from the text: word or char).",
    )(command)


def init_option(shows: str) -> Callable[[CommandT], CommandT]:
    """--init-from, the directory of a run."""
    return click.option("--init-from", metavar="RUN", type=RunPath(), help=shows)


def valid_option(metavar: str, shows: str) -> Callable[[CommandT], CommandT]:
    """--valid, any number of texts."""
    return click.option(
        "--valid",
        "--validation",
        multiple=True,
        metavar=metavar,
        type=click.Path(),
        help=f"{shows}; may be repeated.",
    )


def plot_option(draws: str = "Draw the result") -> Callable[[CommandT], CommandT]:
    """--plot, the path of a picture."""
    path = click.Path(path_type=Path)
    return click.option(
        "--plot", metavar="FILE", type=path, help=f"{draws}: .png, .svg or .pdf (needs matplotlib)."
    )


def html_option(shows: str = "Write a report in one file of HTML.") -> Callable[[CommandT], CommandT]:
    """--html, the path of a report, as the argument `page`; UsageError before long work if it cannot be written."""

    def checked(ctx: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
        if path is not None:
            check_new(path, overwrite=True)
        return path

    path = click.Path(path_type=Path)
    return click.option("--html", "page", metavar="FILE", type=path, callback=checked, help=shows)


def write_page(path: Path, page: str) -> None:
    """Write a report, or replace an older one."""
    with new_file(path, overwrite=True) as file:
        file.write(page.encode())


def batch_size_option(counts: str, default: int) -> Callable[[CommandT], CommandT]:
    """--batch-size."""
    count = click.IntRange(min=1)
    return click.option(
        "--batch-size", metavar="N", type=count, default=default, show_default=True, help=counts
    )


def workers_option(command: CommandT) -> CommandT:
    """--workers."""
    return click.option(
        "--workers",
        metavar="N",
        type=click.IntRange(min=1, max=1024),
        help="Share the work among N processes on the CPU, each with a part of the threads.",
    )(command)


def data_command(function: Callable[..., None]) -> click.Command:
    """A command with the options of reading a text, which it gets as `options`, a DataOptions."""

    @click.pass_context
    @functools.wraps(function)
    def call(ctx: click.Context, /, **arguments: Any) -> None:
        function(options=resolve(DataOptions, collected(ctx)["data"], "data"), **arguments)

    return click.command(cls=SpecCommand, grow=lambda _: [DATA])(call)


def loads_model(command: CommandT) -> CommandT:
    """RUN, --device, --allow-nonfinite and --code, for `lmkit.api.load`."""
    return run_argument(device_option(nonfinite_option(code_option(command))))


def loads_models(command: CommandT) -> CommandT:
    """RUN..., --device, --allow-nonfinite and --code, for `load_all`."""
    return runs_argument(device_option(nonfinite_option(code_option(command))))


def asks_models(command: CommandT) -> CommandT:
    """RUN... TEXT..., --data, and `loading_options`."""
    return items_argument(data_option(loading_options(command)))


def loading_options(command: CommandT) -> CommandT:
    """The options of `lmkit.api.load`: --device, --allow-nonfinite, --split-unknown; and --code."""
    return device_option(nonfinite_option(split_option(code_option(command))))


@dataclass(frozen=True)
class Items:
    """The arguments of a command line: runs by their labels (see `run_paths.labels`), and texts."""

    runs: dict[str, Path]
    texts: list[str]

    @property
    def run(self) -> Path | None:
        """The run, if there is only one."""
        return next(iter(self.runs.values())) if len(self.runs) == 1 else None


def split_items(
    items: Sequence[str],
    texts: Sequence[str],
    command: str,
    *,
    what: str = "TEXT",
    needs_text: bool = True,
) -> Items:
    """Separate runs from texts, in any order: a directory with lmkit.json is a run, the rest is text.

    texts: the values of --data, which are never runs. command, what: for messages. needs_text: whether there must be
    text. Raises UsageError if either is missing, ModelError for a run that has no model yet or is an archive.
    """
    found = [Path(item) for item in items if run_paths.is_run(Path(item))]
    rest = [item for item in items if not run_paths.is_run(Path(item))]
    for item in rest:
        path = Path(item)
        if run_paths.is_unfinished(path):
            raise run_paths.unfinished(path)
        if item.endswith(run_paths.ARCHIVES) and path.is_file():
            raise run_paths.is_archive(path)
    if not found:
        raise _no_run(rest)
    wanted = [*rest, *texts]
    if not wanted and needs_text:
        raise UsageError(f"{command} has runs but no {what}: give {what} after the runs")
    return Items(run_paths.labels(found), wanted)


def _no_run(items: Sequence[str]) -> LmkitError:
    """The error for a command line without a run; it names the most likely intended item."""
    paths = [Path(item) for item in items]
    inside = (path for path in paths if path.is_file() and run_paths.run_of_file(path) is not None)
    missing = (path for path in paths if path.is_dir() or not path.exists())
    return run_paths.not_a_run(next(itertools.chain(inside, missing, paths)))


def load_all(runs: Mapping[str, Path], **options: Any) -> dict[str, "Model"]:
    """The models of runs, by the runs' labels; options: those of `lmkit.api.load`."""
    from lmkit import api

    models = {}
    for label, run in runs.items():
        with console.about(label if len(runs) > 1 else ""):
            models[label] = api.load(run, **options)
    return models
