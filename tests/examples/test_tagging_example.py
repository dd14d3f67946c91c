"""The tagging example: its reading, its splitting, its classifier and its commands, on a treebank made up here."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import lmkit
from lmkit.errors import DataError

FOLDER = Path(__file__).parents[2] / "examples" / "tagging"
MODULES = ("tag", "treebank", "features", "classifier", "splitting", "prepare", "plot")
TAGS = {"the": "DET", "cat": "NOUN", "dog": "NOUN", "sat": "VERB", "ran": "VERB", "on": "ADP", "mat": "NOUN"}
SENTENCES = (
    "the cat sat on the mat",
    "the dog ran on",
    "cat and dog ran",
    "the mat sat",
    "dog sat on the cat",
)

Example = Callable[[str], ModuleType]
Main = Callable[..., None]


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    """example("tag"): the module of that name, which finds its neighbours as a script does."""
    sys.path.insert(0, str(FOLDER))
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    yield importlib.import_module
    sys.path.remove(str(FOLDER))
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.fixture
def main(example: Example, monkeypatch: pytest.MonkeyPatch) -> Main:
    """main("tag", "runs/gru", ...): the script with these arguments."""

    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        example(name).main()

    return run


def conllu(sentence: str) -> str:
    rows = [
        f"{number}\t{word}\t_\t{TAGS.get(word, 'X')}\t_\t_\t0\t_\t_\t_"
        for number, word in enumerate(sentence.split(), 1)
    ]
    return "\n".join(["# text = whatever", *rows]) + "\n\n"


@pytest.fixture(scope="module")
def treebank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("treebank")
    for part in ("train", "dev", "test"):
        text = "".join(map(conllu, SENTENCES))
        (folder / f"tiny-ud-{part}.conllu").write_text(text, encoding="utf-8")
    return folder


def test_words_of_conllu(example: Example, tmp_path: Path) -> None:
    """Ranges of several words and empty nodes are no words; the last sentence needs no blank line behind it."""
    row = "{}\t{}\t_\t{}\t_\t_\t0\t_\t_\t_\n"
    rows = [("1-2", "don't", "_"), ("1", "do", "AUX"), ("2", "n't", "PART"), ("2.1", "go", "VERB")]
    text = "# a note\n" + "".join(row.format(*cells) for cells in rows) + "\n" + row.format("1", "Go", "VERB")
    (tmp_path / "a.conllu").write_text(text, encoding="utf-8")
    read = [(s.words, s.tags) for s in example("treebank").read_conllu(tmp_path / "a.conllu")]
    assert read == [(("do", "n't"), ("AUX", "PART")), (("Go",), ("VERB",))]


def test_faults_of_conllu(example: Example, tmp_path: Path) -> None:
    """A line that is not of CoNLL-U is named; so is a folder without the part, and a treebank that is too small."""
    treebank = example("treebank")
    with pytest.raises(DataError, match="0 files"):
        treebank.read_part(tmp_path, "train")
    (tmp_path / "x-train.conllu").write_text("1\tthe\tDET\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: 3 columns"):
        treebank.read_part(tmp_path, "train")
    with pytest.raises(DataError, match="fewer than 2"):
        treebank.subset([treebank.Sentence(("a",), ("DET",))], 2, seed=0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("He can't say \"I won't\".", "He ca n't say \" I wo n't \" ."),
        ("It's the boys' well-known pre-war e-mail...", "It 's the boys ' well - known pre-war e-mail ..."),
        ("Mr. O'Brien cannot leave the U.S. on 9/11", "Mr. O'Brien can not leave the U.S. on 9/11"),
        ("$1,000--the 2nd price (5%)!!", "$ 1,000 -- the 2nd price ( 5 % ) !!"),
        ("So did I. DON'T", "So did I . DO N'T"),
    ],
)
def test_words(example: Example, text: str, wanted: str) -> None:
    """Words are parted as the English Web Treebank parts them."""
    assert example("splitting").words(text) == wanted.split()


def test_sentences(example: Example) -> None:
    """A sentence ends with its mark and the quote that belongs to it, not with a short form or before small letters."""
    text = '"Is it Mr. Brown?" he asked. "It is. Come in." She came.'
    found = [" ".join(words) for words in example("splitting").sentences(text)]
    assert found == ['" Is it Mr. Brown ? " he asked .', '" It is .', 'Come in . "', "She came ."]


def test_long_sentences(example: Example) -> None:
    """A sentence of more words than a window is cut, behind a clause where there is one, and loses none."""
    splitting = example("splitting")
    text = " ".join(["word"] * 40 + [","] + ["word"] * 100)
    found = list(splitting.sentences(text))
    assert [len(sentence) for sentence in found] == [41, splitting.LONGEST, 40]
    assert [word for sentence in found for word in sentence] == text.split()


def test_prepare(example: Example, main: Main, treebank: Path, tmp_path: Path) -> None:
    """Novels lose their line breaks and marks of italics, articles WikiText's marks and sentences with hidden words;
    the treebank gives words, and none where it is left out.
    """
    data = tmp_path / "data"
    (data / "en_novels").mkdir(parents=True)
    (data / "wikitext-2").mkdir()
    (data / "ud_english_ewt").symlink_to(treebank)
    for part in ("train", "valid"):
        (data / "en_novels" / f"{part}.txt").write_text(
            "He _did_\nnot. She did.\n\n  * * *\n", encoding="utf-8"
        )
        (data / "wikitext-2" / f"{part}.txt").write_text(
            " \n = The title = \n \n It didn 't take 1 @,@ 000 well @-@ known men . A <unk> did . \n",
            encoding="utf-8",
        )
    plain = ["He did not .", "It did n't take 1,000 well - known men .", "She did .", "The title"]
    main("prepare", data, tmp_path / "with")
    main("prepare", data, tmp_path / "without", "--without-treebank")
    assert sorted((tmp_path / "with" / "train.txt").read_text().splitlines()) == sorted([*plain, *SENTENCES])
    for name in ("train.txt", "valid.txt"):
        assert sorted((tmp_path / "without" / name).read_text().splitlines()) == plain


def test_features(example: Example) -> None:
    """Every word has as many features; what the training words do not have is one and the same id, 0."""
    sentence = example("treebank").Sentence
    features = example("features").Features([sentence(("The", "cat"), ("DET", "NOUN"))])
    known = features([sentence(("The", "cat"), ("DET", "NOUN"))])
    assert known.shape == (2, 3 + 8 + 4)
    assert bool((known > 0).all())
    unknown = features([sentence(("9",), ("NUM",))])
    # That the sentence begins before it and ends behind it is known.
    assert int((unknown > 0).sum()) == 4
    assert example("features").shape("McDonald's-99") == "XxXx'x-0"


def test_classifier_is_logistic_regression(example: Example) -> None:
    """On dense, sparse and both kinds of input the classifier finds the optimum that scikit-learn finds."""
    module = example("classifier")
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(200, 5, generator=generator) * 3 + 1
    sparse = torch.randint(1, 7, (200, 2), generator=generator)
    targets = (dense @ torch.randn(5, 3, generator=generator)).argmax(1)
    scaled = StandardScaler().fit_transform(dense.numpy())
    counts = np.stack([(sparse == name).sum(1).numpy() for name in range(1, 7)], 1)
    penalties = module.Penalties(dense=2.0, sparse=2.0)
    for rows, columns in [
        (module.Rows(dense=dense), scaled),
        (module.Rows(sparse=sparse), counts),
        (module.Rows(dense, sparse), np.concatenate([scaled, counts], 1)),
    ]:
        own = module.LinearClassifier(rows, targets, 3, penalties)
        reference = LogisticRegression(C=1 / 2.0, tol=1e-8, max_iter=1000).fit(columns, targets.numpy())
        weights = torch.cat([own.dense, own.sparse[1:]]).detach().numpy()
        np.testing.assert_allclose(weights, reference.coef_.T, atol=5e-3)
        assert np.array_equal(own.predict(rows).numpy(), reference.predict(columns))


def test_unseen_features_count_nothing(example: Example) -> None:
    """The weight of features that were not seen stays zero, so that a word of nothing else gets the bias alone."""
    module = example("classifier")
    fitted = module.Rows(sparse=torch.tensor([[1, 2], [1, 3], [1, 3]]))
    own = module.LinearClassifier(fitted, torch.tensor([0, 1, 1]), 2, module.Penalties(sparse=1.0))
    assert not bool(own.sparse[0].any())
    assert own.predict(module.Rows(sparse=torch.tensor([[0, 0]]))).tolist() == [int(own.bias.argmax())]


def test_vectors_are_layers_side_by_side(example: Example, trained: Path) -> None:
    """A word's row is its layers one after another, the rows in the order of the words."""
    model = lmkit.load(trained)
    sentence = example("treebank").Sentence
    rows = example("tag").vectors(model, [sentence(("the", "cat"), ("", "")), sentence(("mat",), ("",))])
    first, second = model.embed([["the", "cat"], ["mat"]])
    wanted = [torch.cat(list(layers[:, token])) for layers, token in [(first, 0), (first, 1), (second, 0)]]
    torch.testing.assert_close(rows, torch.stack(wanted), rtol=0, atol=1e-6)


def test_initial_weights_are_the_runs_own(example: Example, tmp_path: Path) -> None:
    """The untrained network is the one that the training began with: what a training at rate 0 leaves."""
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 40, encoding="utf-8")
    settings = {"hidden_size": 8, "max_steps": 2, "batch_size": 2, "bptt": 8, "seed": 5, "min_count": 1}
    still, moved = (
        lmkit.train(
            tmp_path / "text.txt", out=tmp_path / str(rate), tokenizer="word", learning_rate=rate, **settings
        )
        for rate in (0.0, 0.01)
    )
    initial = example("tag").with_initial_weights(moved)
    words = [["the", "cat", "sat"]]
    assert torch.equal(initial.embed(words)[0], still.embed(words)[0])
    assert not torch.equal(initial.embed(words)[0], moved.embed(words)[0])


def test_tag_command(main: Main, trained: Path, treebank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each size has its rows of features, encoder, untrained encoder and both; words that were learned are right."""
    options = ["--treebank", treebank, "--sizes", "2,5", "--subsets", 2]
    main("tag", trained, *options, "--untrained", "--json")
    rows = json.loads(capsys.readouterr().out)
    kinds = ["features", "encoder", "untrained", "both"]
    assert [(row["sentences"], row["inputs"]) for row in rows] == [
        (n, kind) for n in (2, 5) for kind in kinds
    ]
    assert all(row["subsets"] == 2 and 0 <= row["all"] <= 100 for row in rows)
    # Five sentences are all that there are: no word is unseen, and each has one tag.
    assert rows[4]["all"] == 100
    assert rows[4]["unseen"] is None
    main("tag", trained, *options)
    assert "| 5 | features | 100.0 ± 0.0 | none |" in capsys.readouterr().out


def test_tag_command_says_what_is_wrong(
    main: Main, treebank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing run is one line on stderr and the exit code of a missing model."""
    with pytest.raises(SystemExit) as stopped:
        main("tag", tmp_path / "none", "--treebank", treebank)
    assert stopped.value.code == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_plot_command(main: Main, trained: Path, treebank: Path, tmp_path: Path) -> None:
    """A run gives a picture; a folder without metrics an error."""
    main("plot", trained, "--treebank", treebank, "--out", tmp_path / "a.png", "--sizes", 2, "--subsets", 1)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit) as stopped:
        main("plot", treebank, "--treebank", treebank, "--out", tmp_path / "b.png")
    assert stopped.value.code == 3
