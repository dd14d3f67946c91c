"""Wrong language models; each docstring ends with the name of the rule that the model breaks."""

import numpy as np
import torch

from lmkit.contracts import LanguageModel


class Bigram(LanguageModel):
    """p(w | v) from counts of pairs plus one: right, for the wrong ones to inherit from."""

    def __init__(self, options, vocabulary):
        self.vocabulary = vocabulary
        self.counts = np.ones((vocabulary.size, vocabulary.size))

    def fit(self, corpus, run):
        before = np.concatenate([[self.vocabulary.eos_id], corpus.tokens[:-1]])
        np.add.at(self.counts, (before, corpus.tokens), 1)

    def parameter_count(self):
        return self.counts.size

    def initial_state(self, batch_size, *, start=True):
        return torch.full((batch_size,), self.vocabulary.eos_id)

    def next_log_probs(self, state):
        rows = torch.from_numpy(self.counts)[state]
        return (rows / rows.sum(-1, keepdim=True)).log()

    def advance(self, ids, state):
        return ids

    def save(self, directory):
        np.save(directory / "counts.npy", self.counts)

    @classmethod
    def load(cls, directory, options, vocabulary):
        model = cls(options, vocabulary)
        model.counts = np.load(directory / "counts.npy", allow_pickle=False)
        return model


class Unnormalized(Bigram):
    """Divides by the sum of all counts, not by that of the row (check_normalized)."""

    def next_log_probs(self, state):
        return (torch.from_numpy(self.counts)[state] / self.counts.sum()).log()


class SeesTheFuture(Bigram):
    """Scores a token with the length of the row and what is in it (check_causality)."""

    def log_probs(self, ids, state, *, reset=None):
        scores, state = super().log_probs(ids, state, reset=reset)
        return scores - 0.01 * (ids == 2).sum(1, keepdim=True), state


class IgnoresResets(Bigram):
    """Has fast scores that ignore resets (check_reset)."""

    def log_probs(self, ids, state, *, reset=None):
        return super().log_probs(ids, state)


class LosesItsCounts(Bigram):
    """Loads a model that has seen nothing (check_save)."""

    @classmethod
    def load(cls, directory, options, vocabulary):
        return cls(options, vocabulary)


class FailsOnNothing(Bigram):
    """Reads the last id of a window, which an empty one lacks (check_time_zero)."""

    def log_probs(self, ids, state, *, reset=None):
        scores, _ = super().log_probs(ids, state, reset=reset)
        return scores, ids[:, -1]
