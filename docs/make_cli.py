"""Write docs/cli.md from the help of every command: python docs/make_cli.py (--print: to stdout)."""

import sys
from pathlib import Path

import click
from click.testing import CliRunner

from lmkit.cli import cli
from lmkit.cli.option_flags import written
from lmkit.option_fields import OptionField, fields_of
from lmkit.plugins import Part, registry

WIDTH = 100
PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The command line

Made by `python docs/make_cli.py`: do not edit.

Data goes to stdout, messages go to stderr. Exit codes: 0 done, 1 anything else, 2 usage, 3 data, 4 model, \
5 checkpoint, 6 plugin, 130 interrupted, 143 terminated. Every error is one line: what is wrong, where, \
what to do; `lmkit --debug` adds the traceback. `python -m lmkit` is the same as `lmkit`, and `-h` the same as `--help`.

Commands that use models take `RUN... TEXT...`, in any order: a directory that contains `lmkit.json` is a run, the \
rest is text ([more](data.md#runs-and-texts)).

## On a terminal

Tables fit the width of the terminal (or `COLUMNS`): titles are wrapped first, then names and other text; a table \
that is still too wide continues below with the names repeated; numbers are never cut. In a pipe or a file, tables are \
Markdown; `--json` prints every figure in full.

A line that begins with `warning:` needs attention; `note:` needs no action, for example that a cache is rebuilt. \
`--verbose` adds details. Progress bars appear for work of more than two seconds, with messages above \
them, and disappear at the end. `NO_COLOR` turns off colours and bold type.

`lmkit generate` prints a text while it is generated. Characters that could control the terminal appear as escapes \
(`\\x1b`); a pipe or a file gets the text unchanged. Ctrl-C ends the line; the exit code is then 130.

## Shell completion

The tab key completes commands, options, the names of models, cells, tokenizers and decoders (`lmkit train --model \
g`), including those of third-party plugins, and run directories. Add the line for your shell to its start-up file:

| shell | file | line |
|---|---|---|
| bash (4.4 or newer) | `~/.bashrc` | `eval "$(_LMKIT_COMPLETE=bash_source lmkit)"` |
| zsh | `~/.zshrc`, after `compinit` | `eval "$(_LMKIT_COMPLETE=zsh_source lmkit)"` |
| fish | `~/.config/fish/completions/lmkit.fish` | `_LMKIT_COMPLETE=fish_source lmkit \\| source` |

Options of a part are completed once the command line names the part: `lmkit train --model lstm --num-l`. Runs are \
searched in the typed folder and its direct subfolders.
"""
PARTS_HEAD = """## The options of the built-in parts

The options of a model, its cell and a tokenizer are flags of `lmkit train`, those of a decoder of \
`lmkit generate`; all are keys of a [recipe](recipes.md).
"""


def render() -> str:
    """The whole page."""
    sections = [HEAD, *(help_section(path) for path in command_paths())]
    sections += [PARTS_HEAD, *(part_section(part) for part in registry().parts())]
    return "\n".join(sections)


def command_paths() -> list[list[str]]:
    """[], ["train"], ... ["plugins", "list"]: every command and group."""
    paths: list[list[str]] = []

    def walk(command: click.Command, path: list[str]) -> None:
        paths.append(path)
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(child, [*path, name])

    walk(cli, [])
    return paths


def help_section(path: list[str]) -> str:
    """The help of a command, at one width whatever the terminal, without third parties."""
    result = CliRunner().invoke(
        cli, ["--no-plugins", *path, "--help"], prog_name="lmkit", terminal_width=WIDTH
    )
    assert result.exit_code == 0, result.output
    return f"## {' '.join(['lmkit', *path])}\n\n```text\n{result.stdout.rstrip()}\n```\n"


def part_section(part: Part) -> str:
    """A built-in part and a table of its options."""
    lines = [f"### {part.kind} `{part.spec.name}`", "", f"{part.spec.summary}."]
    options = fields_of(part.spec.options)
    if options:
        lines += ["", "| option | values | default | |", "|---|---|---|---|", *map(row, options)]
    return "\n".join(lines) + "\n"


def row(item: OptionField) -> str:
    """One line of a table of options."""
    flag = f"`--{item.flag}`" if item.type is not bool else f"`--{item.flag}` / `--no-{item.flag}`"
    if item.type is bool:
        values = "yes or no"
    elif item.choices:
        values = ", ".join(f"`{choice}`" for choice in item.choices)
    else:
        bounds = [
            f"{word} {written(x)}" for word, x in (("from", item.min), ("to", item.max)) if x is not None
        ]
        values = " ".join([item.kind or item.type.__name__, *bounds])
    default = "" if item.default in (None, "") else f"`{written(item.default)}`"
    text = item.help.replace("<", "&lt;")  # `</s>` would be taken for HTML
    return f"| {flag} | {values} | {default} | {text} |"


def main() -> None:
    """Write the page, or print it."""
    from lmkit.plugins import use_third_party

    use_third_party(False)
    page = render()
    if "--print" in sys.argv[1:]:
        sys.stdout.write(page)
    else:
        PAGE.write_text(page, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
