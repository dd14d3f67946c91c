"""Draws how well an encoder's words are tagged against how long it was trained, a point a run.

python examples/tagging/plot.py RUN... --treebank DIR --out accuracy.png [--sizes 100,1000] [--subsets 5]
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tag import Treebank, numbers, summary, tried

from lmkit.cli.console import say
from lmkit.errors import DataError, LmkitError
from lmkit.evaluation import pictures
from lmkit.run_paths import METRICS

KINDS = {"both": "-", "encoder": "--", "features": ":"}
"""The inputs that are drawn, and their lines."""

Points = Mapping[tuple[int, str], Sequence[tuple[float, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--treebank", type=Path, required=True, help="a folder of CoNLL-U files")
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    parser.add_argument("--sizes", type=numbers, default=[100, 1000], help="sentences of a subset: 100,1000")
    parser.add_argument("--subsets", type=int, default=5, help="random subsets of each size")
    settings = parser.parse_args()
    try:
        pictures.check(settings.out)
        found = points(settings.runs, Treebank(settings.treebank), settings.sizes, settings.subsets)
    except LmkitError as error:
        say(str(error), error.label)
        sys.exit(error.exit_code)
    draw(found, settings.out)


def points(runs: Sequence[Path], treebank: Treebank, sizes: Sequence[int], subsets: int) -> Points:
    """By size of the subsets and kind of inputs: minutes of training and percent of words tagged right."""
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for minutes, run in sorted((minutes_of(run), run) for run in runs):
        for row in summary(list(tried(run, treebank, sizes, subsets))):
            found.setdefault((row["sentences"], row["inputs"]), []).append((minutes, row["all"]))
            say(f"{run}: {minutes:.1f} minutes, {row['sentences']} sentences, {row['inputs']}: {row['all']}")
    return found


def minutes_of(run: Path) -> float:
    """How long a run was trained; DataError where its metrics do not say."""
    path = run / METRICS
    if not path.is_file():
        raise DataError(f"{path}: missing: give runs that lmkit has trained")
    lines = path.read_text(encoding="utf-8").splitlines()
    return max(json.loads(line).get("seconds", 0.0) for line in lines) / 60


def draw(found: Points, out: Path) -> None:
    """The picture: accuracy over minutes, whose axis doubles from mark to mark."""
    with pictures.drawing(out, 7, 4.8) as axes:
        sizes = sorted({size for size, _ in found})
        for (size, inputs), line in found.items():
            axes.plot(
                *zip(*line, strict=True),
                KINDS[inputs],
                marker="o",
                color=pictures.COLOURS[sizes.index(size)],
                label=f"{inputs}, {size:,} sentences",
            )
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
        ticks = sorted({minutes for line in found.values() for minutes, _ in line})
        axes.set_xticks(ticks, [f"{minutes:.3g}" for minutes in ticks])
        axes.set_xlabel("minutes of training on one core")
        axes.set_ylabel("words tagged right, percent")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


if __name__ == "__main__":
    main()
