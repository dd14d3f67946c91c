"""Wrong encoders; each docstring ends with the name of the rule that the encoder breaks."""

import torch

from lmkit.contracts import Encoder


class Lengths(Encoder):
    """The vector of a word or token is its length: right, for the wrong ones to inherit from."""

    num_layers, width = 1, 1

    def __init__(self, options, vocabulary):
        self.vocabulary = vocabulary

    def embed(self, sentences):
        return [torch.tensor(self.lengths(sentence))[None, :, None] for sentence in sentences]

    def lengths(self, sentence):
        if isinstance(sentence, str):
            return [float(end - start) for start, end in self.tokenizer.encode(sentence).spans.tolist()]
        return [float(len(word)) for word in sentence]

    def save(self, directory):
        pass

    @classmethod
    def load(cls, directory, options, vocabulary):
        return cls(options, vocabulary)


class SeesTheBatch(Lengths):
    """Subtracts the mean over the batch (check_independence)."""

    def embed(self, sentences):
        found = super().embed(sentences)
        return [one - torch.cat(found, 1).mean() for one in found] if found else []


class CarriesItsState(Lengths):
    """Starts from what the call before left (check_repeated)."""

    left = 0.0

    def embed(self, sentences):
        found = [vectors + self.left for vectors in super().embed(sentences)]
        self.left = 1.0 + self.left
        return found


class DropsBlankWords(Lengths):
    """Gives no vector to a word without letters (check_empty)."""

    def lengths(self, sentence):
        return super().lengths(sentence if isinstance(sentence, str) else [w for w in sentence if w.strip()])
