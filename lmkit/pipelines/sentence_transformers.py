"""A module for the sentence-transformers library that computes sentence embeddings with the encoder of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lmkit import api
from lmkit.embedding.layers import pooled, selection
from lmkit.errors import UsageError
from lmkit.pipelines import needs
from lmkit.pipelines.encoders import one_layer, save_run
from lmkit.pipelines.spelling import TEXT, read, spell

# By name, so that type checkers can check this module without the library.
modules: Any = needs("sentence_transformers.base.modules", "transformers")

__all__ = ["LmkitModule"]

INPUT_IDS = "input_ids"
"""The sentences, as the characters of each.

The library's trainer finds a column's features by this name, and its losses cut this tensor into smaller batches.
"""


class LmkitModule(modules.InputModule):
    """Strings to their vectors: `SentenceTransformer(modules=[LmkitModule("runs/elmo")])`.

    run: the directory of a run; a recurrent causal model also serves as an encoder.
    layer: "mix", "top", or a number from 0 (the vectors without context).
    pool: how to reduce the vectors of a sentence's tokens to one: "mean", "max", "first" or "last"; zeros without
    tokens. "none" if a later module does it, such as the library's `Pooling`.

    `preprocess` passes the characters of strings to `forward`, since encoders read strings. The weights are the
    module's parameters: they move, train and are saved with it.
    """

    config_keys = ("layer", "pool")
    save_in_root = False

    def __init__(self, run: str | Path, layer: str | int = "mix", pool: str = "mean") -> None:
        super().__init__()
        self.run = api.load(run, device="cpu")
        self.encoder = self.run.encoder  # registers its weights if it is a module
        self.layer = layer
        self.pool = pool
        # Refuse unknown layers and poolings before encoding.
        one_layer(self.encoder, layer)
        selection(self.encoder, layer, pool)

    def preprocess(
        self, inputs: Sequence[str], prompt: str | None = None, **_ignored: Any
    ) -> dict[str, Tensor]:
        """The strings with their prompt as input_ids, (batch, characters).

        Raises UsageError for items that are not strings.
        """
        for sentence in inputs:
            if not isinstance(sentence, str):
                raise UsageError(f"a sentence is of the type {type(sentence).__name__}: give strings")
        rows = [torch.tensor(spell([(prompt or "") + sentence], TEXT)) for sentence in inputs]
        return {INPUT_IDS: pad_sequence(rows, batch_first=True)}

    def forward(self, features: dict[str, Any], **_ignored: Any) -> dict[str, Any]:
        """The features with token_embeddings (batch, tokens, features) and their attention_mask (batch, tokens),
        and sentence_embedding (batch, features) unless pool is "none".
        """
        select = one_layer(self.encoder, self.layer)
        sentences = ["".join(read(row)[0]) for row in features[INPUT_IDS].cpu().numpy()]
        vectors = [select(rows) for rows in self.encoder.embed(sentences)]
        made: dict[str, Tensor] = {
            "token_embeddings": pad_sequence(vectors, batch_first=True),
            "attention_mask": pad_sequence(
                [rows.new_ones(len(rows)).long() for rows in vectors], batch_first=True
            ),
        }
        if self.pool != "none":
            made["sentence_embedding"] = torch.stack([pooled(rows, self.pool) for rows in vectors])
        return {**features, **made}

    def get_embedding_dimension(self) -> int:
        return self.encoder.width

    def save(self, output_path: str, *_args: Any, **_kwargs: Any) -> None:
        """Write the run, with its current weights, and config.json."""
        save_run(self.run, Path(output_path))
        self.save_config(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:
        """Load the result of `save`. Raises ModelError, PluginError as `lmkit.load` does."""
        places = ("token", "cache_folder", "revision", "local_files_only")
        where = {"subfolder": subfolder, **{name: kwargs[name] for name in places if name in kwargs}}
        folder = cls.load_dir_path(model_name_or_path, **where)
        return cls(folder, **cls.load_config(model_name_or_path, **where))
