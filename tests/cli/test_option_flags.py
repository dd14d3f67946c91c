"""How flags are shared out among the owners of options."""

from dataclasses import make_dataclass

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit import option
from lmkit.cli.option_flags import SpecCommand, make_options
from lmkit.option_owners import Owner

NAMES = st.lists(st.sampled_from(["seed", "size", "dropout", "rate", "help"]), unique=True)


def owner(path: tuple[str, ...], names: list[str], kind: type = int) -> Owner:
    fields = [(name, kind, option(kind(), "help")) for name in names]
    return Owner(f"Options of {path[-1]}", path, make_dataclass("Made", fields, frozen=True))


@given(NAMES, NAMES, NAMES)
def test_every_flag_has_one_owner_and_every_option_its_dotted_flag(train, model, cell):
    """Whatever names the owners chose: no flag twice, the outermost owner has the bare one."""
    owners = [owner(("train",), train), owner(("model",), model), owner(("model", "cell"), cell)]
    options = make_options(owners, {"--help"})
    flags = [flag for made in options for flag in made.opts]
    assert len(flags) == len(set(flags))
    assert "--help" not in flags
    for made in options:
        assert made.dotted in made.opts
        bare = f"--{made.field.flag}"
        outermost = next(
            one
            for one in owners
            if made.field.name in [o.field.name for o in options if o.owned.owner is one]
        )
        assert (bare in made.opts) == (outermost is made.owned.owner and bare != "--help")


def test_two_nested_parts_of_one_name_share_their_flags_out():
    """A model with two cells of one kind: the first has the bare flags, the second its dotted ones."""
    made = make_dataclass("Made", [("dropout", float, option(0.1, ""))], frozen=True)
    owners = [Owner("Options of cell x", ("model", name), made) for name in ("below", "above")]
    below, above = (option.opts for option in make_options(owners, set()))
    assert below == ["--dropout", "--below.dropout", "--model.below.dropout"]
    assert above == ["--above.dropout", "--model.above.dropout"]


def test_a_line_that_never_settles_is_refused():
    """An option that takes the option on which its section depends for its value: an error, and no endless loop."""
    made = make_dataclass("Made", [("label", str, option("", ""))], frozen=True)
    grow = lambda given: [Owner("x", ("x",), made)] if ("part",) in given else []  # noqa: E731
    command = SpecCommand("c", params=[click.Option(["--part"])], grow=grow)
    with pytest.raises(click.UsageError, match="an option has no value"):
        command.make_context("c", ["--label", "--part=y"])
