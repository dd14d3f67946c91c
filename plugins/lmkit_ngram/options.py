"""The options of the n-gram model; light, since every command reads them."""

from dataclasses import dataclass

from lmkit import option

ENGINES = ("lmkit", "spark")
SMOOTHINGS = ("modified-kneser-ney", "kneser-ney", "witten-bell", "add-k", "stupid-backoff", "mle")
MOST_WORDS = 120
"""The longest n-gram; its length is stored in a byte."""


@dataclass(frozen=True)
class NgramOptions:
    """Counting, smoothing and pruning."""

    order: int = option(5, "maximum number of words in an n-gram", min=1, max=MOST_WORDS)
    smoothing: str = option("modified-kneser-ney", "smoothing method", choices=SMOOTHINGS)
    interpolate: bool = option(True, "kneser-ney: also mix seen n-grams with shorter contexts")
    k: float = option(1.0, "add-k: number added to every count", min=1e-12, max=1e12)
    alpha: float = option(0.4, "stupid-backoff: factor for each shorter context", min=1e-12, max=1)
    prune: str = option(
        "0",
        "drop n-grams seen at most this often, one number per order: '0 0 1' drops trigrams and longer seen once",
    )
    entropy_prune: float = option(
        0.0, "drop n-grams that change the model's perplexity by less than this share", min=0, max=1
    )
    quantize: bool = option(
        False,
        "store probabilities in 8 bits and links in their shortest form: four to seven bytes per n-gram",
    )
    store_text: bool = option(True, "store the text, for counts of n-grams of any length: 8 bytes per word")
    memory: str | None = option(
        None,
        "build the model within this much memory, e.g. 4G, from parts on disk (docs/scale.md; default: only for texts "
        "that outgrow the memory)",
    )
    scratch: str | None = option(
        None, "folder for these parts, which need about 50 bytes per word at order 5 (default: in the run)"
    )
    engine: str = option(
        "lmkit", "what counts: lmkit on this machine, or spark on a cluster", choices=ENGINES
    )
    spark_master: str | None = option(
        None, "URL of the master of --engine spark, e.g. spark://HOST:7077; local[4] uses this machine"
    )
