"""Reset policies: before which lines the state of a model is reset, in training and in evaluation."""

import numpy as np

from lmkit.corpus.store import TokenStore


def is_reset(policy: str, starts_document: bool) -> bool:
    """Whether a model with this `reset_policy` is reset before a line, which starts a document or not."""
    return policy == "line" or (policy == "document" and starts_document)


def reset_positions(store: TokenStore, policy: str) -> np.ndarray:
    """The tokens before which the state is reset, in order; the corpus's first is always one."""
    line_starts = np.concatenate([[0], store.line_ends[:-1]]).astype(np.int64)
    if policy == "line":
        return line_starts
    if policy == "document":
        return np.union1d([0], line_starts[store.document_starts])
    assert policy == "never", policy
    return np.zeros(1, np.int64)
