"""The signature of a score: scores are comparable only if their signatures agree."""

import lmkit
from lmkit.adaptation.adapt import NO_ADAPTATION, Adaptation, cache_settings
from lmkit.contracts import LanguageModel
from lmkit.kinds import is_cached, is_neural, is_trainable
from lmkit.runs import LoadedRun
from lmkit.scoring.directions import FORWARD

CODE = 2
"""The version of the code for residual bits and escapes."""
NO_NOVELTY = "u"
"""The suffix for a tokenizer that saw no text, whose costs of unknown words are not comparable."""


def signature(
    run: LoadedRun,
    direction: str = FORWARD,
    *,
    split_unknown: str | None = None,
    independent: bool = False,
    adaptation: Adaptation = NO_ADAPTATION,
) -> str:
    """Tokenizer, vocabulary, residual code, resets of the state, version, and how the model adapts to the text."""
    vocabulary = run.tokenizer.vocabulary
    policy = (
        run.model.reset_policy if isinstance(run.model, LanguageModel) or is_trainable(run.model) else "none"
    )
    policy = adaptation.reset_policy(policy)
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
    if is_neural(run.model) and run.model.int8:
        fields["weights"] = "int8"
    if is_cached(run.model):
        fields["cache"] = cache_settings(run.model.options)
    fields |= adaptation.signature()
    return "|".join(f"{name}:{value}" for name, value in fields.items())
