"""The settings of reading: the table `[data]` of a recipe."""

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
"""What names standard input, where text is only scored: a run has to read its text again to be resumed."""


@dataclass(frozen=True)
class DataOptions:
    """How text is read; each reader uses the options that concern its format."""

    encoding: str = option("utf-8", "how the bytes of text, JSONL and CSV files spell characters")
    input_format: str = option(
        BY_NAME,
        "how files are read: auto goes by their names' endings; tsv-quoted is TSV with the quoting of CSV",
        choices=(BY_NAME, *INPUT_FORMATS),
    )
    on_bad_line: str = option(
        "error", "what to do with a line that cannot be read", choices=("error", "skip")
    )
    text_field: str = option(
        "text", "the field or column that holds the text of a row; meta.text is within meta"
    )
    max_expansion: float = option(
        200.0,
        "refuse a compressed file that grows by more than this factor, past 64 MiB (0: no limit)",
        min=0,
    )
    hub_subset: str | None = option(None, "the subset (configuration) of a data set of the Hugging Face hub")
    hub_split: str = option("train", "the split of a data set of the Hugging Face hub")
