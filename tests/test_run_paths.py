"""Labels of runs by their paths."""

from pathlib import Path

import pytest

from lmkit.errors import UsageError
from lmkit.run_paths import labels


def test_labels_are_as_short_as_they_may_be(tmp_path: Path) -> None:
    """The last part of a path, or more where that does not tell two apart; the same run twice is refused."""
    paths = [tmp_path / "a" / "gru", tmp_path / "b" / "gru", tmp_path / "lstm"]
    assert list(labels(paths)) == ["a/gru", "b/gru", "lstm"]
    with pytest.raises(UsageError, match="twice"):
        labels([tmp_path, tmp_path / "x" / ".."])
