"""The base class of encoders that read a sentence with two stacks of layers, one from each side."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from lmkit.contracts import Encoder, Encoding
from lmkit.recurrence.stack import Recurrent


class BidirectionalEncoder(Encoder):
    """An encoder of two stacks over the same vectors of tokens.

    The forward stack reads the boundary before the sentence, then its tokens; the backward stack the boundary after
    it, then its tokens from the last. Both start from their initial states. Layer 0 of a token is its vector, twice;
    layer l is [forward_l; backward_l] after the token. `lmkit export --to onnx` writes any such encoder.
    """

    forward_stack: Recurrent
    backward_stack: Recurrent

    @property
    def width(self) -> int:
        return self.forward_stack.output_size + self.backward_stack.output_size

    @abstractmethod
    def embed_encoded(self, sentences: Sequence[str], encodings: Sequence[Encoding]) -> list[Tensor]:
        """See `Encoder.embed_encoded`; it reads the ids and the text of their spans, and nothing else."""

    @abstractmethod
    def token_codes(self, ids: Sequence[int], spellings: Sequence[str]) -> Tensor:
        """What is read of tokens, int64: (tokens,) ids, or (tokens, characters) from their spellings.

        spellings: of each token in the text.
        """

    @abstractmethod
    def code_vectors(self, codes: Tensor) -> Tensor:
        """(tokens, width) the vectors of codes, by operators of torch alone, so that they can be traced."""

    @abstractmethod
    def boundaries(self) -> Tensor:
        """(2, width): the vectors of the boundaries before and after a sentence."""
