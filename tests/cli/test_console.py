"""Messages, progress and the reporter of training."""

import io
import logging
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from lmkit import plugins
from lmkit.cli import console
from lmkit.notes import NOTE


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch) -> Terminal:
    """A terminal for stderr; not a fixture, since pytest puts its own stderr in place after those."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def step(reporter: console.TrainReporter, number: int, loss: float = 1.0, name: str = "loss") -> None:
    reporter.step(
        number,
        tokens=64,
        loss=loss,
        loss_name=name,
        grad_norm=1.0,
        learning_rate=0.1,
        tokens_per_second=1234.5,
        seconds_left=65.0,
    )


def test_a_loss_that_is_an_estimate_has_no_perplexity(capsys, monkeypatch):
    """Only of an exact, unweighted loss is a perplexity printed."""
    monkeypatch.setattr(console, "LINE_EVERY", -1.0)
    reporter = console.TrainReporter()
    reporter.start(None, "training")
    step(reporter, 1)
    step(reporter, 2, name="sampled_loss")
    lines = capsys.readouterr().err.splitlines()
    assert "loss 1.000  perplexity 2.718" in lines[1]
    assert "sampled loss 1.000" in lines[2]
    assert "perplexity" not in lines[2]


def test_a_warning_is_said_once(capsys):
    """What many places log for one reason reaches the user once, and details only with --verbose."""
    console.start_messages(verbose=False)
    for _ in range(3):
        logging.getLogger("lmkit.somewhere").warning("careful")
        logging.getLogger("lmkit.somewhere").info("by the way")
        logging.getLogger("lmkit.somewhere").log(NOTE, "as you like")
    assert capsys.readouterr().err == "warning: careful\nnote: as you like\n"
    console.start_messages(verbose=True)
    logging.getLogger("lmkit.somewhere").info("by the way")
    assert capsys.readouterr().err == "by the way\n"


def test_colour_only_on_a_terminal_without_no_color(monkeypatch):
    """NO_COLOR wins over a terminal."""
    stream = terminal(monkeypatch)
    console.say("x", "error")
    assert "\033[31m" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    console.say("y", "error")
    assert stream.getvalue().endswith("error: y\n")


@given(st.text(st.characters(codec=None)))
def test_nothing_writes_to_the_terminal(text):
    """The contents of a name or a file are shown, and can be read back as Python's escapes."""
    shown = console.printable(text)
    assert all(c.isprintable() or c == "\n" or unicodedata.category(c) == "Zs" for c in shown)
    assert shown == text or not text.replace("\n", "").isprintable()
    shown.encode()


def test_escapes_of_messages(capsys):
    """An error and a warning with a terminal's escapes in them reach stderr without; each line has the label."""
    console.say("a\x1b[31m.txt\u202e\ud800\rb\nsecond", "error")
    assert capsys.readouterr().err == "error: a\\x1b[31m.txt\\u202e\\ud800\\rb\nerror: second\n"
    console.start_messages(verbose=False)
    logging.getLogger("lmkit").warning("%s", "\x07 bell\nrings")
    assert capsys.readouterr().err == "warning: \\x07 bell rings\n"


def test_progress_is_transparent(monkeypatch):
    """The items pass unchanged, with a bar or without; a short iteration draws nothing."""
    stream = terminal(monkeypatch)
    assert list(console.progress(range(5), total=5, label="counting")) == [0, 1, 2, 3, 4]
    assert stream.getvalue() == ""
    monkeypatch.setattr(console, "BAR_AFTER", -1.0)
    assert list(console.progress(range(5), total=None, label="counting")) == [0, 1, 2, 3, 4]
    assert "counting" in stream.getvalue()


def test_plain_lines_are_rare(capsys, monkeypatch):
    """Without a terminal: a line every ten seconds at most, and one for each validation."""
    clock = iter([0.0, 4.0, 8.0, 12.0, 12.0, 13.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    reporter = console.TrainReporter()
    reporter.start(100, "gru, 1,000 parameters")
    for number in range(1, 5):
        step(reporter, number)
    reporter.validation(4, 2.0, best=True, bits_per_byte=1.25)
    reporter.finish()
    assert capsys.readouterr().err.splitlines() == [
        "gru, 1,000 parameters",
        "step 3/100  loss 1.000  perplexity 2.718  1,234 tokens/s  1:05 left",
        "step 4  validation loss 2.000  perplexity 7.389  bits per byte 1.2500  (best)",
    ]


def test_a_terminal_gets_a_live_line(monkeypatch):
    """On a terminal the line is drawn in place and gone at the end; validations stay."""
    stream = terminal(monkeypatch)
    reporter = console.TrainReporter()
    reporter.start(None, "training")
    step(reporter, 1)
    reporter.validation(1, 2.0, best=False)
    reporter.finish()
    reporter.finish()
    assert "validation loss 2.000" in stream.getvalue()


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_loss_has_a_perplexity(loss):
    """A diverged loss must not end the reporter."""
    assert console.perplexity(loss)


def test_warnings_of_plugins_are_labelled(capsys):
    """A plugin logs under a separate name; its warnings look like lmkit's."""
    console.start_messages(verbose=False)
    logging.getLogger("somebodys_plugin").warning("too few words")
    logging.getLogger("somebodys_plugin").info("a detail")
    assert capsys.readouterr().err == "warning: too few words\n"


def test_notes_of_plugins_show_with_verbose(capsys):
    """--verbose is for the progress notes of plugins too, not for those of every library."""
    console.start_messages(verbose=True, packages=["a_plugin"])
    logging.getLogger("a_plugin.cell").info("a detail")
    logging.getLogger("a_library").info("a detail of its own")
    assert capsys.readouterr().err == "a detail\n"


def test_packages_of_plugins_are_known_without_import():
    """The built-ins' packages are among those whose notes --verbose shows."""
    assert "lmkit_tokenizers" in plugins.packages()


def test_tables_are_aligned() -> None:
    """Columns are as wide as their widest cell, of which a Chinese character takes two places; bars are escaped."""
    table = console.table(["词", "b"], [["手机", "1"], ["a|b", "100"]])
    assert table.splitlines() == ["| 词   |   b |", "| ---- | --: |", "| 手机 |   1 |", "| a\\|b | 100 |"]
