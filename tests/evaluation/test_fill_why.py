"""The cost of leaving out each word of a line."""

import numpy as np
import pytest
import torch

from lmkit import api
from lmkit.evaluation.fill import fill
from lmkit.evaluation.fill_why import why


def test_why_is_what_leaving_out_costs(models: dict[str, api.Model]) -> None:
    """A part's costs are those of the answer's tokens, and of its share, computed by leaving it out by hand."""
    model = models["gru"]
    filled = fill(model.directions, model.tokenizer, "the cat ____ .", ["sat", "dog"])
    parts = why(model.directions, model.tokenizer, filled).words
    assert [part and part.text for part in parts] == ["the", "cat", None, "."]

    def own(line: str) -> float:
        ids = model.tokenizer.ids(f"{line} {filled.candidates[0]}")[None].astype(np.int64)
        with torch.no_grad():
            return float(
                model.causal.log_probs(torch.from_numpy(ids), model.causal.initial_state(1))[0][0, -1]
            )

    def share(line: str) -> float:
        scores = model.sentence_scores([line.replace("_", word) for word in filled.candidates])
        return float(scores[0] - np.logaddexp.reduce(scores))

    part = parts[1]
    assert part is not None
    assert part.cost == pytest.approx(own("the cat") - own("the"), abs=1e-4)
    assert part.share_cost == pytest.approx(share("the cat _ .") - share("the _ ."), abs=1e-4)


def test_why_of_an_only_candidate(models: dict[str, api.Model]) -> None:
    """What words do for its log-probability is known; its share is always 1."""
    model = models["gru"]
    filled = fill(model.directions, model.tokenizer, "the cat ____", ["sat"])
    assert all(part.share_cost == 0 for part in why(model.directions, model.tokenizer, filled).words if part)
