"""Other names of options and commands, as users of other toolkits type them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import make_dataclass
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit import option
from lmkit.aliases import ALIASES, CANONICAL
from lmkit.cli import cli
from lmkit.cli.option_flags import make_options
from lmkit.errors import UsageError
from lmkit.option_fields import fields_of
from lmkit.option_owners import MODEL, Owner, distribute, training_owners
from lmkit.plugins import registry
from lmkit.training.options import TrainOptions


def test_an_alias_means_one_option() -> None:
    """No alias has two meanings, none hides an option of a built-in part, and each is of an option that exists."""
    assert len(CANONICAL) == sum(map(len, ALIASES.values()))
    owners = [TrainOptions, *(part.spec.options for part in registry().parts() if part.plugin.builtin)]
    names = {field.name for owner in owners for field in fields_of(owner)}
    assert not CANONICAL.keys() & names
    assert ALIASES.keys() <= names


def made(**names: int) -> type:
    return make_dataclass(
        "Made", [(name, int, option(value, "help")) for name, value in names.items()], frozen=True
    )


def test_an_alias_gives_way() -> None:
    """An option called as an alias keeps its flag; the alias of two options belongs to the outermost."""
    owners = [
        Owner("a", ("train",), made(learning_rate=1)),
        Owner("b", ("model",), made(lr=1, hidden_size=2)),
        Owner("c", ("model", "cell"), made(hidden_size=3)),
    ]
    found = {
        (option.owned.owner.title, option.field.name): option.opts for option in make_options(owners, set())
    }
    assert "--lr" not in found["a", "learning_rate"]
    assert "--lr" in found["b", "lr"]
    assert "--hidden" in found["b", "hidden_size"]
    assert "--hidden" not in found["c", "hidden_size"]


def test_a_line_with_aliases(lmkit: Callable[..., Result], api) -> None:
    """Flags by other names, with underscores, and -o and -m reach the recipe; --data adds text."""
    line = "train a.txt --data b.txt -m recurrent --lr 0.5 --epochs 3 --batch 2 --hidden_size 9 -o there"
    result = lmkit(*line.split())
    assert result.exit_code == 0, result.stderr
    recipe = api.last.recipe
    assert recipe.train_paths == ("a.txt", "b.txt")
    assert (recipe.train.learning_rate, recipe.train.max_epochs, recipe.train.batch_size) == (0.5, 3, 2)
    assert recipe.model.options.hidden_size == 9
    assert api.last.out == Path("there")


def test_help_shows_aliases() -> None:
    """Help names them beside the option, and -h is --help."""
    shown = CliRunner().invoke(cli, ["train", "--model", "lstm", "-h"]).stdout
    for flags in ("--learning-rate, --lr X", "--hidden-size, --hidden, --nhid N", "-o, --out DIR"):
        assert flags in shown


def test_aliases_as_keywords() -> None:
    """Python takes the same names; one option under two names is refused, and so is a name that nothing has."""
    owners, named = partial(training_owners, {}), {MODEL: "recurrent"}
    tables = distribute(owners, named, {"lr": 0.5, "epochs": 3, "hidden": 7})
    assert tables["train"] == {"learning_rate": 0.5, "max_epochs": 3}
    assert tables["model"]["hidden_size"] == 7
    with pytest.raises(UsageError, match="'lr' is another name of 'learning_rate'"):
        distribute(owners, named, {"lr": 0.5, "learning_rate": 0.5})
    with pytest.raises(UsageError, match="'hidden' is another name of 'nhid'"):
        distribute(owners, named, {"hidden": 5, "nhid": 5})
    with pytest.raises(UsageError, match="unknown option 'hiden'"):
        distribute(owners, named, {"hiden": 7})


def test_unknown_flags_get_a_suggestion() -> None:
    """A misspelt flag, alias or command still names what is meant."""
    for line, meant in (
        (["train", "--hiddn", "3"], "--hidden"),
        (["train", "--learning-rte", "1"], "--learning-rate"),
        (["trian"], "train"),
    ):
        assert meant in CliRunner().invoke(cli, line).stderr


def test_python_dash_m() -> None:
    """`python -m lmkit` is the command `lmkit`; minimal_pairs is minimal-pairs."""
    line = [sys.executable, "-m", "lmkit", "minimal_pairs", "-h"]
    found = subprocess.run(line, capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert found.stdout.startswith("Usage: lmkit minimal-pairs ")
