"""`lmkit embed`: vectors for the tokens, words or sentences of a text, in a file."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit.cli import console
from lmkit.cli.common import loads_model
from lmkit.cli.dynamic import Section, SpecCommand, collected
from lmkit.corpus.options import DataOptions
from lmkit.options import resolve

if TYPE_CHECKING:
    from lmkit.embedding.text import EmbeddedLine

POOLS = ("none", "mean", "max", "first", "last")


@click.command(cls=SpecCommand, grow=lambda _: [Section("Options of the data", ("data",), DataOptions, {})])
@loads_model
@click.argument("data")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="Where to write: a name ending in .safetensors, .parquet or .hdf5.",
)
@click.option(
    "--layer",
    metavar="LAYER",
    default="mix",
    show_default=True,
    help="mix (the mean, unless the encoder has learned another), top, all, or a number from 0.",
)
@click.option(
    "--pool",
    type=click.Choice(POOLS),
    default="none",
    show_default=True,
    help="One vector a line: of its tokens the mean, the maximum, the first or the last.",
)
@click.option(
    "--words", is_flag=True, help="A vector a word between white space, not a token of the tokenizer."
)
@click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Lines of like lengths read at once.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    device: str,
    allow_nonfinite: bool,
    data: str,
    out: Path,
    layer: str,
    pool: str,
    words: bool,
    batch_size: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the vectors that the model in RUN has for each line of DATA (-: standard input).

    A line is a sentence, and a blank one keeps its place. Any encoder will do, and any neural language model.
    """
    options = resolve(DataOptions, collected(ctx)["data"], "data")

    from lmkit.embedding.files import Form, check_target, write_vectors

    form = Form(layer, pool)
    check_target(out, form, overwrite=overwrite)

    from lmkit import api
    from lmkit.corpus.readers import Text
    from lmkit.embedding.layers import selection
    from lmkit.embedding.text import embedded_lines
    from lmkit.evaluation.lines import whole_lines

    text = Text([data], options)
    encoder = api.load(run, device=device, allow_nonfinite=allow_nonfinite).encoder
    select = selection(encoder, layer, pool)
    tally = Tally()
    lines = whole_lines(console.progress(text, total=None, label="embedding"))
    embedded = embedded_lines(encoder, lines, select=select, words=words, batch_size=batch_size)
    write_vectors(tally.counted(embedded), out, form)
    figures = {
        **tally.figures(),
        "layers": encoder.num_layers if layer == "all" else 1,
        "features": encoder.width,
        "file": str(out),
    }
    if as_json:
        click.echo(json.dumps(figures))
    else:
        console.write_rows((name.replace("_", " "), value) for name, value in figures.items())


class Tally:
    """Counts lines that pass, and the time that they take."""

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
        """The counts, and words between white space a second since the beginning."""
        seconds = time.monotonic() - self.begun
        return {
            "sentences": self.sentences,
            "tokens": self.tokens,
            "words": self.words,
            "words_per_second": round(self.words / max(seconds, 1e-9), 1),
        }
