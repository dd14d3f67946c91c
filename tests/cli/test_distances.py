"""`lmkit distances`: a column for each run and direction."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from lmkit.cli import cli

LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog"]


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


def test_distances(several: dict[str, Path], tmp_path: Path) -> None:
    """A column a model, three of an encoder; both controls; a picture."""
    line = ["distances", several["gru"], several["elmo"], "--count", 3, "--farthest", 1, "--language", "en"]
    result = run(*line, "--plot", tmp_path / "distances.png")
    assert result.exit_code == 0, result.stderr
    assert "elmo two-sided" in result.stdout
    assert "gru: 24 of the 24 consequences have words outside its vocabulary" in result.stderr
    assert (tmp_path / "distances.png").stat().st_size > 1000
    for control in ("left-out", "swapped"):
        facts = json.loads(run(*line, "--control", control, "--by", "words", "--json").stdout)
        assert facts["control"] == control
        assert set(facts["runs"]) == {"gru", "elmo forward", "elmo backward", "elmo two-sided"}
