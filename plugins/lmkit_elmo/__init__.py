"""The stacked bidirectional encoder (ELMo) and the original's weights, as a plugin."""

from collections.abc import Iterable

from lmkit import ModelSpec, hookimpl
from lmkit.specs import MOST_IDS, FileFormat
from lmkit_elmo.options import BiLMOptions
from lmkit_elmo.original_options import OriginalOptions


@hookimpl
def lmkit_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            "elmo",
            "lmkit_elmo.model:BiLM",
            "Bidirectional encoder: two stacks of any cell over characters (Peters et al., 2018)",
            BiLMOptions,
            # Every word is read by its characters; the model's --output-words limits the predicted ones.
            tokenizers={"lmkit:word": {"min_count": 1, "vocab_size": MOST_IDS}},
            formats=(
                FileFormat(
                    "elmo",
                    "the original's options.json and weights in HDF5",
                    reader="lmkit_elmo.original:read",
                    options=OriginalOptions,
                    takes_file=False,
                ),
            ),
        )
    ]
