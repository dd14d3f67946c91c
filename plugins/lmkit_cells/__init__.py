"""Published recurrent cells, each from its paper's equations, as a plugin."""

from collections.abc import Iterable

from lmkit import CellSpec, hookimpl
from lmkit.recurrence import ForgetGateOptions
from lmkit_cells.options import MogrifierOptions, XLSTMOptions


@hookimpl
def lmkit_cells() -> Iterable[CellSpec]:
    return [
        CellSpec(
            "gru-v3",
            "lmkit_cells.gru_v3:GRUv3Cell",
            "Gated recurrent unit with the reset before the recurrent product (Cho et al., 2014)",
        ),
        CellSpec(
            "layer-norm-lstm",
            "lmkit_cells.layer_norm_lstm:LayerNormLSTMCell",
            "LSTM with layer normalisation (Ba et al., 2016)",
            ForgetGateOptions,
        ),
        CellSpec(
            "mogrifier-lstm",
            "lmkit_cells.mogrifier_lstm:MogrifierLSTMCell",
            "LSTM whose input and state gate one another first (Melis et al., 2020)",
            MogrifierOptions,
        ),
        CellSpec(
            "qrnn",
            "lmkit_cells.qrnn:QRNNCell",
            "Quasi-recurrent network (Bradbury et al., 2016)",
            ForgetGateOptions,
        ),
        CellSpec(
            "sru", "lmkit_cells.sru:SRUCell", "Simple recurrent unit (Lei et al., 2018)", ForgetGateOptions
        ),
        CellSpec("min-gru", "lmkit_cells.min_gru:MinGRUCell", "Minimal GRU (Feng et al., 2024)"),
        CellSpec(
            "min-lstm",
            "lmkit_cells.min_lstm:MinLSTMCell",
            "Minimal LSTM (Feng et al., 2024)",
            ForgetGateOptions,
        ),
        CellSpec(
            "rg-lru",
            "lmkit_cells.rg_lru:RGLRUCell",
            "Real-gated linear recurrent unit of Griffin (De et al., 2024)",
        ),
        CellSpec(
            "xlstm-slstm",
            "lmkit_cells.slstm:SLSTMCell",
            "LSTM with exponential gates and a normaliser (Beck et al., 2024)",
            XLSTMOptions,
        ),
        CellSpec(
            "xlstm-mlstm",
            "lmkit_cells.mlstm:MLSTMCell",
            "LSTM with a matrix memory (Beck et al., 2024)",
            XLSTMOptions,
        ),
    ]
