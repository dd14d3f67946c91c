"""`lmkit eval`: score a text with models."""

from typing import TYPE_CHECKING, Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    adaptation_options,
    asks_models,
    batch_size_option,
    data_command,
    independent_option,
    int8_option,
    json_option,
    split_items,
    workers_option,
)
from lmkit.cli.sharing import device_with, scoring_workers
from lmkit.corpus.options import DataOptions

if TYPE_CHECKING:
    from lmkit.scoring.score import Score

    Scores = dict[tuple[str, str], Score]
    """Scores by the label of the run and the direction."""


@data_command
@asks_models
@independent_option
@adaptation_options
@int8_option
@batch_size_option("Segments between resets per batch.", 32)
@workers_option
@json_option()
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    independent: bool,
    adapt: dict[str, Any],
    int8: bool,
    batch_size: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Score TEXT (-: standard input) with the models in the directories RUN.

    A bidirectional encoder is scored as its two causal models.
    """
    asked = split_items(items, texts, "eval")

    from lmkit import api
    from lmkit.corpus.readers import Text

    text = Text(asked.texts, options)
    scores: Scores = {}
    for label, run in asked.runs.items():
        several = "" if asked.run else label
        with console.about(several):
            load = {
                "device": device_with(workers, device),
                "allow_nonfinite": allow_nonfinite,
                "split_unknown": split_unknown,
                "int8": int8,
                **adapt,
            }
            model = api.load(run, **load)
        for direction in model.directions:
            name = f"{several} {direction}".strip() if len(model.directions) > 1 else several
            with console.about(name):
                lines = console.progress(text, total=None, label=f"scoring {name}".strip())
                with scoring_workers(workers, run, load, direction) as sharing:
                    score = model.score_text(
                        lines,
                        batch_size=batch_size,
                        direction=direction,
                        independent=independent,
                        workers=sharing,
                    )
                for notice in score.notices:
                    console.say(console.about_run(notice), "note")
            scores[label, direction] = score
    if as_json:
        click.echo(strict_json.report(_json(scores, asked.run is not None)))
    elif len(scores) == 1:
        console.write_rows(next(iter(scores.values())).table())
    elif asked.run is not None:
        console.write_rows(
            [(f"{name}: {row}", value) for (_, name), score in scores.items() for row, value in score.table()]
        )
    else:
        click.echo(_table(scores))


def _json(scores: "Scores", one_run: bool) -> object:
    """The figures of a model, or those of an encoder by direction; for several runs, a list with `run`."""
    if not one_run:
        return [
            {"run": label, "direction": direction, **score.to_json()}
            for (label, direction), score in scores.items()
        ]
    by_direction = {direction: score.to_json() for (_, direction), score in scores.items()}
    return next(iter(by_direction.values())) if len(scores) == 1 else by_direction


def _table(scores: "Scores") -> str:
    """A row for each run, and for each direction of an encoder, then the reasons for missing figures."""
    several = {label for label, _ in scores if sum(label == other for other, _ in scores) > 1}
    names = [f"{label} {direction}" if label in several else label for label, direction in scores]
    figures = [
        ("bits per byte", "bits_per_byte", ".4f"),
        ("perplexity", "perplexity", ",.2f"),
        ("word perplexity", "word_perplexity", ",.2f"),
        ("bits per character", "bits_per_character", ".4f"),
        ("out of vocabulary", "oov_tokens", ",d"),
        ("spelling of unknowns", "spelling_share", ".1%"),
        ("tokens", "tokens", ",d"),
    ]
    rows = [
        [
            name,
            *(
                "-" if (value := getattr(score, key)) is None else format(value, form)
                for _, key, form in figures
            ),
        ]
        for name, score in zip(names, scores.values(), strict=True)
    ]
    table = console.table(["run", *(title for title, _, _ in figures)], rows)
    notes = [
        f"{name}: withheld: {', '.join(figures)}: {why}"
        for name, score in zip(names, scores.values(), strict=True)
        for why, figures in score.withheld_by_reason().items()
    ]
    notes += [f"{name}: {score.signature}" for name, score in zip(names, scores.values(), strict=True)]
    return "\n\n".join([table, *map(console.folded, notes)])
