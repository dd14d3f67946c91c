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
        assert facts["learned"].keys() == facts["runs"].keys()
        if control == "left-out":
            assert set(facts["learned"].values()) == {None}


def test_not_learned(several: dict[str, Path]) -> None:
    """A model that guesses is marked in the table and in --json, with the remedy; what cannot see the cause is not."""
    line = ["distances", several["gru"], several["elmo"], several["chars"], "--count", 20, "--farthest", 1]
    result = run(*line, "--language", "en")
    assert "gru (not learned)" in result.stdout
    assert "elmo forward (not learned)" in result.stdout
    assert "elmo backward (not learned)" not in result.stdout
    assert f"lmkit train --resume {several['gru']} --max-steps" in result.stderr
    assert "chars: not learned: at no distance better than guessing (4.2 percent)" in result.stderr
    assert "--order" in result.stderr
    learned = json.loads(run(*line, "--language", "en", "--json").stdout)["learned"]
    assert learned["gru"] is learned["elmo two-sided"] is False
    assert learned["elmo backward"] is None
