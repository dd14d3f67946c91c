"""`eval`: every figure follows from sums that a hand computation gives too."""

import json
import math

import numpy as np
import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import Tokenizer
from lmkit.corpus.readers import Text
from lmkit.errors import DataError
from lmkit.options import choose
from lmkit.scoring.line_code import ESCAPE_FLAG_BITS
from lmkit.scoring.measured_lines import whole_lines
from lmkit.scoring.score import evaluate

TRAIN = ["the cat sat on the mat", "the dog sat", "a cat and a dog"] * 2
TEST = ["the cat sat", "", "a bird  sat on the dog", "the mat "]


def tokenizer(name: str = "word", **options) -> Tokenizer:
    chosen = choose("tokenizer", {"name": name, **options}, "tokenizer")
    return chosen.load().fit(TRAIN, chosen.options)


def model(tok: Tokenizer, **options) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "gru", "hidden_size": 5, "dropout": 0.0, **options}
    return RecurrentLanguageModel(choose("model", table, "model").options, tok.vocabulary).eval()


def by_hand(
    lm: RecurrentLanguageModel, tok: Tokenizer, lines: list[str]
) -> tuple[float, float, int, int, float]:
    """Sum of -log p, that of unknown words alone, tokens, unknown words and bits, in one pass over the whole text.

    Bits are those of a flag for tokens that are new: novelty for an unknown one, else p of the model.
    """
    ids = np.concatenate([[*tok.ids(line), tok.vocabulary.eos_id] for line in lines]).astype(np.int64)
    with torch.no_grad():
        scores = lm.log_probs(torch.from_numpy(ids)[None], lm.initial_state(1))[0][0].double().numpy()
    unknown = ids == tok.vocabulary.unk_id
    new = tok.novelty
    bits = -np.log2((1 - new) * np.exp(scores) + new * unknown).sum()
    return -scores.sum(), -scores[unknown].sum(), len(ids), int(unknown.sum()), bits


@pytest.mark.parametrize("name", ["word", "char", "byte"])
def test_figures_equal_a_hand_computation(name):
    """Perplexities, bits per byte and per character are the definitions over sums made by hand."""
    tok = tokenizer(name)
    lm = model(tok)
    score = evaluate(lm, tok, Text.from_lines(TEST), signature="s")
    nats, oov_nats, tokens, oov, bits = by_hand(lm, tok, TEST)
    residual = sum(tok.residual_bits(line, tok.ids(line)) for line in TEST)
    bits += residual
    num_bytes = sum(len(line.encode()) + 1 for line in TEST)
    words = sum(len(line.split()) for line in TEST)
    assert (score.tokens, score.oov_tokens, score.num_bytes) == (tokens, oov, num_bytes)
    assert score.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert score.perplexity_excluding_oov == pytest.approx(
        math.exp((nats - oov_nats) / (tokens - oov)), rel=1e-5
    )
    assert score.bits_per_byte == pytest.approx(bits / num_bytes, rel=1e-5)
    assert score.bits_per_character == pytest.approx(bits / num_bytes, rel=1e-5)  # ASCII
    assert score.word_perplexity == pytest.approx(2 ** (bits / (words + len(TEST))), rel=1e-5)
    assert score.bits == pytest.approx(bits, rel=1e-5)
    spelling = sum(tok.spelling_bits(line, tok.ids(line)).sum() for line in TEST)
    assert score.spelling_bits == pytest.approx(spelling)
    assert score.spelling_share == pytest.approx(spelling / bits, rel=1e-5)
    assert score.withheld == {}


def test_a_large_share_of_spelling_is_said():
    """Where more than a fifth of the bits spell unknown words, a notice gives the share and what helps."""
    tok = tokenizer(min_count=1)
    score = evaluate(
        model(tok), tok, Text.from_lines(["a quizzical floccinaucinihilipilification"]), signature="s"
    )
    assert (score.spelling_share or 0) > 0.2
    assert any(
        f"{score.spelling_share:.0%} of the bits spell the 2 unknown" in note for note in score.notices
    )
    assert not evaluate(model(tok), tok, Text.from_lines(["the cat sat"]), signature="s").notices


@pytest.mark.parametrize("min_count", [1, 2])
def test_a_novel_word_costs_about_as_much_whether_rare_ones_were_cut(min_count):
    """Where no word was cut a model never learns p(unknown): it has the share of words seen once instead."""
    rng = np.random.default_rng(0)
    lines = [" ".join(f"w{n}" for n in rng.zipf(1.3, 12)) for _ in range(300)]
    chosen = choose("tokenizer", {"name": "word", "min_count": min_count}, "tokenizer")
    tok = chosen.load().fit(lines, chosen.options)
    words = [word for line in lines for word in line.split()]
    once = sum(words.count(word) == 1 for word in set(words))
    assert tok.novelty == (0 if min_count == 2 else pytest.approx(once / (len(words) + len(lines) + once)))


@pytest.mark.parametrize("policy", ["line", "document", "never"])
def test_batch_and_window_move_nothing(policy):
    """Batch size and window length are settings of speed: no figure moves past 1e-5."""
    tok = tokenizer()
    lm = model(tok, reset=policy)
    scores = [
        evaluate(lm, tok, Text.from_lines(TEST * 5), signature="s", batch_size=b, window=w)
        for b, w in [(1, 512), (3, 2), (16, 7)]
    ]
    for score in scores[1:]:
        assert score.log_prob == pytest.approx(scores[0].log_prob, rel=1e-5)
        assert score.bits_per_byte == pytest.approx(scores[0].bits_per_byte, rel=1e-5)


def test_scores_of_parts_add_up():
    """A model that is reset at each line gives a text the sum of its lines' scores and residual bits."""
    tok = tokenizer()
    lm = model(tok, reset="line")
    whole = evaluate(lm, tok, Text.from_lines(TEST), signature="s")
    parts = [evaluate(lm, tok, Text.from_lines([line, "the"]), signature="s") for line in TEST]
    extra = evaluate(lm, tok, Text.from_lines(["the"]), signature="s")
    assert whole.log_prob == pytest.approx(sum(p.log_prob - extra.log_prob for p in parts), rel=1e-5)
    assert whole.residual_bits == pytest.approx(sum(p.residual_bits - extra.residual_bits for p in parts))


def test_word_perplexity_is_withheld_without_spaces():
    """If words are not separated there is no word perplexity, but bits per character."""
    tok = tokenizer("char")
    score = evaluate(model(tok), tok, Text.from_lines(["今天天气很好", "我去打球"]), signature="s")
    assert score.word_perplexity is None
    assert "without spaces" in score.withheld["word_perplexity"]
    assert score.bits_per_character is not None


class Lossy(Tokenizer):
    """Characters, of which some come back as others."""

    exact = False

    def __init__(self) -> None:
        self.inner = tokenizer("char")
        self.vocabulary = self.inner.vocabulary

    @classmethod
    def fit(cls, lines, options): ...

    def encode(self, line):
        return self.inner.encode(line)

    def decode(self, ids):
        return self.inner.decode(ids).replace("c", "k")

    def residual_bits(self, line, ids):
        return 0.0

    def save(self, directory): ...

    @classmethod
    def load(cls, directory, options): ...


def test_lines_that_cannot_be_restored_are_escaped():
    """A line that ids and residual do not restore costs 16 + 8 (bytes + 1) bits; the others pay the flag."""
    tok = Lossy()
    lm = model(tok, reset="line")
    lines = ["sat on the mat"] * 200 + ["cat"]
    score = evaluate(lm, tok, Text.from_lines(lines), signature="s")
    kept = evaluate(lm, tok.inner, Text.from_lines(lines[:-1]), signature="s")
    bits = -kept.log_prob / math.log(2) + 200 * ESCAPE_FLAG_BITS + 16 + 8 * 4
    assert score.escaped_lines == 1
    assert score.bits_per_byte == pytest.approx(bits / (200 * 15 + 4), rel=1e-5)
    withheld = evaluate(lm, tok, Text.from_lines(["cat"] * 3), signature="s")
    assert withheld.bits_per_byte is None
    assert "100.0%" in withheld.withheld["bits_per_byte"]
    assert withheld.perplexity is not None


def test_a_model_without_probabilities_gets_no_perplexity():
    """Scores that do not sum to one are printed as scores alone."""
    tok = tokenizer()
    lm = model(tok)
    lm.normalized = False
    score = evaluate(lm, tok, Text.from_lines(TEST), signature="s")
    assert score.perplexity is None
    assert score.bits_per_byte is None
    assert score.log_prob < 0


def test_a_probability_of_zero_leaves_no_figure_but_valid_json():
    """Maximum likelihood meets unseen words: the figures would be infinite, which JSON cannot say."""
    tok = tokenizer()
    lm = model(tok)
    lm.log_probs = lambda ids, state, reset=None: (torch.full(ids.shape, -math.inf), state)
    score = evaluate(lm, tok, Text.from_lines(TEST), signature="s")
    assert score.perplexity is None
    assert "zero" in score.withheld["bits_per_byte"]
    assert json.loads(json.dumps(score.to_json(), allow_nan=False))["log_prob"] is None


@pytest.mark.parametrize(("policy", "said"), [("document", True), ("line", False)])
def test_a_state_carried_farther_than_in_training_is_said(policy, said, caplog):
    """A stretch between resets far longer than any in training gets a warning with both lengths and a remedy."""
    tok = tokenizer()
    evaluate(model(tok, reset=policy), tok, Text.from_lines(TEST * 3), signature="s", carried=10)
    assert ("carried over 45 tokens" in caplog.text) == said
    assert ("--reset line" in caplog.text) == said


def test_pieces_of_a_long_line_are_one_line():
    """A line that its reader gives in pieces is scored, and counted, once."""
    text = list(Text.from_lines(["ab cd", "e"]))
    pieces = [type(text[0])("ab ", 3, 1, True, True), type(text[0])("cd", 2, 1, False, False), text[1]]
    assert [(w.text, w.num_bytes, w.num_words) for w in whole_lines(pieces)] == [("ab cd", 5, 2), ("e", 1, 1)]


def test_a_text_without_lines_is_an_error():
    """Nothing to score: exit code 3, never a division by zero."""
    tok = tokenizer()
    with pytest.raises(DataError, match="no lines"):
        evaluate(model(tok), tok, [], signature="s")
