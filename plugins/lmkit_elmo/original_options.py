"""The options for the two files of an original ELMo; light, since the import command reads it."""

from dataclasses import dataclass

from lmkit import option


@dataclass(frozen=True)
class OriginalOptions:
    """The two files of a model."""

    options: str | None = option(None, "the model's options.json")
    weights: str | None = option(None, "the model's weights, an HDF5 file")
