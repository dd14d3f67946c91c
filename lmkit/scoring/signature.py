"""The signature of a score: two scores compare only as far as their signatures agree."""

import lmkit
from lmkit.contracts import LanguageModel
from lmkit.neural.language_model import NeuralLanguageModel
from lmkit.neural.trainable import TrainableModel
from lmkit.runs import LoadedRun
from lmkit.scoring.directions import FORWARD

CODE = 2
"""The version of the code by which residual bits and escapes are counted."""
NO_NOVELTY = "u"
"""After it where a tokenizer saw no text, so that unknown words cost what they cost in no other score."""


def signature(
    run: LoadedRun,
    direction: str = FORWARD,
    *,
    split_unknown: str | None = None,
    independent: bool = False,
) -> str:
    """Tokenizer, vocabulary, residual code, what the state does at boundaries, version."""
    vocabulary = run.tokenizer.vocabulary
    policy = run.model.reset_policy if isinstance(run.model, (LanguageModel, TrainableModel)) else "none"
    state = "carried" if policy == "never" else f"reset-by-{policy}"
    fields = {
        "tokenizer": run.tokenizer_choice.name,
        "vocabulary": f"{vocabulary.size}/{vocabulary.fingerprint[:8]}",
        "code": f"{CODE}{NO_NOVELTY if run.tokenizer.novelty is None else ''}",
        "state": "independent-lines" if independent else state,
        "eos": "scored",
        "lmkit": lmkit.__version__,
    }
    if split_unknown is not None:
        fields["split"] = split_unknown
    if direction != FORWARD:
        fields["direction"] = direction
    if isinstance(run.model, NeuralLanguageModel) and run.model.int8:
        fields["weights"] = "int8"
    return "|".join(f"{name}:{value}" for name, value in fields.items())
