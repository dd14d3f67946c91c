"""The config of a run as a model of the transformers library, and the folder that a name means."""

from pathlib import Path
from typing import Any, ClassVar, Self

from lmkit import api
from lmkit.contracts import Encoder
from lmkit.errors import ModelError
from lmkit.kinds import is_neural
from lmkit.pipelines import needs

# By name, so that type checkers can check this module without the library.
transformers: Any = needs("transformers", "transformers")

CHARACTERS = "characters"
"""The name of the tensor with the spelling of tokens."""


class LmkitConfig(transformers.PreTrainedConfig):
    """The config for transformers and its users; the run in the same folder has the model.

    layer: the layer of `last_hidden_state`: "top", "mix" or the number of a layer, as in `Model.embed`.
    separator: between the words of a list, as in `Model.embed`.

    Padding and, for a causal model, `<s>` have the ids after the vocabulary's, in this order.
    """

    model_type = "lmkit"
    layer = "top"
    separator: str | None = None
    use_cache = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    keys_to_ignore_at_inference: ClassVar = ["cache", "past_key_values"]

    @classmethod
    def of(cls, model: api.Model) -> Self:
        """The config of a model; ModelError if it is neither an encoder nor a causal neural model."""
        check_kind(model)
        encoder, vocabulary = model.encoder, model.vocabulary
        causal = {"bos_token_id": vocabulary.size + 1, "eos_token_id": vocabulary.eos_id}
        return cls(
            hidden_size=encoder.width,
            num_hidden_layers=encoder.num_layers - 1,
            vocab_size=vocabulary.size + (2 if is_causal(model) else 1),
            pad_token_id=vocabulary.size,
            **(causal if is_causal(model) else {}),
        )


def is_causal(model: api.Model) -> bool:
    """Whether it can be a causal language model of transformers."""
    return is_neural(model.run.model)


def check_kind(model: api.Model) -> None:
    """Raise ModelError for a model that transformers has no place for."""
    if is_causal(model) or isinstance(model.run.model, Encoder):
        return
    raise ModelError(
        f"{model.run.directory} holds a model {model.run.model_choice.name}, but transformers takes encoders and "
        "causal neural models, such as recurrent ones: use it in lmkit, or choose another --to, such as archive"
    )


def local_folder(path: str | Path) -> Path:
    """The folder at a path; ModelError if there is none, as for a name on the hub."""
    if not Path(path).is_dir():
        raise ModelError(
            f"{path} is not a local folder, but lmkit models are loaded only from there: "
            "download it first (hf download NAME --local-dir FOLDER) and give that folder"
        )
    return Path(path)
