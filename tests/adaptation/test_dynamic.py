"""Dynamic evaluation: equal to its definition by hand, in float64, and without a trace in the loaded model."""

import numpy as np
import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit import states
from lmkit.adaptation.cache import CachedModel
from lmkit.adaptation.dynamic import DynamicModel
from lmkit.adaptation.gradient_sizes import gradient_sizes
from lmkit.adaptation.options import CacheOptions, DynamicOptions
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.corpus.store import TokenStore
from lmkit.options import choose
from lmkit.scoring.stream import Sentence, score_lines

VOCABULARY = Vocabulary(6, 0, 1, "test")
LINES = [
    Sentence(np.append(np.random.default_rng(n).integers(1, 6, length), 0), n in (0, 3))
    for n, length in enumerate([7, 0, 12, 4, 6])
]
PARTS = [LINES[:3], LINES[3:]]
"""The documents."""


def network(policy: str = "document") -> RecurrentLanguageModel:
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "lstm", "hidden_size": 3, "dropout": 0.3, "reset": policy}
    return RecurrentLanguageModel(choose("model", table, "model").options, VOCABULARY).double().eval()


def by_definition(policy: str, text: list[Sentence], options: DynamicOptions, rms) -> list[float]:
    """Segment after segment: score it, take the gradient of its mean loss, step."""
    model, trained = network(policy), network(policy)
    found = []
    segments = []
    state = model.blank_state(1)
    tokens = np.concatenate([line.ids for line in text])
    inputs = np.concatenate([[model.start_id], tokens[:-1]])
    stretches = [(inputs, tokens)]
    if policy == "line":
        stretches = [(np.concatenate([[model.start_id], line.ids[:-1]]), line.ids) for line in text]
    for begin, (read, wanted) in enumerate(stretches):
        for at in range(0, len(wanted), options.bptt):
            part = slice(at, at + options.bptt)
            segments.append((begin if at == 0 else None, read[part], wanted[part]))
    for begin, read, wanted in segments:
        if begin is not None:
            state = model.blank_state(1)
        features, state = model.features(torch.tensor(read)[None], state)
        state = states.detach(state)
        logits = features[0] @ model.output.weight.T + model.output.bias
        scores = torch.log_softmax(logits, 1)[torch.arange(len(wanted)), torch.tensor(wanted)]
        found += scores.tolist()
        if len(wanted) < options.bptt and policy != "line":
            break  # the last segment is not learned from
        gradients = torch.autograd.grad(-scores.mean(), list(model.parameters()))
        mean = None if rms is None else torch.cat([r.flatten() for r in rms]).mean()
        for place, (p, start, g) in enumerate(
            zip(model.parameters(), trained.parameters(), gradients, strict=True)
        ):
            if rms is None:
                p.data -= options.step * g
                continue
            back = (options.decay * rms[place] / mean).clamp(max=1) * (start.data - p.data)
            p.data += back - options.step * g / (rms[place] + options.epsilon)
    return found


@pytest.mark.parametrize("policy", ["line", "document"])
@pytest.mark.parametrize("rule", ["sgd", "rms"])
@pytest.mark.parametrize("window", [1, 4, 7, 512])
def test_scores_are_the_definition(policy: str, rule: str, window: int) -> None:
    """Whatever the window, every token has the score by hand; each document starts from the trained weights."""
    options = DynamicOptions(bptt=5, rate=0.5 if rule == "sgd" else 0.05, decay=0.3, epsilon=0.01)
    model = network(policy)
    torch.manual_seed(1)
    sizes = None if rule == "sgd" else [torch.rand_like(p) for p in model.parameters()]
    flat = None if sizes is None else torch.cat([size.flatten() for size in sizes])
    learning = DynamicModel(model, options, flat)
    before = [p.detach().clone() for p in model.parameters()]
    found = np.concatenate(list(score_lines(learning, LINES, window=window)))
    wanted = [score for part in PARTS for score in by_definition(policy, part, options, sizes)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    plain = np.concatenate(list(score_lines(model, LINES)))
    assert np.abs(found - plain).max() > 1e-3  # it learned


@torch.no_grad()
@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("policy", ["line", "document", "never"])
@pytest.mark.parametrize("cache", [False, True])
def test_all_ways_to_a_score_agree(start: bool, policy: str, cache: bool) -> None:
    """Stepping, scanning and scoring at once give the same, for every row, with a cache around it and with resets."""
    learning: LanguageModel = DynamicModel(network(policy), DynamicOptions(bptt=3, rate=0.5))
    if cache:
        learning = CachedModel(learning, CacheOptions(4, 0.5, 0.3))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 6, (2, 9), generator=generator)
    reset = torch.zeros(2, 9, dtype=torch.bool)
    reset[1, 4] = True
    begin = learning.initial_state(2, start=start)
    scores, after = learning.log_probs(ids, begin, reset=reset)
    slow, last = LanguageModel.log_probs(learning, ids, begin, reset=reset)
    rows = torch.cat([rows for rows, _ in learning.scan(ids, begin, reset=reset)], 1)
    torch.testing.assert_close(scores, slow)
    torch.testing.assert_close(rows.gather(2, ids[..., None])[..., 0], scores)
    torch.testing.assert_close(learning.next_log_probs(last), learning.next_log_probs(after))
    assert rows.exp().sum(2).flatten().tolist() == pytest.approx([1] * 18)


def test_gradient_sizes() -> None:
    """The sizes are root mean squares of the gradients of windows, here of one window of two streams, by hand."""
    model = network()
    tokens = np.array([2, 3, 4, 5, 2, 0])
    found = gradient_sizes(model, TokenStore.from_lines([tokens], VOCABULARY), 3)
    loss = torch.zeros((), dtype=torch.float64)
    streams = [([model.start_id, 2, 3], [2, 3, 4]), ([4, 5, 2], [5, 2, 0])]
    for read, wanted in streams:
        features, _ = model.features(torch.tensor(read)[None], model.blank_state(1))
        loss = loss - model.output.target_log_probs(features[0], torch.tensor(wanted)).sum() / 6
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    wanted_sizes = torch.cat([g.flatten().abs() for g in gradients])
    torch.testing.assert_close(found, wanted_sizes)
