"""Ranks of runs, and the notes on them."""

from typing import Any

from lmkit.evaluation.compare import ranked


def row(
    run: str, bits: float | None, fingerprint: str = "f", notices: tuple[str, ...] = ()
) -> dict[str, Any]:
    withheld = {} if bits is not None else {"bits_per_byte": "its scores are no probabilities"}
    return {
        "run": run, "bits_per_byte": bits, "fingerprint": fingerprint, "withheld": withheld,
        "notices": list(notices), "signature": f"s-{fingerprint}",
    }  # fmt: skip


def test_the_fewest_bits_come_first() -> None:
    """Runs without bits per byte come last with the reason; equal vocabularies compare by perplexity."""
    found = ranked([row("none", None), row("b", 2.0), row("a", 1.0)])
    assert [one["run"] for one in found.rows] == ["a", "b", "none"]
    assert found.perplexity_compares
    assert found.notes == ["none is not ranked: its scores are no probabilities", "none, b, a: s-f"]


def test_different_vocabularies_do_not_compare_by_perplexity() -> None:
    """A note says so, and each signature is listed with its runs."""
    found = ranked([row("a", 1.0), row("b", 2.0, "g"), row("c", 3.0)])
    assert not found.perplexity_compares
    assert "the vocabularies differ" in found.notes[0]
    assert found.notes[1:] == ["a, c: s-f", "b: s-g"]


def test_an_explanation_is_given_once() -> None:
    """The second run with the same explanation has only its fact."""
    rows = [
        row("a", 1.0, notices=("3 words, which cost more",)),
        row("b", 2.0, notices=("5 words, which cost more",)),
    ]
    assert ranked(rows).notes[:2] == ["a: 3 words, which cost more", "b: 5 words"]
