"""What the fuzzer damages: sound files that nobody vouches for, and the reader of each."""

import gzip
import hashlib
import json
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

TEXT = "the cat sat on the mat\nthe dog\tate  the cat \nça va, naïve 猫\n" * 20


@dataclass
class Target:
    """A sound folder, the files in it to damage, and how they are read.

    codes: the exit codes of errors for damaged files. same: what is read without an error equals what was saved.
    wraps: what is done to the damaged bytes of a file before they are written, such as compressing them.
    """

    read: Callable[[], object]
    sound: dict[Path, bytes]
    codes: tuple[int, ...] = (4,)
    same: bool = False
    wraps: dict[Path, Callable[[bytes], bytes]] = field(default_factory=dict)


def run_of(folder: Path) -> Path:
    import lmkit

    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    lmkit.train(
        folder / "text.txt", out=folder / "run", tokenizer="word", min_count=1, hidden_size=4, max_steps=1,
        batch_size=2, bptt=8, threads=1, device="cpu",
    )  # fmt: skip
    return folder / "run"


def header(folder: Path) -> Target:
    """What passes our check must be sound for the library too."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save

    from lmkit.safetensors_check import check_header

    path = folder / "a.safetensors"
    types = (torch.float32, torch.int64, torch.bool, torch.bfloat16)
    tensors = {f"layer.{i}": torch.zeros([i, 3][: i % 3], dtype=types[i % 4]) for i in range(6)}

    def read() -> None:
        found = check_header(path)
        with safe_open(path, "pt") as file:
            assert {name: tuple(file.get_tensor(name).shape) for name in file.keys()} == {  # noqa: SIM118
                name: entry.shape for name, entry in found.items()
            }

    return Target(read, {path: save(tensors, {"a": "b"})})


def manifest(folder: Path) -> Target:
    from lmkit import run_paths, runs

    run = run_of(folder)
    path = run / run_paths.MANIFEST
    return Target(lambda: runs.load_run(run), {path: path.read_bytes()}, (4, 6))


def weights(folder: Path) -> Target:
    """Damaged weights for which the manifest vouches."""
    from lmkit import run_paths, runs

    run = run_of(folder)
    path, listing = run / "model.safetensors", run / run_paths.MANIFEST
    table = json.loads(listing.read_text())

    def read() -> None:
        data = path.read_bytes()
        table["files"][path.name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        listing.write_text(json.dumps(table))
        runs.load_run(run)

    return Target(read, {path: path.read_bytes()})


def tokenizer(name: str, **settings: object) -> Callable[[Path], Target]:
    def make(folder: Path) -> Target:
        from lmkit.options import choose

        chosen = choose("tokenizer", {"name": name, **settings}, name)
        kind, options = chosen.load(), chosen.options
        kind.fit(TEXT.split("\n"), options).save(folder)

        def read() -> None:
            if name == "sentencepiece":
                vouch_for_pieces(folder)
            loaded = kind.load(folder, options)
            loaded.decode(loaded.encode("the çat \u2581 猫").ids)
            loaded.residual_bits("the cat", loaded.ids("the cat"))
            loaded.word_starts()

        return Target(read, {path: path.read_bytes() for path in sorted(folder.iterdir())})

    return make


def vouch_for_pieces(folder: Path) -> None:
    """Make the header agree with a damaged model, so that it comes as far as the C++ library."""
    from lmkit_tokenizers import piece_model
    from lmkit_tokenizers import tokenizer_files as files

    try:
        table = json.loads((folder / files.HEADER).read_text(encoding="utf-8"))
        data = (folder / "sentencepiece.model").read_bytes()
        model = piece_model.parse(data)
        table["model_sha256"] = hashlib.sha256(data).hexdigest()
        table["fingerprint"] = files.fingerprint("sentencepiece", model.parts)
        table["size"] = len(model.pieces)
    except (ValueError, RecursionError, TypeError):
        return
    (folder / files.HEADER).write_text(json.dumps(table), encoding="utf-8")


def jsonl(folder: Path) -> Target:
    from lmkit.corpus.jsonl import read_jsonl
    from lmkit.corpus.lines import BadLines
    from lmkit.errors import DataError

    path = folder / "a.jsonl"
    rows = [{"text": line, "n": i, "more": [None, {"a": 1.5}]} for i, line in enumerate(TEXT.split("\n")[:9])]

    def read() -> None:
        data = path.read_bytes()
        blocks = [data[i : i + 100] for i in range(0, len(data), 100)]
        list(read_jsonl(blocks, "a", "text", BadLines("skip")))
        with_errors = read_jsonl(blocks, "a", "text", BadLines("error"))
        try:
            list(with_errors)
        except DataError as error:
            str(error).encode("utf-8", "backslashreplace")

    return Target(read, {path: "\n".join(json.dumps(row) for row in rows).encode()}, (3,))


def recipe(folder: Path) -> Target:
    from lmkit.recipe import build, read_recipe, write

    path, again = folder / "a.toml", folder / "b.toml"
    tables = {"data": {"train": ["a"]}, "tokenizer": "word", "model": "gru", "train": {"max_epochs": 1}}
    write(build(tables), path)

    def read() -> None:
        made = build(read_recipe(path), source=path)
        write(made, again)
        assert build(read_recipe(again)) == made

    return Target(read, {path: path.read_bytes()}, (2, 6))


def packed(folder: Path) -> Target:
    """Archives damaged from outside, and damaged tar files that were compressed soundly."""
    from lmkit import run_paths, runs
    from lmkit.archive import read_archive

    run, inner = run_of(folder), folder / "inner.tar"
    names = [run / name for name in (*runs.read_manifest(run)["files"], run_paths.MANIFEST)]
    with tarfile.open(inner, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in names:
            tar.add(path, f"{'é' * 60}/{path.relative_to(run)}")
    with zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in names:
            archive.write(path, f"run/{path.relative_to(run)}")
    a, b, c = folder / "a.tar.gz", folder / "b.tar.xz", folder / "c.zip"
    sound = {
        a: inner.read_bytes(),
        b: lzma.compress(inner.read_bytes()),
        c: c.read_bytes(),
        folder / "d.tar.gz": gzip.compress(inner.read_bytes()),
    }
    out = folder / "place" / "out"
    out.parent.mkdir()

    def read() -> None:
        changed = max(sound, key=lambda path: path.stat().st_mtime_ns)
        before = {path for path in folder.rglob("*") if out not in (path, *path.parents)}
        try:
            read_archive(changed, out)
        finally:
            shutil.rmtree(out, ignore_errors=True)
            after = set(folder.rglob("*"))
            assert after == before, after ^ before

    return Target(read, sound, wraps={a: lambda data: gzip.compress(data, 1)})


def arpa(folder: Path) -> Target:
    """Plain and compressed files, one with its tokenizer, and what a damaged file became is exported again."""
    from lmkit_ngram.arpa_options import ArpaOptions
    from lmkit_ngram.arpa_read import read_arpa
    from lmkit_ngram.arpa_write import write_arpa

    import lmkit
    from lmkit import runs

    words = ["<unk>", "<s>", "</s>", "the", "cat", "@s@", "ça", "猫"]
    lines = [
        [f"-{i}.5\t{word}\t-0.{i}" for i, word in enumerate(words)],
        ["-0.5\t<s> the\t0.25", "-1e-3\tthe cat\t-99", "-99\tcat ça\t0", "-0\tça </s>"],
        ["-0.25\t<s> the cat", "-0.125\tthe cat ça", "-1.5\tthe ça 猫"],
    ]
    text = "\\data\\\n" + "".join(f"ngram {k}={len(rows)}\n" for k, rows in enumerate(lines, 1))
    for k, rows in enumerate(lines, 1):
        text += f"\n\\{k}-grams:\n" + "\n".join(rows) + "\n"
    data = (text + "\n\\end\\\n").encode()
    plain, packed, out = folder / "a.arpa", folder / "b.arpa.gz", folder / "out"
    sound = {plain: data, packed: gzip.compress(data), folder / "c.arpa.xz": lzma.compress(data)}
    (folder / "text.txt").write_text("the cat\nthe ça\n", encoding="utf-8")
    trained = lmkit.train(
        str(folder / "text.txt"), model="ngram", order=2, tokenizer="word", out=folder / "own"
    )
    write_arpa(trained.run, folder / "noted.arpa")
    sound[folder / "noted.arpa"] = (folder / "noted.arpa").read_bytes()

    def read() -> None:
        changed = max(sound, key=lambda path: path.stat().st_mtime_ns)
        read_arpa(changed, out, overwrite=True, max_expansion=200, options=ArpaOptions())
        write_arpa(runs.load_run(out), folder / "d.arpa", overwrite=True)
        read_arpa(folder / "d.arpa", out, overwrite=True, max_expansion=200, options=ArpaOptions())

    return Target(read, sound, (4, 6))


PARSERS: dict[str, Callable[[Path], Target]] = {
    "header": header,
    "manifest": manifest,
    "weights": weights,
    "word": tokenizer("word", min_count=2),
    "char": tokenizer("char"),
    "byte": tokenizer("byte"),
    "sentencepiece": tokenizer("sentencepiece", vocab_size=300),
    "jsonl": jsonl,
    "recipe": recipe,
    "archive": packed,
    "arpa": arpa,
}
