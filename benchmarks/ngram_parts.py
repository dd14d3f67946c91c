"""Compare n-gram models built in memory and in parts on disk: processor time, peak memory and disk.

python benchmarks/ngram_text.py ../shared/data/en_novels/train.txt large.txt --words 48e6
python benchmarks/ngram_parts.py large.txt --order 5 --memory 1G
"""

import argparse
import filecmp
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import platformdirs

POLL = 0.2
"""Seconds between measurements of the scratch folder."""
WAYS = ("parts", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--memory", default="1G")
    parser.add_argument("--prune", default="0")
    parser.add_argument("--entropy-prune", default="0")
    parser.add_argument("--only", choices=WAYS, help="one of both ways")
    parser.add_argument(
        "--folder", type=Path, help="where to write the models (default: the temporary folder)"
    )
    settings = parser.parse_args()
    with settings.text.open("rb") as file:
        words = sum(len(line.split()) for line in file)
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        ways = [settings.only] if settings.only else list(WAYS)
        rows = [measure(settings, Path(folder), way, words) for way in ways]
        print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
        for row in rows:
            print("| " + " | ".join(map(str, row.values())) + " |")
        if settings.only is None:
            files = [path.name for path in Path(folder, "parts", "ngram").iterdir()]
            same = filecmp.cmpfiles(f"{folder}/memory/ngram", f"{folder}/parts/ngram", files, shallow=False)[
                0
            ]
            print(f"\n{len(same)} of {len(files)} files are equal")


def measure(settings: argparse.Namespace, folder: Path, way: str, words: int) -> dict[str, Any]:
    """`lmkit train` in a separate process, from the text file on, with compiled kernels."""
    run, scratch = folder / way, folder / "scratch"
    command = [
        sys.executable, "-c", "from lmkit.cli import main; main()", "train", str(settings.text), "--model", "ngram",
        "--order", str(settings.order), "--tokenizer", "word", "--prune", settings.prune, "--threads", "1",
        "--entropy-prune", settings.entropy_prune, "--no-store-text", "--out", str(run), "--json",
    ]  # fmt: skip
    if way == "parts":
        command += ["--memory", settings.memory, "--scratch", str(scratch)]
    kernels = str(platformdirs.user_cache_path("lmkit") / "jit")
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / f"cache-{way}"), "NUMBA_CACHE_DIR": kernels}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        most = max(most, size_of(scratch))
        time.sleep(POLL)
    assert process.returncode == 0
    assert process.stdout is not None
    figures = json.loads(process.stdout.read())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "": way,
        "words": f"{words:,}",
        "N": settings.order,
        "processor s": round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1),
        "of it counting and estimating": figures["cpu_seconds"],
        # The largest of all processes so far, so the way with parts comes first.
        "peak memory, MB": round(used.ru_maxrss / 1024),
        "scratch, bytes a word": round(most / words, 1),
        "model, bytes a word": round(size_of(run / "ngram") / words, 1),
    }


def size_of(folder: Path) -> int:
    """The bytes of the files in a folder, while they come and go."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(root, name).stat().st_blocks * 512
            except OSError:
                continue
    return total


if __name__ == "__main__":
    main()
