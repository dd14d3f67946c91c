"""Files of models that nobody vouches for: pickles, unsound safetensors, odd weights."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

import lmkit
from lmkit.cli import cli
from lmkit.errors import ModelError
from lmkit.neural.weights import DTYPES, load_weights, nonfinite
from lmkit.safetensors_check import LARGEST_HEADER, SIZES, check_header


def forge(run, data: bytes, name: str = "model.safetensors") -> None:
    """Replace a file and vouch for it, as whoever made the directory can."""
    (run / name).write_bytes(data)
    manifest = json.loads((run / "lmkit.json").read_text())
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (run / "lmkit.json").write_text(json.dumps(manifest))


def refusal(path, **options) -> str:
    with pytest.raises(ModelError) as caught:
        lmkit.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def pack(header, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(begin: int, end: int, shape=None, dtype="U8") -> dict:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "weights.safetensors", "weights"])
@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_a_pickle_is_never_loaded(tmp_path, name, protocol):
    """Whatever it is called, and whether torch or pickle wrote it: one line, and nothing in it ran."""
    path = tmp_path / name
    if protocol is None:
        torch.save({"w": Bomb(tmp_path / "ran")}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol))
    assert f"{name}: is a pickle, which is never loaded" in refusal(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_place_of_the_weights(run, tmp_path):
    """model.safetensors is told by its bytes, not by its name."""
    forge(run, pickle.dumps(Bomb(tmp_path / "ran")))
    assert "model.safetensors: is a pickle" in refusal(run)
    with zipfile.ZipFile(run / "model.safetensors", "w") as packed:
        packed.writestr("archive/data.pkl", pickle.dumps(Bomb(tmp_path / "ran")))
    forge(run, (run / "model.safetensors").read_bytes())
    assert "model.safetensors: is a pickle" in refusal(run)
    assert not (tmp_path / "ran").exists()


def test_a_directory_of_pickles_is_told(tmp_path):
    """A directory without lmkit.json says of the pickles in it what they are."""
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert "pytorch_model.bin: is a pickle" in refusal(tmp_path)


def test_no_pickle_is_seen_in_a_header_of_640_bytes(tmp_path):
    """A header of 0x0280 bytes begins like a pickle of protocol 2."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(pack(json.dumps({"a": tensor(0, 1)}).encode().ljust(640), b"\0"))
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert list(check_header(path)) == ["a"]


UNSOUND = {
    "empty": (b"", "too few"),
    "2^63": ((2**63).to_bytes(8, "little") + b"{}", "claims 9,223,372,036,854,775,808 bytes"),
    "over the limit": ((LARGEST_HEADER + 1).to_bytes(8, "little"), "more than"),
    "past the end": ((100).to_bytes(8, "little") + b"{}", "past the file's end"),
    "no object": (pack(b"[]"), "'{'"),
    "not JSON": (pack(b"{,}"), "not valid JSON"),
    "not UTF-8": (pack(b'{"\xff": 1}'), "not UTF-8"),
    "deep": (pack(b'{"a":' + b"[" * 100_000), "nested too deeply"),
    "twice": (pack(b'{"a": 1, "a": 2}'), "'a' occurs twice"),
    "twice inside": (pack(b'{"a": {"dtype": "U8", "dtype": "I8"}}'), "'dtype' occurs twice"),
    "no table": (pack({"a": 3}), "'a' needs dtype"),
    "more fields": (pack({"a": {**tensor(0, 1), "x": 1}}, b"\0"), "nothing else"),
    "type": (pack({"a": tensor(0, 1, dtype="F7")}, b"\0"), "unknown type 'F7'"),
    "type is a list": (pack({"a": tensor(0, 1, dtype=[])}, b"\0"), "unknown type"),
    "negative": (pack({"a": tensor(0, 1, [-1])}, b"\0"), "impossible shape"),
    "true": (pack({"a": tensor(0, 1, [True])}, b"\0"), "impossible shape"),
    "dimensions": (pack({"a": tensor(0, 1, [1] * 65)}, b"\0"), "impossible shape"),
    "overflow": (pack({"a": tensor(0, 0, [2**32, 2**32])}), "larger than any memory"),
    "overflow, empty": (pack({"a": tensor(0, 0, [2**62, 4, 0])}), "larger than any memory"),
    "offsets": (pack({"a": {**tensor(0, 1), "data_offsets": [1, 0]}}, b"\0"), "data_offsets"),
    "size": (pack({"a": tensor(0, 1, [2])}, b"\0"), "takes 2 bytes, but has 1"),
    "overlap": (pack({"a": tensor(0, 2), "b": tensor(1, 3)}, b"\0" * 3), "'b' overlaps 'a'"),
    "hole": (pack({"a": tensor(0, 1), "b": tensor(2, 3)}, b"\0" * 3), "1 bytes between 'a' and 'b'"),
    "hole at the start": (pack({"a": tensor(1, 2)}, b"\0" * 2), "1 bytes between the header and 'a'"),
    "trailing": (pack({"a": tensor(0, 1)}, b"\0" * 9), "8 bytes after 'a'"),
    "truncated": (pack({"a": tensor(0, 9)}, b"\0"), "'a' ends at byte 9 of 1: the file is cut off"),
    "name": (pack({"\x1b[2J\n": tensor(0, 1)}, b"\0"), "printable"),
    "long name": (pack({"a" * 1000: tensor(0, 1)}, b"\0"), "1 to 512"),
    "metadata": (pack({"__metadata__": {"a": 1}}), "__metadata__"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_file_is_refused_before_it_is_mapped(run, monkeypatch, case):
    """One line with the file, the tensor, what is wrong and what to do; the library never sees the file."""
    data, reason = UNSOUND[case]
    forge(run, data)
    monkeypatch.setattr("safetensors.safe_open", None)
    message = refusal(run)
    assert reason in message
    assert f"{run}/model.safetensors: not a valid safetensors file" in message
    assert len(message) < 500


def test_only_files_are_read(tmp_path):
    """A pipe would be waited for, whether or not a manifest lists it."""
    with pytest.raises(ModelError, match="not a file"):
        check_header(tmp_path)
    with pytest.raises(ModelError, match="not a file"):
        check_header(Path(os.devnull))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text("abc.", min_size=1), st.lists(st.integers(0, 3), max_size=3), max_size=4))
def test_what_the_library_writes_is_sound(tmp_path_factory, shapes):
    """Names, types, shapes and places are those that safetensors reads, empty tensors among them."""
    path = tmp_path_factory.mktemp("sound") / "a.safetensors"
    types = list(DTYPES.values())
    tensors = {name: torch.zeros(shape, dtype=types[i % 8]) for i, (name, shape) in enumerate(shapes.items())}
    path.write_bytes(save(tensors, {"some": "thing"}))
    found = check_header(path)
    assert {n: (e.shape, DTYPES[e.dtype]) for n, e in found.items()} == {
        n: (tuple(t.shape), t.dtype) for n, t in tensors.items()
    }


def test_every_type_has_the_size_that_torch_gives_it():
    """One table of sizes corresponds to one of torch's types."""
    assert {name: SIZES[name] for name in DTYPES} == {n: t.itemsize for n, t in DTYPES.items()}


def test_differences_from_the_configuration_are_listed(tmp_path):
    """Shape, type, missing and unknown names are told in one line."""
    path = tmp_path / "a.safetensors"
    plan = torch.nn.Linear(3, 2, device="meta")
    save_file({"weight": torch.zeros(2, 4), "bias": torch.zeros(2).double()}, path)
    with pytest.raises(
        ModelError, match=r"bias is of type F64.*; weight has shape \[2, 4\], wanted \[2, 3\]"
    ):
        load_weights(path, plan, lambda: plan)
    save_file({f"layer{i}": torch.zeros(1) for i in range(40)}, path)
    with pytest.raises(ModelError, match=r"bias is missing; weight is missing; .*; and 22 more; restore"):
        load_weights(path, plan, lambda: plan)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_need_a_flag(run, value):
    """NaN and infinities are refused with the weight's name, unless allow_nonfinite says otherwise."""
    weights = load_file(run / "model.safetensors")
    weights["output.bias"][3] = value
    forge(run, save(weights))
    assert "output.bias" in refusal(run)
    assert "--allow-nonfinite" in refusal(run)
    assert not lmkit.load(run, allow_nonfinite=True).run.model.output.bias.isfinite().all()


def test_finite_weights_of_any_size_pass():
    """The largest number, whole numbers and empty weights are finite."""
    module = torch.nn.Module()
    module.register_buffer("large", torch.full((9,), torch.finfo(torch.float32).max))
    module.register_buffer("whole", torch.ones(2, dtype=torch.int64))
    module.register_buffer("empty", torch.zeros(0))
    assert nonfinite(module) == []


def test_an_archive_or_another_file_is_told(tmp_path):
    """What is given in place of a run's directory decides the remedy."""
    (tmp_path / "run.zip").write_bytes(b"PK\x03\x04")
    assert "lmkit import archive" in refusal(tmp_path / "run.zip")
    (tmp_path / "notes.txt").write_text("x")
    assert "is not a run's directory" in refusal(tmp_path / "notes.txt")


def test_the_commands_refuse_with_exit_code_4(run, tmp_path):
    """eval, generate and export take a pickle for what it is, and NaN only with --allow-nonfinite."""
    text = str(tmp_path / "text.txt")
    Path(text).write_text("the cat\n")
    torch.save({}, tmp_path / "model.pt")
    weights = load_file(run / "model.safetensors")
    weights["start"][0] = float("inf")
    forge(run, save(weights))
    lines = {"eval": [text], "generate": [], "export": ["--to", "archive", str(tmp_path / "a.zip")]}
    for command, rest in lines.items():
        refused = CliRunner().invoke(cli, [command, str(tmp_path / "model.pt"), *rest])
        assert (refused.exit_code, refused.stderr.count("\n")) == (4, 1), refused.stderr
        assert CliRunner().invoke(cli, [command, str(run), *rest]).exit_code == 4
    assert not (tmp_path / "a.zip").exists()
    done = CliRunner().invoke(cli, ["export", str(run), *lines["export"], "--allow-nonfinite"])
    assert (done.exit_code, (tmp_path / "a.zip").exists()) == (0, True), done.stderr


@pytest.mark.parametrize("line", ["export --help", "import --help", "import archive --help"])
def test_help_imports_nothing_heavy(line):
    """The help of both commands answers at once."""
    code = "import sys; from lmkit.cli import cli\ntry: cli.main(sys.argv[1:])\n"
    code += "finally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, *line.split()], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
