"""The n-gram and the infini-gram models, counted over the sorted positions of a text, as a plugin."""

from collections.abc import Iterable

from lmkit import ModelSpec, hookimpl
from lmkit.specs import MOST_IDS, FileFormat
from lmkit_ngram.arpa_options import ArpaOptions
from lmkit_ngram.infinite_options import InfiniteOptions
from lmkit_ngram.options import NgramOptions

EVERY_WORD = {"lmkit:word": {"min_count": 1, "vocab_size": MOST_IDS}}
"""As in KenLM, every word is kept, and only words outside the text are unknown."""


@hookimpl
def lmkit_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            "ngram",
            "lmkit_ngram.model:NgramModel",
            "Smoothed n-gram counts of any order (Kneser and Ney, 1995; Chen and Goodman, 1998)",
            NgramOptions,
            tokenizers=EVERY_WORD,
            formats=(
                FileFormat(
                    "arpa",
                    "the text format of SRILM and KenLM, plain, .gz, .bz2 or .xz",
                    "lmkit_ngram.arpa_write:write_arpa",
                    "lmkit_ngram.arpa_read:read_arpa",
                    ArpaOptions,
                    others="a mixture of n-grams has no backoff weights: export its parts (RUN/parts/0 ...) "
                    "and mix their probabilities there, or train one model on all texts",
                ),
            ),
            counter="lmkit_ngram.count_text:count_text",
        ),
        ModelSpec(
            "infini-gram",
            "lmkit_ngram.infinite:InfiniGramModel",
            "Counts after the longest context that the text has, without smoothing, to mix (Liu et al., 2024)",
            InfiniteOptions,
            tokenizers=EVERY_WORD,
        ),
    ]
