"""How candidates of unlike lengths are made comparable: the names, and the words for each."""

NORMALIZATIONS = {
    "none": "the log-probability as it is",
    "token": "log-probability a token",
    "char": "log-probability a character",
    "pmi": "log-probability less that without the context (pmi)",
}
"""By name, what candidates are ranked by; `lmkit.evaluation.fill_candidates.candidate_scores` defines them."""
GIVEN, PROPOSED = "char", "none"
"""What `fill` takes unless somebody says otherwise: for given candidates (docs/comparing.md has the measurement), and
for a model's own proposals, of which the likeliest is the best."""
