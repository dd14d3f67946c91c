"""The normalizations that make candidates of different lengths comparable, and their names."""

NORMALIZATIONS = {
    "none": "the log-probability unchanged",
    "token": "log-probability per token",
    "char": "log-probability per character",
    "pmi": "log-probability minus that without context (pmi)",
}
"""By name, the ranking score of candidates; `lmkit.evaluation.fill_candidates.candidate_scores` defines them."""
GIVEN, PROPOSED = "char", "none"
"""The defaults of `fill`: for given candidates (docs/comparing.md has the measurement), and for a model's own
proposals, of which the most probable is the best."""
