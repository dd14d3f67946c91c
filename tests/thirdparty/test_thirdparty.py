"""Installed third-party plugins: as good as the built-ins when right, named and left out when wrong."""

import subprocess
from collections.abc import Callable

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

DEMOS = {
    "lmkit-demo-cell": "mycell",
    "lmkit-demo-tokenizer": "lowercase-letters",
    "lmkit-demo-decoder": "epsilon",
    "lmkit-demo-bigram": "bigram",
    "lmkit-demo-encoder": "neighbours",
}
FIND = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s")
from lmkit.errors import LmkitError
from lmkit.plugins import registry
try:
    part = registry().find(sys.argv[1], sys.argv[2])
    if "load" in sys.argv:
        part.load()
    print(part.long_name)
except LmkitError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_conformance(python_with_plugins: Run) -> None:
    """A third party's tokenizer, cell, models and decoder pass the suite that the built-ins pass."""
    result = python_with_plugins("-m", "lmkit.testing", *(f"{name}:*" for name in DEMOS))
    assert result.returncode == 0, result.stdout + result.stderr
    for distribution, name in DEMOS.items():
        assert f" {distribution}:{name}: " in result.stdout


def test_plugins_list(lmkit_with_plugins: Run) -> None:
    """`lmkit plugins list` shows installed parts with their distributions."""
    result = lmkit_with_plugins("plugins", "list")
    assert result.returncode == 0, result.stderr
    for distribution, name in DEMOS.items():
        assert distribution in result.stdout
        assert name in result.stdout


@pytest.mark.parametrize("name", ["mycell", "lmkit-demo-cell:mycell"])
def test_bare_and_long_names(python_with_plugins: Run, name: str) -> None:
    """A third party's part answers to its bare name and to its long one."""
    result = python_with_plugins("-c", FIND, "cell", name)
    assert (result.returncode, result.stdout.strip()) == (0, "lmkit-demo-cell:mycell"), result.stderr


def test_broken_plugin_breaks_itself_only(python_with_plugins: Run) -> None:
    """A plugin that cannot be imported is named in a warning, and everything else works."""
    plugins = ("lmkit-demo-broken", "lmkit-demo-cell")
    result = python_with_plugins("-c", FIND, "cell", "mycell", plugins=plugins)
    assert (result.returncode, result.stdout.strip()) == (0, "lmkit-demo-cell:mycell")
    warning = result.stderr.strip().splitlines()
    assert len(warning) == 1, result.stderr
    assert warning[0].startswith(
        "WARNING plugin 'lmkit_demo_broken' of lmkit-demo-broken 0.6.0: cannot be imported"
    )
    assert "too old" in warning[0]


def test_broken_plugin_asked_for(python_with_plugins: Run) -> None:
    """Exit code 6, with the reason, when a broken plugin is what is asked for."""
    result = python_with_plugins(
        "-c", FIND, "cell", "lmkit-demo-broken:thing", plugins=("lmkit-demo-broken",)
    )
    assert result.returncode == 6
    assert "lmkit-demo-broken 0.6.0" in result.stdout
    assert "too old" in result.stdout


def test_clash(python_with_plugins: Run) -> None:
    """A bare name that two third parties have is an error of exit code 6 that shows both long names."""
    plugins = ("lmkit-demo-cell", "lmkit-demo-clash")
    result = python_with_plugins("-c", FIND, "cell", "mycell", plugins=plugins)
    assert result.returncode == 6
    assert "lmkit-demo-cell:mycell and lmkit-demo-clash:mycell" in result.stdout
    result = python_with_plugins("-c", FIND, "cell", "lmkit-demo-clash:mycell", plugins=plugins)
    assert (result.returncode, result.stdout.strip()) == (0, "lmkit-demo-clash:mycell")


def test_other_api_and_wrong_specs(python_with_plugins: Run) -> None:
    """Parts for another API, or of the wrong kind, are left out by name; what is right stays."""
    result = python_with_plugins("-c", FIND, "decoder", "greedy", plugins=("lmkit-demo-misfit",))
    assert (result.returncode, result.stdout.strip()) == (0, "lmkit:greedy")
    assert (
        "lmkit-demo-misfit 0.8.0: the decoder 'from-the-future' was made for plugin API 99" in result.stderr
    )
    assert "lmkit_tokenizers must return TokenizerSpec objects, not CellSpec" in result.stderr


def test_wrong_target(python_with_plugins: Run) -> None:
    """A target that is not what its hook asks for is exit code 6 with the plugin's name, once it is used."""
    result = python_with_plugins("-c", FIND, "decoder", "no-decoder", "load", plugins=("lmkit-demo-misfit",))
    assert result.returncode == 6
    assert "'lmkit-demo-misfit:no-decoder'" in result.stdout
    assert "not a subclass of Decoder" in result.stdout


def test_failing_suite(python_with_plugins: Run) -> None:
    """`python -m lmkit.testing`, the same as `lmkit plugins check`, exits with 6 and names the part and the rule."""
    plugins = ("lmkit-demo-misfit",)
    result = python_with_plugins("-m", "lmkit.testing", "lmkit-demo-misfit:no-decoder", plugins=plugins)
    assert result.returncode == 6
    assert "decoder lmkit-demo-misfit:no-decoder: 4 of 5 rules kept" in result.stdout
    assert "check_target: The target can be imported" in result.stdout
    assert "not a subclass of Decoder" in result.stdout
    result = python_with_plugins("-m", "lmkit.testing", "lmkit-demo-misfit:*", plugins=plugins)
    assert result.returncode == 6
    assert "error: plugin 'lmkit_demo_misfit'" in result.stderr
