"""The sizes of a network's gradients on its training text, by which dynamic evaluation divides its steps."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import Tokenizer
from lmkit.corpus.readers import Line
from lmkit.corpus.store import TokenStore
from lmkit.corpus.streams import Streams
from lmkit.neural.language_model import NeuralLanguageModel

BATCH = 20
"""Parallel streams of the text."""
MOST_WINDOWS = 500
"""Windows of the streams whose gradients are measured: the beginnings of as many equal parts of the text as streams."""


def stored(text: Iterable[Line], tokenizer: Tokenizer) -> TokenStore:
    """The tokens of a text in memory."""
    eos = tokenizer.vocabulary.eos_id
    lines = [np.append(tokenizer.ids(line.text), eos) for line in text]
    return TokenStore.from_lines(lines, tokenizer.vocabulary)


def gradient_sizes(model: NeuralLanguageModel, store: TokenStore, bptt: int) -> Tensor:
    """(parameters,) root mean squares of the gradients of the mean loss of windows of `bptt` tokens."""
    parameters = list(model.parameters())
    total = torch.cat([torch.zeros_like(p).flatten() for p in parameters])
    count = 0
    batch = max(1, min(BATCH, store.num_tokens // bptt))
    streams = Streams(store, batch, bptt, model.reset_policy, model.start_id)
    network = model.blank_state(streams.batch_size)
    with torch.enable_grad():
        for step in range(min(streams.steps_per_epoch, MOST_WINDOWS)):
            window = streams.window(step).to(model.device)
            features, network = model.features(window.inputs, network, reset=window.reset)
            network = states.detach(network)
            scores = model.output.target_log_probs(features.flatten(0, 1), window.targets.flatten())
            found = torch.autograd.grad(-scores.mean(), parameters, allow_unused=True)
            parts = [
                torch.zeros_like(p).flatten() if g is None else g.flatten()
                for p, g in zip(parameters, found, strict=True)
            ]
            total += torch.cat(parts).square_()
            count += 1
    return total.div_(count).sqrt_()
