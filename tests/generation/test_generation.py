"""Continuing a prompt: text in, text out, line ends as the model takes them."""

import pytest

import lmkit
from lmkit.errors import UsageError


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 60, encoding="utf-8")
    options = {"hidden_size": 16, "max_epochs": 8, "batch_size": 2, "bptt": 8, "learning_rate": 0.02}
    return {
        (name, reset): lmkit.train(
            folder / "text.txt", out=folder / f"{name}-{reset}", tokenizer=name, reset=reset, **options
        )
        for name in ("word", "char")
        for reset in ("line", "document")
    }


def test_a_continuation_follows_its_prompt(models):
    """The text after the prompt begins with the space that the tokenizer puts there."""
    (text,) = models["word", "line"].generate("the cat", decoder="greedy", max_tokens=10)
    assert text.text == " sat on the mat\n"
    (text,) = models["char", "line"].generate("the ca", decoder="greedy", max_tokens=4)
    assert len(text.text) == 4


def test_lines_go_on_where_the_state_does(models):
    """A model that carries its state over lines continues; one that is reset stops at the line's end."""
    (on,) = models["word", "document"].generate("the cat", decoder="greedy", max_tokens=10)
    assert on.text == " sat on the mat\nthe cat sat on the"
    assert len(on.text.split()) == 9


def test_a_seed_repeats_and_num_varies(models):
    """The same seed gives the same texts; several texts of one call differ."""
    model = models["char", "document"]
    texts = model.generate("the", num=4, seed=5, max_tokens=20, temperature=2.0)
    assert [t.text for t in texts] == [
        t.text for t in model.generate("the", num=4, seed=5, max_tokens=20, temperature=2.0)
    ]
    assert len({t.text for t in texts}) > 1


def test_several_texts_of_a_decoder_without_chance_differ(models):
    """Beam search gives its best hypotheses, at most `num`, from one search; greedy has one text to give."""
    model = models["char", "document"]
    assert len(model.generate("the", decoder="beam", width=4, num=1, max_tokens=3)) == 1
    texts = [t.text for t in model.generate("the", decoder="beam", width=4, num=3, max_tokens=3)]
    assert len(texts) == len(set(texts)) == 3
    assert len(model.generate("the", decoder="greedy", num=3, max_tokens=3)) == 1


def test_a_model_by_line_forgets_the_prompts_earlier_lines(models):
    """If the state is reset at each line, only the last line of a prompt is remembered."""
    model = models["word", "line"]
    long, short = (
        model.generate(prompt, decoder="greedy", max_tokens=3)[0]
        for prompt in ("the cat sat on\nthe mat\nthe", "the")
    )
    assert long == short
    assert model.generate("the cat\n", decoder="greedy", max_tokens=2)[0].log_prob == pytest.approx(
        model.generate("", decoder="greedy", max_tokens=2)[0].log_prob
    )


def test_log_prob_is_the_models_own(models):
    """What is reported for a continuation is its score under the model."""
    model = models["word", "document"]
    (text,) = model.generate("", decoder="greedy", max_tokens=7)
    assert text.log_prob == pytest.approx(model.score(text.text.rstrip("\n")).log_prob, rel=1e-4)


def test_a_prompt_may_have_lines_and_unknown_words(models):
    """Each line of the prompt but the last is ended; what is not in the vocabulary is read as unknown."""
    (text,) = models["word", "document"].generate("the zebra\nthe cat", decoder="greedy", max_tokens=3)
    assert text.text.startswith(" ")


def test_stop_line_ends_with_the_line(models):
    """A model that would write on stops at the line's end, which is the last of its text."""
    (text,) = models["word", "document"].generate("the cat", decoder="greedy", max_tokens=20, stop="line")
    assert text.text == " sat on the mat\n"
    with pytest.raises(UsageError, match="stop is 'word'"):
        models["word", "document"].generate("the", stop="word")


@pytest.mark.parametrize("decoder", ["greedy", "sample", "beam"])
@pytest.mark.parametrize("num", [1, 3])
def test_the_pieces_are_the_text(models, decoder, num):
    """on_text tells the first continuation, and nothing but it, whether or not the decoder tells its tokens."""
    for model in models.values():
        pieces: list[str] = []
        found = model.generate(
            "the ca", decoder=decoder, num=num, seed=3, max_tokens=25, on_text=pieces.append
        )
        assert "".join(pieces) == found[0].text
        assert (len(pieces) > 3) == (decoder != "beam")


@pytest.mark.parametrize(
    ("decoder", "options"),
    [("greedy", {}), ("beam", {"width": 3}), ("sample", {"top_p": 0.9, "temperature": 1.5})],
)
@pytest.mark.parametrize("num", [1, 2])
def test_each_prompt_is_continued_as_alone(models, decoder, options, num):
    """Many prompts at once give what each gives alone with the same seed, n-grams that must not repeat included."""
    prompts = ["the", "", "the cat sat on", "the mat\nthe", "cat", "the"] * 7
    for model in models.values():
        for repeat in (None, 3):
            settings = {
                "decoder": decoder, "num": num, "seed": 11, "max_tokens": 12, "no_repeat_ngram": repeat, **options
            }  # fmt: skip
            together = list(model.generate_each(prompts, **settings))
            alone = {prompt: model.generate(prompt, **settings) for prompt in set(prompts)}
            assert [[one.text for one in found] for found in together] == [
                [one.text for one in alone[prompt]] for prompt in prompts
            ]
            for found, prompt in zip(together, prompts, strict=True):
                scores = [one.log_prob for one in alone[prompt]]
                assert [one.log_prob for one in found] == pytest.approx(scores, rel=1e-5)


def test_without_a_seed_equal_prompts_differ(models):
    """Each prompt has its own randomness unless a seed is given."""
    texts = models["char", "document"].generate_each(["the"] * 5, max_tokens=30, temperature=3.0)
    assert len({found[0].text for found in texts}) == 5
