"""The n-gram language model, counted over the sorted positions of a text, as a plugin."""

from collections.abc import Iterable

from lmkit import ModelSpec, hookimpl
from lmkit.specs import MOST_IDS, FileFormat
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.options import NgramOptions


@hookimpl
def lmkit_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            "ngram",
            "lmkit_ngram.model:NgramModel",
            "Smoothed n-gram counts of any order (Kneser and Ney, 1995; Chen and Goodman, 1998)",
            NgramOptions,
            # As in KenLM, every word is kept, and only words outside the text are unknown.
            tokenizers={"lmkit:word": {"min_count": 1, "vocab_size": MOST_IDS}},
            formats=(
                FileFormat(
                    "arpa",
                    "the text format of SRILM and KenLM, plain, .gz, .bz2 or .xz",
                    "lmkit_ngram.arpa_write:write_arpa",
                    "lmkit_ngram.arpa_read:read_arpa",
                    ArpaOptions,
                ),
            ),
            counter="lmkit_ngram.count_text:count_text",
        )
    ]
