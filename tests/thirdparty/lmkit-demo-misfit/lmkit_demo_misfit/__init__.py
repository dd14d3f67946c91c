"""A decoder for another API, a hook that gives the wrong specs, and a target that is no decoder."""

from lmkit import CellSpec, DecoderSpec, hookimpl


@hookimpl
def lmkit_decoders() -> list[DecoderSpec]:
    return [
        DecoderSpec(name="from-the-future", target="lmkit_demo_misfit:Nothing", api=99),
        DecoderSpec(name="no-decoder", target="lmkit_demo_misfit:Nothing", summary="A class of its own"),
    ]


@hookimpl
def lmkit_tokenizers() -> list[CellSpec]:
    return [CellSpec(name="a-cell", target="lmkit_demo_misfit:Nothing")]


class Nothing:
    """No decoder."""
