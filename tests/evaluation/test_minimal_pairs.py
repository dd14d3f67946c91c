"""Minimal pairs: files as BLiMP's, and the share of pairs in which the good sentence wins."""

import json
from pathlib import Path

import numpy as np
import pytest

from lmkit.errors import DataError
from lmkit.evaluation.minimal_pairs import Pair, accuracy, good_ones, read_pairs


def line(good: str, bad: str, **more: str) -> str:
    return json.dumps({"sentence_good": good, "sentence_bad": bad, **more}) + "\n"


def test_paradigms_come_from_the_file_or_its_name(tmp_path: Path) -> None:
    """A folder's files are read in order; "UID" names a pair's paradigm, else the file does."""
    (tmp_path / "b.jsonl").write_text(line("x", "y") + "\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(line("g", "h", UID="agreement"), encoding="utf-8")
    assert read_pairs([tmp_path]) == [Pair("g", "h", "agreement"), Pair("x", "y", "b")]


@pytest.mark.parametrize("content", ["", "no json\n", "[]\n", '{"sentence_good": "x"}\n', "\udcff"])
def test_what_is_no_such_file(tmp_path: Path, content: str) -> None:
    """One line says where and what to give."""
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"pairs\.jsonl") as error:
        read_pairs([file])
    assert "\n" not in str(error.value)


def test_an_empty_folder(tmp_path: Path) -> None:
    """A folder without such files is said to be one, and a file that is not there."""
    with pytest.raises(DataError, match=r"nothing\.jsonl"):
        read_pairs([tmp_path / "nothing.jsonl"])
    with pytest.raises(DataError, match=r"no \.jsonl"):
        read_pairs([tmp_path])


def test_ties_count_half() -> None:
    """The longer string wins here; equal lengths are a guess."""
    pairs = [Pair("long", "s", "p"), Pair("s", "long", "p"), Pair("aa", "bb", "q")]
    right = good_ones(lambda sentences: np.array([len(s) for s in sentences]), pairs)
    assert accuracy(pairs, right) == {"p": 50.0, "q": 50.0}
