"""The options of an imported causal model of transformers; light, since every command reads them."""

from dataclasses import dataclass

from lmkit import option
from lmkit.specs import MOST_IDS

DEFAULT_CONTEXT = 1024
RESETS = ("line", "document", "never")


@dataclass(frozen=True)
class TransformersOptions:
    """The table `[model]` of an imported model."""

    begin_id: int = option(0, "id of the token before every text", min=0, max=MOST_IDS)
    context: int = option(
        DEFAULT_CONTEXT,
        "tokens that the model reads at most to predict the next; beyond, it reads at least half as many",
        min=2,
        max=1 << 20,
    )
    reset: str = option("line", "where a new text begins", choices=RESETS)


@dataclass(frozen=True)
class ImportOptions:
    """How lmkit reads text with an imported model."""

    begin_token: str | None = option(
        None, "token before every text (default: bos_token_id of config.json, else eos_token_id)"
    )
    end_token: str | None = option(
        None,
        "token that ends every line: Ċ is GPT-2's line feed, for running text with --reset document (default: "
        "eos_token_id of config.json)",
    )
    context: int | None = option(
        None,
        f"tokens that the model reads at most to predict the next (default: all that it can, up to {DEFAULT_CONTEXT})",
        min=2,
        max=1 << 20,
    )
    reset: str = option("line", "where a new text begins", choices=RESETS)
