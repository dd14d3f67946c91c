"""The plugin: one decoder, described without importing torch."""

from dataclasses import dataclass

from lmkit import DecoderSpec, hookimpl, option


@dataclass(frozen=True)
class EpsilonOptions:
    """What `--decoder epsilon` takes."""

    epsilon: float = option(0.01, "tokens less probable than this are never drawn", min=0, max=1)


@hookimpl
def lmkit_decoders() -> list[DecoderSpec]:
    return [
        DecoderSpec(
            name="epsilon",
            target="lmkit_demo_decoder.epsilon:EpsilonDecoder",
            summary="Sampling without improbable tokens (Hewitt et al., 2022)",
            options=EpsilonOptions,
        )
    ]
