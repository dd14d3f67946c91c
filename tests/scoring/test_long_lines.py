"""Very long lines: scored in pieces with the state carried through, as they are trained, in bounded memory."""

from collections.abc import Iterable

import numpy as np
import pytest

from lmkit import api
from lmkit.corpus import lines as lines_module
from lmkit.corpus import rows as rows_module
from lmkit.corpus.lines import BadLines, Line, LineReader
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.corpus.store import TokenStore
from lmkit.evaluation.surprisal import surprisals
from lmkit.scoring.line_scores import line_scores
from lmkit.scoring.measured_lines import raw_lines, whole_lines, whole_rows
from lmkit.scoring.score import evaluate
from lmkit.scoring.stream import Sentence, score_lines
from lmkit.scoring.text_code import TextCode

LINES = ["the cat  sat on the mat the dog " * 4, "the cat", "on the\tmat the dog sat the mat dog", ""]
PIECE = 24


@pytest.fixture(scope="module", params=["never", "line", "ngram"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> api.Model:
    """A GRU under two reset policies, and an n-gram model."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "text.txt").write_text("the cat sat on the mat\nthe dog\n" * 20)
    small = {"hidden_size": 8, "max_steps": 2, "batch_size": 2, "bptt": 8, "reset": request.param}
    settings = {"model": "ngram", "order": 3} if request.param == "ngram" else {"model": "gru", **small}
    trained = api.train(folder / "text.txt", out=folder / "run", tokenizer="word", min_count=1, **settings)
    return api.load(trained.run.directory, device="cpu")


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """The lines as a reader gives them, the longer ones in pieces."""
    monkeypatch.setattr(lines_module, "PIECE", PIECE)
    monkeypatch.setattr(rows_module, "PIECE", PIECE)
    reader = LineReader(lambda line, byte: "", BadLines("error"))
    found = list(reader.read(["\n".join(LINES).encode() + b"\n"]))
    assert len(found) > len(LINES)
    return found


def rows_of(model: api.Model) -> list[np.ndarray]:
    eos = model.tokenizer.vocabulary.eos_id
    return [np.append(model.tokenizer.ids(line), eos) for line in LINES]


def plain(lines: Iterable[str]) -> list[Line]:
    return [Line(line, len(line.encode()), len(line.split()), n == 0, False) for n, line in enumerate(lines)]


def test_pieces_have_the_scores_of_their_line(model: api.Model, pieces: list[Line]) -> None:
    """Every token has its score in the whole line; a line counts once, and so does its end."""
    causal = model.causal
    sentences = (Sentence(ids, n == 0) for n, ids in enumerate(rows_of(model)))
    wanted = [scores.sum() for scores in score_lines(causal, sentences)]
    score = evaluate(causal, model.tokenizer, pieces, signature="")
    whole = evaluate(causal, model.tokenizer, plain(LINES), signature="")
    assert score.log_prob == pytest.approx(sum(wanted))
    for name in ("tokens", "oov_tokens", "lines", "words", "num_bytes"):
        assert getattr(score, name) == getattr(whole, name)
    found = line_scores(causal, model.tokenizer, ("\n".join(LINES) + "\n").encode())
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_validation_has_the_bits_of_eval(model: api.Model, pieces: list[Line]) -> None:
    """The code of a stored text is that of `lmkit eval`, with lines in pieces too."""
    rows = rows_of(model)
    code = TextCode(model.tokenizer, pieces, rows)
    sentences = (Sentence(ids, n == 0) for n, ids in enumerate(rows))
    scored = zip(score_lines(model.causal, sentences), rows, strict=True)
    bits = sum(code.line_bits(place, ids, scores) for place, (scores, ids) in enumerate(scored))
    score = evaluate(model.causal, model.tokenizer, pieces, signature="")
    assert code.bits_per_byte(bits) == pytest.approx(score.bits_per_byte)


@pytest.mark.parametrize("by", ["word", "token", "line"])
@pytest.mark.parametrize("oov", ["model", "spelled"])
def test_records_of_pieces_are_those_of_the_line(
    model: api.Model, pieces: list[Line], by: str, oov: str
) -> None:
    """Units keep their places in the line and their surprisals; there is one end per line."""

    def table(text: list[Line]) -> list[tuple[int, int, str, float]]:
        found = surprisals(model.causal, model.tokenizer, text, by, oov=oov)
        rows = []
        for line in found:
            columns = (line.columns[name] for name in ("start", "text", "surprisal"))
            rows += [(line.line, *row) for row in zip(*columns, strict=True)]
        return rows

    split, whole = table(pieces), table(plain(LINES))
    if oov == "model":
        assert [row[:3] for row in split] == [row[:3] for row in whole]
        assert [row[3] for row in split] == pytest.approx([row[3] for row in whole], abs=1e-4)
    else:
        score = evaluate(model.causal, model.tokenizer, pieces, signature="")
        assert sum(row[3] for row in split) == pytest.approx(score.bits)


def test_spans_in_pieces(model: api.Model, pieces: list[Line]) -> None:
    """Spans count from the beginning of the line, in whichever piece they are."""
    first = LINES[0]
    spans = [(1, 0, 3), (1, first.index("sat", 60), first.index("sat", 60) + 3), (2, 4, 7)]
    found = surprisals(model.causal, model.tokenizer, pieces, "span", spans=spans)
    assert [text for line in found for text in line.columns["text"]] == ["the", "sat", "cat"]


def test_nothing_is_longer_than_a_piece(pieces: list[Line]) -> None:
    """Scoring and embedding hold one piece at a time; joined, the pieces are the line."""
    assert max(len(line.text) for line in raw_lines(pieces)) <= PIECE
    assert max(len(row.text) for row in whole_rows(pieces)) <= PIECE
    assert [line.text for line in whole_lines(pieces)] == LINES
    assert [row.row for row in whole_rows(pieces)][-3:] == [3, 3, 4]


def test_the_stored_tokens_are_those_that_are_scored(model: api.Model, pieces: list[Line], tmp_path) -> None:
    """Training reads a long line in the same pieces."""
    (tmp_path / "long.txt").write_text("\n".join(LINES) + "\n")
    text = Text([str(tmp_path / "long.txt")], DataOptions())
    store = TokenStore.build(text, model.tokenizer, cache=tmp_path / "cache")
    score = evaluate(model.causal, model.tokenizer, text, signature="")
    assert store.num_tokens == score.tokens
