"""The conformance suite catches what it says it catches."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lmkit import states
from lmkit.contracts import Decoder, Encoding, Hypothesis, LanguageModel, Tokenizer, Vocabulary
from lmkit.errors import PluginError, UsageError
from lmkit.plugins import Part, Plugin, Registry
from lmkit.specs import KINDS, ModelSpec, Spec, option
from lmkit.testing import checks, checks_of, common, random_bigram, suite
from lmkit.testing.results import failure_of
from lmkit.testing.rules import Rule
from lmkit.testing.samples import VOCABULARY, random_ids

COMMON = {rule.name for rule in (*common.RULES.rules, *common.PACKAGED.rules)}
PLUGIN = Plugin("bad", "bad-parts", "0", lambda: SimpleNamespace())


def part_of(kind: str, target: str, **settings) -> Part:
    """A part whose target is a class of this file."""
    return Part(KINDS[kind](name="bad", target=f"{__name__}:{target}", summary="Bad", **settings), PLUGIN)


def broken_rules(part: Part) -> dict[str, str]:
    """The broken rules of a part's kind, with their messages."""
    broken = {}
    for check in checks_of(part):
        if check.name not in COMMON:
            try:
                check()
            except AssertionError as error:
                broken[check.name] = str(error)
    return broken


class Characters(Tokenizer):
    """Code points, modulo 500: lossless only for the lowest."""

    lossless = True

    def __init__(self):
        self.vocabulary = Vocabulary(502, 500, 501, "characters")

    @classmethod
    def fit(cls, lines, options):
        return cls()

    def encode(self, line):
        starts = np.arange(len(line))
        return Encoding(np.array([ord(c) % 500 for c in line], np.int32), np.stack([starts, starts + 1], 1))

    def decode(self, ids):
        return "".join("\ufffd" if i == 501 else chr(i) for i in ids if i != 500)

    def residual_bits(self, line, ids):
        return 0.0

    def save(self, directory):
        pass

    @classmethod
    def load(cls, directory, options):
        return cls()


class Capitals(Characters):
    """Writes the last letter of a text in upper case."""

    lossless = False

    def decode(self, ids):
        text = super().decode(ids)
        return text[:-1] + text[-1:].upper()


class Sloppy(Characters):
    """Honest about the loss, but little else."""

    lossless = False
    unit = "word"

    def encode(self, line):
        encoding = super().encode(line)
        return Encoding(encoding.ids.astype(np.int64), encoding.spans[::-1])

    def residual_bits(self, line, ids):
        return -1.0

    def word_starts(self):
        return torch.zeros(3)

    def block_residual(self, raw, ids, ends):
        return np.zeros((len(ends), 2))

    def extended(self, lines, options, most):
        more = type(self)()
        more.vocabulary = Vocabulary(600, 500, 501, "many more")
        return more

    @classmethod
    def load(cls, directory, options):
        tokenizer = cls()
        tokenizer.vocabulary = Vocabulary(502, 500, 501, "something else")
        return tokenizer


def test_tokenizers() -> None:
    """A tokenizer wrongly called lossless fails there and where it pays; a sloppy one in each of its faults."""
    assert set(broken_rules(part_of("tokenizer", "Characters"))) == {"check_decode", "check_residual_code"}
    assert set(broken_rules(part_of("tokenizer", "Capitals"))) == {
        "check_growing_text",
        "check_residual_code",
    }
    faults = {
        "check_ids",
        "check_block_ids",
        "check_block_residual",
        "check_unit",
        "check_spans",
        "check_span_text",
        "check_extended",
        "check_residual_bits",
        "check_residual_code",
        "check_word_starts",
        "check_save",
    }
    assert set(broken_rules(part_of("tokenizer", "Sloppy"))) == faults


class Careless(Decoder):
    """Emits the unknown id from torch's own chance, and never stops."""

    def generate(self, model, state, *, max_tokens, generator=None, on_token=None, **settings):
        rows = len(states.leaves(state)[0])
        return [
            Hypothesis(tuple(torch.randint(0, 3, (max_tokens,)).tolist()), -1.0 * bool(max_tokens))
            for _ in range(rows)
        ]


class OneGenerator(Careless):
    """Says that it takes a list of generators, and draws from the first alone."""

    takes_generators = True

    def generate(self, model, state, *, max_tokens, generator=None, **settings):
        one = generator[0] if isinstance(generator, list) else generator
        ids = torch.randint(4, 9, (len(states.leaves(state)[0]), max_tokens), generator=one)
        return [Hypothesis(tuple(row), 0.0) for row in ids.tolist()]


def test_decoders() -> None:
    """A careless decoder breaks each rule that it neglects."""
    faults = {"check_length", "check_forbidden", "check_nothing_left", "check_log_prob", "check_seed"}
    assert faults <= set(broken_rules(part_of("decoder", "Careless")))
    assert "check_generators" in broken_rules(part_of("decoder", "OneGenerator"))


@dataclass(frozen=True)
class BadOptions:
    """Every way to write an option badly."""

    Loud: int = option(1, "a name in capitals")
    silent: int = option(1, "")
    outside: int = option(5, "a default beyond its bound", max=4)


def test_options() -> None:
    """Options are checked, and the message names the part, the rule and the option."""
    part = part_of("decoder", "Careless", options=BadOptions)
    check = next(c for c in checks_of(part) if c.name == "check_options")
    with pytest.raises(AssertionError) as caught:
        check()
    assert "the decoder 'bad-parts:bad' breaks the rule: Every option" in str(caught.value)
    assert "'Loud' is not a lower-case identifier" in str(caught.value)


class Asserts(Decoder):
    def generate(self, model, state, *, max_tokens, **settings):
        assert max_tokens > 1, "too few"
        raise IndexError("no time")


def test_an_exception_is_a_failure_of_the_rule() -> None:
    """Whatever a part raises becomes an AssertionError with the rule, the exception and the line of the part."""
    broken = broken_rules(part_of("decoder", "Asserts"))
    assert broken["check_seed"].startswith("the decoder 'bad-parts:bad' breaks the rule: The same seed gives")
    line = (
        Path(__file__).read_text(encoding="utf-8").splitlines().index('        raise IndexError("no time")')
        + 1
    )
    assert "problem: IndexError: no time\n" in broken["check_seed"]
    assert broken["check_seed"].endswith(f"test_suite.py:{line}, Asserts.generate")
    # Its own assertion is told from one of the suite.
    assert "problem: AssertionError: too few" in broken["check_max_tokens_zero"]
    assert f"test_suite.py:{line - 1}, Asserts.generate" in broken["check_max_tokens_zero"]


def test_the_smallest_input() -> None:
    """The smallest input that breaks a rule in the same way is found: other errors and kept rules do not count."""

    @dataclass(frozen=True)
    class Number:
        n: int

        def smaller(self):
            return map(Number, range(self.n))

    def check(part: Part, case: Number) -> None:
        """Only small numbers."""
        if case.n == 3:
            raise ValueError("another error")
        assert case.n < 5, f"{case.n} is not small"

    failure = failure_of(
        Rule(check, lambda part: [Number(2), Number(40)], "subtract"), checks("greedy")[0].part
    )
    assert failure is not None
    assert "5 is not small" in failure.problem
    assert failure.change == "subtract"
    assert failure.input.startswith(str(Number(5)))
    assert failure.input.endswith(f"with {Number(2)} the rule holds")


def test_every_check_has_a_rule() -> None:
    """Each check has its rule and its remedy in one line, for they are what a failure prints."""
    for rule in [
        *common.RULES.rules,
        *common.PACKAGED.rules,
        *(r for rules in suite.RULES.values() for r in rules),
    ]:
        assert rule.text, rule
        assert "\n" not in rule.text + rule.change, rule
        assert rule.change, rule


def test_selection() -> None:
    """Parts are chosen by bare name, long name, kind or distribution; what selects nothing is an error."""
    assert [str(c) for c in checks("greedy")] == [str(c) for c in checks("lmkit:greedy")]
    assert {c.part.spec.name for c in checks("decoder")} >= {"greedy", "sample", "beam"}
    assert {c.part.kind for c in checks("lmkit:*")} == set(KINDS)
    with pytest.raises(UsageError, match="greedy"):
        checks("greedi")
    with pytest.raises(UsageError, match="no plugin of the distribution 'absent'"):
        checks("absent:*")
    with pytest.raises(PluginError, match="pip install 'absent'"):
        checks("absent:part")


def test_a_name_of_two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that a tokenizer and a model have needs the kind; the two kinds of one namespace do not."""
    parts = [Part(KINDS[kind](name="twice", target="a:B"), PLUGIN) for kind in ("tokenizer", "model")]
    found = Registry([])
    found._parts += parts
    monkeypatch.setattr(suite, "registry", lambda: found)
    with pytest.raises(
        UsageError, match="'twice' is the name of a tokenizer and of a model; add --kind tokenizer"
    ):
        checks("twice")
    assert {check.part.kind for check in checks("twice", kind="model")} == {"model"}
    assert {check.part.kind for check in checks("bad-parts:*", kind="tokenizer")} == {"tokenizer"}


def test_a_class_in_a_file() -> None:
    """FILE:CLASS has the rules of its kind, without those about an installed plugin."""
    wrong = Path(__file__).parent / "wrong"
    names = {check.name for check in checks(f"{wrong / 'decoders.py'}:Draws")}
    assert {"check_options", "check_forbidden"} <= names
    assert not {"check_light_import", "check_description"} & names
    with pytest.raises(UsageError, match="is a decoder; leave out --kind cell"):
        checks(f"{wrong / 'decoders.py'}:Draws", kind="cell")
    with pytest.raises(UsageError, match=r"decoders\.py has no class 'Drawn'; did you mean 'Draws'"):
        checks(f"{wrong / 'decoders.py'}:Drawn")


def test_unloadable_parts() -> None:
    """A part whose target cannot be imported fails the rule that says so, and no other is tried."""
    part = Part(ModelSpec(name="gone", target="no_such_module:Model", summary="Gone"), PLUGIN)
    (check,) = (c for c in checks_of(part) if c.name == "check_target")
    with pytest.raises(AssertionError, match="no_such_module"):
        check()
    assert all(c.name in COMMON for c in checks_of(part))


def test_random_state_is_kept() -> None:
    """A check leaves torch's random state as it was."""
    before = torch.get_rng_state()
    for check in checks("gru")[5:8]:
        check()
    assert torch.equal(torch.get_rng_state(), before)


def test_pytest_is_not_needed() -> None:
    """The suite imports no pytest."""
    folder = Path(suite.__file__).parent
    assert not [path.name for path in folder.glob("*.py") if "import pytest" in path.read_text()]


def test_samples() -> None:
    """The table model is a language model by the suite's own measure, and its spec type is known."""
    assert isinstance(random_bigram(), LanguageModel)
    assert int(random_ids(2, 50).max()) < VOCABULARY.size
    assert all(issubclass(spec, Spec) for spec in KINDS.values())
