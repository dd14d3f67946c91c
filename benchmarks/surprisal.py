"""Measure the cost of surprisals: `lmkit surprisal` and `lmkit eval` of the same text, alternating, whole processes.

python benchmarks/surprisal.py runs/wt2 test.txt
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--by", default="word")
    parser.add_argument("--rounds", type=int, default=3)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = str(Path(folder) / "records.tsv")
        lines = {
            "eval": ["eval", settings.run, settings.data],
            "surprisal": ["surprisal", settings.run, settings.data, "--by", settings.by, "--out", records],
        }
        seconds = {name: [] for name in lines}
        for _ in range(settings.rounds):
            for name, line in lines.items():
                seconds[name].append(cpu_seconds(line))
        count = Path(records).read_bytes().count(b"\n") - 1
    ratios = [b / a for a, b in zip(seconds["eval"], seconds["surprisal"], strict=True)]
    for name, spent in seconds.items():
        print(f"{name:9s} {statistics.median(spent):7.1f} s of CPU ({min(spent):.1f} to {max(spent):.1f})")
    print(f"{count:,} records by {settings.by}; ratio {statistics.median(ratios):.2f} "
          f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


def cpu_seconds(line: list[str]) -> float:
    """User and system time of a command of lmkit, on one thread."""
    before = os.times()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from lmkit.cli import main; main()", *line]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
