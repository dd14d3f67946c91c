"""What the fuzzer damages besides: what lmkit keeps for itself, runs, checkpoints and caches."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_targets import TEXT, Target, run_of

SMALL = {"tokenizer": "word", "min_count": 1, "threads": 1}


def vouch(run: Path, names: list[str]) -> None:
    """Make lmkit.json agree with changed files, as somebody does who changes them on purpose."""
    listing = run / "lmkit.json"
    table = json.loads(listing.read_text())
    for name in names:
        data = (run / name).read_bytes()
        table["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    listing.write_text(json.dumps(table))


def contents(paths: list[Path]) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in paths}


def listed(run: Path) -> list[Path]:
    return [run / name for name in json.loads((run / "lmkit.json").read_text())["files"]]


def hashed(folder: Path) -> Target:
    """The files of a run, for which lmkit.json has hashes: any change is found."""
    from lmkit import runs

    run = run_of(folder)

    def read() -> bytes:
        model = runs.load_run(run).model
        return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())  # pyright: ignore

    return Target(read, contents(listed(run)), same=True)


def verified(folder: Path) -> Target:
    """The same for `lmkit verify`, which hashes files of any size."""
    from lmkit.errors import ModelError
    from lmkit.verify import verify

    run = run_of(folder)

    def read() -> int:
        found = verify(run)
        if found.problems:
            raise ModelError(found.problems[0])
        return found.files

    return Target(read, contents(listed(run)), same=True)


def quantized(folder: Path) -> Target:
    """The arrays of a quantized n-gram model, which are checked while it is loaded."""
    return ngram(folder, quantize=True)


def ngram(folder: Path, **options: Any) -> Target:
    """The arrays of an n-gram model, with hashes that agree: compiled code reads nothing outside them."""
    import numpy as np
    import torch

    import lmkit
    from lmkit import runs

    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    run = folder / "run"
    lmkit.train(folder / "text.txt", out=run, model="ngram", order=3, **SMALL, **options)
    paths = [path for path in listed(run) if "tokenizer" not in path.parts]

    def read() -> None:
        vouch(run, [path.relative_to(run).as_posix() for path in paths])
        model = runs.load_run(run).model
        size = model.vocabulary.size
        ids = np.arange(200, dtype=np.int32) % size
        model.line_log_probs(ids)  # pyright: ignore
        model.log_probs(torch.from_numpy(ids)[None].long(), model.initial_state(1))  # pyright: ignore
        model.next_log_probs(model.initial_state(1))  # pyright: ignore

    return Target(read, contents(paths))


def checkpoint(*, vouched: bool) -> Callable[[Path], Target]:
    """The newest checkpoint, the only one; vouched: its digests agree with the damage."""

    def make(folder: Path) -> Target:
        from lmkit import api
        from lmkit.training import resume

        class Restored(Exception):  # noqa: N818
            pass

        def stop(*_: object) -> None:
            raise Restored

        resume.share_training = stop
        run = run_of(folder)
        (place,) = (run / "checkpoints").iterdir()
        digests = place / "manifest.json"
        paths = [path for path in sorted(place.iterdir()) if path != digests or not vouched]

        def read() -> None:
            if vouched:
                found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
                digests.write_text(json.dumps(found))
            try:
                api.resume(run)
            except Restored:
                return

        return Target(read, contents(paths), (5, 6))

    return make


def cache(folder: Path) -> Target:
    """The cached tokens of a text: damaged ones are made again, so that they are the same."""
    from lmkit.corpus.options import DataOptions
    from lmkit.corpus.readers import Text
    from lmkit.corpus.store import TokenStore
    from lmkit.options import choose

    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    chosen = choose("tokenizer", {"name": "word", "min_count": 1}, "word")
    tokenizer = chosen.load().fit(TEXT.split("\n"), chosen.options)

    def read() -> list[list[int]]:
        text = Text([str(folder / "text.txt")], DataOptions())
        store = TokenStore.build(text, tokenizer, cache=folder / "cache")
        return [line.tolist() for line in store.lines()]

    read()
    paths = [path for path in (folder / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    return Target(read, contents(sorted(paths)), (), same=True)


def classifier(folder: Path) -> Target:
    """The settings and the head of a classifier, with hashes that agree."""
    from click.testing import CliRunner

    from lmkit.classification import run_files
    from lmkit.cli import cli

    run, table = run_of(folder), folder / "table.tsv"
    rows = [f"the cat {word}\t{label}" for word, label in (("sat", "a"), ("ate", "b")) * 4]
    table.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    out = folder / "classifier"
    made = CliRunner().invoke(cli, ["classify", str(table), "--init-from", str(run), "--out", str(out)])
    assert made.exit_code == 0, made.output
    names = ["classifier.json", "classifier.safetensors"]

    def read() -> None:
        vouch(out, names)
        run_files.load(out)

    return Target(read, contents([out / name for name in names]))


def vectors(folder: Path) -> Target:
    """A file of vectors in HDF5."""
    import torch

    from lmkit.embedding.dumps import read_dump, write_dump

    path = folder / "a.hdf5"
    write_dump(path, (torch.arange(30.0).reshape(2, 5, 3) * n for n in range(4)), map(str, range(4)))

    def read() -> float:
        return math.fsum(float(found.nan_to_num().sum()) for found in read_dump(path))

    return Target(read, contents([path]), (3,))


STATES: dict[str, Callable[[Path], Target]] = {
    "hashed": hashed,
    "verified": verified,
    "ngram": ngram,
    "ngram-quantized": quantized,
    "checkpoint": checkpoint(vouched=False),
    "checkpoint-vouched": checkpoint(vouched=True),
    "cache": cache,
    "classifier": classifier,
    "vectors": vectors,
}
