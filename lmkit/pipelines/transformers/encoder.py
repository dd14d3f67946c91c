"""Any encoder of lmkit as `AutoModel`, with the vectors of `embed`.

The model restores the text of a row from the `characters` of its tokens (`lmkit.pipelines.spelling`): an encoder may
read the spelling of words, and words outside the vocabulary need not share an id.
"""

from typing import Any

import torch
from torch import Tensor

from lmkit import api
from lmkit.corpus.word_lists import Words
from lmkit.errors import UsageError
from lmkit.pipelines import needs
from lmkit.pipelines.encoders import one_layer
from lmkit.pipelines.spelling import WORD, read
from lmkit.pipelines.transformers.config import LmkitConfig
from lmkit.pipelines.transformers.pretrained import LmkitPreTrained

outputs: Any = needs("transformers.modeling_outputs", "transformers")


class LmkitModel(LmkitPreTrained):
    """Any encoder of lmkit, including a recurrent causal model, for `AutoModel`.

    Raises UsageError when the encoder lacks the config's layer.
    """

    def __init__(self, config: LmkitConfig, model: api.Model) -> None:
        super().__init__(config, model)
        self.encoder = model.encoder  # registers its weights if it is a module
        one_layer(self.encoder, config.layer)  # refuses an unknown layer before reading
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        characters: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_ignored: Any,
    ) -> Any:
        """last_hidden_state (batch, tokens, features), and hidden_states, one per layer, on request.

        input_ids, attention_mask: (batch, tokens); characters: (batch, any): all from the tokenizer.
        Tokens whose mask is 0 are not read, and their vectors are zeros, as is that of `<s>` before a text.
        Raises UsageError if the characters are missing or do not match the ids, and for several lines in a row.
        """
        if characters is None:
            raise UsageError(
                "the model needs the characters of tokens, not only ids: call it as model(**tokenizer(...))"
            )
        if self.config.eos_token_id is not None and bool((input_ids == self.config.eos_token_id).any()):
            raise UsageError(
                "a text with a line end: give each line as a text, since vectors are those of a line"
            )
        tokens = input_ids != self.config.pad_token_id
        if self.config.bos_token_id is not None:
            tokens = tokens & (input_ids != self.config.bos_token_id)
        kept = tokens if attention_mask is None else tokens & attention_mask.bool()
        vectors = self.encoder.embed(_sentences(tokens, kept, characters, self.config.separator))
        if [rows.shape[1] for rows in vectors] != kept.sum(1).tolist():
            raise UsageError(
                "a truncated or masked text has other tokens than before: "
                "truncate it before the tokenizer, or give lists of words"
            )
        select = one_layer(self.encoder, self.config.layer)
        last = _padded(kept, [select(rows) for rows in vectors], self.encoder.width)
        layers = None
        if self.config.output_hidden_states if output_hidden_states is None else output_hidden_states:
            layers = tuple(
                _padded(kept, [rows[layer] for rows in vectors], self.encoder.width)
                for layer in range(self.encoder.num_layers)
            )
        output = outputs.BaseModelOutput(last_hidden_state=last, hidden_states=layers)
        wanted = self.config.return_dict if return_dict is None else return_dict
        return output if wanted else output.to_tuple()


def _sentences(tokens: Tensor, kept: Tensor, characters: Tensor, separator: str | None) -> list[Any]:
    """The strings, or lists of words, of rows of characters, without the tokens that are not kept."""
    rows = characters.long().cpu().numpy()
    found, marks = [], set()
    for row, present, wanted in zip(rows, tokens.cpu().numpy(), kept.cpu().numpy(), strict=True):
        pieces, mark = read(row)
        if len(pieces) != present.sum():
            raise UsageError(
                "ids and characters do not match: truncate a text in the tokenizer "
                "(truncation=True, max_length=...), not its tensors"
            )
        found.append([piece for piece, use in zip(pieces, wanted[present], strict=True) if use])
        marks |= {mark} - {None}
    if len(marks) > 1:
        raise UsageError("strings and lists of words in one batch: give only one kind")
    if marks == {WORD}:
        return [Words(pieces, separator) for pieces in found]
    return ["".join(pieces) for pieces in found]


def _padded(kept: Tensor, rows: list[Tensor], width: int) -> Tensor:
    """(batch, tokens, features) with the vectors of each row where `kept` (batch, tokens) is true, else zeros."""
    vectors = torch.cat(rows) if rows else torch.zeros(0, width)
    padded = vectors.new_zeros(*kept.shape, width)
    padded[kept.to(vectors.device)] = vectors
    return padded
