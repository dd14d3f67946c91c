"""Causal models of Hugging Face's transformers, imported from a folder, as a plugin."""

from collections.abc import Iterable

from lmkit import ModelSpec, hookimpl
from lmkit.specs import FileFormat
from lmkit_transformers.options import ImportOptions, TransformersOptions


@hookimpl
def lmkit_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            "transformers",
            "lmkit_transformers.model:TransformersModel",
            "A trained causal model of transformers, such as GPT-2, for scores (lmkit import transformers)",
            TransformersOptions,
            command="lmkit import transformers FOLDER --out DIR",
            formats=(
                FileFormat(
                    "transformers",
                    "a folder with a causal model of transformers: config.json, safetensors and tokenizer.json",
                    reader="lmkit_transformers.read:read",
                    options=ImportOptions,
                ),
            ),
        )
    ]
