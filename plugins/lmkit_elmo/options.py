"""The options of the bidirectional encoder."""

from dataclasses import dataclass

from lmkit import option
from lmkit.neural.sizes import DEFAULT_HIDDEN_SIZE, LARGEST_HIDDEN_SIZE, MOST_LAYERS
from lmkit.recurrence import LayerOptions, StackOptions


@dataclass(frozen=True)
class BiLMOptions(StackOptions, LayerOptions):
    """The table `[model]` when its name is `elmo`."""

    hidden_size: int = option(
        DEFAULT_HIDDEN_SIZE, "units of a layer, in each direction", min=1, max=LARGEST_HIDDEN_SIZE
    )
    num_layers: int = option(2, "layers in each direction", min=1, max=MOST_LAYERS)
    residual: bool = option(True, "add each layer's input to its output, from the second layer on")
    inputs: str = option(
        "characters",
        "input of the encoder: the characters of tokens, or a vector for each token",
        choices=("characters", "tokens"),
    )
    character_size: int = option(16, "characters: width of a character's embedding", min=1, max=4096)
    filters: str = option("1x32,2x32,3x64,4x128", "characters: convolutions, as width x number of features")
    num_highways: int = option(2, "characters: highway layers after the convolutions", min=0, max=64)
    activation: str = option("relu", "characters: activation of the convolutions", choices=("relu", "tanh"))
    project_filters: bool = option(
        True, "characters: a linear layer from the filters to the width of a token"
    )
    tied: bool = option(True, "tokens: the output layer shares the embedding's weights")
    output_words: int = option(
        50_000,
        "predict only this many tokens, the most frequent, and all others as one (tokenizer word)",
        min=2,
    )
    samples: int = option(
        8192,
        "train on this many sampled words if more than twice as many are predicted (0: always on all)",
        min=0,
    )
    softmax: bool = option(True, "an output layer: an encoder without one cannot be trained or scored")
