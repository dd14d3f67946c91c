"""Discovery and names: a broken plugin disables only itself, and loading order has no effect."""

import logging
import subprocess
import sys
from dataclasses import dataclass
from itertools import permutations
from types import SimpleNamespace

import pytest

from lmkit import CellSpec, DecoderSpec, ModelSpec, TokenizerSpec, hookimpl, option, plugins
from lmkit.errors import PluginError, UsageError
from lmkit.plugins import Plugin, Registry, check_spec, install_hint, installed, own_distribution, registry
from lmkit.specs import NoOptions, Spec


def plugin(distribution: str, builtin: bool = False, **hooks) -> Plugin:
    """A plugin whose hooks give these specs, or are these functions: plugin("dist", cells=[...])."""
    module = SimpleNamespace()
    for kind, given in hooks.items():
        function = given if callable(given) else lambda given=given: given
        setattr(module, f"lmkit_{kind}", hookimpl(function))
    return Plugin("entry", distribution, "1.2", lambda: module, builtin)


def cell(name: str) -> CellSpec:
    return CellSpec(name=name, target="lmkit_recurrent.gru:GRUCell")


def raising(error: BaseException) -> Plugin:
    """A plugin whose import raises."""

    def load():
        raise error

    return Plugin("entry", "bad-dist", "1.2", load)


def test_builtin_wins_its_bare_name(caplog: pytest.LogCaptureFixture) -> None:
    """A bare name that a built-in has means the built-in, and the plugin that it hides is named."""
    parts = Registry([plugin("other", cells=[cell("gru")]), plugin("x", True, cells=[cell("gru")])])
    assert parts.find("cell", "gru").long_name == "lmkit:gru"
    assert "other:gru" in caplog.text
    assert parts.find("cell", "other:gru").plugin.distribution == "other"


def test_clash_shows_both_long_names() -> None:
    """Two third parties with one name: an error with both, in whichever order they load; long names work."""
    pair = [plugin("one", cells=[cell("mycell")]), plugin("two", cells=[cell("mycell")])]
    for order in permutations(pair):
        parts = Registry(order)
        with pytest.raises(PluginError, match="one:mycell and two:mycell"):
            parts.find("cell", "mycell")
        assert parts.find("cell", "two:mycell").plugin.distribution == "two"


def test_cells_and_models_share_a_namespace() -> None:
    """A cell and a model of one name clash, within one distribution and across two."""
    model = ModelSpec(name="same", target="m:M")
    parts = Registry([plugin("one", cells=[cell("same")]), plugin("two", models=[model])])
    with pytest.raises(PluginError, match="one:same and two:same"):
        parts.find(("cell", "model"), "same")
    parts = Registry([plugin("one", cells=[cell("same")], models=[model])])
    assert "two cells or models called 'same'" in str(parts.failures[0])


@pytest.mark.parametrize(
    "error", [ImportError("no such thing"), SyntaxError("bad"), SystemExit(3), ValueError()]
)
def test_import_errors(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """What a plugin's import raises, even SystemExit, breaks that plugin alone, with one named warning."""
    parts = Registry([raising(error), plugin("good", cells=[cell("mine")])])
    assert parts.find("cell", "mine").long_name == "good:mine"
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "bad-dist 1.2" in caplog.text
    with pytest.raises(PluginError, match=r"bad-dist 1\.2.*cannot be imported"):
        parts.find("cell", "bad-dist:thing")
    with pytest.raises(PluginError, match=r"not loaded: .*bad-dist"):
        parts.find("cell", "unheard-of")


def test_wrong_hook_signature() -> None:
    """A hook with an argument that there is not, or a hook that there is not, is named with its plugin."""
    wrong = plugin("wrong", cells=lambda colour: [])
    absent = plugin("absent", colours=[])
    parts = Registry([wrong, absent, plugin("good", cells=[cell("mine")])])
    said = {failure.plugin.distribution: str(failure) for failure in parts.failures}
    assert "colour" in said["wrong"]
    assert "lmkit_cells" in said["wrong"]
    assert "lmkit_colours" in said["absent"]
    assert parts.find("cell", "mine")


def test_hook_that_fails() -> None:
    """An exception in one hook leaves the plugin's other hooks in place."""

    def fails():
        raise RuntimeError("cells are out")

    decoder = DecoderSpec(name="mine", target="m:D")
    parts = Registry([plugin("half", cells=fails, decoders=[decoder])])
    assert "lmkit_cells failed: RuntimeError: cells are out" in str(parts.failures[0])
    assert parts.find("decoder", "mine").spec is decoder


@dataclass(frozen=True)
class ListOptions:
    sizes: list[int] = option((), "sizes")  # type: ignore[assignment]


class NotFrozen:
    """Options that are no dataclass."""


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (CellSpec("mine", "m:C", api=2), "plugin API 2, this lmkit has 1"),
        (CellSpec("My Cell", "m:C"), "lower-case"),
        (CellSpec("mine", "not a target"), "module:object"),
        (CellSpec("mine", "m:C", options=NotFrozen), "frozen dataclass"),
        (CellSpec("mine", "m:C", options=ListOptions), "its option 'sizes' is annotated list[int]"),
        (TokenizerSpec("mine", "m:T"), "must return CellSpec objects, not TokenizerSpec"),
        ("a string", "must return CellSpec objects, not str"),
    ],
)
def test_bad_specs(spec: Spec, reason: str) -> None:
    """A spec that is not right is left out, and the plugin and the reason are said."""
    assert reason in (check_spec("cell", spec) or "")
    parts = Registry([plugin("maker", cells=[spec, cell("good")])])
    assert [str(f) for f in parts.failures if "maker 1.2" in str(f) and reason in str(f)]
    assert parts.find("cell", "good")


def test_unknown_names_get_a_suggestion() -> None:
    """A misspelt name is the user's mistake, and the nearest is offered."""
    parts = Registry([plugin("one", True, cells=[cell("gru"), cell("lstm")])])
    with pytest.raises(UsageError, match="did you mean 'lstm'"):
        parts.find("cell", "lsmt")


def test_missing_distribution_names_what_to_install() -> None:
    """A saved model's part whose distribution is absent: which version to install."""
    parts = Registry([plugin("x", True, cells=[cell("gru")])])
    with pytest.raises(
        PluginError,
        match=r"runs/a needs the cell 'foo' of the distribution 'absent', .*: pip install 'absent==1\.2'",
    ):
        parts.find("cell", "absent:foo", needed_by="runs/a", version="1.2")
    with pytest.raises(PluginError, match="has only: lmkit:gru"):
        parts.find("cell", "lmkit:foo", needed_by="runs/a")


def test_targets_are_checked_when_used() -> None:
    """A target that is absent, or not what the hook asks for, is named with its plugin, once it is used."""
    bad = [
        CellSpec("gone", "no_such_module:C"),
        CellSpec("odd", "collections:OrderedDict"),
        CellSpec("ok", "m:C"),
    ]
    parts = Registry([plugin("maker", cells=bad)])
    assert not parts.failures
    with pytest.raises(PluginError, match=r"maker:gone.*maker 1\.2.*no_such_module"):
        parts.find("cell", "gone").load()
    with pytest.raises(PluginError, match=r"maker:odd.*not a subclass of Cell"):
        parts.find("cell", "odd").load()


def test_builtins_come_first() -> None:
    """The order of parts: built-ins, then third parties by name, however they were found."""
    made = [
        plugin("b", cells=[cell("y")]),
        plugin("a", cells=[cell("z")]),
        plugin("x", True, cells=[cell("gru")]),
    ]
    for order in permutations(made):
        assert [p.long_name for p in Registry(order).parts("cell")] == ["lmkit:gru", "a:z", "b:y"]


def test_the_installed_builtins() -> None:
    """The built-ins are found by the entry points of lmkit's own distribution, whatever it is called."""
    own = own_distribution()
    assert own is not None
    assert all(p.builtin for p in installed(third_party=False))
    assert {"cell", "decoder", "model"} <= {p.kind for p in registry().parts() if p.plugin.builtin}
    assert install_hint("plot") == f"pip install '{own.name}[plot]'"


def test_no_plugins() -> None:
    """`--no-plugins` leaves third parties out until they are taken back in."""
    try:
        plugins.use_third_party(False)
        assert all(p.builtin for p in registry().plugins)
    finally:
        plugins.use_third_party(True)
    assert plugins.registry() is registry()


def test_registry_imports_no_torch() -> None:
    """Knowing every part's name, summary and options takes no torch, no numpy and no datasets."""
    code = (
        "import sys; from lmkit.plugins import registry; from lmkit.option_fields import fields_of\n"
        "for part in registry().parts(): fields_of(part.spec.options)\n"
        "print(*{'torch', 'numpy', 'datasets', 'sentencepiece'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "", result.stdout


def test_specs_without_options() -> None:
    """A part without options has the empty dataclass."""
    assert cell("mine").options is NoOptions
