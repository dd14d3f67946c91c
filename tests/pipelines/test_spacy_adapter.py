"""Vectors in spaCy's pipelines: the component found by its entry point, against the library itself."""

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lmkit.api
from lmkit.embedding.alignment import align
from lmkit.errors import ModelError, UsageError

if TYPE_CHECKING:
    from spacy.language import Language

TEXTS = ["the cat sat on the mat", "", "the dog, a cat.", "mat"] * 3


def in_a_fresh_process(code: str, *args: object) -> str:
    """The output of a program in a new process, which finds lmkit only through spaCy's entry points."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def pipeline(trained: Path) -> "Callable[..., Language]":
    """pipeline(**config): a blank pipeline with the component over the small run."""
    spacy = pytest.importorskip("spacy")

    def make(**config: str | int) -> "Language":
        nlp = spacy.blank("en")
        nlp.add_pipe("lmkit", config={"run": str(trained), **config})
        return nlp

    return make


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lmkit.api.Model]:
    """Small models of several scripts, by tokenizer; "elmo" reads characters from both sides."""
    folder = tmp_path_factory.mktemp("scripts")
    lines = ["中国的首都是北京。", "the cat doesn't sat on the mat", "ผมกินข้าว", "中国 的 首都 是 北京"] * 10
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    made = {}
    for name in ("char", "byte", "sentencepiece", "word", "elmo"):
        tokenizer = {"name": "char" if name == "elmo" else name}
        made[name] = lmkit.train(
            folder / "text.txt", model={"name": "elmo", "inputs": "tokens"} if name == "elmo" else "gru",
            tokenizer={**tokenizer, **({"vocab_size": 310} if name == "sentencepiece" else {})},
            hidden_size=8, max_steps=2, batch_size=2, bptt=8, device="cpu", out=folder / name,
        )  # fmt: skip
    return made


@pytest.mark.pipelines
@pytest.mark.parametrize("name", ["char", "byte", "sentencepiece", "word", "elmo"])
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh", "中国的首都是北京。"),
        ("zh", "我 去 北京"),
        ("th", "ผมกินข้าว"),
        ("en", "the cat  doesn't sat,on the mat. "),
        ("xx", "中国 iPhone手机\n好"),
    ],
)
@pytest.mark.parametrize("layer", ["mix", "all"])
def test_a_token_has_the_vector_of_its_characters(runs, name, language, text, layer) -> None:
    """`doc.tensor` is `embed` of `doc.text`, a token's row that of the characters where spaCy found it."""
    spacy = pytest.importorskip("spacy")
    if language == "th":
        pytest.importorskip("pythainlp")
    nlp = spacy.blank(language)
    nlp.add_pipe("lmkit", config={"run": str(runs[name].run.directory), "layer": layer, "device": "cpu"})
    doc = nlp(text)
    (vectors,) = runs[name].embed([doc.text], layer=layer)
    tokens, spans = runs[name].tokenize(doc.text), [(token.idx, token.idx + len(token)) for token in doc]
    wanted = align(vectors, tokens, spans, "last")
    if name == "elmo":  # what read from the end has read a whole word at its first character
        half = vectors.shape[-1] // 2
        wanted[..., half:] = align(vectors, tokens, spans, "first")[..., half:]
    if layer == "all":
        wanted = wanted.transpose(0, 1).flatten(1)
    wanted[[token.is_space for token in doc]] = 0
    assert doc.tensor.dtype == np.float32
    np.testing.assert_allclose(doc.tensor, wanted, atol=1e-6)


@pytest.mark.pipelines
def test_documents_of_given_words(runs) -> None:
    """A document made of words, as of a Chinese segmenter, has the text that it says: with spaces or without."""
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("zh")
    nlp.add_pipe("lmkit", config={"run": str(runs["char"].run.directory), "layer": "top", "device": "cpu"})
    words = ["中国", "的", "首都"]
    plain = nlp(spacy.tokens.Doc(nlp.vocab, words, [False] * 3)).tensor
    (wanted,) = runs["char"].embed(["中国的首都"], "top")
    np.testing.assert_allclose(plain, wanted[[1, 2, 4]], atol=1e-6)
    (listed,) = runs["char"].embed([words], "top")
    np.testing.assert_allclose(plain, listed, atol=1e-6)
    spaced = nlp(spacy.tokens.Doc(nlp.vocab, words, [True] * 3)).tensor
    assert abs(spaced - plain).max() > 1e-4


@pytest.mark.pipelines
@pytest.mark.parametrize("layer", ["mix", "top", 0, "all"])
def test_tokens_may_be_read_as_words(
    trained: Path, pipeline: "Callable[..., Language]", layer: str | int
) -> None:
    """With words=True a model of text in spaCy's tokens gets them unchanged; layers "all" are concatenated."""
    doc = pipeline(layer=layer, words=True)("The cat's mat, isn't  it?")
    words = [token.text for token in doc]
    assert words == ["The", "cat", "'s", "mat", ",", "is", "n't", " ", "it", "?"]
    (wanted,) = lmkit.load(trained).embed([words], layer=layer)
    if layer == "all":
        wanted = np.concatenate(list(wanted), axis=1)
    assert doc.tensor.dtype == np.float32
    np.testing.assert_array_equal(doc.tensor, wanted)
    assert not doc.tensor[7].any()


@pytest.mark.pipelines
@pytest.mark.filterwarnings("ignore:.*W007")  # "no word vectors": the point of it
def test_vectors_come_from_the_tensor(pipeline: "Callable[..., Language]") -> None:
    """spaCy itself takes vectors of tokens, spans and documents, and similarities, from `doc.tensor`."""
    doc = pipeline()("the cat sat on the mat")
    np.testing.assert_array_equal(doc[1].vector, doc.tensor[1])
    np.testing.assert_allclose(doc[1:3].vector, doc.tensor[1:3].mean(0), rtol=1e-6)
    np.testing.assert_allclose(doc.vector, doc.tensor.mean(0), rtol=1e-6)
    assert doc[1].similarity(doc[1]) == pytest.approx(1.0)
    assert doc[1].similarity(doc[2]) < 1


@pytest.mark.pipelines
def test_pipe_keeps_order_and_vectors(pipeline: "Callable[..., Language]") -> None:
    """`nlp.pipe` gives each document the vectors that it has alone, in any size of batch, empty ones included."""
    nlp = pipeline()
    for size in (1, 5, 1000):
        docs = list(nlp.pipe(TEXTS, batch_size=size))
        assert [doc.text for doc in docs] == TEXTS
        for doc in docs:
            np.testing.assert_allclose(doc.tensor, nlp(doc.text).tensor, atol=1e-6)
    assert docs[1].tensor.shape[0] == 0


@pytest.mark.pipelines
def test_pipe_in_processes(trained: Path) -> None:
    """`n_process=2` gives the same vectors, after torch has used threads in the parent, which its forks lack."""
    printed = in_a_fresh_process(
        """
        import sys, numpy, spacy, torch
        torch.set_num_threads(2)
        nlp = spacy.blank("en")
        nlp.add_pipe("lmkit", config={"run": sys.argv[1]})
        texts = ["the cat sat on the mat", "a cat", ""] * 10
        wanted = [doc.tensor for doc in nlp.pipe(texts)]
        (torch.ones(1000, 1000) @ torch.ones(1000, 1000)).relu()
        docs = list(nlp.pipe(texts, n_process=2, batch_size=4))
        for doc, text, tensor in zip(docs, texts, wanted, strict=True):
            assert doc.text == text
            numpy.testing.assert_allclose(doc.tensor, tensor, atol=1e-6)
        print(len(docs))
        """,
        trained,
    )
    assert printed == "30\n"


@pytest.mark.pipelines
def test_saved_pipeline_stands_alone(run: Path, pipeline: "Callable[..., Language]", tmp_path: Path) -> None:
    """A saved pipeline holds a copy of the run without checkpoints: the run, and the folder's place, may go."""
    nlp = pipeline(run=str(run), layer="top")
    wanted = nlp("the cat sat").tensor
    nlp.to_disk(tmp_path / "saved")
    assert (tmp_path / "saved" / "lmkit" / "lmkit.json").is_file()
    assert not (tmp_path / "saved" / "lmkit" / "checkpoints").exists()
    (tmp_path / "saved").rename(tmp_path / "moved")
    shutil.rmtree(run)
    code = """
        import sys, numpy, spacy
        nlp = spacy.load(sys.argv[1])
        numpy.save(sys.argv[2], nlp("the cat sat").tensor)
        nlp.to_disk(sys.argv[1])  # over itself
        nlp.to_disk(sys.argv[3])
        print(spacy.load(sys.argv[3])("the cat sat").tensor.sum() == nlp("the cat sat").tensor.sum())
        """
    printed = in_a_fresh_process(code, tmp_path / "moved", tmp_path / "found.npy", tmp_path / "again")
    assert printed == "True\n"
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), wanted)


@pytest.mark.pipelines
def test_saved_without_the_copy(trained: Path, pipeline: "Callable[..., Language]", tmp_path: Path) -> None:
    """A pipeline that is saved without the component's data, or as bytes, goes on by the path in its config."""
    import spacy

    nlp = pipeline()
    wanted = nlp("the cat sat").tensor
    nlp.to_disk(tmp_path / "light", exclude=["lmkit"])
    assert not (tmp_path / "light" / "lmkit").exists()
    np.testing.assert_array_equal(spacy.load(tmp_path / "light")("the cat sat").tensor, wanted)
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    np.testing.assert_array_equal(again("the cat sat").tensor, wanted)


@pytest.mark.pipelines
def test_saving_replaces_only_a_run(
    trained: Path, pipeline: "Callable[..., Language]", tmp_path: Path
) -> None:
    """Saving again replaces the copy; a folder of the component's name that holds something else is left alone."""
    nlp = pipeline()
    for _ in range(2):
        nlp.to_disk(tmp_path / "saved")
    other = tmp_path / "other" / "lmkit"
    other.mkdir(parents=True)
    (other / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not a run"):
        nlp.to_disk(tmp_path / "other")
    assert (other / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.pipelines
def test_wrong_config(pipeline: "Callable[..., Language]", tmp_path: Path) -> None:
    """spaCy refuses a config without a run; a wrong run or layer is named with the first document."""
    import spacy

    with pytest.raises(ValueError, match="run"):
        spacy.blank("en").add_pipe("lmkit")
    with pytest.raises(ModelError, match="not a run's directory"):
        pipeline(run=str(tmp_path / "no"))("the cat")
    with pytest.raises(UsageError, match="layer"):
        pipeline(layer=99)("the cat")


@pytest.mark.pipelines
def test_lines_of_the_page(trained: Path, tmp_path: Path) -> None:
    """The lines that docs/pipelines.md gives for spaCy run."""
    page = Path(__file__).parent.parent.parent / "docs" / "pipelines.md"
    section = page.read_text(encoding="utf-8").split("\n## spaCy\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"^```py\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "elmo").symlink_to(trained)
    printed = in_a_fresh_process(f"import os, sys\nos.chdir(sys.argv[1])\n{code}", tmp_path)
    assert printed.startswith("A [")


@pytest.mark.pipelines
def test_third_party_encoder(
    trained: Path, python_with_plugins: "Callable[..., subprocess.CompletedProcess[str]]"
) -> None:
    """An encoder that nobody here has heard of serves like the built-in ones, saved and loaded too."""
    code = """if True:
        import sys, numpy, lmkit, spacy
        model = lmkit.train(sys.argv[1], out="run", model="neighbours", max_steps=2, batch_size=2, bptt=8)
        nlp = spacy.blank("en")
        nlp.add_pipe("lmkit", config={"run": "run", "layer": "top"})
        nlp.to_disk("saved")
        (wanted,) = model.embed([["the", "cat", "sat"]], "top")
        numpy.testing.assert_allclose(spacy.load("saved")("the cat sat").tensor, wanted, atol=1e-6)
        print(wanted.shape)
        """
    result = python_with_plugins(
        "-c", code, str(trained.parent / "text.txt"), plugins=("lmkit-demo-encoder",)
    )
    assert result.stdout == "torch.Size([3, 16])\n", result.stderr


@pytest.mark.pipelines
def test_start_is_light() -> None:
    """spaCy imports the adapter whenever a pipeline is made: none of lmkit that loads models comes with it."""
    code = """
        import sys, spacy
        assert spacy.blank("en").has_factory("lmkit")
        print("lmkit.pipelines.spacy" in sys.modules, "lmkit.api" in sys.modules, "lmkit.runs" in sys.modules)
        """
    assert in_a_fresh_process(code) == "True False False\n"


def test_without_spacy() -> None:
    """Without the library, importing the adapter is one line that says which extra brings it."""
    code = """
        import sys
        sys.modules["spacy"] = None
        from lmkit.errors import UsageError
        try:
            import lmkit.pipelines.spacy
        except UsageError as error:
            print(error)
        """
    printed = in_a_fresh_process(code)
    assert printed.count("\n") == 1
    assert "spacy" in printed
    assert printed.endswith("[spacy]'\n")
