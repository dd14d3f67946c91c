"""Reading a run's directory that nobody vouches for: every damage is one clear error, before anything is built."""

import json
import os
import shutil
import sys

import pytest

import lmkit
from lmkit.errors import LmkitError, ModelError, PluginError


def edit(run, change) -> None:
    manifest = json.loads((run / "lmkit.json").read_text())
    change(manifest)
    (run / "lmkit.json").write_text(json.dumps(manifest))


def refusal(run, kind: type[LmkitError] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        lmkit.load(run)
    return str(caught.value)


@pytest.mark.parametrize("size", [10**12, -1, 0, 2.5, "8", True, [], [8, 10**12]])
def test_a_size_out_of_bounds_is_refused_before_allocation(run, size):
    """hidden_size 10^12, negative or of another type: exit code 4 and the name of the option."""
    edit(run, lambda m: m["model"].update(hidden_size=size))
    assert "hidden_size" in refusal(run)


def test_a_size_within_bounds_that_the_weights_have_not(run):
    """A legal but wrong size is found by comparing shapes, before the larger model is allocated."""
    edit(run, lambda m: m["model"].update(hidden_size=60000, num_layers=200))
    assert "shape" in refusal(run)


@pytest.mark.parametrize("name", ["num_layers", "embedding_size"])
@pytest.mark.parametrize("size", [10**12, 10**400, -1, 0, 2.5, "8", [], {}])
def test_other_sizes_have_bounds_too(run, name, size):
    """Layers and the width of the embedding are checked as hidden_size is."""
    edit(run, lambda m: m["model"].update({name: size}))
    assert name in refusal(run)


@pytest.mark.parametrize("cell", [3, None, [], {}, {"name": 7}, {"name": "lmkit:rnn", "activation": "evil"},
                                  {"name": "lmkit:gru", "hidden": 10**12}])  # fmt: skip
def test_options_of_the_cell_are_checked(run, cell):
    """What the cell's table holds is resolved as a recipe's is."""
    edit(run, lambda m: m["model"].update(cell=cell))
    assert "model.cell" in refusal(run)


@pytest.mark.parametrize("size", [9, 2**31 - 1])
def test_a_vocabulary_that_does_not_fit_the_tokenizer(run, size):
    """The size is compared with the tokenizer's before a model of that size is made."""
    edit(run, lambda m: m["vocabulary"].update(size=size))
    assert "not the tokenizer" in refusal(run)


def test_a_key_twice_is_refused(run):
    """Two readers of one manifest could otherwise see two models."""
    text = (run / "lmkit.json").read_text()
    (run / "lmkit.json").write_text(
        text.replace('"hidden_size"', '"dropout": 0.1, "dropout": 0.2, "hidden_size"')
    )
    assert "'dropout' occurs twice" in refusal(run)


def test_unknown_keys_are_refused(run):
    """An option that the model does not have is named."""
    edit(run, lambda m: m["model"].update(hiden=3))
    assert "hiden" in refusal(run)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"model":' * 100_000,
        b'{"format": 1' + b"0" * 5000 + b"}",
        b"{}",
        b"[]",
        b"",
        b"\xff\xfe",
        b'{"format": 99}',
        b'{"format": 1, "model": 3}',
    ],
)
def test_a_manifest_that_is_none_is_refused(run, content):
    """Deep nesting, other types, other formats, no JSON at all: exit code 4 with the file's name."""
    (run / "lmkit.json").write_bytes(content)
    assert "lmkit.json" in refusal(run)


@pytest.mark.parametrize(
    "vocabulary", [None, 3, {"size": 5}, {"size": 1e9, "eos_id": 0, "unk_id": 1, "fingerprint": ""},
                   {"size": 5, "eos_id": 7, "unk_id": 1, "fingerprint": ""}]
)  # fmt: skip
def test_a_damaged_vocabulary_is_refused(run, vocabulary):
    """Sizes and ids of the vocabulary are checked before a model is made of them."""
    edit(run, lambda m: m.update(vocabulary=vocabulary))
    assert "vocabulary" in refusal(run)


def test_an_absent_plugin_is_named_with_what_to_install(run):
    """Exit code 6, the distribution, and the version that the model was made with."""

    def change(manifest):
        manifest["model"]["cell"] = {"name": "some-cells:foo"}
        manifest["distributions"]["some-cells:foo"] = {"distribution": "some-cells", "version": "1.2"}

    edit(run, change)
    message = refusal(run, PluginError)
    assert "'foo'" in message
    assert "unknown to lmkit; if you trust it: pip install 'some-cells==1.2'" in message


def test_a_directory_cannot_make_lmkit_import_anything(run):
    """A name that looks like a module's path is a name of a part that nobody has."""
    edit(run, lambda m: m["model"].update(name="os:system"))
    assert "pip install 'os'" in refusal(run, PluginError)


@pytest.mark.parametrize(
    "version", ["1.0; rm -rf /", "1.0 --index-url http://evil", "$(evil)", 7, None, "1\n2"]
)
def test_a_version_cannot_bring_a_command_along(run, version):
    """What is suggested for the shell holds nothing that the directory made up."""

    def change(manifest):
        manifest["model"]["cell"] = {"name": "some-cells:foo"}
        manifest["distributions"]["some-cells:foo"] = {"distribution": "some-cells", "version": version}

    edit(run, change)
    message = refusal(run, PluginError)
    assert message.split("pip install ")[1] == "'some-cells'"


@pytest.mark.parametrize("name", ["a b", "\x1b[2J", "x\ny", "", "-e", "\u202e", "x" * (1 << 22), "os;system"])
def test_names_that_nobody_gives(run, name):
    """Names of parts and options are words: neither the terminal nor the search for a near miss sees others."""
    edit(run, lambda m: m["model"].update(name=name))
    assert refusal(run, LmkitError).isprintable()
    edit(run, lambda m: m["model"].update({"name": "lmkit:recurrent", name: 1}))
    assert refusal(run).isprintable()


@pytest.mark.parametrize("part", ["model", "tokenizer", "cell"])
@pytest.mark.parametrize(
    "name",
    ["evil:Model", "evil", "evil.inner:Model", "lmkit:evil", "lmkit:recurrent:evil", "../evil:Model", "./evil.py",
     "evil\0:Model", "lmkit_recurrent.evil:Model", ":evil", "evil:", "", "\ud800:evil", "x" * 10_000 + ":evil"],
)  # fmt: skip
def test_hostile_names_import_nothing(run, monkeypatch, part, name):
    """Modules and entry points that lie in the directory itself are never found, whatever it names."""
    for folder in (run, run / "evil", run / "tokenizer"):
        folder.mkdir(exist_ok=True)
        for module in ("evil.py", "__init__.py", "lmkit_evil.py"):
            (folder / module).write_text("raise SystemExit('imported')")
    (run / "evil-1.0.dist-info").mkdir()
    (run / "evil-1.0.dist-info" / "entry_points.txt").write_text("[lmkit]\nevil = evil\n")
    monkeypatch.chdir(run)
    table = {"model": lambda m: m["model"], "tokenizer": lambda m: m["tokenizer"],
             "cell": lambda m: m["model"]["cell"]}[part]  # fmt: skip
    edit(run, lambda m: table(m).update(name=name))
    before = set(sys.modules)
    refusal(run, LmkitError)
    assert not {module for module in set(sys.modules) - before if "evil" in module}


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer"])
def test_missing_files_are_named(run, name):
    """What is gone is named, and what to do."""
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert name in refusal(run)


def test_a_changed_file_is_noticed(run):
    """A byte flipped in the weights is found by the digest in the manifest."""
    data = bytearray((run / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (run / "model.safetensors").write_bytes(data)
    assert "SHA-256" in refusal(run)


def test_files_outside_the_directory_are_refused(run):
    """The manifest cannot point outside the run."""
    edit(run, lambda m: m["files"].update({"../../etc/passwd": {"size": 1, "sha256": ""}}))
    assert "damaged" in refusal(run)


def test_another_tokenizer_is_refused(run, tmp_path):
    """A tokenizer that gives other ids than the one trained with is exit code 4."""
    edit(run, lambda m: m["vocabulary"].update(fingerprint="0" * 64))
    assert "not the tokenizer" in refusal(run)


def test_what_is_no_run_is_said_so(tmp_path):
    """A missing path and an unfinished run each get their own words."""
    assert "does not exist" in refusal(tmp_path / "nowhere")
    half = tmp_path / "half"
    half.mkdir()
    assert "it has no lmkit.json" in refusal(half)
    (half / "recipe.toml").write_text("")
    assert "its training is unfinished; train it with" in refusal(half)
    (half / "checkpoints" / "step-1").mkdir(parents=True)
    assert f"finish it with lmkit train --resume {half}" in refusal(half)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
@pytest.mark.parametrize("name", ["lmkit.json", "tokenizer/tokenizer.json", "model.safetensors"])
def test_a_pipe_in_place_of_a_file_does_not_hang(run, name):
    """Reading a named pipe would wait for ever."""
    (run / name).unlink()
    os.mkfifo(run / name)
    assert name in refusal(run)


def test_names_of_files_that_no_run_has_are_refused(run):
    """A name cannot write to the terminal, nor stop the check by being no path."""
    for name in ("\x1b[2Jx", "a\nb", "a\0b", "\ud800", "a" * 300):
        edit(run, lambda m, name=name: m["files"].update({name: {"size": 1, "sha256": ""}}))
        assert refusal(run).isprintable()


def test_checkpoints_are_no_part_of_the_model(run):
    """States of the training may go without the model missing them."""
    assert not [
        name for name in json.loads((run / "lmkit.json").read_text())["files"] if "checkpoints" in name
    ]
