"""`lmkit embed`: its files, its figures and what it refuses."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from pyarrow import parquet
from safetensors.torch import load_file, save_file

from lmkit.api import Model
from lmkit.cli import cli
from lmkit.embedding import vector_files as files
from lmkit.embedding.vector_files import read_vectors
from lmkit.errors import DataError, ModelError

SENTENCES = ["the cat sat", "", "a dog, a  tree/house", "the cat sat", ""]


@pytest.fixture
def model(trained_model) -> Model:
    return trained_model("gru")


@pytest.fixture
def embed(model: Model, tmp_path: Path):
    """embed(*flags, out="x.safetensors", stdin=None): the command on SENTENCES, and the file."""
    (tmp_path / "in.txt").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")

    def run(
        *flags: str, out: str = "x.safetensors", data: str = "", stdin: Any = None
    ) -> tuple[Result, Path]:
        source = data or str(tmp_path / "in.txt")
        line = ["embed", str(model.run.directory), source, "--out", str(tmp_path / out), *flags]
        return CliRunner().invoke(cli, line, input=stdin), tmp_path / out

    return run


FORMS = [("mix", "none"), ("top", "none"), ("0", "mean"), ("all", "none"), ("all", "last")]


@pytest.mark.parametrize(("layer", "pool"), FORMS)
def test_safetensors(embed, model: Model, layer: str, pool: str) -> None:
    """A row a token and where each line's rows end, or a row a line; `read_vectors` gives `Model.embed`'s shapes."""
    result, path = embed("--layer", layer, "--pool", pool)
    assert result.exit_code == 0, result.stderr
    wanted = model.embed(SENTENCES, layer, pool)
    found = read_vectors(path)
    assert len(found) == len(SENTENCES)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    plain = load_file(path)
    if pool != "none":
        assert set(plain) == {"vectors", "rows"}
        assert plain["rows"].tolist() == [1, 2, 3, 4, 5]
        assert torch.equal(plain["vectors"][2], wanted[2])
        return
    start, end = plain["ends"][1:3].tolist()
    third = plain["vectors"][start:end]
    assert torch.equal(third.transpose(0, 1) if layer == "all" else third, wanted[2])


@pytest.mark.parametrize(("layer", "pool"), FORMS)
def test_parquet(embed, model: Model, layer: str, pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns line, token, text, vector, or line, text, vector; row groups of any size hold the same."""
    monkeypatch.setattr(files, "ROW_GROUP", 20)
    result, path = embed("--layer", layer, "--pool", pool, out="x.parquet")
    assert result.exit_code == 0, result.stderr
    assert parquet.ParquetFile(path).num_row_groups > 1
    rows = parquet.read_table(path).to_pylist()
    wanted = model.embed(SENTENCES, layer, pool)
    if pool != "none":
        assert [row["line"] for row in rows] == [1, 2, 3, 4, 5]
        assert [row["text"] for row in rows] == SENTENCES
        assert all(torch.equal(torch.tensor(row["vector"]), w) for row, w in zip(rows, wanted, strict=True))
        return
    third = [row for row in rows if row["line"] == 3]
    assert [row["token"] for row in third] == list(range(wanted[2].shape[-2]))
    spans = model.tokenize(SENTENCES[2])
    assert [row["text"] for row in third] == [SENTENCES[2][start:end] for start, end in spans]
    assert torch.equal(torch.tensor([row["vector"] for row in third]).movedim(0, -2), wanted[2])
    assert {row["line"] for row in rows} == {1, 3, 4}


@pytest.mark.parametrize("layer", ["all", "top"])
def test_hdf5(embed, model: Model, layer: str) -> None:
    """A dump as bilm-tf writes them, every line in its place."""
    from lmkit.embedding.dumps import read_dump

    result, path = embed("--layer", layer, out="x.hdf5")
    assert result.exit_code == 0, result.stderr
    found = list(read_dump(path))
    wanted = model.embed(SENTENCES, layer)
    assert all(torch.equal(torch.as_tensor(a), b) for a, b in zip(found, wanted, strict=True))


def test_words(embed, model: Model) -> None:
    """--words gives a vector for each word between white space."""
    _, path = embed("--words", "--layer", "all")
    wanted = model.embed([line.split() for line in SENTENCES])
    assert all(torch.equal(a, b) for a, b in zip(read_vectors(path), wanted, strict=True))


def test_figures_and_stdin(embed) -> None:
    """--json has the figures by name; `-` is standard input, and gives the same file."""
    result, path = embed("--layer", "all", "--json")
    figures = json.loads(result.stdout)
    names = ("sentences", "tokens", "words", "words_per_second", "layers", "features", "file")
    assert tuple(figures) == names
    assert [figures[name] for name in names[:3]] == [5, 10, 10]
    assert (figures["layers"], figures["features"], figures["file"]) == (3, 8, str(path))
    stdin = io.BytesIO("\n".join(SENTENCES).encode() + b"\n")
    second, other = embed("--layer", "all", out="y.safetensors", data="-", stdin=stdin)
    assert "words per second" in second.stdout
    assert other.read_bytes() == path.read_bytes()


def test_a_file_is_replaced_only_when_asked(embed) -> None:
    """--overwrite replaces; else the command refuses and the file stays."""
    _, path = embed()
    before = path.read_bytes()
    result, _ = embed("--layer", "all")
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert path.read_bytes() == before
    assert embed("--layer", "all", "--overwrite")[0].exit_code == 0
    assert path.read_bytes() != before


@pytest.mark.parametrize("out", ["x.safetensors", "x.parquet", "x.hdf5"])
def test_nothing_half_written(embed, tmp_path: Path, out: str) -> None:
    """Text that turns out bad leaves no file behind."""
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"the cat\n" * 2000 + b"\xff\n")
    result, path = embed(out=out, data=str(bad))
    assert result.exit_code == 3, result.stderr
    assert [p.name for p in path.parent.iterdir() if p.name.startswith((out, f".{out}"))] == []


@pytest.mark.parametrize(
    ("flags", "out", "said"),
    [
        ((), "x.npz", ".safetensors, .parquet, .hdf5"),
        ((), "x", ".safetensors, .parquet, .hdf5"),
        (("--layer", "7"), "x.parquet", "all, top, mix, 0 to 2"),
        (("--pool", "mean"), "x.hdf5", "leave --pool out"),
        ((), "no/where.parquet", "there is no folder"),
    ],
)
def test_refused(embed, flags: tuple[str, ...], out: str, said: str) -> None:
    """A file or a layer that cannot be is a usage error of one line, before any text is read."""
    result, path = embed(*flags, out=out, data="no-such-file.txt" if "layer" not in str(flags) else "")
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not path.exists()


def test_reading_other_files(tmp_path: Path) -> None:
    """A safetensors file of something else is refused with the reason, and one that is cut off too."""
    path = tmp_path / "x.safetensors"
    save_file({"weights": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="not from `lmkit embed`"):
        read_vectors(path)
    for ends in ([3, 2, 4], [1, 2], [9]):
        save_file({"vectors": torch.zeros(4, 2), "ends": torch.tensor(ends)}, path)
        with pytest.raises(DataError, match="do not match its vectors"):
            read_vectors(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelError, match="cut off"):
        read_vectors(path)
