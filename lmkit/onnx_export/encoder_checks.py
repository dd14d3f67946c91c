"""Check the ONNX model of an encoder against the vectors of `embed`, before it gets its name."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lmkit.contracts import Encoding
from lmkit.embedding.layers import selection
from lmkit.onnx_export.checks import CLOSE, SAME, SIZES, agree
from lmkit.onnx_export.encoder_form import LAYERS, LENGTHS, MIX, code_name
from lmkit.onnx_export.sessions import session_of
from lmkit.recurrence import BidirectionalEncoder

SPELLINGS = ("a", "naïve", "語", "x" * 60)
"""Of tokens in the sentences, for encoders that read the characters of unknown words."""

Coded = Sequence[np.ndarray]
"""The codes (tokens, ...) of each sentence."""


class EncoderSession:
    """The model of an encoder in onnxruntime."""

    def __init__(self, made: bytes, model: BidirectionalEncoder) -> None:
        self.inner = session_of(made)
        self._name = code_name(model)

    def __call__(self, codes: np.ndarray, lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(batch, layers, time, width) and (batch, time, width) of codes (batch, time, ...)."""
        feed = {self._name: codes, LENGTHS: np.array(lengths, np.int64)}
        layers, mix = self.inner.run([LAYERS, MIX], feed)
        return layers, mix


@torch.no_grad()
def check_encoder(model: BidirectionalEncoder, session: EncoderSession) -> None:
    """Raise ModelError unless the vectors are those of `embed`, and no row depends on others or on padding."""
    generator = np.random.default_rng(0)
    mixed = selection(model, MIX)
    for steps, rows in SIZES:
        # One row without padding, and of several rows one without tokens.
        lengths = [steps, *generator.integers(1, steps + 1, rows - 1).tolist()]
        lengths[-1] = 0 if rows > 1 else steps
        sentences = [_sentence(model, generator, length) for length in lengths]
        wanted = model.embed_encoded([text for text, _ in sentences], [encoding for _, encoding in sentences])
        coded = [_codes(model, *sentence) for sentence in sentences]
        layers, mix = session(_filled(coded, 0), lengths)
        others = session(_filled(coded, 1), lengths)
        agree("rows with other padding", others, [layers, mix], SAME)
        for row, (length, own, vectors) in enumerate(zip(lengths, coded, wanted, strict=True)):
            agree("the layers and those of embed", [layers[row, :, :length]], [_numpy(vectors)], CLOSE)
            agree("the mix and that of embed", [mix[row, :length]], [_numpy(mixed(vectors))], CLOSE)
            padding = [layers[row, :, length:], mix[row, length:]]
            agree("the vectors of padding and zeros", padding, [np.zeros_like(one) for one in padding], 0.0)
            if length:
                alone = session(own[None], [length])
                agree(
                    "a row alone and in a batch",
                    alone,
                    [layers[row : row + 1, :, :length], mix[row : row + 1, :length]],
                    SAME,
                )


def _sentence(
    model: BidirectionalEncoder, generator: np.random.Generator, length: int
) -> tuple[str, Encoding]:
    """A text of random tokens; the first is the unknown one, if there is one."""
    words = [SPELLINGS[place] for place in generator.integers(0, len(SPELLINGS), length)]
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int64) - 1
    starts = ends - np.array([len(word) for word in words], np.int64)
    ids = generator.integers(0, model.vocabulary.size, length).astype(np.int32)
    if model.vocabulary.unk_id is not None:
        ids[:1] = model.vocabulary.unk_id
    return " ".join(words), Encoding(ids, np.stack([starts, ends], 1))


def _codes(model: BidirectionalEncoder, text: str, encoding: Encoding) -> np.ndarray:
    spellings = [text[start:end] for start, end in encoding.spans.tolist()]
    return model.token_codes(encoding.ids.tolist(), spellings).numpy()


def _filled(coded: Coded, padding: int) -> np.ndarray:
    """(batch, time, ...) of sentences, with this code after each."""
    found = np.full((len(coded), max(map(len, coded)), *coded[0].shape[1:]), padding, np.int64)
    for row, codes in zip(found, coded, strict=True):
        row[: len(codes)] = codes
    return found


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
