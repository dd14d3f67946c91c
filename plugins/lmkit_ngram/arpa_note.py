"""A line before the n-grams of an ARPA file that says what the format cannot: tokenizer and stupid backoff.

KenLM takes lines that begin with `#` there for comments, and other programs skip all lines before `\\data\\`.
"""

from dataclasses import asdict, dataclass

from lmkit import strict_json

WORDS = "lmkit:word"
"""The tokenizer of files that name none."""
PREFIX = b"# lmkit: "


@dataclass(frozen=True)
class Note:
    """tokenizer: its long name. fingerprint: of its vocabulary. alpha: of stupid backoff, None for probabilities."""

    tokenizer: str
    fingerprint: str
    alpha: float | None = None

    def line(self) -> bytes:
        facts = {name: value for name, value in asdict(self).items() if value is not None}
        if self.alpha is not None:
            facts["smoothing"] = "stupid-backoff"
        return PREFIX + strict_json.dumps(facts).encode() + b"\n"


def parse(line: bytes) -> Note | None:
    """The note that a line is; None for other lines, and for notes that this version does not know."""
    if not line.startswith(PREFIX):
        return None
    try:
        facts = strict_json.parse(line[len(PREFIX) :])
    except ValueError:
        return None
    if not isinstance(facts, dict):
        return None
    tokenizer, fingerprint, alpha = (facts.get(name) for name in ("tokenizer", "fingerprint", "alpha"))
    if not isinstance(tokenizer, str) or not isinstance(fingerprint, str):
        return None
    if alpha is not None and not (isinstance(alpha, float) and 0 < alpha <= 1):
        return None
    return Note(tokenizer, fingerprint, alpha)
