"""The plugin: one encoder, described without importing torch."""

from dataclasses import dataclass

from lmkit import ModelSpec, hookimpl, option


@dataclass(frozen=True)
class NeighboursOptions:
    """What `--model neighbours` takes."""

    hidden_size: int = option(16, "features of a vector", min=1, max=4096)


@hookimpl
def lmkit_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="neighbours",
            target="lmkit_demo_encoder.model:Neighbours",
            summary="A token's own vector, and the mean of those on its two sides",
            options=NeighboursOptions,
        )
    ]
