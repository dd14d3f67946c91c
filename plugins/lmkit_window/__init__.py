"""The window model, a feed-forward network over the last N - 1 tokens, as a plugin."""

from collections.abc import Iterable

from lmkit import ModelSpec, hookimpl
from lmkit_window.options import WindowOptions


@hookimpl
def lmkit_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            "window",
            "lmkit_window.model:WindowLanguageModel",
            "A feed-forward network over the last N - 1 tokens (Bengio et al., 2003)",
            WindowOptions,
        )
    ]
