"""How much each token counts: those of the answers more and no others, for every tokenizer and side of the cause."""

from pathlib import Path
from typing import Any

import pytest
from lmkit_tokenizers.byte import ByteTokenizer
from lmkit_tokenizers.char import CharTokenizer
from lmkit_tokenizers.options import CharOptions, SentencePieceOptions, WordOptions
from lmkit_tokenizers.pieces import SentencePieceTokenizer
from lmkit_tokenizers.word import WordTokenizer

from lmkit.corpus.answer_weights import answer_weights, check_answers
from lmkit.corpus.distances import DistanceText, answers
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text, TextLike
from lmkit.corpus.split import hold_out
from lmkit.corpus.store import TokenStore
from lmkit.errors import UsageError
from lmkit.specs import NoOptions

TOKENIZERS: dict[str, tuple[Any, Any]] = {
    "word": (WordTokenizer, WordOptions(min_count=1)),
    "char": (CharTokenizer, CharOptions()),
    "byte": (ByteTokenizer, NoOptions()),
    "sentencepiece": (SentencePieceTokenizer, SentencePieceOptions(vocab_size=480, threads=1)),
}


def weighted(text: TextLike, kind: str, cache: Path) -> list[str]:
    """The tokens of each line that count seven times, as text."""
    target, options = TOKENIZERS[kind]
    tokenizer = target.fit([line.text for line in text], options)
    store = TokenStore.build(text, tokenizer, cache=cache)
    weights = answer_weights(text, store, tokenizer, 7.0)
    assert set(weights.tolist()) <= {1.0, 7.0}
    found, start = [], 0
    for end in store.line_ends.tolist():
        ids = store.tokens[start:end][weights[start:end] == 7]
        found.append(tokenizer.decode(ids.tolist()).strip())
        start = end
    return found


@pytest.mark.parametrize("kind", list(TOKENIZERS))
@pytest.mark.parametrize("name", ["zh,cause=left", "zh,cause=right", "en,cause=either"])
def test_the_tokens_of_each_answer_count_more(name: str, kind: str, tmp_path: Path) -> None:
    """Decoded, the tokens that count more are the answer of their line, and nothing else."""
    name = f"distances:{name},count=300,farthest=2"
    wanted = [sentence[start:end] for sentence, start, end in DistanceText.parse(name)]
    assert set(wanted) <= set(answers(name[10:12]))
    assert weighted(Text([name], DataOptions()), kind, tmp_path) == wanted


def test_other_text_counts_once(tmp_path: Path) -> None:
    """Lines of a file count once, even if they have the words of an answer."""
    path = tmp_path / "text.txt"
    path.write_text("i will see the film .\n\nrepair the phone\n", encoding="utf-8")
    text = Text([str(path), "distances:en,count=20"], DataOptions())
    found = weighted(text, "word", tmp_path)
    assert found[:3] == ["", "", ""]
    assert set(found[3:]) <= set(answers("en"))


def test_the_training_part_of_a_divided_text(tmp_path: Path) -> None:
    """Without a validation text, the weights are those of the part that is left for training."""
    train, _ = hold_out(Text(["distances:zh,count=200"], DataOptions()))
    assert set(weighted(train, "word", tmp_path)) <= set(answers("zh"))


def test_a_text_without_answers_is_refused_with_the_remedy() -> None:
    """A weight needs an answer somewhere; one of 1 changes nothing, and is always accepted."""
    with pytest.raises(UsageError, match=r"pydocs has none: train on distances:zh"):
        check_answers(["pydocs"], 10.0)
    check_answers(["pydocs"], 1.0)
    check_answers(["pydocs", "distances:zh"], 10.0)
