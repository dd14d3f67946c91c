"""The contracts of a plugin's targets (Tokenizer, LanguageModel, Encoder, Decoder, Logger), and their arguments."""

from lmkit.contracts.decoder import Decoder, Hypothesis
from lmkit.contracts.logger import Logger
from lmkit.contracts.models import BACKWARD, FORWARD, Encoder, FitContext, LanguageModel, Progress
from lmkit.contracts.tokenizer import UNITS, Encoding, Tokenizer, Vocabulary
from lmkit.states import State

__all__ = [
    "BACKWARD",
    "FORWARD",
    "UNITS",
    "Decoder",
    "Encoder",
    "Encoding",
    "FitContext",
    "Hypothesis",
    "LanguageModel",
    "Logger",
    "Progress",
    "State",
    "Tokenizer",
    "Vocabulary",
]
