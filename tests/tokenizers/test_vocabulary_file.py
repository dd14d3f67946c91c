"""Lists of words as vocabularies: their order, their counts, and the errors for lines that are none."""

from pathlib import Path

import pytest
from lmkit_tokenizers.options import WordOptions
from lmkit_tokenizers.vocabulary_file import read_vocabulary
from lmkit_tokenizers.word import WordTokenizer

from lmkit.errors import DataError

LINES = ["the cat saw the dog", "a bird saw <unk> twice"]


def listed(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "words.txt"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    "raw",
    [
        b"saw\nthe\ncat\n",
        b"saw\nthe\ncat",
        b"\xef\xbb\xbfsaw\r\nthe\r\ncat\r\n",
        b"saw\t12\nthe\t7\ncat\t0\n",
        b"\nsaw\n\n  \nthe\ncat\n\n",
    ],
)
def test_words_keep_the_order_of_the_file(tmp_path: Path, raw: bytes) -> None:
    """With a byte order mark, Windows line ends, counts and empty lines too."""
    assert read_vocabulary(listed(tmp_path, raw)) == [b"saw", b"the", b"cat"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "has no words"),
        (b"\n\n", "has no words"),
        (b"a\nb\na\n", "line 3 repeats the word 'a' of line 1"),
        (b"a\nb 12\n", "line 2, 'b 12', is not one word"),
        (b"a\n b\n", "line 2, ' b', is not one word"),
        (b"a\nb\tmany\n", "line 2 has 'many' after the tab"),
        (b"a\n\t5\n", "line 2, '', is not one word"),
        (b"a\nb\0c\n", "line 2"),
        (b"a\n\xff\n", "line 2 is not UTF-8"),
    ],
)
def test_other_lines_are_errors_with_their_numbers(tmp_path: Path, raw: bytes, reason: str) -> None:
    """Each names the file and the line."""
    with pytest.raises(DataError, match=rf"words\.txt: .*{reason}"):
        read_vocabulary(listed(tmp_path, raw))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """As is a directory."""
    with pytest.raises(DataError, match="cannot be read"):
        read_vocabulary(tmp_path / "none.txt")
    with pytest.raises(DataError, match="directory"):
        read_vocabulary(tmp_path)


def test_the_tokenizer_has_the_words_of_the_file(tmp_path: Path) -> None:
    """Ids 2, 3 ... in its order, also for words that the text lacks; limits do not apply to it."""
    options = WordOptions(file=str(listed(tmp_path, b"zebra\nthe\nsaw\n")), vocab_size=3, min_count=9)
    tokenizer = WordTokenizer.fit(LINES, options)
    assert tokenizer.vocabulary.size == 5
    assert tokenizer.ids("zebra saw the cat").tolist() == [2, 4, 3, 1]
    assert tokenizer.decode([2, 4]) == "zebra saw"


def test_codes_are_fitted_on_the_text(tmp_path: Path) -> None:
    """A list with the words that counting would keep gives the same tokenizer, whatever their order."""
    counted = WordTokenizer.fit(LINES * 3, WordOptions(min_count=6))
    words = b"saw\nthe\n"
    given = WordTokenizer.fit(LINES * 3, WordOptions(file=str(listed(tmp_path, words))))
    assert counted.vocabulary == given.vocabulary
    line = "the  new bird"
    bits = [one.residual_bits(line, one.ids(line)) for one in (counted, given)]
    assert bits[0] == bits[1]
    assert counted.novelty == given.novelty


def test_a_saved_tokenizer_needs_no_file(tmp_path: Path) -> None:
    """The run has a copy of its words."""
    path = listed(tmp_path, b"the\nsaw\n")
    options = WordOptions(file=str(path))
    tokenizer = WordTokenizer.fit(LINES, options)
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path / "saved")
    path.unlink()
    again = WordTokenizer.load(tmp_path / "saved", options)
    assert again.vocabulary == tokenizer.vocabulary


def test_marks_of_other_programs_are_words_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`<unk>` is a word of the list and of the text; with unk_word it is the unknown word and has no other id."""
    path = str(listed(tmp_path, b"<unk>\nthe\n"))
    assert WordTokenizer.fit(LINES, WordOptions(file=path)).ids("<unk> the").tolist() == [2, 3]
    assert "--unk-word" in caplog.text
    tokenizer = WordTokenizer.fit(LINES, WordOptions(file=path, unk_word="<unk>"))
    assert tokenizer.ids("<unk> the").tolist() == [1, 2]
    assert tokenizer.vocabulary.size == 3
