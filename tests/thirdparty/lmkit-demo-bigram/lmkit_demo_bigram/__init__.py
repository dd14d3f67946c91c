"""The plugin: one counting model, described without importing numpy."""

from dataclasses import dataclass

from lmkit import ModelSpec, hookimpl, option


@dataclass(frozen=True)
class BigramOptions:
    """What `--model bigram` takes."""

    k: float = option(0.1, "added to every count", min=1e-9, max=1000)


@hookimpl
def lmkit_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="bigram",
            target="lmkit_demo_bigram.model:BigramModel",
            summary="Bigram counts, smoothed by adding k",
            options=BigramOptions,
        )
    ]
