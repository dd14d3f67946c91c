"""The sources of a name of DATA, and the text of each file format."""

import bz2
import gzip
import json
import lzma
import re
from pathlib import Path

import pytest
import zstandard

from lmkit.corpus import compression, tables
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.corpus.sources import FileSource
from lmkit.corpus.split import hold_out
from lmkit.errors import DataError

DOCUMENTS = ["first one\nof two lines", "NA", "007", "", "last"]


def documents(text: Text) -> list[str]:
    found: list[str] = []
    for line in text:
        if line.starts_document:
            found.append(line.text)
        else:
            found[-1] += "\n" + line.text
    return found


def write(path: Path) -> Path:
    """DOCUMENTS as a table, in the format of the path's name."""
    if ".jsonl" in path.name:
        content = "".join(json.dumps({"id": i, "text": d}) + "\n" for i, d in enumerate(DOCUMENTS))
    elif path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"text": DOCUMENTS, "id": list(range(len(DOCUMENTS)))}), path)
        return path
    else:
        content = "id,text\n" + "".join(f'{i},"{d}"\n' for i, d in enumerate(DOCUMENTS))
    packed = gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode()
    path.write_bytes(packed)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet", "a[1].csv", "a, b.csv.gz"])
def test_each_row_is_a_document(tmp_path: Path, name: str) -> None:
    """Rows of every table format are documents, their texts untouched; an empty text is an empty document."""
    path = tmp_path / name
    if name == "a.json":
        write(tmp_path / "a.jsonl").rename(path)
    else:
        write(path)
    assert documents(Text([str(path)], DataOptions())) == DOCUMENTS


def test_nulls_are_empty_documents(tmp_path: Path) -> None:
    """A null is an empty document, not an error."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"text": ["a", None, "b"]}), tmp_path / "a.parquet")
    assert documents(Text([str(tmp_path / "a.parquet")], DataOptions())) == ["a", "", "b"]
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": null}\n{"text": "b"}\n')
    assert documents(Text([str(tmp_path / "a.jsonl")], DataOptions())) == ["a", "", "b"]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_missing_column(tmp_path: Path, name: str) -> None:
    """A table without the named column shows the columns that it has."""
    with pytest.raises(DataError, match=r"row 1: no field 'body'; its fields are .*'text'"):
        list(Text([str(write(tmp_path / name))], DataOptions(text_field="body")))


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.csv.gz"])
def test_damaged_table(tmp_path: Path, name: str) -> None:
    """A damaged table is one line with the file's name."""
    path = tmp_path / name
    path.write_bytes(b'text,id\nhello,1\n"x",2,3,4\n')
    with pytest.raises(DataError) as caught:
        list(Text([str(path)], DataOptions()))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_csv_in_another_encoding(tmp_path: Path) -> None:
    """A CSV file that is not UTF-8 is told as a text is, and read with the encoding that is named."""
    path = tmp_path / "a.csv"
    path.write_bytes("text\ncafé noir\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a.csv: line 2 \(byte 8\): not UTF-8.*--encoding latin-1"):
        list(Text([str(path)], DataOptions()))
    assert documents(Text([str(path)], DataOptions(encoding="latin-1"))) == ["café noir"]


def test_folders_and_patterns(tmp_path: Path) -> None:
    """A folder is its files below it, sorted, hidden ones left out; each file is a document."""
    for name in ("b.txt", "a/c.txt", "a/.hidden", ".git/config", "plain"):
        path = tmp_path / "books" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    books = tmp_path / "books"
    text = Text([str(books)], DataOptions())
    assert documents(text) == ["a/c.txt", "b.txt", "plain"]
    assert text.describe() == "3 files of books/"
    assert documents(Text([str(books / "*.txt")], DataOptions())) == ["b.txt"]
    assert documents(Text([str(books / "**" / "*.txt")], DataOptions())) == ["a/c.txt", "b.txt"]
    both = Text([str(books / "plain"), str(books / "b.txt")], DataOptions())
    assert documents(both) == ["plain", "b.txt"]
    assert both.describe() == "plain, b.txt"


def test_a_file_called_like_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing path comes before a built-in name."""
    monkeypatch.chdir(tmp_path)
    Path("pydocs").write_text("mine\n")
    assert documents(Text(["pydocs"], DataOptions())) == ["mine"]


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    """Content, format and reader options decide the fingerprint; names and limits do not."""

    def mark(name: str, content: str, options: DataOptions | None = None) -> str:
        (tmp_path / name).write_text(content)
        return Text([str(tmp_path / name)], options or DataOptions()).fingerprint()

    same = mark("a.txt", "one\n")
    assert mark("b.txt", "one\n") == same == mark("a.txt", "one\n", DataOptions(max_expansion=0))
    others = [
        mark("a.txt", "two\n"),
        mark("a.jsonl", "one\n"),
        mark("a.txt", "one\n", DataOptions(encoding="latin-1")),
        mark("a.txt", "one\n", DataOptions(on_bad_line="skip")),
    ]
    assert len({same, *others}) == 5


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parts of a held-out text share one hashing; a file that has changed is hashed again."""
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n")
    hashed = []
    digest = FileSource.digest
    monkeypatch.setattr(FileSource, "digest", lambda self: hashed.append(self.path) or digest(self))
    text = Text([str(path)], DataOptions())
    marks = [part.fingerprint() for part in (*hold_out(text), text) if part]
    assert hashed == [path]
    path.write_text("one\ntwo\nthree\n")
    assert text.fingerprint() != marks[-1]
    assert text.fingerprint() == Text([str(path)], DataOptions()).fingerprint()
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        text.fingerprint()


def test_lists_of_strings() -> None:
    """A list of strings is a document whose blank strings are lines; it can be read again."""
    text = Text.from_lines(iter(["one two", "", "three\n"]))
    for _ in range(2):
        assert [(x.text, x.num_words, x.starts_document) for x in text] == [
            ("one two", 2, True),
            ("", 0, False),
            ("three", 1, False),
        ]
    assert text.fingerprint() == Text.from_lines(["one two", "", "three"]).fingerprint()


def test_hub_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of the hub is read at one commit, with the subset and split of the options."""
    asked = {}

    def load(*args: object, **settings: object):
        asked.update(settings, args=args)
        return iter([{"text": "a\nb"}, {"text": "c"}])

    monkeypatch.setattr(tables, "_load", load)
    monkeypatch.setattr(tables, "hub_revision", lambda name: "abc")
    text = Text(["owner/name"], DataOptions(hub_subset="small", hub_split="test"))
    assert documents(text) == ["a\nb", "c"]
    assert asked == {"args": ("owner/name", "small"), "split": "test", "revision": "abc"}
    assert text.describe() == "owner/name"


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network a name that is no path is one clear line, not a traceback."""
    import huggingface_hub

    def offline(self: object, name: str) -> None:
        raise ConnectionError("no network\nand more lines")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    text = Text(["wikitxt"], DataOptions())
    for read in (text.fingerprint, lambda: list(text)):
        with pytest.raises(DataError, match=r"wikitxt: no such file or folder.*no network") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_shared_text(shared: Path) -> None:
    """A real corpus: counts against a plain reading of the file."""
    path = shared / "data" / "wikitext-2" / "valid.txt"
    if not path.exists():
        pytest.skip("no wikitext-2 in the shared folder")
    raw = path.read_bytes().decode().removesuffix("\n").split("\n")
    found = list(Text([str(path)], DataOptions()))
    assert [line.text for line in found] == raw
    words = sum(len(re.findall("[^\0\t\n\r ]+", line)) for line in raw)
    assert sum(line.num_words for line in found) == words
    assert sum(line.num_bytes + 1 for line in found) == path.stat().st_size + (
        not path.read_bytes().endswith(b"\n")
    )


FILES = {
    "a.txt": b"eins zwei\ndrei\n",
    "b.txt": b"",
    "c.txt": "größer\n".encode("latin-1"),
    "d.jsonl": b'{"text": "a"}\n{"text": "b"}\n',
    "e.json": b'[{"text": "a"}]',
    "f.csv": b"text\na\n",
    "g.tsv": b"text\na\n",
    "h.txt.gz": gzip.compress(b"a\n" * 99) + b"\0" * 600,
    "i.txt.bz2": bz2.compress(b"a\n") + bz2.compress(b"b\n"),
    "j.txt.xz": lzma.compress(b"a\n") + b"\0" * 4,
    "k.txt.zst": zstandard.ZstdCompressor().compress(b"a\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_reading_finds_the_fingerprint(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is to be fingerprinted is hashed as it is read, with the fingerprint that hashing alone gives."""
    for file in (name, "z.txt"):  # not blank altogether
        (tmp_path / file).write_bytes(FILES.get(file, b"more\n"))
    options = DataOptions(encoding="latin-1" if name == "c.txt" else "utf-8")
    paths = [str(tmp_path / name), str(tmp_path / "z.txt")]
    wanted = Text(paths, options).fingerprint()
    text = Text(paths, options, fingerprinted=True)
    list(text)
    with monkeypatch.context() as patch:
        patch.setattr(compression, "raw_blocks", lambda path: pytest.fail("hashed again"))
        assert text.fingerprint() == wanted


def test_a_reading_that_ends_early_finds_no_fingerprint(tmp_path: Path) -> None:
    """Part of a file, or a file that has changed since, is hashed again."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"some words\n" * 100_000)
    text = Text([str(path)], DataOptions(), fingerprinted=True)
    next(iter(text))
    assert text.fingerprint() == Text([str(path)], DataOptions()).fingerprint()
    list(text)
    path.write_bytes(b"other words\n")
    assert text.fingerprint() == Text([str(path)], DataOptions()).fingerprint()
