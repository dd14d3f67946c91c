"""Damaged files that once got past a parser: each is an error of ours now."""

import pytest

from lmkit import strict_json
from lmkit.errors import UsageError
from lmkit.recipe import build, read_recipe


@pytest.mark.parametrize("text", [b"a = " + b"9" * 5000, b"a = " + b"[" * 5000])
def test_recipes_with_endless_numbers_and_depths(tmp_path, text):
    """Python limits the digits of a number and its own stack; neither is a traceback."""
    path = tmp_path / "a.toml"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=r"not TOML|cannot be parsed"):
        read_recipe(path)


@pytest.mark.parametrize("table", ["train.max_steps", "train", "data.train", "model.cell", "model.name", "x"])
def test_recipes_with_deep_dotted_keys(tmp_path, table):
    """Dotted keys nest deeper than Python can print what they make."""
    path = tmp_path / "a.toml"
    path.write_text(table + ".a" * 3000 + " = 1")
    with pytest.raises(UsageError) as caught:
        build(read_recipe(path))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("depth", [63, 64, 500, 900, 100_000])
@pytest.mark.parametrize("brackets", [(b"[", b"1", b"]"), (b'{"a":', b"1", b"}")])
def test_json_has_a_depth(depth, brackets):
    """What is parsed can be printed, however deep the stack is by then."""
    first, inner, last = brackets
    data = first * depth + inner + last * depth
    if depth < 64:
        assert repr(strict_json.parse(data)).count("1") == 1
    else:
        with pytest.raises(ValueError, match="too deeply"):
            strict_json.parse(data)


def test_json_is_utf8():
    """Other encodings of JSON, and a byte-order mark, are refused."""
    assert strict_json.parse('["ç"]'.encode()) == ["ç"]
    for data in ("[]".encode("utf-16"), b"\xef\xbb\xbf[]", b'["\xe7"]'):
        with pytest.raises(ValueError, match="UTF-8"):
            strict_json.parse(data)


def test_a_whole_number_beyond_every_float(tmp_path):
    """TOML has whole numbers of any size, and an option may be a float without an upper bound."""
    path = tmp_path / "a.toml"
    path.write_text("data.max_expansion = 1" + "0" * 400)
    with pytest.raises(UsageError, match="max_expansion is too large"):
        build(read_recipe(path))
