"""The classic recurrent cells (rnn, lstm, gru) and the recurrent language model, as a plugin."""

from collections.abc import Iterable

from lmkit import CellSpec, ModelSpec, hookimpl
from lmkit_recurrent.model_options import RecurrentOptions
from lmkit_recurrent.options import ElmanOptions, LSTMOptions


@hookimpl
def lmkit_cells() -> Iterable[CellSpec]:
    return [
        CellSpec(
            "rnn", "lmkit_recurrent.rnn:ElmanCell", "Simple recurrent network (Elman, 1990)", ElmanOptions
        ),
        CellSpec(
            "lstm",
            "lmkit_recurrent.lstm:LSTMCell",
            "Long short-term memory (Hochreiter and Schmidhuber, 1997)",
            LSTMOptions,
        ),
        CellSpec("gru", "lmkit_recurrent.gru:GRUCell", "Gated recurrent unit (Cho et al., 2014)"),
    ]


@hookimpl
def lmkit_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            "recurrent",
            "lmkit_recurrent.model:RecurrentLanguageModel",
            "An embedding, layers of any cell, a softmax (Mikolov et al., 2010)",
            RecurrentOptions,
        )
    ]
