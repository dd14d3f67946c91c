"""A causal neural model of lmkit as `AutoModelForCausalLM`, for transformers' `generate`, pipelines and Trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from lmkit import api, states
from lmkit.errors import ModelError, UsageError
from lmkit.neural.language_model import NeuralLanguageModel
from lmkit.pipelines import needs
from lmkit.pipelines.transformers.cache import LmkitCache
from lmkit.pipelines.transformers.config import LmkitConfig
from lmkit.pipelines.transformers.pretrained import LmkitPreTrained
from lmkit.pipelines.transformers.rows import read_rows

transformers: Any = needs("transformers", "transformers")
generation: Any = needs("transformers.generation", "transformers")
outputs: Any = needs("transformers.modeling_outputs", "transformers")

CACHES = ("cache", "past_key_values", "cache_params")
"""Names of the argument for the state: that of transformers 5.24, and its older ones."""
CACHE = next(name for name in CACHES if name in outputs.CausalLMOutputWithPast.__dataclass_fields__)
GENERATION = "generation_config.json"
UNSUPPORTED = ("inputs_embeds", "output_hidden_states", "output_attentions")


class LmkitForCausalLM(LmkitPreTrained, generation.GenerationMixin):
    """Any causal neural model of lmkit, recurrent or with a window.

    A row begins with the initial state, in which `<s>` has been read, whether its first id is `<s>` or not; `<s>`
    elsewhere begins a new text, and so does a line end if the model is reset at every line. The logits are the
    model's; those of padding and of `<s>`, which it never predicts, are the lowest number.
    Raises ModelError for a model that is not causal and neural.
    """

    _is_stateful = True  # `generate` cannot take back tokens, as assisted generation does

    def __init__(self, config: LmkitConfig, model: api.Model) -> None:
        super().__init__(config, model)
        network = model.run.model
        if not isinstance(network, NeuralLanguageModel):
            raise ModelError(
                f"{model.run.directory} holds a model {model.run.model_choice.name}, which is not a causal neural one: "
                "use AutoModel for its vectors, or give a recurrent or window model"
            )
        self.network = network
        vocabulary = network.vocabulary
        self.pad_id, self.bos_id = vocabulary.size, vocabulary.size + 1
        self._by_line = network.reset_policy == "line"
        self.generation_config = transformers.GenerationConfig(
            bos_token_id=self.bos_id,
            pad_token_id=self.pad_id,
            eos_token_id=vocabulary.eos_id if self._by_line else None,
            # What `lmkit generate` does: draw from the whole distribution, except from the unknown token.
            do_sample=True,
            temperature=1.0,
            top_k=0,
            suppress_tokens=None if vocabulary.unk_id is None else [vocabulary.unk_id],
        )
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """The same as any model of a run, with the settings of generation that the folder has."""
        model = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if (Path(pretrained_model_name_or_path) / GENERATION).is_file():
            model.generation_config = transformers.GenerationConfig.from_pretrained(
                pretrained_model_name_or_path
            )
        return model

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """No: `generate` begins without a cache, and goes on with the one that `forward` returns."""
        return False

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: LmkitCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        past_key_values: LmkitCache | None = None,
        cache_params: LmkitCache | None = None,
        characters: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """logits (batch, time, vocabulary and two more), the loss with `labels`, and the cache with `use_cache`.

        input_ids: (batch, time). attention_mask: (batch, at least time), of which the last columns count: what it
        masks, and padding, is not read, wherever it stands, and its logits are those after the token before it.
        cache: the state before the ids, which is updated. labels: (batch, time), shifted here; -100, padding
        and `<s>` do not count.
        use_cache: by default, except in training and with labels. logits_to_keep: of the last places only, or of these.
        kwargs: for the loss, such as `num_items_in_batch`. characters: of the tokenizer, for `AutoModel`; not used.
        Raises UsageError for arguments that only other models have.
        """
        if wrong := [
            name for name in UNSUPPORTED if kwargs.get(name) is not None and kwargs[name] is not False
        ]:
            raise UsageError(
                f"{wrong[0]}: not supported for generation; for vectors, load the folder with AutoModel"
            )
        given = _given_cache((cache, past_key_values, cache_params), len(input_ids))
        carry = use_cache
        if carry is None:
            carry = self.config.use_cache and not self.training and labels is None
        state = None if given is None else given.state
        if state is None:
            state = self.network.initial_state(len(input_ids))
        features, after = read_rows(
            self.network,
            self._translated(input_ids),
            self._kept(input_ids, attention_mask),
            state,
            carry=bool(carry),
        )
        logits = self._logits(_last(features, logits_to_keep))
        loss = None
        if labels is not None:
            possible = labels.masked_fill(labels >= self.network.vocabulary.size, -100)
            loss = self.loss_function(logits=logits, labels=possible, vocab_size=logits.shape[-1], **kwargs)
        returned = None
        if after is not None:
            returned = LmkitCache() if given is None else given
            returned.update(after, input_ids.shape[1])
        output = outputs.CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: returned})
        wanted = self.config.return_dict if return_dict is None else return_dict
        return output if wanted else output.to_tuple()

    def _translated(self, ids: Tensor) -> Tensor:
        """Ids as the network reads them: `start_id` where a text begins."""
        starts = ids == self.bos_id
        if self._by_line:
            starts = starts | (ids == self.network.vocabulary.eos_id)
        return ids.masked_fill(starts, self.network.start_id)

    def _kept(self, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(batch, time) bool: the tokens to read, and every `<s>`, which the tokenizer masks for means of vectors."""
        tokens = ids != self.pad_id
        if attention_mask is None:
            return tokens
        mask = attention_mask[:, attention_mask.shape[1] - ids.shape[1] :].bool()
        return tokens & (mask | (ids == self.bos_id))

    def _logits(self, features: Tensor) -> Tensor:
        logits = self.network.output.logits(features)
        never = logits.new_full((*logits.shape[:-1], 2), torch.finfo(logits.dtype).min)
        return torch.cat([logits, never], -1)


def _given_cache(given: Sequence[LmkitCache | None], rows: int) -> LmkitCache | None:
    """The cache among arguments; UsageError if it is another model's or of another batch."""
    cache = next((item for item in given if item is not None), None)
    if cache is None:
        return None
    if not isinstance(cache, LmkitCache):
        raise UsageError(
            f"the state of an lmkit model does not fit into a {type(cache).__name__}: leave the cache out, and give "
            "the next call the cache of the output"
        )
    if cache.state is not None and (size := len(states.leaves(cache.state)[0])) != rows:
        raise UsageError(
            f"the cache is of {size} rows, but input_ids has {rows}: repeat or select the cache's rows "
            "(cache.batch_repeat_interleave, cache.batch_select_indices)"
        )
    return cache


def _last(features: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """(batch, n, width) of (batch, time, width): the last places, all for 0, or these."""
    if isinstance(logits_to_keep, Tensor):
        return features[:, logits_to_keep]
    return features[:, -logits_to_keep:] if logits_to_keep else features
