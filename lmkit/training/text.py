"""The text of a run: read it, hold out a part, choose the tokenizer, and encode it as ids."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lmkit.contracts import Tokenizer
from lmkit.corpus.answer_weights import answer_weights, check_answers
from lmkit.corpus.readers import Line, Text, TextLike
from lmkit.corpus.split import Part, hold_out
from lmkit.corpus.store import TokenStore
from lmkit.corpus.writing_systems import ScriptCounter
from lmkit.options import Chosen
from lmkit.recipe import BY_TEXT, Recipe, choose_tokenizer
from lmkit.training.report import Reporter

DEFAULT_DATA, DEFAULT_VALID = "pydocs:train", "pydocs:valid"
DEFAULT_SECONDS = 120.0
"""Duration of a training if neither data nor a limit is given: a demonstration, not a result."""
SCRIPT_SAMPLE = 5000
"""Lines read to choose a tokenizer."""


@dataclass(frozen=True)
class Corpus:
    """The text of a run as ids."""

    tokenizer: Tokenizer
    tokenizer_choice: Chosen
    train: TokenStore
    valid: TokenStore | None
    valid_text: TextLike | None
    description: str

    def fingerprints(self) -> dict[str, str]:
        """The facts that must be unchanged when a run is resumed."""
        found = {"tokenizer": self.tokenizer.vocabulary.fingerprint, "train": self.train.fingerprint}
        return found if self.valid is None else {**found, "valid": self.valid.fingerprint}


def with_defaults(recipe: Recipe, reporter: Reporter) -> Recipe:
    """The recipe; without data, with the default data and, if there is no other limit, a duration."""
    if recipe.train_paths:
        return recipe
    train, limit = recipe.train, ""
    if not train.is_limited:
        train = replace(train, max_time=DEFAULT_SECONDS)
        limit = f" for {DEFAULT_SECONDS:g} seconds"
    reporter.message(
        f"no TEXT given: training on the documentation of this Python ({DEFAULT_DATA}){limit}; give a text file"
    )
    valid = recipe.valid_paths or (DEFAULT_VALID,)
    return replace(recipe, train_paths=(DEFAULT_DATA,), valid_paths=valid, train=train)


def open_texts(recipe: Recipe, *, validates: bool) -> tuple[TextLike, TextLike | None]:
    """The training text of a recipe, and its validation text.

    validates: hold out a part if no validation text is given; a counting model needs none.
    Raises UsageError for an answer weight without answers.
    """
    check_answers(recipe.train_paths, recipe.train.answer_weight)
    text = Text(recipe.train_paths, recipe.data, fingerprinted=True)
    if recipe.valid_paths:
        return text, Text(recipe.valid_paths, recipe.data)
    return hold_out(text) if validates else (text, None)


def store_corpus(
    text: TextLike,
    valid: TextLike | None,
    tokenizer: Tokenizer,
    choice: Chosen,
    reporter: Reporter,
    *,
    answer_weight: float = 1.0,
) -> Corpus:
    """Both texts as ids."""
    if isinstance(text, Part) and isinstance(valid, Part):
        train, held_out = TokenStore.build_parts(text, valid, tokenizer, progress=reporter)
    else:
        train = TokenStore.build(text, tokenizer, progress=reporter)
        held_out = TokenStore.build(valid, tokenizer, progress=reporter) if valid else None
    if answer_weight != 1:
        train.weights = answer_weights(text, train, tokenizer, answer_weight)
    reporter.message(
        f"{text.describe()}: {train.num_tokens:,} tokens of {tokenizer.vocabulary.size:,} kinds "
        f"({choice.name.rpartition(':')[2]})"
        + (f", {held_out.num_tokens:,} for validation" if held_out else ", no validation")
    )
    return Corpus(tokenizer, choice, train, held_out, valid, text.describe())


def find_tokenizer(text: Iterable[Line], recipe: Recipe, reporter: Reporter) -> Chosen:
    """Choose words if spaces separate them in the text, else characters; with the options of the recipe."""
    scripts = ScriptCounter()
    for number, line in enumerate(text):
        if number == SCRIPT_SAMPLE:
            break
        scripts.add(line.text)
    words, characters = BY_TEXT
    name, spaces = (words, "by spaces") if scripts.is_segmented else (characters, "by no spaces")
    reporter.message(f"tokenizer: {name.rpartition(':')[2]} (words are separated {spaces})")
    return choose_tokenizer({"name": name, **recipe.tokenizer_options}, recipe.model)
