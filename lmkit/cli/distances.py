"""`lmkit distances`: measure how far back models remember the cause of a sentence's last words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit import run_paths, strict_json
from lmkit.cli import console
from lmkit.cli.common import html_option, json_option, load_all, loads_models, plot_option, write_page
from lmkit.corpus.distances import CAUSES, CONTROLS, LANGUAGES
from lmkit.evaluation.normalization import NORMALIZATIONS
from lmkit.html import report

if TYPE_CHECKING:
    from lmkit.api import Model


@click.command()
@loads_models
@click.option(
    "--language",
    type=click.Choice(list(LANGUAGES)),
    default="zh",
    show_default=True,
    help="Language of the sentences.",
)
@click.option(
    "--farthest",
    metavar="N",
    type=click.IntRange(0, 1000),
    default=20,
    show_default=True,
    help="Use sentences with 0 to N clauses between the cause and the conclusion.",
)
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Number of sentences per distance.",
)
@click.option(
    "--cause",
    type=click.Choice(CAUSES[:2]),
    default="left",
    show_default=True,
    help="Side of the blank on which the cause is.",
)
@click.option(
    "--control",
    type=click.Choice(CONTROLS),
    help="Leave the cause out, or swap it for another one, which the answer should then follow.",
)
@click.option(
    "--normalize",
    type=click.Choice(list(NORMALIZATIONS)),
    default="none",
    show_default=True,
    help="How to compare consequences of different lengths, as in fill.",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, help="Random seed for the sentences."
)
@click.option(
    "--by",
    type=click.Choice(["clauses", "words"]),
    default="clauses",
    show_default=True,
    help="Unit of distance: clauses in between, or words from the object to the blank.",
)
@plot_option("Draw the accuracies")
@html_option()
@json_option()
def command(
    runs: tuple[Path, ...],
    device: str,
    allow_nonfinite: bool,
    language: str,
    farthest: int,
    count: int,
    cause: str,
    control: str | None,
    normalize: str,
    seed: int,
    by: str,
    plot: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Measure how far back the models in the directories RUN remember the cause of a sentence's end.

    The sentences are the test part of the data set distances:LANGUAGE; its clauses between cause and conclusion are
    in no training sentence. A bidirectional encoder is scored by each direction and by both (two-sided).
    """
    from lmkit.corpus.distances import answers
    from lmkit.evaluation import pictures
    from lmkit.studies.distances import distances

    if plot is not None:
        pictures.check(plot)
    models = load_all(run_paths.labels(runs), device=device, allow_nonfinite=allow_nonfinite)
    study = distances(
        models, language=language, farthest=farthest, count=count, cause=cause, control=control,
        normalize=normalize, seed=seed, progress=console.progress,
    )  # fmt: skip
    for label, unknown in study.unknown.items():
        if unknown:
            console.say(
                f"{label}: {unknown} of the {len(answers(language))} consequences have words outside its vocabulary, "
                "which share one probability; was it trained on another --language?",
                "warning",
            )
    rows = {name: ranking.accuracy(by) for name, ranking in study.rankings.items()}
    missing = (study.models[name] for name, learned in study.learned.items() if learned is False)
    for label in dict.fromkeys(missing):
        console.say(f"{label}: not learned: {_remedy(models[label], study.chance)}", "warning")
    if plot is not None:
        _draw(plot, study.columns(by), by, study.chance)
    if page is not None:
        write_page(page, report("How far back models remember a cause", *study.html(by)))
    if as_json:
        facts = {
            "language": language,
            "cause": cause,
            "control": control,
            "normalize": normalize,
            "seed": seed,
            "by": by,
            "sentences": study.sentences,
            "chance": study.chance,
            "learned": study.learned,
            "runs": rows,
        }
        click.echo(strict_json.report(facts))
        return
    click.echo(console.shown_table(study.table(by)))


def _remedy(model: "Model", chance: float) -> str:
    fact = f"at no distance better than guessing ({chance:.1f} percent)"
    steps = model.run.manifest.get("training", {}).get("step")
    if not steps:
        return f"{fact}; its order may be too low to see the cause: use a higher --order"
    return (
        f"{fact}; train longer, as with lmkit train --resume {model.run.directory} --max-steps {2 * steps}, "
        "or give the answers more weight: docs/comparing.md#distances"
    )


def _draw(path: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], by: str, chance: float) -> None:
    from lmkit.evaluation import pictures

    with pictures.drawing(path, 7.5, 4.5) as axes:
        axes.axhline(chance, color="grey", linewidth=1, label="chance")
        for place, (name, column) in enumerate(rows.items()):
            x = [row["words"] if by == "clauses" else row["distance"] for row in column]
            axes.plot(x, [row["accuracy"] for row in column], label=name, **pictures.line_style(place))
        axes.set_xlabel("words from the object to the blank")
        axes.set_ylabel("right consequence ranked first, percent")
        axes.set_ylim(-2, 102)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
