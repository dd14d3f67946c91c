"""Surprisal: records add up to the line's score, and a word's is the marginal that brute force gives."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_recurrent.model import RecurrentLanguageModel

import lmkit
from lmkit.contracts import Encoding, FitContext, LanguageModel, Tokenizer, Vocabulary
from lmkit.corpus.readers import Text
from lmkit.corpus.store import TokenStore
from lmkit.errors import DataError, ModelError, UsageError
from lmkit.evaluation.records import Record
from lmkit.evaluation.surprisal import surprisals
from lmkit.options import choose
from lmkit.scoring.measured_lines import measured_lines
from lmkit.scoring.score import evaluate

TRAIN = ["the cat sat on the mat", "the dog sat and  ran", "a cat and a dog Zyx, in the café"] * 20
TEST = ["the cat sat", "", " a bird  sat on Xylo the dog ", "   ", "the café\tmat", "天 the 😀 dog"]
TOKENIZERS = ("word", "char", "byte", "sentencepiece")
WHITE_SPACE = "\0\t\n\r "


def fitted(name: str) -> Tokenizer:
    table = {"name": name, **({"vocab_size": 300, "threads": 1} if name == "sentencepiece" else {})}
    chosen = choose("tokenizer", table, "tokenizer")
    return chosen.load().fit(TRAIN, chosen.options)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {name: fitted(name) for name in TOKENIZERS}


def model(vocabulary: Vocabulary, reset: str = "line", spread: float = 0.0) -> RecurrentLanguageModel:
    """In float64; spread: how far the output's bias makes distributions differ from the uniform one."""
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "gru", "hidden_size": 6, "dropout": 0.0, "reset": reset}
    lm = RecurrentLanguageModel(choose("model", table, "model").options, vocabulary).double().eval()
    with torch.no_grad():
        lm.output.bias.normal_(0, spread)
        for weight in lm.parameters():
            weight.mul_(3)
    return lm


def unseen(items, *, total, label):
    """No progress is shown."""
    return items


def ngram(tok: Tokenizer) -> LanguageModel:
    chosen = choose("model", {"name": "ngram", "order": 3}, "model")
    lm = chosen.load()(chosen.options, tok.vocabulary)
    run = FitContext(seed=0, progress=unseen)
    lines = [np.append(tok.ids(line), tok.vocabulary.eos_id) for line in TRAIN]
    lm.fit(TokenStore.from_lines(lines, tok.vocabulary), run)
    return lm


def records(lm, tokenizer, lines, by="word", **settings) -> list[Record]:
    found = surprisals(lm, tokenizer, Text.from_lines(lines), by, **settings)
    return [record for line in found for record in line.records()]


def line_bits(lm, tokenizer, lines) -> list[float]:
    figures = measured_lines(lm, tokenizer, Text.from_lines(lines))
    return [-table[:, 0].sum() / math.log(2) for _, _, table in figures]


def combinations() -> list[tuple[str, str]]:
    able = {"char": ("char", "byte")}
    return [(n, by) for by in ("word", "token", "char", "line") for n in able.get(by, TOKENIZERS)]


@pytest.mark.parametrize(("name", "by"), combinations())
@pytest.mark.parametrize("reset", ["line", "document", "never"])
def test_records_add_up_to_the_line(tokenizers, name, by, reset):
    """Whatever the unit, the tokenizer and the state's policy, a line's records sum to its score; order is kept."""
    tok = tokenizers[name]
    lm = model(tok.vocabulary, reset, spread=1.0)
    found = records(lm, tok, TEST * 3, by, batch_size=4)
    assert [r.line for r in found] == sorted(r.line for r in found)
    for number, bits in enumerate(line_bits(lm, tok, TEST * 3), 1):
        own = [r.surprisal for r in found if r.line == number]
        assert sum(own) == pytest.approx(bits, rel=0, abs=1e-9)
        assert min(own) > -1e-12


@pytest.mark.parametrize(("name", "by"), combinations())
def test_spans_are_the_text(tokenizers, name, by):
    """start and end cut the text out of the raw line; the last record of a line is its `</s>`, without text."""
    tok = tokenizers[name]
    found = records(model(tok.vocabulary), tok, TEST, by)
    for number, line in enumerate(TEST, 1):
        own = [r for r in found if r.line == number]
        assert all(line[r.start : r.end] == r.text for r in own)
        assert [r.start for r in own] == sorted(r.start for r in own)
        if by == "line":
            assert [r.text for r in own] == [line]
        else:
            assert own[-1][:4] == (number, len(line), len(line), "")
        if by == "char" and name == "char":
            assert [r.text for r in own[:-1]] == list(line)


@pytest.mark.parametrize(("name", "by"), combinations())
def test_units_with_an_unknown_token_are_marked(tokenizers, name, by, caplog):
    """oov is true of each unit that has an unknown token, and one warning counts these tokens."""
    tok = tokenizers[name]
    found = records(model(tok.vocabulary), tok, TEST, by)
    known = {c for line in TRAIN for c in line}
    words = {w for line in TRAIN for w in line.split()}

    def is_unknown(text: str) -> bool:
        if name == "word":
            return not set(text.split()) <= words
        return name == "char" and not set(text) <= known

    # The tab behind "café" belongs to that word; it is unknown to the model of characters.
    wanted = [is_unknown(r.text) or (name == "char" and by == "word" and r.text == "café") for r in found]
    assert [r.oov for r in found] == wanted
    units = {"word": [w for line in TEST for w in line.split()], "char": list("".join(TEST))}.get(name, [])
    number = sum(map(is_unknown, units))
    warnings = [r.getMessage() for r in caplog.records if "oov" in r.getMessage()]
    assert len(warnings) == (number > 0)
    assert all(warning.startswith(f"{number} of ") for warning in warnings)


class Narrow(Tokenizer):
    """Pieces of sentencepiece, of which a capital cannot be restored: such lines are escaped."""

    def __init__(self, inner: Tokenizer) -> None:
        self.inner = inner
        self.vocabulary = inner.vocabulary

    @classmethod
    def fit(cls, lines, options):
        raise NotImplementedError

    def encode(self, line):
        return self.inner.encode(line.lower())

    def decode(self, ids):
        return self.inner.decode(ids)

    def residual_bits(self, line, ids):
        return 0.0

    def word_starts(self):
        return self.inner.word_starts()

    def save(self, directory):
        raise NotImplementedError

    @classmethod
    def load(cls, directory, options):
        raise NotImplementedError


@pytest.mark.parametrize("min_count", [1, 2])
@pytest.mark.parametrize("kind", ["gru", "ngram"])
@pytest.mark.parametrize(
    ("name", "by"), [*combinations(), *(("narrow", u) for u in ("word", "token", "line"))]
)
def test_spelled_records_add_up_to_bits_per_byte(tokenizers, name, by, kind, min_count, caplog):
    """With oov="spelled" the records of a text sum to the bits behind `eval`'s bits per byte, escaped lines too."""
    if name == "narrow":
        tok = Narrow(tokenizers["sentencepiece"])
    elif name in ("word", "char"):
        chosen = choose("tokenizer", {"name": name, "min_count": min_count}, "tokenizer")
        tok = chosen.load().fit([*TRAIN, "some rare words", "天"], chosen.options)
    else:
        tok = tokenizers[name]
    lm = model(tok.vocabulary, spread=1.0) if kind == "gru" else ngram(tok)
    found = records(lm, tok, TEST * 2, by, oov="spelled")
    score = evaluate(lm, tok, Text.from_lines(TEST * 2), signature="s")
    bits = math.fsum(record.surprisal for record in found)
    assert (score.escaped_lines > 0) == (name == "narrow")
    # Whole rows of an n-gram model are float32; sums of them differ in the ninth digit.
    assert bits == pytest.approx(score.bits, rel=1e-8)
    if score.bits_per_byte is not None:
        assert bits == pytest.approx(score.bits_per_byte * score.num_bytes, rel=1e-8)
    assert "oov" not in caplog.text
    plain = records(lm, tok, TEST * 2, by)
    assert [r[:4] + r[5:] for r in found] == [r[:4] + r[5:] for r in plain]


def test_an_unknown_word_pays_for_its_own_spelling(tokenizers):
    """Spelled, a word of the vocabulary costs what it did, and an unknown one its spelling on top."""
    tok = tokenizers["word"]
    lm = model(tok.vocabulary)
    plain = records(lm, tok, ["the cat floccinaucini sat"])
    spelled = records(lm, tok, ["the cat floccinaucini sat"], oov="spelled")
    (spelling,) = tok.spelling_bits("the cat floccinaucini sat", tok.ids("the cat floccinaucini sat"))
    known = -math.log2(1 - tok.novelty)
    p = 2 ** -plain[2].surprisal
    assert [r.oov for r in spelled] == [False, False, True, False, False]
    for place in (0, 1, 3):
        assert spelled[place].surprisal == pytest.approx(plain[place].surprisal + known)
    assert spelled[2].surprisal == pytest.approx(spelling - math.log2(tok.novelty + (1 - tok.novelty) * p))
    assert spelled[2].surprisal > plain[2].surprisal + 20


def test_an_oov_that_there_is_not_is_refused(tokenizers):
    """There are two."""
    tok = tokenizers["word"]
    with pytest.raises(UsageError, match=r"'speled'.*spelled"):
        surprisals(model(tok.vocabulary), tok, [], oov="speled")


@settings(max_examples=60, deadline=None)
@given(line=st.text("ab,é天 \t", max_size=14))
def test_words_are_those_between_white_space(tokenizers, line):
    """Every tokenizer has the same words with the same places; a line of white space alone is one record."""
    words = Text.from_lines([line, "x" * 200])
    expected = [w for w in line.replace("\t", " ").split(" ") if w]
    for name in TOKENIZERS:
        tok = tokenizers[name]
        found = next(iter(surprisals(model(tok.vocabulary), tok, words, "word")))
        texts = found.columns["text"][:-1]
        if not expected and name != "word":
            assert texts == ([line] if line else [])
        else:
            assert texts == expected


def test_characters_have_all_their_bytes(tokenizers):
    """By char, the bytes that spell a character are summed; by token each has a separate record."""
    tok = tokenizers["byte"]
    lm = model(tok.vocabulary)
    chars = records(lm, tok, ["aé天"], "char")
    tokens = records(lm, tok, ["aé天"], "token")
    assert [r.text for r in chars] == ["a", "é", "天", ""]
    assert [r.text for r in tokens] == ["a", *"éé", *"天天天", ""]
    assert chars[1].surprisal == pytest.approx(sum(r.surprisal for r in tokens[1:3]))
    assert chars[2].surprisal == pytest.approx(sum(r.surprisal for r in tokens[3:6]))


def test_the_space_belongs_to_the_word_before(tokenizers):
    """Characters: white space is charged to the word before it, and at a line's beginning to the first word."""
    tok = tokenizers["char"]
    lm = model(tok.vocabulary)
    chars = [r.surprisal for r in records(lm, tok, [" a  b c"], "char")]
    words = records(lm, tok, [" a  b c"])
    assert [(r.start, r.end, r.text) for r in words] == [(1, 2, "a"), (4, 5, "b"), (6, 7, "c"), (7, 7, "")]
    expected = [sum(chars[:4]), sum(chars[4:6]), chars[6], chars[7]]
    assert [r.surprisal for r in words] == pytest.approx(expected)


PIECES = ["</s>", "?", " ", " a", " b", "a", "b"]


class TinyPieces(Tokenizer):
    """Seven pieces, of which some begin with a space; the longest one that fits is taken."""

    vocabulary = Vocabulary(len(PIECES), 0, 1, "tiny")

    def encode(self, line):
        ids, spans = [], []
        while (at := spans[-1][1] if spans else 0) < len(line):
            size = 2 if line[at : at + 2] in PIECES else 1
            ids.append(PIECES.index(line[at : at + size]))
            spans.append((at, at + size))
        return Encoding(np.array(ids, np.int32), np.array(spans, np.int64).reshape(-1, 2))

    def decode(self, ids):
        return "".join(PIECES[i] for i in ids if i)

    def word_starts(self):
        return torch.tensor([piece[0] == " " for piece in PIECES])

    @classmethod
    def fit(cls, lines, options):
        raise NotImplementedError

    def residual_bits(self, line, ids):
        return 0.0

    def save(self, directory):
        raise NotImplementedError

    @classmethod
    def load(cls, directory, options):
        raise NotImplementedError


def continuations(
    lm: RecurrentLanguageModel, context: list[int], length: int
) -> dict[tuple[int, ...], float]:
    """p(continuation | context) of every sequence of `length` tokens, those that `</s>` ends sooner included."""
    states = lm.initial_state(1)
    for token in context:
        states = lm.advance(torch.tensor([token]), states)
    found = {}

    def walk(sequence, state, probability):
        if len(sequence) == length or 0 in sequence:
            found[sequence] = probability
            return
        row = lm.next_log_probs(state)[0].exp().tolist()
        for token, p in enumerate(row):
            walk((*sequence, token), lm.advance(torch.tensor([token]), state), probability * p)

    walk((), states, 1.0)
    return found


@torch.no_grad()
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a", [["a"]]),
        ("ab a", [["a", "b"], [" a"]]),
        ("a bb a", [["a"], [" b", "b"], [" a"]]),
        ("a  b", [["a", " "], [" b"]]),
        ("  a b", [[" ", " a"], [" b"]]),
        ("a b ", [["a"], [" b", " "]]),
        ("a ?a b", [["a"], [" ", "?", "a"], [" b"]]),
        ("a  ?", [["a", " "], [" ", "?"]]),
    ],
)
def test_words_equal_a_brute_force_marginalisation(line, words):
    """p(word) = p(its pieces, then a boundary | a boundary here), over every continuation of the context.

    A boundary is a piece that begins with white space, or `</s>`; where a line begins it is any piece. A piece of
    white space alone begins the word that follows it without one, and else belongs to the word before.
    """
    lm = model(TinyPieces.vocabulary, spread=1.0)
    groups = [[PIECES.index(piece) for piece in word] for word in words]

    def is_boundary(token: int) -> bool:
        return token == 0 or PIECES[token][0] == " "

    expected, context = [], []
    for group in [*groups, [0]]:
        every = continuations(lm, context, len(group) + 1)
        here = {s: p for s, p in every.items() if not context or is_boundary(s[0])}
        size = len(group)
        word = [
            p for s, p in here.items() if s[:size] == tuple(group) and (group == [0] or is_boundary(s[size]))
        ]
        expected.append(-math.log2(sum(word) / sum(here.values())))
        context += group
    found = [r.surprisal for r in records(lm, TinyPieces(), [line])]
    assert found == pytest.approx(expected, abs=1e-9)


@torch.no_grad()
def test_first_words_share_out_all_probability():
    """Over everything that may begin a line - words up to three pieces, longer ones, `</s>` - p sums to one."""
    lm = model(TinyPieces.vocabulary, spread=1.0)
    inside = [i for i, piece in enumerate(PIECES) if i and piece[0] != " "]
    words = [
        ["a", *rest] for n in range(3) for rest in itertools.product([PIECES[i] for i in inside], repeat=n)
    ]
    total = sum(2 ** -records(lm, TinyPieces(), ["".join(word)])[0].surprisal for word in words)
    every = continuations(lm, [], 4)
    a = PIECES.index("a")
    longer = sum(p for s, p in every.items() if s[0] == a and len(s) == 4 and set(s[1:]) <= set(inside))
    others = sum(p for s, p in every.items() if s[0] != a)
    assert total + longer + others == pytest.approx(1, abs=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("by", ["token", "word", "line"])
def test_entropy_and_rank_are_those_of_the_first_token(tokenizers, by):
    """Entropy and rank come from the distribution of the unit's first token."""
    tok = tokenizers["sentencepiece"]
    lm = model(tok.vocabulary, spread=1.0)
    line = "the cat sat"
    found = records(lm, tok, [line], by, entropy=True, rank=True)
    ids = [*tok.ids(line).tolist(), 0]
    state, by_hand = lm.initial_state(1), []
    for token in ids:
        p = lm.next_log_probs(state)[0].exp()
        by_hand.append((-(p * p.log2()).sum().item(), 1 + int((p > p[token]).sum())))
        state = lm.advance(torch.tensor([token]), state)
    marked = tok.word_starts()[ids].tolist()
    firsts = {
        "token": range(len(ids)),
        "line": [0],
        "word": [0, *(i for i in range(1, len(ids)) if marked[i]), len(ids) - 1],
    }[by]
    assert [r.rank for r in found] == [by_hand[i][1] for i in firsts]
    assert [r.entropy for r in found] == pytest.approx([by_hand[i][0] for i in firsts], abs=1e-9)
    plain = records(lm, tok, [line], by)
    assert [r.surprisal for r in plain] == pytest.approx([r.surprisal for r in found], abs=1e-9)
    assert plain[0].entropy is plain[0].rank is None


class Counted(RecurrentLanguageModel):
    """A model with a fast way through lines that rounds otherwise than its distributions, as n-gram models have."""

    def line_log_probs(self, ids):
        (row,), _ = self.log_probs(torch.from_numpy(ids[None].astype(np.int64)), self.initial_state(1))
        return row.numpy().astype(np.float64) * (1 + 1e-9)


@torch.no_grad()
@pytest.mark.parametrize(("name", "by"), combinations())
@pytest.mark.parametrize("kind", ["float32", "fast-lines"])
def test_entropy_and_rank_change_no_bit_of_a_surprisal(tokenizers, name, by, kind):
    """Whoever asks for more figures gets the same surprisals, whatever ways a model has to its probabilities."""
    tok = tokenizers[name]
    lm = model(tok.vocabulary, spread=1.0).float()
    if kind == "fast-lines":
        lm.__class__ = Counted
    plain = [r.surprisal for r in records(lm, tok, TEST * 9, by)]
    for more in ({"entropy": True}, {"rank": True}, {"entropy": True, "rank": True}):
        assert [r.surprisal for r in records(lm, tok, TEST * 9, by, **more)] == plain


@pytest.mark.parametrize("smoothing", ["kneser-ney", "mle"])
@pytest.mark.parametrize(("name", "by"), [("word", "word"), ("char", "line"), ("sentencepiece", "word")])
def test_entropy_and_rank_change_no_bit_of_an_ngram_surprisal(tmp_path, name, by, smoothing):
    """An n-gram model's own hash table, which it builds for long texts, rounds otherwise than its distributions."""
    (tmp_path / "text.txt").write_text("\n".join(TRAIN), encoding="utf-8")
    size = {"vocab_size": 300} if name == "sentencepiece" else {}
    trained = lmkit.train(
        tmp_path / "text.txt", model="ngram", order=3, smoothing=smoothing, out=tmp_path / "run",
        tokenizer={"name": name, **size},
    )  # fmt: skip
    plain = [r.surprisal for r in trained.surprisal(TEST * 50, by)]
    for _ in range(2):
        assert [r.surprisal for r in trained.surprisal(TEST * 50, by, entropy=True, rank=True)] == plain


@pytest.mark.parametrize("reset", ["line", "document", "never"])
def test_batches_move_nothing(tokenizers, reset):
    """The batch size is a setting of speed."""
    tok = tokenizers["sentencepiece"]
    lm = model(tok.vocabulary, reset)
    first, second = (records(lm, tok, TEST * 4, batch_size=b) for b in (1, 7))
    assert [r[:4] for r in first] == [r[:4] for r in second]
    assert [r.surprisal for r in first] == pytest.approx([r.surprisal for r in second], abs=1e-9)


def test_lines_are_drawn_as_they_are_scored(tokenizers):
    """A text larger than memory can be scored: the first record comes long before the last line is read."""
    tok = tokenizers["word"]
    drawn = 0

    def endless():
        nonlocal drawn
        for line in itertools.cycle(Text.from_lines(TRAIN)):
            drawn += 1
            yield line

    found = surprisals(model(tok.vocabulary), tok, endless())
    assert next(found).line == 1
    assert drawn < 5000


@pytest.mark.parametrize("name", TOKENIZERS)
def test_spans_are_sums_of_their_tokens(tokenizers, name):
    """A span has its tokens, in the order of the file; white space before a token does not matter."""
    tok = tokenizers[name]
    lm = model(tok.vocabulary)
    lines = ["the cat sat", "a dog"]
    tokens = records(lm, tok, lines, "token")
    found = records(lm, tok, lines, "span", spans=[(2, 0, 5), (1, 4, 11), (1, 4, 7)])
    assert [(r.line, r.text) for r in found] == [(1, "cat sat"), (1, "cat"), (2, "a dog")]
    for record in found:
        own = [
            t.surprisal
            for t in tokens
            if t.line == record.line and t.text and t.end > record.start and t.end <= record.end
        ]
        assert record.surprisal == pytest.approx(sum(own))


@pytest.mark.parametrize(
    ("spans", "problem"),
    [
        ([(1, 4, 6)], r"span 4-6 of line 1 ends inside the token 'cat'"),
        ([(1, 5, 7)], r"span 5-7 of line 1 ends inside"),
        ([(1, 4, 99)], r"span 4-99 of line 1: the line has 11 characters"),
        ([(9, 0, 3)], r"span 0-3 of line 9: the text has 2 lines"),
        ([(1, 3, 4)], r"no token begins in span 3-4 of line 1"),
        ([(1, 3, 3)], r"span 3-3 of line 1"),
        ([(0, 0, 3)], r"line 0"),
        ([], r"no spans"),
    ],
)
def test_spans_that_do_not_fit_are_refused(tokenizers, spans, problem):
    """A span inside a token, outside the text, or of nothing is an error that names its line and itself."""
    tok = tokenizers["word"]
    with pytest.raises(DataError, match=problem):
        records(model(tok.vocabulary), tok, ["the cat sat", "a dog"], "span", spans=spans)


def test_units_that_a_tokenizer_lacks_are_refused(tokenizers):
    """Characters need tokens no longer than one, spans need --by span, and a unit has one of five names."""
    for name in ("word", "sentencepiece"):
        with pytest.raises(UsageError, match="char or byte"):
            surprisals(model(tokenizers[name].vocabulary), tokenizers[name], [], "char")
    tok = tokenizers["char"]
    lm = model(tok.vocabulary)
    with pytest.raises(UsageError, match="--spans FILE"):
        surprisals(lm, tok, [], "span")
    with pytest.raises(UsageError, match="go together"):
        surprisals(lm, tok, [], "word", spans=[(1, 0, 1)])
    with pytest.raises(UsageError, match="no unit 'verse'"):
        surprisals(lm, tok, [], "verse")
    with pytest.raises(DataError, match="no lines"):
        next(surprisals(lm, tok, []))


@pytest.mark.parametrize(("name", "remedy"), [("char", "--by char"), ("word", "--by token")])
def test_words_of_text_without_spaces_are_refused(tokenizers, name, remedy):
    """Where words are not separated there is no surprisal of words; what can be asked instead is named."""
    tok = tokenizers[name]
    with pytest.raises(UsageError, match=f"without spaces.*{remedy}, or --by span"):
        records(model(tok.vocabulary), tok, ["今天天气很好", "我去打球"])
    assert records(model(tok.vocabulary), tok, ["今天天气很好"], "token")


def test_a_text_that_turns_out_to_have_no_spaces_gives_a_warning(tokenizers, caplog):
    """What was given out already cannot be taken back."""
    tok = tokenizers["char"]
    records(model(tok.vocabulary), tok, ["the cat sat on the mat "] * 800 + ["今天天气很好" * 100] * 10)
    assert "without spaces" in caplog.text


def test_scores_that_are_no_probabilities_are_refused(tokenizers):
    """A model that does not sum to one has no surprisal, as it has no perplexity."""
    tok = tokenizers["word"]
    lm = model(tok.vocabulary)
    lm.normalized = False
    with pytest.raises(ModelError, match="not probabilities"):
        surprisals(lm, tok, [])


def test_impossible_words_are_infinitely_surprising(tmp_path):
    """Under a model with zero probabilities a word is possible or not: never NaN, where masses vanish with it."""
    (tmp_path / "text.txt").write_text("\n".join(TRAIN), encoding="utf-8")
    trained = lmkit.train(
        tmp_path / "text.txt", model="ngram", order=3, smoothing="mle", out=tmp_path / "run",
        tokenizer={"name": "sentencepiece", "vocab_size": 300},
    )  # fmt: skip
    found = [r.surprisal for r in trained.surprisal([*TEST, "mat the the sat"])]
    assert math.inf in found
    assert not any(map(math.isnan, found))
    assert all(map(math.isfinite, [r.surprisal for r in trained.surprisal(["the cat sat on the mat"])]))
