"""Measure n-gram models: every order, a large text, files, and scoring compared with KenLM's Python binding.

python benchmarks/ngram.py orders train.txt
python benchmarks/ngram.py train large.txt --order 5 --threads 1 [--rounds 3 --lmplz kenlm/build/bin/lmplz]
python benchmarks/ngram.py arpa train.txt
python benchmarks/ngram.py scoring train.txt test.txt     (needs: pip install kenlm)
python benchmarks/ngram.py quantize train.txt test.txt
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import torch
from lmkit_ngram.arpa_write import write_arpa
from lmkit_ngram.table import ARRAYS

import lmkit
from lmkit.api import Model
from lmkit.contracts import FitContext
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text, TextLines
from lmkit.corpus.store import TokenStore
from lmkit.options import choose
from lmkit.recipe import choose_tokenizer
from lmkit.training.report import Silent

REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="what", required=True)
    for name in ("orders", "train", "arpa", "scoring", "quantize"):
        kind = kinds.add_parser(name)
        kind.add_argument("text", type=Path)
        kind.add_argument("--threads", type=int, default=1)
        kind.add_argument("--json", action="store_true")
        if name in ("scoring", "quantize"):
            kind.add_argument("test", type=Path)
        if name != "orders":
            kind.add_argument("--order", type=int, default=5)
        if name == "train":
            kind.add_argument("--rounds", type=int, default=1)
            kind.add_argument(
                "--lmplz", help="the command of KenLM's lmplz, such as 'kenlm/build/bin/lmplz -S 1G'"
            )
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    kinds = {"orders": orders, "train": train, "arpa": arpa, "scoring": scoring, "quantize": quantize}
    rows = kinds[settings.what](settings)
    if settings.json:
        print(json.dumps(rows, indent=1))
        return
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()) + " |")


def orders(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """Every order from 2 to 12: n-grams, seconds from text to a usable model, megabytes of its files."""
    rows = []
    words = count_words(settings.text)
    for order in range(2, 13):
        with tempfile.TemporaryDirectory() as folder:
            seconds = best(
                lambda order=order, folder=folder: from_text(settings.text, order, settings.threads, folder)
            )
            model = from_text(settings.text, order, settings.threads, folder)
            table = model.table
            size = sum(getattr(table, name).nbytes for name in ARRAYS)
        rows.append(
            {
                "N": order,
                "n-grams of N words": table.sizes()[-1],
                "n-grams": table.total,
                "seconds": round(seconds, 2),
                "M words a second": round(words / seconds / 1e6, 2),
                "MB": round(size / 1e6),
            }
        )
    return rows


def from_text(text: Path, order: int, threads: int, folder: str) -> Any:
    """The work of `lmkit train --model ngram --tokenizer word`, from the file to a usable model.

    Without a cache; the arrays are in memory, and the run's files are not written.
    """
    options = choose("model", {"name": "ngram", "order": order, "store_text": False}, "model")
    source = Text([str(text)], DataOptions())
    choice = choose_tokenizer("word", options)
    tokenizer = choice.load().fit(TextLines(source), choice.options)
    cache = Path(folder, "tokens")
    shutil.rmtree(cache, ignore_errors=True)
    corpus = TokenStore.build(source, tokenizer, cache=cache)
    model = options.load()(options.options, tokenizer.vocabulary)
    model.fit(corpus, FitContext(0, Silent(), None, threads))
    model.top_k(model.initial_state(1), 1)
    return model


def train(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """The whole command in a separate process, alternating with KenLM's lmplz: times, peak memory; medians."""
    rounds: list[dict[str, list[float]]] = []
    for _ in range(settings.rounds):
        rounds.append({"lmkit": _train_by_lmkit(settings)})
        if settings.lmplz:
            rounds[-1]["lmplz"] = _train_by_lmplz(settings)
    words = count_words(settings.text)
    rows = []
    for name in rounds[0]:
        seconds, user, system, memory = (
            statistics.median(kind) for kind in zip(*(r[name] for r in rounds), strict=True)
        )
        ratio = statistics.median(sum(r[name][1:3]) / sum(r["lmkit"][1:3]) for r in rounds)
        rows.append({
            "program": name,
            "words": words,
            "N": settings.order,
            "seconds": round(seconds, 1),
            "processor seconds": round(user + system, 1),
            "of the system": round(system, 1),
            "microseconds a word": round((user + system) / words * 1e6, 2),
            "ratio": round(ratio, 2),
            "peak memory, GB": round(memory / 1e6, 2),
        })  # fmt: skip
    return rows


def _train_by_lmkit(settings: argparse.Namespace) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-c", "from lmkit.cli import main; main()", "train", str(settings.text), "--model", "ngram",
            "--order", str(settings.order), "--tokenizer", "word", "--threads", str(settings.threads),
            "--out", f"{folder}/run", "--json",
        ]  # fmt: skip
        # Kernels are cached after a first run; the text is read and tokenized again.
        kernels = str(platformdirs.user_cache_path("lmkit") / "jit")
        return _spent(command, {**os.environ, "XDG_CACHE_HOME": folder, "NUMBA_CACHE_DIR": kernels})


def _train_by_lmplz(settings: argparse.Namespace) -> list[float]:
    """Its model is not written; temporary files are."""
    with tempfile.TemporaryDirectory() as folder:
        order = str(settings.order)
        command = [*settings.lmplz.split(), "-o", order, "-T", f"{folder}/", "--text", str(settings.text)]
        return _spent(command, dict(os.environ))


def _spent(command: list[str], environment: dict[str, str]) -> list[float]:
    """Seconds, user and system time and peak memory in kB of a command."""
    begun = time.perf_counter()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with the status {process.returncode}")
    return [time.perf_counter() - begun, used.ru_utime, used.ru_stime, used.ru_maxrss]


def arpa(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """Write an ARPA file and read it back."""
    with tempfile.TemporaryDirectory() as folder:
        run = trained(settings, folder)
        total = run.causal.table.total
        file = Path(folder, "model.arpa")
        write = best(lambda: write_arpa(run.run, file, overwrite=True))
        size = file.stat().st_size
    return [
        {
            "n-grams": total,
            "seconds to write": round(write, 2),
            "M n-grams a second": round(total / write / 1e6, 2),
            "MB": round(size / 1e6),
        }
    ]


def scoring(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """Score lines of text, alternating between lmkit and KenLM's binding."""
    import kenlm

    lines = settings.test.read_text(encoding="utf-8").split("\n")[:-1]
    lines *= max(1, 2_000_000 // count_words(settings.test))
    words = sum(len(line.split()) for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        run = trained(settings, folder)
        write_arpa(run.run, Path(folder, "model.arpa"))
        peer = kenlm.Model(f"{folder}/model.arpa")
        run.line_scores(lines)
        ours, theirs = [], []
        for _ in range(REPEATS):
            ours.append(timed(lambda: run.line_scores(lines)))
            theirs.append(timed(lambda: [peer.score(line) for line in lines]))
    mine, other = min(ours), min(theirs)
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return [
        {
            "words": words,
            "lmkit, M words a second": round(words / mine / 1e6, 2),
            "kenlm, M words a second": round(words / other / 1e6, 2),
            "ratio (median)": round(ratios[len(ratios) // 2], 2),
            "least": round(ratios[0], 2),
            "most": round(ratios[-1], 2),
        }
    ]


def quantize(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """The same model without and with --quantize: files without the text, perplexity, and CPU seconds of queries."""
    lines = settings.test.read_text(encoding="utf-8").split("\n")[:-1]
    words = count_words(settings.test) + len(lines)
    rows: dict[str, dict[str, Any]] = {}
    score: dict[str, Callable[[], Any]] = {}
    ask: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, quantized in (("float32", False), ("--quantize", True)):
            trained(settings, f"{folder}/{name}", quantize=quantized, store_text=False)
            size = sum(path.stat().st_size for path in Path(folder, name, "run", "ngram").iterdir())
            begun = time.process_time()
            model = lmkit.load(f"{folder}/{name}/run")
            loading = time.process_time() - begun
            perplexity = model.score_text(Text([str(settings.test)], DataOptions())).perplexity
            rows[name] = {
                "model": name, "MB": round(size / 1e6, 1), "bytes an n-gram": round(size / model.causal.table.total, 2),
                "perplexity": perplexity and round(perplexity, 3), "CPU seconds to load": round(loading, 2),
            }  # fmt: skip
            score[name] = lambda model=model: model.line_scores(lines)
            ask[name] = lambda model=model: [model.line_scores(line) for line in lines]
        for label, calls in (("all lines at once", score), ("a line a call", ask)):
            for name, (best, ratio) in compared(calls).items():
                rows[name][f"{label}, us a word"] = round(1e6 * best / words, 3)
                rows[name][f"{label}, ratio"] = round(ratio, 2)
    return list(rows.values())


def compared(calls: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """For each call, the fewest CPU seconds, and the median ratio to those of the first call of the same round."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(REPEATS):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            spent[name].append(time.process_time() - begun)
    first = next(iter(spent.values()))
    return {
        name: (min(seconds), statistics.median(b / a for a, b in zip(first, seconds, strict=True)))
        for name, seconds in spent.items()
    }


def trained(settings: argparse.Namespace, folder: str, **options: Any) -> Model:
    return lmkit.train(
        settings.text, model="ngram", order=settings.order, tokenizer="word", threads=settings.threads,
        out=f"{folder}/run", **options,
    )  # fmt: skip


def best(call: Callable[[], Any]) -> float:
    """The shortest of some runs, after one to load the kernels."""
    call()
    return min(timed(call) for _ in range(REPEATS))


def timed(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def count_words(path: Path) -> int:
    with path.open("rb") as file:
        return sum(len(line.split()) for line in file)


if __name__ == "__main__":
    main()
