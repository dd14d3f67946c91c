"""Wrong decoders; each docstring ends with the name of the rule that the decoder breaks."""

import torch

from lmkit import states
from lmkit.contracts import Decoder, Hypothesis
from lmkit.errors import UsageError


class Draws(Decoder):
    """Draws each token: right, for the wrong ones to inherit from."""

    def never(self, model, forbid_ids):
        return {*forbid_ids, model.vocabulary.unk_id} - {None}

    def score(self, log_probs, allowed, token):
        return float(log_probs[token])

    def ends(self, ids, stop_ids):
        return bool(ids) and ids[-1] in stop_ids

    def draw(self, probabilities, generator):
        return int(torch.multinomial(probabilities, 1, generator=generator))

    @torch.no_grad()
    def generate(
        self,
        model,
        state,
        *,
        max_tokens,
        stop_ids=frozenset(),
        forbid_ids=frozenset(),
        generator=None,
        on_token=None,
    ):
        never = sorted(self.never(model, forbid_ids))
        hypotheses = []
        for row in range(len(states.leaves(state)[0])):
            here, ids, total = states.take(state, slice(row, row + 1)), [], 0.0
            while len(ids) < max_tokens and not self.ends(ids, stop_ids):
                log_probs = model.next_log_probs(here)[0]
                allowed = log_probs.clone()
                allowed[never] = -torch.inf
                if not bool(allowed.isfinite().any()):
                    raise UsageError("every token is forbidden; forbid fewer")
                ids.append(self.draw(allowed.softmax(0), generator))
                total += self.score(log_probs, allowed, ids[-1])
                here = model.advance(torch.tensor(ids[-1:]), here)
            hypotheses.append(Hypothesis(tuple(ids), total))
        return hypotheses


class EmitsTheUnknown(Draws):
    """Forbids the ids that it is told, but not the unknown one (check_forbidden)."""

    def never(self, model, forbid_ids):
        return set(forbid_ids)


class NeverStops(Draws):
    """Continues after a stop token (check_length)."""

    def ends(self, ids, stop_ids):
        return False


class OwnRandomNumbers(Draws):
    """Draws from torch's global generator (check_seed)."""

    def draw(self, probabilities, generator):
        return int(torch.multinomial(probabilities, 1))


class RenormalizedScore(Draws):
    """Reports the probability among the allowed tokens (check_log_prob)."""

    def score(self, log_probs, allowed, token):
        return float(allowed.log_softmax(0)[token])
