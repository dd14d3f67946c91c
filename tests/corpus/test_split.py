"""The held-out part: no line is lost or doubled, always the same, separate documents."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.corpus.readers import Line, Text
from lmkit.corpus.split import hold_out
from lmkit.notes import NOTE


class Documents:
    """A text of given documents."""

    def __init__(self, documents: list[list[str]]) -> None:
        self.documents = documents

    def __iter__(self) -> Iterator[Line]:
        for lines in self.documents:
            for i, line in enumerate(lines):
                yield Line(line, len(line.encode()), len(line.split()), i == 0, False)

    def fingerprint(self) -> str:
        return "f"

    def describe(self) -> str:
        return "documents"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.sampled_from(["", "x"]), min_size=1, max_size=6), max_size=40), st.integers(0, 3))
def test_parts_are_the_whole(documents: list[list[str]], more: int) -> None:
    """Every line is in one part, in order, and both parts have text."""
    documents = [["first"], *documents * (4**more), ["last"]]
    numbered = [[f"{i}.{j}" * bool(x) for j, x in enumerate(d)] for i, d in enumerate(documents)]
    text = Documents(numbered)
    train, valid = hold_out(text)
    assert valid is not None
    kept, held = [[line.text for line in part if line.text] for part in (train, valid)]
    assert kept
    assert held
    assert not set(kept) & set(held)
    order = [line.text for line in text if line.text]
    assert sorted(kept + held, key=order.index) == order
    assert [x for x in order if x in set(kept)] == kept
    assert sum(1 for _ in train) + sum(1 for _ in valid) == sum(1 for _ in text)
    assert next(iter(valid)).starts_document
    assert next(iter(train)).starts_document


def test_every_twentieth_document() -> None:
    """With 200 documents or more, whole documents are held out."""
    train, valid = hold_out(Documents([[f"{i}a", f"{i}b"] for i in range(200)]))
    assert valid is not None
    assert [line.text for line in valid] == [f"{i}{x}" for i in range(19, 200, 20) for x in "ab"]
    assert [line.starts_document for line in valid] == [True, False] * 10
    assert sum(line.starts_document for line in train) == 190


def test_blocks_of_lines() -> None:
    """With fewer documents, every 20th of 400 blocks is held out, and each block begins a document."""
    train, valid = hold_out(Text.from_lines([str(i) for i in range(4000)]))
    assert valid is not None
    held = list(valid)
    assert [int(line.text) for line in held] == [i for i in range(4000) if i // 10 % 20 == 19]
    assert [i for i, line in enumerate(held) if line.starts_document] == list(range(0, 200, 10))
    assert [line.starts_document for line in train].count(True) == 1


def test_a_document_that_begins_in_the_other_part() -> None:
    """Where a document's first line is held out, its next line begins it in the training part."""
    train, _ = hold_out(Documents([[str(i) for i in range(19)], ["19", "20"]]))
    assert {line.text: line.starts_document for line in train}["20"]


def test_small_texts(caplog: pytest.LogCaptureFixture) -> None:
    """The last of a few lines is held out; of one line none is, with a notice."""
    _, valid = hold_out(Text.from_lines(["a", "b", ""]))
    assert valid is not None
    assert [line.text for line in valid] == ["b", ""]
    text = Text.from_lines(["a", "", ""])
    with caplog.at_level(NOTE):
        assert hold_out(text) == (text, None)
    assert "one line" in caplog.text


def test_pieces_stay_together() -> None:
    """A long line that comes in pieces is one line."""
    text = Text.from_lines(["word " * 500_000, "b"])
    train, valid = hold_out(text)
    assert valid is not None
    assert [line.text for line in valid] == ["b"]
    assert [line.continues for line in train] == [True, True, False]


def test_fingerprints_differ() -> None:
    """The parts of one text have different fingerprints, the same each time."""
    parts = [part for _ in range(2) for part in hold_out(Text.from_lines(["a", "b", "c"])) if part]
    marks = [part.fingerprint() for part in parts]
    assert marks[:2] == marks[2:]
    assert marks[0] != marks[1]
    assert parts[1].describe() == "3 lines (1 in 3 lines)"
