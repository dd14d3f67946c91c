"""JSON by RFC 8259: what is written, and who writes it."""

import ast
import json
import math
from pathlib import Path

import pytest

from lmkit import strict_json

ROOT = Path(__file__).parent.parent


def parsed(text: str):
    return json.loads(text, parse_constant=pytest.fail)


def test_numbers_that_json_lacks_are_null_with_their_reason():
    """A program that reads a result finds null, and beside it why; what is finite is as it was."""
    table = {
        "a": math.inf, "b": 0.1 + 0.2, "c": {"d": math.nan, "e": [1, -math.inf]}, "f": [{"g": math.inf}],
        "withheld": {"h": "so"}, "h": None,
    }  # fmt: skip
    found = parsed(strict_json.report(table))
    assert (found["a"], found["b"], found["c"]["d"]) == (None, 0.30000000000000004, None)
    assert found["withheld"]["h"] == "so"
    assert found["withheld"]["a"].startswith("infinite: ")
    assert found["c"]["e"] == [1, None]
    assert {key: why.partition(":")[0] for key, why in found["c"]["withheld"].items()} == {
        "d": "not a number",
        "e": "infinite",
    }
    assert found["f"][0]["g"] is None
    assert "g" in found["f"][0]["withheld"]
    assert parsed(strict_json.report([math.nan, 1.5])) == [None, 1.5]


def test_results_keep_their_letters():
    """Text is written as it is, in one line; half a surrogate pair, which UTF-8 lacks, is escaped."""
    assert strict_json.report({"text": "天\n"}) == '{"text": "天\\n"}'
    assert parsed(strict_json.report({"name": "\udcff天"})) == {"name": "\udcff天"}
    strict_json.report({"name": "\udcff天", "a": math.nan}).encode()


def test_own_files_never_hold_such_numbers():
    """A file of lmkit is read again: a value that JSON lacks is an error, not null."""
    with pytest.raises(ValueError, match="JSON"):
        strict_json.dumps({"weights": [math.nan]})


def test_nobody_else_writes_json():
    """`json.dumps` writes NaN and Infinity unless it is told not to: all JSON goes through strict_json."""
    writers = []
    for path in [*(ROOT / "lmkit").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("json.dump", "json.dumps"):
                writers.append(path.relative_to(ROOT).as_posix())
    assert set(writers) == {"lmkit/strict_json.py"}
