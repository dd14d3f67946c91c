"""Lines scored each by itself, and the warning about separate items scored as one stream."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lmkit_recurrent.model import RecurrentLanguageModel

from lmkit.contracts import LanguageModel, Tokenizer, Vocabulary
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.evaluation.surprisal import surprisals
from lmkit.options import choose
from lmkit.scoring.line_scores import line_scores
from lmkit.scoring.score import evaluate
from lmkit.scoring.stimuli import is_one_sentence

LINES = ["The cat sat on the mat.", "The dog ran.", "", "A cat and a dog!"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    chosen = choose("tokenizer", "char", "tokenizer")
    return chosen.load().fit(LINES, chosen.options)


def model(vocabulary: Vocabulary, reset: str) -> LanguageModel:
    torch.manual_seed(0)
    table = {"name": "recurrent", "cell": "gru", "hidden_size": 6, "dropout": 0.0, "reset": reset}
    lm = RecurrentLanguageModel(choose("model", table, "model").options, vocabulary).double().eval()
    with torch.no_grad():
        for weight in lm.parameters():
            weight.mul_(3)
    return lm


@torch.no_grad()
def alone(lm: LanguageModel, tokenizer: Tokenizer, line: str) -> float:
    """The definition: a line's tokens one after another from the state in which a text begins, in bits."""
    state, nats = lm.initial_state(1), 0.0
    for token in [*tokenizer.ids(line).tolist(), tokenizer.vocabulary.eos_id]:
        nats -= float(lm.next_log_probs(state)[0, token])
        state = lm.advance(torch.tensor([token]), state)
    return nats / math.log(2)


@pytest.mark.parametrize("reset", ["line", "document", "never"])
@pytest.mark.parametrize("by", ["word", "token", "line"])
def test_lines_by_themselves(tokenizer: Tokenizer, reset: str, by: str) -> None:
    """independent gives each line its score from the initial state, whatever the policy, the unit and the order."""
    lm = model(tokenizer.vocabulary, reset)
    wanted = [alone(lm, tokenizer, line) for line in LINES]
    found = surprisals(lm, tokenizer, Text.from_lines(LINES), by, independent=True, batch_size=2)
    assert [sum(line.columns["surprisal"]) for line in found] == pytest.approx(wanted, abs=1e-9)
    score = evaluate(lm, tokenizer, Text.from_lines(LINES), signature="", independent=True)
    assert -score.log_prob / math.log(2) == pytest.approx(sum(wanted), abs=1e-9)
    raw = "\n".join([*LINES, ""]).encode()
    np.testing.assert_allclose(
        line_scores(lm, tokenizer, raw, independent=True) / -math.log(2), wanted, rtol=0, atol=1e-9
    )
    if reset == "never":
        assert evaluate(lm, tokenizer, Text.from_lines(LINES), signature="").log_prob != score.log_prob


SENTENCES = ["The cat sat.", "Did the dog run?", 'She said "no."']
RUNNING = ["the cat sat on", "the mat. Then it left. It", "came back in the evening"]


@pytest.mark.parametrize(
    ("reset", "lines", "independent", "warns"),
    [
        ("document", SENTENCES, False, True),
        ("never", SENTENCES, False, True),
        ("document", SENTENCES, True, False),
        ("line", SENTENCES, False, False),
        ("document", RUNNING, False, False),
        ("document", ["The cat sat. It left.", "The dog ran. It came back."], False, False),
        ("document", [*SENTENCES, ""], False, False),
        ("document", SENTENCES[:1], False, False),
        ("never", ["天气很好。", "手机坏了！"], False, True),
    ],
)
def test_separate_sentences(
    tokenizer: Tokenizer, caplog, reset: str, lines: list[str], independent: bool, warns: bool
) -> None:
    """Lines of one sentence each that were scored as a stream are pointed out; paragraphs and prose are not."""
    lm = model(tokenizer.vocabulary, reset)
    with caplog.at_level(logging.WARNING):
        evaluate(lm, tokenizer, Text.from_lines(lines), signature="", independent=independent)
        list(surprisals(lm, tokenizer, Text.from_lines(lines), "token", independent=independent))
    assert sum("--independent" in message for message in caplog.messages) == (2 if warns else 0)


@pytest.mark.parametrize(("reset", "warns"), [("never", True), ("document", False)])
def test_rows_of_a_table(tokenizer: Tokenizer, tmp_path: Path, caplog, reset: str, warns: bool) -> None:
    """Rows are documents: only a model that never resets carries its state from one to the next."""
    table = tmp_path / "items.csv"
    table.write_text("item,text\n1,the cat\n2,the dog\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        evaluate(
            model(tokenizer.vocabulary, reset), tokenizer, Text([str(table)], DataOptions()), signature=""
        )
    assert any("rows of this table" in message for message in caplog.messages) == warns


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("The cat sat .", True),
        ("It cost 3.50 in the U.S. last year.", True),
        ("Who is it?' he asked.", True),
        ("他说：“我走了。”", True),
        ("The cat sat", False),
        ("It sat. Then it left.", False),
        ("Go! Now!", False),
        ("他走了。她来了。", False),
    ],
)
def test_one_sentence(text: str, is_one: bool) -> None:
    """One mark at the end and no sentence that ends before it; a full stop before a small letter ends none."""
    assert is_one_sentence(text) == is_one
