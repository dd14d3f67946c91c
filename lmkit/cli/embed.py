"""`lmkit embed`: write vectors of the tokens, words or sentences of a text to a file."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    asks_models,
    batch_size_option,
    data_command,
    json_option,
    out_option,
    overwrite_option,
    split_items,
    workers_option,
)
from lmkit.cli.sharing import device_with, embedding_workers
from lmkit.corpus.options import DataOptions

if TYPE_CHECKING:
    from lmkit.corpus.readers import Line
    from lmkit.embedding.text import EmbeddedLine
    from lmkit.embedding.vector_files import Form

POOLS = ("none", "mean", "max", "first", "last")


@data_command
@asks_models
@out_option("Output file: a name ending in .safetensors, .parquet or .hdf5.", required=True)
@click.option(
    "--layer",
    metavar="LAYER",
    default="mix",
    show_default=True,
    help="Layer: mix (the mean, unless the encoder has a trained mix), top, all, or a number from 0.",
)
@click.option(
    "--pool",
    type=click.Choice(POOLS),
    default="none",
    show_default=True,
    help="Reduce each line to one vector: the mean, maximum, first or last of its tokens.",
)
@click.option(
    "--words", is_flag=True, help="Write one vector per word between white space instead of per token."
)
@batch_size_option("Lines of similar length per batch.", 128)
@workers_option
@overwrite_option("an existing file")
@json_option()
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    out: Path,
    layer: str,
    pool: str,
    words: bool,
    batch_size: int,
    workers: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the vectors of each line of TEXT (-: standard input) by the models in the directories RUN.

    Each line, or row of a table, is a sentence; blank ones keep their place. With several runs, each gets a file
    named after it: vectors.gru.parquet. RUN may be any encoder or neural language model.
    """

    asked = split_items(items, texts, "embed")

    from lmkit.embedding.vector_files import Form, check_target

    form = Form(layer, pool)
    targets = {label: out if asked.run else _own_file(out, label) for label in asked.runs}
    for target in targets.values():
        check_target(target, form, overwrite=overwrite)

    from lmkit.corpus.readers import Text

    text = Text(asked.texts, options)
    device = device_with(workers, device)
    load = {"device": device, "allow_nonfinite": allow_nonfinite, "split_unknown": split_unknown}
    rows = []
    for label, run in asked.runs.items():
        model = _Embedder(run, load, form, words, batch_size, workers)
        lines = console.progress(text, total=None, label=f"embedding with {label}")
        facts = model.write(lines, targets[label])
        rows.append(facts if asked.run else {"run": label, **facts})
    if as_json:
        click.echo(strict_json.report(rows[0] if asked.run else rows))
        return
    for place, row in enumerate(rows):
        if place:
            click.echo()
        console.write_rows((name.replace("_", " "), value) for name, value in row.items())


def _own_file(out: Path, label: str) -> Path:
    """The file for one of several runs: vectors.parquet becomes vectors.gru.parquet."""
    return out.with_name(f"{out.stem}.{label.replace('/', '-')}{out.suffix}")


@dataclass(frozen=True)
class _Embedder:
    """A run, and the choice of its vectors."""

    run: Path
    load: dict[str, Any]
    """Arguments of `lmkit.api.load`."""
    form: "Form"
    words: bool
    batch_size: int
    workers: int | None

    def write(self, lines: Iterable["Line"], out: Path) -> dict[str, object]:
        """Write the vectors of the lines, and return a summary."""
        from lmkit import api
        from lmkit.embedding.layers import selection
        from lmkit.embedding.text import embedded_lines
        from lmkit.embedding.vector_files import write_vectors
        from lmkit.scoring.measured_lines import whole_rows

        encoder = api.load(self.run, **self.load).encoder
        select = selection(encoder, self.form.layer, self.form.pool)
        tally = Tally()
        form = self.form
        with embedding_workers(self.workers, self.run, self.load, form.layer, form.pool) as sharing:
            embedded = embedded_lines(
                encoder,
                whole_rows(lines),
                select=select,
                words=self.words,
                batch_size=self.batch_size,
                workers=sharing,
            )
            write_vectors(tally.counted(embedded), out, form)
        return {
            **tally.figures(),
            "layers": encoder.num_layers if self.form.layer == "all" else 1,
            "features": encoder.width,
            "file": str(out),
        }


class Tally:
    """Count lines, and measure their time."""

    def __init__(self) -> None:
        self.sentences = self.tokens = self.words = 0
        self.begun = time.monotonic()

    def counted(self, lines: Iterable["EmbeddedLine"]) -> Iterator["EmbeddedLine"]:
        for line in lines:
            self.sentences += 1
            self.tokens += len(line.tokens)
            self.words += line.num_words
            yield line

    def figures(self) -> dict[str, object]:
        """The counts, and words between white space per second since the beginning."""
        seconds = time.monotonic() - self.begun
        return {
            "sentences": self.sentences,
            "tokens": self.tokens,
            "words": self.words,
            "words_per_second": round(self.words / max(seconds, 1e-9), 1),
        }
