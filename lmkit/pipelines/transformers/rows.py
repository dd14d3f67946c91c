"""Read padded rows of ids with a causal neural model, so that every row is what it is alone."""

from itertools import pairwise

import torch
from torch import Tensor

from lmkit import states
from lmkit.neural.language_model import NeuralLanguageModel
from lmkit.states import State


def read_rows(
    model: NeuralLanguageModel, ids: Tensor, kept: Tensor, state: State, *, carry: bool
) -> tuple[Tensor, State | None]:
    """The features that predict the token after each place, (batch, time, width), and the state after the rows.

    ids, kept: (batch, time); what is not kept is not read, wherever it stands, and the features there are those of the
    last token before it. `start_id` begins a new text. state: of the model, before the rows.
    carry: whether the state after the rows is needed; else it is None, and rows of unlike length take one call.
    """
    counts = kept.cumsum(1)  # tokens read up to each place
    lengths = counts[:, -1] if ids.shape[1] else counts.new_zeros(len(ids))
    if not bool(kept.all()):
        order = kept.int().argsort(dim=1, descending=True, stable=True)
        ids = ids.gather(1, order).masked_fill(~kept.gather(1, order), 0)
    first, network = _parts(state)
    features, network = _read_in_steps(model, ids, lengths, network, carry=carry)
    features = torch.cat([first[:, None], features], 1)

    def after(places: Tensor) -> Tensor:
        """(batch, n, width) the features after this many tokens, (batch, n)."""
        return features.gather(1, places[..., None].expand(-1, -1, features.shape[-1]))

    return after(counts), (after(lengths[:, None])[:, 0], network) if carry else None


def _read_in_steps(
    model: NeuralLanguageModel, ids: Tensor, lengths: Tensor, network: State, *, carry: bool
) -> tuple[Tensor, State]:
    """Features (batch, time, width) of rows padded on the right, and the network's state at the end of each row.

    Without `carry`, all rows are read to the end of the longest. With it, from one length to the next, and rows that
    have ended leave the batch, since a model returns only the state after the last step.
    """
    found = [model.output.bias.new_zeros(len(ids), 0, model.output.width)]
    ends = lengths.unique().tolist() if carry else [ids.shape[1]]
    for begin, end in pairwise([0, *ends]):
        window = ids[:, begin:end]
        going = (lengths >= end).nonzero()[:, 0]
        if begin == end:
            continue
        if not carry or len(going) == len(ids):
            features, network = _read(model, window, network)
        else:
            part, after = _read(model, window[going], states.take(network, going))
            features = part.new_zeros(*window.shape, part.shape[-1]).index_copy(0, going, part)
            network = states.apply(lambda all, some, at=going: all.index_copy(0, at, some), network, after)
        found.append(features)
    return torch.cat(found, 1), network


def _read(model: NeuralLanguageModel, ids: Tensor, network: State) -> tuple[Tensor, State]:
    starts = ids == model.start_id
    return model.features(ids, network, reset=starts if bool(starts.any()) else None)


def _parts(state: State) -> tuple[Tensor, State]:
    assert isinstance(state, tuple)
    features, network = state
    assert isinstance(features, Tensor)
    return features, network
