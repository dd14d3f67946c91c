"""The options of `lmkit export --to onnx`."""

from dataclasses import dataclass

from lmkit.specs import option

STEP, WINDOW = "step", "window"
ENCODER = "encoder"
"""The form of an encoder, which has no other."""
FLOAT32, INT8 = "float32", "int8"

TORCH = "torch"
ENGINES = {"onnx": FLOAT32, "onnx-int8": INT8}
"""The engines of generation besides torch, and the weights of the output layer in each."""


@dataclass(frozen=True)
class OnnxOptions:
    """What an ONNX file holds."""

    form: str | None = option(
        None,
        "of a causal model: step (the default), one token a call, for generation; window, many at once, for scores",
        choices=(STEP, WINDOW),
    )
    weights: str = option(
        FLOAT32,
        "int8: those of the output layer in eight bits, for generation by onnxruntime",
        choices=(FLOAT32, INT8),
    )
