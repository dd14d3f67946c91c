"""`lmkit plugins`: what is listed, and how broken plugins are told."""

import json
from types import SimpleNamespace

import pytest

from lmkit.cli.plugins import usage
from lmkit.plugins import Part, registry


@pytest.fixture
def loads(monkeypatch):
    """Every target can be imported."""
    target = SimpleNamespace(tiers=lambda: ("loop", "plain"))
    monkeypatch.setattr(Part, "load", lambda part: target)


def test_list_names_parts_and_failures(lmkit, everything):
    """One broken plugin leaves everything else listed, and its reason appears below, once."""
    result = lmkit("plugins", "list")
    assert result.exit_code == 0
    assert "--cell acme-cells:mine" in result.stdout
    assert "--decoder sample" in result.stdout
    assert "not loaded: plugin 'unwell' of unwell-dist 3.0" in result.stdout
    assert "'gru' means lmkit:gru" in result.stdout
    assert result.stderr == ""


def test_list_json(lmkit, everything):
    """--json has the parts, the failures and the names that two plugins share."""
    answer = json.loads(lmkit("plugins", "list", "--json").stdout)
    assert {("cell", "mine"), ("model", "recurrent")} <= {(p["kind"], p["name"]) for p in answer["parts"]}
    assert answer["failures"][0]["distribution"] == "unwell-dist"
    assert len(answer["collisions"]) == 1


def test_no_plugins_leaves_third_parties_out(lmkit, everything):
    """--no-plugins neither lists nor loads what is not built in."""
    answer = json.loads(lmkit("--no-plugins", "plugins", "list", "--json").stdout)
    assert {part["distribution"] for part in answer["parts"]} == {"lmkit-toolkit"}
    assert answer["failures"] == []
    assert lmkit("--no-plugins", "train", "--model", "mine", "a.txt").exit_code == 2


def test_a_broken_plugin_breaks_only_itself(lmkit, everything):
    """Training with another part works, with one named warning."""
    result = lmkit("train", "--model", "mine", "a.txt")
    assert result.exit_code == 0
    assert result.stderr.count("warning: plugin 'unwell'") == 1


@pytest.mark.parametrize("name", ["unwell", "unwell-dist:thing"])
def test_asking_for_a_broken_plugin_is_6(lmkit, everything, name):
    """Only whoever asks for the broken plugin gets its error."""
    for line in (("plugins", "show", name), ("train", "--model", name, "a.txt")):
        result = lmkit(*line)
        assert (result.exit_code, "no module named 'absent'" in result.stderr) == (6, True)


def test_show_describes_options(lmkit, loads):
    """`plugins show` gives type, bounds, default and use of a part."""
    result = lmkit("plugins", "show", "recurrent")
    assert "lmkit train --model recurrent FILE" in result.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines()]
    assert ["--hidden-size", "units of a layer", "int from 1 to 4096", "256"] in rows
    (shown,) = json.loads(lmkit("plugins", "show", "lmkit:rnn", "--json").stdout)
    assert shown["options"][0]["choices"] == ["tanh", "relu"]


def test_show_names_the_tiers_of_a_cell(lmkit, loads):
    """`plugins show` says by which ways a cell can run."""
    assert "(--tier): loop, plain" in lmkit("plugins", "show", "lmkit:rnn").stdout
    assert "tiers" not in json.loads(lmkit("plugins", "show", "recurrent", "--json").stdout)[0]


def test_show_prints_the_equations_of_a_cell(lmkit, monkeypatch):
    """`plugins show` has the first paragraph of a cell's docstring, a third party's too, and its equations."""

    class Cell:
        """A cell
        of few words.

        Equations:
            f_t = sigmoid(W x_t)

            h_t = f_t
        """

        tiers = staticmethod(lambda: ("plain",))

    monkeypatch.setattr(Part, "load", lambda part: Cell)
    text = lmkit("plugins", "show", "lmkit:rnn").stdout
    assert "\nA cell of few words.\n" in text
    assert "\nequations:\n    f_t = sigmoid(W x_t)\n\n    h_t = f_t\n" in text
    (shown,) = json.loads(lmkit("plugins", "show", "lmkit:rnn", "--json").stdout)
    assert shown["equations"] == ["f_t = sigmoid(W x_t)", "", "h_t = f_t"]
    assert shown["description"] == "A cell of few words."


def test_show_shows_every_part_of_a_name(lmkit, everything, loads):
    """A name that two plugins share is shown for both."""
    described = json.loads(lmkit("plugins", "show", "gru", "--json").stdout)
    assert [part["name"] for part in described] == ["lmkit:gru", "acme-cells:gru"]


def test_show_of_what_cannot_be_imported_is_6(lmkit):
    """A part whose target is missing is broken, and show says so."""
    result = lmkit("plugins", "show", "sample")
    assert (result.exit_code, "cannot be imported from nowhere:Sample" in result.stderr) == (6, True)


def test_show_suggests_a_name(lmkit):
    """A misspelt name gets a suggestion."""
    result = lmkit("plugins", "show", "recurent")
    assert (result.exit_code, "did you mean 'recurrent'?" in result.stderr) == (2, True)


def test_list_says_what_to_type() -> None:
    """A model that training does not make names the command that does."""
    parts = {part.spec.name: part for part in registry().parts("model")}
    assert usage(parts["ngram"]) == "lmkit train --model ngram FILE"
    for name in ("interpolated", "interpolated-strings", "cached", "transformers"):
        assert usage(parts[name]).split()[1] in ("interpolate", "import")
