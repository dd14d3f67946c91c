"""The conformance suite catches what it says it catches."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lmkit import states
from lmkit.contracts import Decoder, Encoder, Encoding, Hypothesis, LanguageModel, Tokenizer, Vocabulary
from lmkit.errors import PluginError, UsageError
from lmkit.plugins import Part, Plugin
from lmkit.recurrence import Cell, GatedCell
from lmkit.specs import KINDS, ModelSpec, Spec, option
from lmkit.testing import BigramTable, checks, checks_of, random_bigram, suite
from lmkit.testing.samples import VOCABULARY, random_ids

PLUGIN = Plugin("bad", "bad-parts", "0", lambda: SimpleNamespace())


def part_of(kind: str, target: str, **settings) -> Part:
    """A part whose target is a class of this file."""
    return Part(KINDS[kind](name="bad", target=f"{__name__}:{target}", summary="Bad", **settings), PLUGIN)


def broken_rules(part: Part) -> dict[str, str]:
    """The broken rules of a part's kind, with their messages."""
    broken = {}
    for check in checks_of(part):
        if check.function.__module__ != "lmkit.testing.common":
            try:
                check()
            except AssertionError as error:
                broken[check.function.__name__] = str(error)
    return broken


class GoodCell(GatedCell):
    def gates(self, x, h, state):
        return torch.tanh(x + h)


class LeakyCell(GoodCell):
    """Rows see the mean of the batch."""

    def gates(self, x, h, state):
        return torch.tanh(x + h.mean(0, keepdim=True))


class ProductReset(GoodCell):
    """Resets by multiplication, through which NaN comes."""

    def reset(self, state, resets, t):
        return states.apply(lambda s: s * ~resets[t][:, None], state)  # pyright: ignore[reportOptionalSubscript]


class Foresight(GoodCell):
    """Reads the whole sequence first."""

    def sequence(self, xs, state, resets=None):
        return (
            super().sequence(xs + xs.mean(0, keepdim=True), state, resets)
            if len(xs)
            else super().sequence(xs, state)
        )


class IdleParameter(GoodCell):
    """Has a parameter that nothing uses."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.idle = torch.nn.Parameter(torch.zeros(3))


class Forgetful(GoodCell):
    """Gives no state to carry."""

    def sequence(self, xs, state, resets=None):
        ys, _ = super().sequence(xs, state, resets)
        return ys, self.initial_state(xs.shape[1])


class NoBatch(Cell):
    """A state with time before batch, and no parameters."""

    def initial_state(self, batch_size):
        return torch.zeros(1, batch_size, self.hidden_size)

    def forward(self, x, state):
        assert isinstance(state, torch.Tensor)
        return state[0], state


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("GoodCell", set()),
        ("LeakyCell", {"check_batch_invariance", "check_reset"}),
        ("ProductReset", {"check_reset_forgets"}),
        ("Foresight", {"check_causality", "check_carry", "check_sequence_is_loop"}),
        ("IdleParameter", {"check_gradients"}),
        ("Forgetful", {"check_carry"}),
        ("NoBatch", {"check_initial_state"}),
    ],
)
def test_cells(target: str, rules: set[str]) -> None:
    """A fault of a cell breaks the rule that is about it; a good cell breaks none."""
    broken = set(broken_rules(part_of("cell", target)))
    assert rules <= broken
    assert rules or not broken


class Table(BigramTable):
    """A model that is made as the registry makes it."""

    def __init__(self, options, vocabulary):
        super().__init__(vocabulary, random_bigram(vocabulary).table)

    @classmethod
    def load(cls, directory, options, vocabulary):
        model = cls(options, vocabulary)
        model.table = BigramTable.load(directory, options, vocabulary).table
        return model


class Unnormalized(Table):
    def next_log_probs(self, state):
        return super().next_log_probs(state) - 0.1


class SaysItIsUnnormalized(Unnormalized):
    normalized = False


class WrongScores(Table):
    """Its fast way drops the first token."""

    def log_probs(self, ids, state, *, reset=None):
        scores, state = super().log_probs(ids, state, reset=reset)
        return scores * (torch.arange(ids.shape[1]) > 0), state


class IgnoresReset(Table):
    def log_probs(self, ids, state, *, reset=None):
        return super().log_probs(ids, state)


class SeesTheFuture(Table):
    def log_probs(self, ids, state, *, reset=None):
        scores, state = super().log_probs(ids, state, reset=reset)
        return scores - 0.01 * ids.sum(1, keepdim=True), state


class ForgetsWeights(Table):
    @classmethod
    def load(cls, directory, options, vocabulary):
        model = cls(options, vocabulary)
        model.table = random_bigram(vocabulary, seed=8).table
        return model


class Pickles(Table):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "extra.pkl").write_bytes(b"")


class NoEndOfTime(Table):
    def log_probs(self, ids, state, *, reset=None):
        if ids.shape[1] == 0:
            raise IndexError("no time")
        return super().log_probs(ids, state, reset=reset)


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("Table", set()),
        ("Unnormalized", {"check_normalized"}),
        ("SaysItIsUnnormalized", set()),
        ("WrongScores", {"check_log_probs", "check_carry"}),
        ("IgnoresReset", {"check_log_probs", "check_reset"}),
        ("SeesTheFuture", {"check_causality", "check_batch_invariance"}),
        ("ForgetsWeights", {"check_save"}),
        ("Pickles", {"check_save"}),
        ("NoEndOfTime", {"check_time_zero"}),
    ],
)
def test_models(target: str, rules: set[str]) -> None:
    """A fault of a model breaks the rule that is about it; a good model breaks none."""
    broken = set(broken_rules(part_of("model", target)))
    assert rules <= broken
    assert rules or not broken


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
        "check_extended",
        "check_residual_bits",
        "check_residual_code",
        "check_word_starts",
        "check_save",
    }
    assert set(broken_rules(part_of("tokenizer", "Sloppy"))) == faults


class Lengths(Encoder):
    """A word's vector is its length; a string's tokens have the lengths of their spans."""

    num_layers, width = 1, 1  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, options, vocabulary):
        self.vocabulary = vocabulary

    def embed(self, sentences):
        return [self.row(sentence)[None, :, None] for sentence in sentences]

    def row(self, sentence):
        if isinstance(sentence, str):
            spans = self.tokenizer.encode(sentence).spans.tolist()
            return torch.tensor([float(end - start) for start, end in spans])
        return torch.tensor([float(len(word)) for word in sentence])

    def save(self, directory):
        pass

    @classmethod
    def load(cls, directory, options, vocabulary):
        return cls(options, vocabulary)


class SeesTheBatch(Lengths):
    """As one that normalises over the batch does."""

    def embed(self, sentences):
        longest = max((len(sentence) for sentence in sentences), default=0)
        return [vectors + longest for vectors in super().embed(sentences)]


class Remembers(Lengths):
    """As the original ELMo does."""

    seen = 0

    def embed(self, sentences):
        self.seen += 1
        return [vectors + self.seen for vectors in super().embed(sentences)]


class DropsBlankWords(Lengths):
    def row(self, sentence):
        return super().row(sentence if isinstance(sentence, str) else [w for w in sentence if w.strip()])


class LosesWeights(Lengths):
    @classmethod
    def load(cls, directory, options, vocabulary):
        return Remembers(options, vocabulary)


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("Lengths", set()),
        ("SeesTheBatch", {"check_independence"}),
        ("Remembers", {"check_independence", "check_repeated"}),
        ("DropsBlankWords", {"check_empty"}),
        ("LosesWeights", {"check_encoder_save"}),
    ],
)
def test_encoders(target: str, rules: set[str]) -> None:
    """A fault of an encoder breaks the rule that is about it; a good encoder breaks none."""
    broken = set(broken_rules(part_of("model", target)))
    assert rules <= broken
    assert rules or not broken


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
    check = next(c for c in checks_of(part) if c.function.__name__ == "check_options")
    with pytest.raises(AssertionError) as caught:
        check()
    assert "the decoder 'bad-parts:bad' breaks the rule: Every option" in str(caught.value)
    assert "'Loud' is not a lower-case identifier" in str(caught.value)


def test_an_exception_is_a_failure_of_the_rule() -> None:
    """Whatever a part raises becomes an AssertionError that names the rule and the exception."""
    message = broken_rules(part_of("model", "NoEndOfTime"))["check_time_zero"]
    assert message.startswith("the model 'bad-parts:bad' breaks the rule: No tokens give no scores")
    assert "IndexError: no time" in message


def test_every_check_has_a_rule() -> None:
    """Each check's docstring is one line, for it is what a failure prints."""
    for kind in KINDS:
        for check in checks(kind):
            assert check.rule, check
            assert "\n" not in check.rule, check


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


def test_unloadable_parts() -> None:
    """A part whose target cannot be imported fails the rule that says so, and no other is tried."""
    part = Part(ModelSpec(name="gone", target="no_such_module:Model", summary="Gone"), PLUGIN)
    (check,) = (c for c in checks_of(part) if c.function.__name__ == "check_target")
    with pytest.raises(AssertionError, match="no_such_module"):
        check()
    assert all(c.function.__module__ == "lmkit.testing.common" for c in checks_of(part))


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
