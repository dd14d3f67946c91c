"""The options for reading text: the table `[data]` of a recipe."""

from dataclasses import dataclass

from lmkit.specs import option

TEXT, JSONL, JSON, CSV, TSV, TSV_QUOTED, PARQUET = (
    "text",
    "jsonl",
    "json",
    "csv",
    "tsv",
    "tsv-quoted",
    "parquet",
)
INPUT_FORMATS = (TEXT, JSONL, JSON, CSV, TSV, TSV_QUOTED, PARQUET)
BY_NAME = "auto"

STDIN = "-"
"""Standard input, for commands that only score text: a resumed run must read its text again."""


@dataclass(frozen=True)
class DataOptions:
    """Options for reading text; each reader uses those of its format."""

    encoding: str = option("utf-8", "encoding of text, JSONL and CSV files")
    input_format: str = option(
        BY_NAME,
        "file format: auto uses the file's ending; tsv-quoted is TSV with the quoting of CSV",
        choices=(BY_NAME, *INPUT_FORMATS),
    )
    on_bad_line: str = option(
        "error", "stop at a line that cannot be read, or skip it", choices=("error", "skip")
    )
    text_field: str = option(
        "text", "field or column with the text of a row; meta.text is the field text of meta"
    )
    max_expansion: float = option(
        200.0,
        "refuse a compressed file that grows by more than this factor, past 64 MiB (0: no limit)",
        min=0,
    )
    hub_subset: str | None = option(None, "subset (configuration) of a Hugging Face data set")
    hub_split: str = option("train", "split of a Hugging Face data set")
