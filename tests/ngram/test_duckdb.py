"""A model from parts has the numbers of the definition, written as plain SQL and computed by DuckDB in float64."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lmkit_ngram.count import in_memory
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.parts import estimate_in_parts
from lmkit_ngram.table import NgramTable

from lmkit.contracts import Vocabulary
from lmkit.corpus.store import TokenStore

duckdb: Any = pytest.importorskip("duckdb", reason="an independent engine for the check: pip install duckdb")

EOS, UNKNOWN, SIZE = 0, 1, 2000
START = SIZE
CLOSE = 2e-6
"""log10; the model has float32 numbers."""


def test_every_number(order: int, found: NgramTable, wanted: Any) -> None:
    """All probabilities and backoff weights, of the same n-grams."""
    words = [(word,) for word in range(START + 1)]
    for k in range(2, order + 1):
        first, last = found.offsets[k - 2 : k]
        words = [
            (*words[context - first], int(found.words[child]))
            for context in range(first, last)
            for child in range(found.children[context], found.children[context + 1])
        ]
        rows = fetched(wanted, f"select {columns(1, k)}, log10(p) from p{k} order by {columns(1, k)}")
        assert list(zip(*(row.tolist() for row in rows[:-1]), strict=True)) == words
        log_probs = found.log_probs[found.offsets[k - 1] : found.offsets[k]]
        np.testing.assert_allclose(log_probs, rows[-1], rtol=0, atol=CLOSE)
        weights = fetched(wanted, f"select log10(g) from g{k} order by {columns(1, k - 1)}")[0]
        has_followers = np.diff(found.children[first : last + 1]) > 0
        np.testing.assert_allclose(found.backoffs[first:last][has_followers], weights, rtol=0, atol=CLOSE)
    unigrams = fetched(wanted, "select log10(p) from p1 order by w1")[0]
    np.testing.assert_allclose(found.log_probs[:START], unigrams, rtol=0, atol=CLOSE)


@pytest.fixture(scope="module", params=[3, 5])
def order(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def lines() -> list[list[int]]:
    """Words with the frequencies of a text, one of them very frequent, and blank lines."""
    rng = np.random.default_rng(0)
    lines = [rng.zipf(1.3, rng.integers(0, 12)) % (SIZE - 2) + 2 for _ in range(2500)]
    return [np.where(rng.random(len(line)) < 0.2, 2, line).tolist() for line in lines]


@pytest.fixture(scope="module")
def found(order: int, lines: list[list[int]]) -> NgramTable:
    vocabulary = Vocabulary(SIZE, EOS, UNKNOWN, "small")
    corpus = TokenStore.from_lines([np.array([*line, EOS], np.int32) for line in lines], vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        return estimate_in_parts(
            corpus, vocabulary, NgramOptions(order=order),
            most=1500, folder=Path(folder), progress=lambda items, **_: items, allocate=in_memory,
        )  # fmt: skip


@pytest.fixture(scope="module")
def wanted(order: int, lines: list[list[int]]) -> Any:
    """Interpolated modified Kneser-Ney (Chen and Goodman 1998): tables p1 .. pN, and g2 .. gN of backoff weights."""
    db = duckdb.connect(config={"threads": 1})
    db.execute("create table tokens (line int, place int, w int)")
    for first in range(0, len(lines), 500):
        rows = [
            (first + number, place, word)
            for number, line in enumerate(lines[first : first + 500])
            for place, word in enumerate([START, *line, EOS])
        ]
        db.execute(f"insert into tokens values {', '.join(map(str, rows))}")
    for k in range(1, order + 1):
        following = ", ".join(
            f"lead(w, {j}) over (partition by line order by place) as w{j + 1}" for j in range(k)
        )
        db.execute(
            f"create table raw{k} as select {columns(1, k)}, count(*) as c from (select {following} from tokens) "
            f"where w{k} is not null group by {columns(1, k)}"
        )
    for k in range(1, order):
        # Distinct words before; raw counts at the beginnings of lines.
        suffix = ", ".join(f"w{j + 1} as w{j}" for j in range(1, k + 1))
        starts = f"select * from raw{k} where w1 = {START} union all " if k > 1 else ""
        db.execute(
            f"create table a{k} as {starts}"
            f"select {suffix}, count(*) as c from raw{k + 1} group by {columns(2, k + 1)}"
        )
    db.execute(f"create table a{order} as select * from raw{order}")
    d = discount(db, 1)
    db.execute(
        f"create table p1 as select w1, coalesce((c - {d}) / total, 0) + g / {SIZE} as p "
        f"from range({SIZE}) every(w1) left join a1 using (w1), "
        f"(select sum(c)::double as total, sum({d}) / total as g from a1)"
    )
    for k in range(2, order + 1):
        d = discount(db, k)
        db.execute(
            f"create table g{k} as select {columns(1, k - 1)}, sum(c)::double as total, sum({d}) / total as g "
            f"from a{k} group by {columns(1, k - 1)}"
        )
        suffix = " and ".join(f"lower.w{j} = a{k}.w{j + 1}" for j in range(1, k))
        db.execute(
            f"create table p{k} as select {columns(1, k, f'a{k}.')}, (c - {d}) / total + g * lower.p as p "
            f"from a{k} join g{k} using ({columns(1, k - 1)}) join p{k - 1} lower on {suffix}"
        )
    return db


def discount(db: Any, k: int) -> str:
    """An SQL expression for the discount of a count c of order k."""
    n = dict(db.execute(f"select c, count(*) from a{k} where c <= 4 group by c").fetchall())
    y = n[1] / (n[1] + 2 * n[2])
    values = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
    one, two, more = (f"{value!r}::double" for value in values)
    return f"(case c when 1 then {one} when 2 then {two} else {more} end)"


def columns(first: int, last: int, table: str = "") -> str:
    return ", ".join(f"{table}w{place}" for place in range(first, last + 1))


def fetched(db: Any, query: str) -> list[np.ndarray]:
    """The columns of a result."""
    return [np.array(column) for column in zip(*db.execute(query).fetchall(), strict=True)]
