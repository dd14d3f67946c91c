"""An imported model whose probabilities do not sum to one is known as such, and no perplexity of it is printed."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmkit import runs
from lmkit.cli import cli

SOUND = {
    1: ["-0.60206 <unk>", "-99 <s> 0", "-0.60206 </s>", "-0.60206 a 0", "-0.60206 b 0"],
    2: ["-0.30103 <s> a", "-0.30103 a b", "-0.30103 b </s>"],
}
"""Unigrams of 1/4 each; a bigram of 1/2 leaves 1/2 to words that share 3/4 below: a backoff of 2/3."""
TWO_THIRDS = round(math.log10(2 / 3), 4)


def text(backoff: float, start: str = "-99", unigram: str = "-0.60206") -> str:
    """An ARPA file in which every context has this backoff."""
    rows = {k: list(lines) for k, lines in SOUND.items()}
    rows[1][1] = f"{start} <s> {backoff}"
    rows[1][3:] = [f"{unigram} {word} {backoff}" for word in "ab"]
    counts = "".join(f"ngram {k}={len(lines)}\n" for k, lines in rows.items())
    sections = "".join(f"\n\\{k}-grams:\n" + "\n".join(lines) + "\n" for k, lines in rows.items())
    return f"\\data\\\n{counts}{sections}\n\\end\\\n"


def imported(tmp_path: Path, content: str) -> tuple[bool, str]:
    """Whether the run says that it is normalised, and what import printed."""
    (tmp_path / "a.arpa").write_text(content)
    line = ["import", "arpa", str(tmp_path / "a.arpa"), "--out", str(tmp_path / "run"), "--overwrite"]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 0, done.stderr
    model = runs.load_run(tmp_path / "run").model
    return getattr(model, "normalized"), done.stderr  # noqa: B009


@pytest.mark.parametrize("start", ["-99", "0", "-1.2"])
def test_sums_of_one(tmp_path: Path, start: str) -> None:
    """Four digits are enough, whether `<s>` has log 0, KenLM's 0, or a share beside the words."""
    normalized, told = imported(tmp_path, text(TWO_THIRDS, start))
    assert normalized
    assert "probabilities sum to 1.0000" in told
    assert "do not sum" not in told


@pytest.mark.parametrize(("backoff", "unigram"), [(0, "-0.60206"), (-1, "-0.60206"), (TWO_THIRDS, "-0.3")])
def test_other_sums(tmp_path: Path, backoff: float, unigram: str) -> None:
    """Missing or wrong backoffs, and unigrams that are too likely, are said at import and withhold perplexity."""
    normalized, told = imported(tmp_path, text(backoff, unigram=unigram))
    assert not normalized
    assert "do not sum to one" in told
    if unigram == "-0.60206":  # 1/2 and the backoff of 3/4
        assert f"({0.5 + 0.75 * 10**backoff:.4f} after" in told
    (tmp_path / "text.txt").write_text("a b\nb a\n")
    done = CliRunner().invoke(cli, ["eval", str(tmp_path / "run"), str(tmp_path / "text.txt"), "--json"])
    score = json.loads(done.stdout)
    assert score["perplexity"] is None
    assert "do not sum to one" in score["withheld"]["perplexity"]
    assert "do not sum to one" in CliRunner().invoke(cli, ["info", str(tmp_path / "run")]).stdout


def test_a_share_of_start_after_words(tmp_path: Path) -> None:
    """A file that counts `<s>` as any word sums to one only with it."""
    content = (
        text(TWO_THIRDS).replace("-99 <s>", f"{math.log10(0.2):.4f} <s>").replace("-0.60206", "-0.69897")
    )
    content = content.replace(str(TWO_THIRDS), f"{math.log10(0.5 / 0.8):.4f}")
    assert imported(tmp_path, content)[0]


def test_a_context_edited_by_hand(tmp_path: Path) -> None:
    """One wrong context of many is a warning; the model stays one of probabilities."""
    words = [f"w{i}" for i in range(12)]
    p = math.log10(1 / 14)
    rows = [
        f"{p} <unk>",
        "-99 <s> 0",
        f"{p} </s>",
        *(f"{p} {word} {-3 if word == 'w3' else 0}" for word in words),
    ]
    content = "\\data\\\nngram 1=15\nngram 2=1\n\n\\1-grams:\n" + "\n".join(rows)
    normalized, told = imported(tmp_path, f"{content}\n\n\\2-grams:\n{p} w0 w1\n\n\\end\\\n")
    assert normalized
    assert "(0.0010 after 'w3'): perplexity is still printed" in told
