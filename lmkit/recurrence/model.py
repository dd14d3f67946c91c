"""The recurrent language model: an embedding, a stack of any registered cell, and a softmax."""

from typing import cast

import torch
from torch import Tensor, nn

from lmkit.contracts import Vocabulary
from lmkit.errors import UsageError
from lmkit.recurrence.neural import NeuralLanguageModel
from lmkit.recurrence.options import RecurrentOptions
from lmkit.recurrence.output import OutputLayer
from lmkit.recurrence.stack import Recurrent
from lmkit.states import State


class RecurrentLanguageModel(NeuralLanguageModel):
    """p(token | tokens before) from the output of the last layer (Mikolov et al., 2010)."""

    def __init__(self, options: RecurrentOptions, vocabulary: Vocabulary) -> None:
        super().__init__(options, vocabulary)
        self.reset_policy = options.reset
        width = options.embedding_size or options.hidden_size
        self.embedding = nn.Embedding(vocabulary.size, width)
        # `<s>` has a vector of its own, outside the vocabulary, so that the embedding can be tied to the output.
        self.start = nn.Parameter(torch.empty(width))
        self.stack = Recurrent(
            width, options.hidden_size, options.num_layers, options.cell, dropout=options.dropout
        )
        self.dropout = nn.Dropout(options.dropout)
        if options.tied and width != self.stack.output_size:
            raise UsageError(
                f"tied weights need an embedding as wide as the output: --embedding-size {self.stack.output_size}, "
                f"not {width}; or give --no-tied"
            )
        shared = nn.Parameter(torch.empty(vocabulary.size, self.stack.output_size))
        if options.tied:
            shared = cast(nn.Parameter, self.embedding.weight)
        self.output = OutputLayer(shared)
        for weight in (self.embedding.weight, self.start, shared):
            nn.init.uniform_(weight, -0.1, 0.1)

    def blank_state(self, batch_size: int) -> State:
        return self.stack.initial_state(batch_size)

    def features(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        starts = ids == self.start_id
        vectors = self.embedding(ids.masked_fill(starts, 0))
        vectors = torch.where(starts[..., None], self.start, vectors)
        outputs, state = self.stack(self.dropout(vectors), state, reset=reset)
        return self.dropout(outputs), state
