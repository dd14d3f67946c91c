"""File formats of plugins: export and import offer the formats of installed models."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from lmkit import ModelSpec, hookimpl, plugins
from lmkit.cli import cli
from lmkit.cli.formats import find_format
from lmkit.errors import PluginError
from lmkit.plugins import Plugin
from lmkit.specs import FileFormat

Install = Callable[..., None]


def plugin(name: str, *formats: FileFormat, builtin: bool = False) -> Plugin:
    """A plugin whose one model has these formats."""

    class Hooks:
        @hookimpl
        def lmkit_models(self) -> list[ModelSpec]:
            return [ModelSpec(name, "nowhere:Model", formats=formats)]

    return Plugin(name, name, "1", Hooks, builtin)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """install(plugin, ...): they are the only ones."""

    def only(*chosen: Plugin) -> None:
        monkeypatch.setattr(plugins, "installed", lambda *, third_party=True: list(chosen))
        plugins.registry.cache_clear()

    yield only
    monkeypatch.undo()
    plugins.registry.cache_clear()


def test_a_plugin_adds_a_format(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its reader becomes a command with the options that every reader has; what it raises names the plugin."""
    said = []
    module = ModuleType("formats_of_a_test")
    vars(module).update(read=lambda *args, **kwargs: said.append((args, kwargs)), fail=lambda *_, **__: 1 / 0)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    install(
        plugin("mine", FileFormat("table", "a table", reader="formats_of_a_test:read")),
        plugin("other", FileFormat("broken", "nothing", reader="formats_of_a_test:fail")),
    )
    line = ["import", "table", "a.txt", "--out", str(tmp_path / "run"), "--max-expansion", "7"]
    assert CliRunner().invoke(cli, line).exit_code == 0
    ((args, kwargs),) = said
    assert args == (Path("a.txt"), tmp_path / "run")
    assert (kwargs["overwrite"], kwargs["max_expansion"]) == (False, 7)
    assert "table" in CliRunner().invoke(cli, ["import", "--help"]).stdout
    done = CliRunner().invoke(cli, ["import", "broken", "a.txt", "--out", str(tmp_path / "run")])
    assert (done.exit_code, "other:other" in done.stderr, "ZeroDivisionError" in done.stderr) == (
        6,
        True,
        True,
    )


def test_one_name_twice(install: Install) -> None:
    """A built-in format beats one of a plugin; two of plugins are an error that names both."""
    same = FileFormat("same", "x", "nowhere:write")
    install(plugin("a", same), plugin("b", same))
    with pytest.raises(PluginError, match="a:a and b:b"):
        find_format("same", "writer")
    install(plugin("a", same), plugin("own", same, builtin=True))
    assert find_format("same", "writer").owner == "lmkit:own"
    install(plugin("a", FileFormat("archive", "x", "nowhere:write")))
    assert find_format("archive", "writer").owner == "lmkit"


def test_unknown_formats(install: Install, tmp_path: Path) -> None:
    """A name that nobody has, or that only the other direction has, is a usage error with a suggestion."""
    install(plugin("mine", FileFormat("table", "a table", reader="nowhere:read")))
    done = CliRunner().invoke(cli, ["import", "tabel", "a", "--out", "b"])
    assert (done.exit_code, "did you mean 'table'?" in done.stderr) == (2, True)
    done = CliRunner().invoke(cli, ["export", str(tmp_path), "b", "--to", "table"])
    assert (done.exit_code, "known: archive" in done.stderr) == (2, True)


def test_a_model_of_another_class(run: Path, tmp_path: Path) -> None:
    """What a format is for is named, and nothing is written."""
    done = CliRunner().invoke(cli, ["export", str(run), str(tmp_path / "a.arpa"), "--to", "arpa"])
    assert (done.exit_code, "the format arpa is for lmkit:ngram" in done.stderr) == (2, True)
    assert not (tmp_path / "a.arpa").exists()
