"""The built-in decoders: greedy, sample and beam, described without importing torch."""

from dataclasses import dataclass

from lmkit import DecoderSpec, hookimpl, option


@dataclass(frozen=True)
class SampleOptions:
    """Changes of the distribution before a token is drawn, in this order."""

    temperature: float = option(
        1.0, "divisor of the log-probabilities; 0 takes the most probable token", min=0, max=1000
    )
    top_k: int | None = option(None, "sample from this many of the most probable tokens", min=1)
    top_p: float = option(
        1.0, "sample from the fewest tokens whose probabilities reach this sum", min=0, max=1
    )
    min_p: float = option(0.0, "drop tokens below this share of the highest probability", min=0, max=1)


@dataclass(frozen=True)
class BeamOptions:
    """The width and the ranking of beam search."""

    width: int = option(5, "hypotheses kept at each length, and returned", min=1, max=10000)
    length_penalty: float = option(
        0.0, "rank by log-probability / length ** this; above 0, longer texts lose less", min=0, max=10
    )


@hookimpl
def lmkit_decoders() -> list[DecoderSpec]:
    return [
        DecoderSpec(
            name="greedy", target="lmkit_decoders.greedy:GreedyDecoder", summary="The most probable token"
        ),
        DecoderSpec(
            name="sample",
            target="lmkit_decoders.sample:SampleDecoder",
            summary="Random sampling: temperature, top-k, top-p, min-p",
            options=SampleOptions,
        ),
        DecoderSpec(
            name="beam",
            target="lmkit_decoders.beam:BeamDecoder",
            summary="Beam search: the most probable text found",
            options=BeamOptions,
        ),
    ]
