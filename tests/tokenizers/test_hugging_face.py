"""Tokenizers of Hugging Face's library: ids, text and spans as in the library itself, and nothing read as special."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lmkit_tokenizers.hugging_face import HuggingFaceTokenizer
from lmkit_tokenizers.options import HuggingFaceOptions

from lmkit.errors import DataError, ModelError, UsageError
from lmkit.testing import checks

pytestmark = pytest.mark.pipelines
tokenizers = pytest.importorskip("tokenizers")

TALE = "the king and the queen went to see a great old house where nobody had been for years"
LINES = [*TALE.split(), TALE, "今天天气很好，我去打球", "naïve été", "</s> <s> [SEP]"] * 6
TEXT = (
    "",
    " ",
    "the king",
    "  the  old\tking ",
    "a house </s> and <s>",
    "café cafe\u0301 x",
    "天 \U0001f600\u200b!",
)


def byte_level(**model: Any) -> Any:
    """As GPT-2's."""
    found = tokenizers.Tokenizer(tokenizers.models.BPE(**model))
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    return found, tokenizers.trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )


def byte_fallback() -> Any:
    """As Llama's: spaces are U+2581, one more before the line, and rare characters are bytes."""
    found = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    found.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    found.pre_tokenizer = tokenizers.pre_tokenizers.Split("▁", "merged_with_next")
    decoders = tokenizers.decoders
    found.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    return found, tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>", *bytes_],
        limit_alphabet=40,
        show_progress=False,
    )


def word_piece() -> Any:
    """As BERT's: lower case without accents, and an unknown token."""
    found = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    found.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    found.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    found.decoder = tokenizers.decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    return found, tokenizers.trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=names, show_progress=False
    )


def unigram() -> Any:
    """As T5's: NFKC and metaspace."""
    found = tokenizers.Tokenizer(tokenizers.models.Unigram())
    found.normalizer = tokenizers.normalizers.NFKC()
    found.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    found.decoder = tokenizers.decoders.Metaspace()
    names = ["<pad>", "</s>", "<unk>"]
    return found, tokenizers.trainers.UnigramTrainer(
        vocab_size=90, special_tokens=names, unk_token="<unk>", show_progress=False
    )


def word_level() -> Any:
    """Words, without a decoder."""
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="<unk>"))
    found.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return found, tokenizers.trainers.WordLevelTrainer(
        special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )


KINDS: dict[str, Callable[[], Any]] = {
    "byte level": byte_level,
    "byte fallback": byte_fallback,
    "word piece": word_piece,
    "unigram": unigram,
    "word level": word_level,
}


def trained(kind: Callable[[], Any], folder: Path) -> Path:
    found, trainer = kind()
    found.train_from_iterator(LINES, trainer)
    found.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture(scope="module", params=KINDS)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(KINDS[request.param], tmp_path_factory.mktemp("files"))


def given(file: Path, **options: Any) -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.fit([], HuggingFaceOptions(file=str(file), **options))


def changed(file: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of the file in which `change` has changed the table."""
    table = json.loads(file.read_text(encoding="utf-8"))
    change(table)
    path = folder / "changed.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


@pytest.mark.parametrize("check", checks("lmkit:hf"), ids=str)
def test_conformance(check: Callable[[], None]) -> None:
    """The tokenizer that is learned from the text follows every rule for tokenizers."""
    check()


def test_ids_are_those_of_the_library(file: Path) -> None:
    """For every type of model, line by line and in blocks, except that no text has a special id."""
    reference = tokenizers.Tokenizer.from_file(str(file))
    reference.encode_special_tokens = True
    tokenizer = given(file)
    special = {token["id"] for token in json.loads(file.read_text())["added_tokens"] if token["special"]}
    special -= {tokenizer.vocabulary.unk_id}
    rows = []
    for line in TEXT:
        expected = [
            tokenizer.vocabulary.unk_id if i in special else i
            for i in reference.encode(line, add_special_tokens=False).ids
        ]
        assert tokenizer.ids(line).tolist() == tokenizer.encode(line).ids.tolist() == expected
        rows += [*expected, tokenizer.vocabulary.eos_id]
    assert tokenizer.block_ids("\n".join(TEXT).encode())[0].tolist() == rows


def test_text_is_that_of_the_library(file: Path) -> None:
    """Except for unknown tokens, which are U+FFFD."""
    reference = tokenizers.Tokenizer.from_file(str(file))
    tokenizer = given(file)
    for line in ("the king went", "a great house"):
        ids = tokenizer.ids(line).tolist()
        assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=False) == line
        assert tokenizer.decode([*ids, tokenizer.vocabulary.eos_id]) == line
    if tokenizer.vocabulary.unk_id is not None:
        assert tokenizer.decode([tokenizer.vocabulary.unk_id]).strip() == "\ufffd"


def test_text_grows(file: Path) -> None:
    """The text of the first ids is a prefix of the text of all, except for U+FFFD at its end."""
    tokenizer = given(file)
    for line in TEXT:
        ids = tokenizer.ids(line).tolist()
        for length in range(len(ids)):
            assert tokenizer.decode(ids).startswith(tokenizer.decode(ids[:length]).rstrip("\ufffd"))


def test_spans_cover_the_line_in_order(file: Path) -> None:
    """Only white space is outside them, also where normalization drops or merges characters."""
    tokenizer = given(file)
    for line in (*TEXT, *LINES[-4:]):
        spans = tokenizer.encode(line).spans
        assert (np.diff(spans, axis=0) >= 0).all()
        covered = {place for start, end in spans.tolist() for place in range(start, end)}
        outside = set(range(len(line))) - covered
        assert not "".join(line[place] for place in outside).strip() or not len(spans)


def test_a_combining_mark_belongs_to_its_letter(tmp_path: Path) -> None:
    """NFC writes the letter and its mark as one character: the bytes of it have the span of both."""
    file = changed(
        trained(byte_level, tmp_path), tmp_path, lambda table: table.update(normalizer={"type": "NFC"})
    )
    tokenizer = given(file)
    encoding = tokenizer.encode("cafe\u0301 x")
    accented = [tuple(span) for span in encoding.spans.tolist() if span[0] == 3]
    assert set(accented) == {(3, 5)}
    assert tokenizer.decode(encoding.ids.tolist()) == "café x"  # so the line is escaped: its bytes are coded


def test_byte_level_restores_every_line(tmp_path: Path) -> None:
    tokenizer = given(trained(byte_level, tmp_path))
    for line in (*TEXT, "<|endoftext|>", "\x00\u2028 \ufffd"):
        assert tokenizer.decode(tokenizer.ids(line).tolist()) == line
        assert tokenizer.vocabulary.eos_id not in tokenizer.ids(line)


def test_special_tokens_in_a_text_are_text(file: Path) -> None:
    """No text has the ids of special tokens, whether the vocabulary can spell their names or not."""
    tokenizer = given(file)
    table = json.loads(file.read_text())
    special = {token["content"]: token["id"] for token in table["added_tokens"] if token["special"]}
    for name, i in special.items():
        if i != tokenizer.vocabulary.unk_id:
            assert i not in tokenizer.ids(f"a {name} b")


def test_a_name_that_can_only_be_special_is_an_error(tmp_path: Path) -> None:
    """A vocabulary without an unknown token, in which merges lead to the name of a special token."""

    def merge(table: dict[str, Any]) -> None:
        table["model"] = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
        table["added_tokens"] = [{**table["added_tokens"][0], "content": "ab", "id": 2}]

    tokenizer = given(changed(trained(byte_level, tmp_path), tmp_path, merge), end_token="ab")
    assert tokenizer.ids("ba").tolist() == [1, 0]
    with pytest.raises(DataError, match="can only read 'ab' in the line 'bab' as its special token"):
        tokenizer.ids("bab")


def test_the_end_of_a_line(tmp_path: Path) -> None:
    """A special token with one of the usual names, a token that is named, else one more id."""
    file = trained(byte_level, tmp_path)
    assert given(file).vocabulary.eos_id == 0
    line_feed = given(file, end_token="Ċ")
    assert line_feed.symbols()[line_feed.vocabulary.eos_id] == b"</s>"
    assert line_feed.vocabulary.fingerprint != given(file).vocabulary.fingerprint
    plain = given(changed(file, tmp_path, lambda table: table["added_tokens"][0].update(special=False)))
    assert plain.vocabulary.eos_id == plain.vocabulary.size - 1 == given(file).vocabulary.size
    with pytest.raises(ModelError, match="it has no token 'absent' to end lines with"):
        given(file, end_token="absent")


def test_frames_padding_and_dropout_are_left_out(tmp_path: Path) -> None:
    """The ids are those of the text alone, always the same."""
    found, trainer = byte_level(dropout=0.5)
    found.train_from_iterator(LINES, trainer)
    plain = tmp_path / "plain.json"
    found.save(str(plain))
    found.enable_padding(length=20)
    found.enable_truncation(2)
    template = tokenizers.processors.TemplateProcessing(
        "<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    found.post_processor = template
    found.save(str(tmp_path / "framed.json"))
    framed = given(tmp_path / "framed.json")
    rows = {tuple(framed.ids(TALE).tolist()) for _ in range(20)}
    assert rows == {tuple(given(plain).ids(TALE).tolist())}
    assert framed.vocabulary == given(plain).vocabulary
    assert 0 not in framed.ids(TALE)


def test_symbols_and_word_starts_have_an_entry_for_each_id(file: Path) -> None:
    tokenizer = given(file)
    symbols, vocabulary = tokenizer.symbols(), tokenizer.vocabulary
    assert len(symbols) == len(set(symbols)) == len(tokenizer.word_starts()) == vocabulary.size
    assert all(symbol and not symbol.split()[1:] for symbol in symbols)
    starts = tokenizer.word_starts()[tokenizer.encode("the king").ids.tolist()].tolist()
    assert starts[1:].count(True) == 1


def test_a_saved_tokenizer_holds_the_file(file: Path, tmp_path: Path) -> None:
    """The run depends on no other file, and notices a changed one."""
    tokenizer = given(file)
    tokenizer.save(tmp_path)
    assert (tmp_path / "huggingface.json").read_bytes() == file.read_bytes()
    again = HuggingFaceTokenizer.load(tmp_path, HuggingFaceOptions(file="gone"))
    assert again.vocabulary == tokenizer.vocabulary
    assert again.ids(TALE).tolist() == tokenizer.ids(TALE).tolist()
    with (tmp_path / "huggingface.json").open("a") as copy:
        copy.write("\n")
    with pytest.raises(ModelError, match=r"huggingface\.json: it is not the file that its header describes"):
        HuggingFaceTokenizer.load(tmp_path, HuggingFaceOptions())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting property name"),
        ("[]", "it has no model"),
        ('{"model": {"type": "Lookup", "vocab": {}}}', "its model is 'Lookup'"),
        ('{"model": {"type": "BPE"}}', "it has no model|no vocabulary"),
        ('{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}', "the id -1 of a token"),
        ('{"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}}', "have the same id"),
        ('{"model": {"type": "BPE", "vocab": {"a": 90000}, "merges": []}}', "1 tokens with ids up to 90,001"),
        ('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["b", "c"]]}}', "out of vocabulary"),
        ('{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}', "no unknown token"),
        ('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "u"}}', "unknown token is not in"),
        (
            '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "decoder": {"type": "CTC"}}',
            "repeated",
        ),
    ],
)
def test_other_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    """In one line that names the file and the reason."""
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=rf"tokenizer\.json: lmkit cannot use this tokenizer: .*{words}"):
        given(tmp_path)
    with pytest.raises(DataError, match=r"none\.json cannot be read"):
        given(tmp_path / "none.json")


def test_options_of_a_file_need_a_file() -> None:
    with pytest.raises(UsageError, match="also give --tokenizer hf:FILE"):
        HuggingFaceTokenizer.fit(LINES, HuggingFaceOptions(end_token="x"))
