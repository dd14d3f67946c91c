"""Vectors for scikit-learn: the transformer behaves as scikit-learn's own do, against the library itself."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

import lmkit
from lmkit.errors import DataError, ModelError, UsageError
from lmkit.pipelines.sklearn import EmbeddingTransformer, TextClassifier

TEXTS = ["the cat sat", "on the mat", "", "the mat sat on the cat", "the the", "cat"]
CLASSES = [0, 1, 0, 1, 0, 1]


@pytest.fixture
def words() -> list[list[str]]:
    """The texts as lists of words."""
    return [text.split() for text in TEXTS]


def test_rows_are_the_vectors_of_embed(trained: Path) -> None:
    """A row is what `embed` gives for the layer and the pooling; layer "all" puts the layers side by side."""
    model = lmkit.load(trained)
    for layer in ("mix", "top", 0, "all"):
        for pool in ("mean", "max", "first", "last"):
            rows = EmbeddingTransformer(trained, layer=layer, pool=pool).fit_transform(TEXTS)
            wanted = [vector.flatten().numpy() for vector in model.embed(TEXTS, layer, pool)]
            assert rows.dtype == np.float32
            np.testing.assert_array_equal(rows, wanted)
    assert rows.shape == (6, model.encoder.num_layers * model.encoder.width)


def test_forms_of_input(trained: Path, words: list[list[str]]) -> None:
    """Strings and lists of words come in lists, arrays and pandas columns, and give equal rows; no rows are legal."""
    transformer = EmbeddingTransformer(trained)
    wanted = transformer.transform(words)
    ragged = np.empty(6, object)
    ragged[:] = [np.array(row, dtype=object) for row in words]
    np.testing.assert_array_equal(transformer.transform(TEXTS), wanted)
    for form in (
        tuple(TEXTS), (text for text in TEXTS), np.array(TEXTS), np.array(TEXTS, object), pd.Series(TEXTS),
        pd.Series(TEXTS, index=range(10, 16), dtype="string"), ragged, pd.Series(words), tuple(map(tuple, words)),
    ):  # fmt: skip
        np.testing.assert_array_equal(transformer.transform(form), wanted)
    assert transformer.transform([]).shape == (0, wanted.shape[1])
    assert not wanted[2].any()  # a sentence without words


def test_wrong_input(trained: Path, words: list[list[str]]) -> None:
    """What is no list of sentences is refused with what to give, a missing value by its place."""
    transformer = EmbeddingTransformer(trained)
    frame = pd.DataFrame({"text": TEXTS})
    for wrong, said in (
        ("the cat", "list of strings"), (3, "list of strings"), (frame, "not ['text']"), (frame.to_numpy(), "2 dim"),
        (["the", None], "X[1] is of the type NoneType"), (pd.Series(["the", np.nan], dtype=object), "X[1]"),
    ):  # fmt: skip
        with pytest.raises(DataError) as caught:
            transformer.transform(wrong)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    for wrong in ([["the", 3]], ["the cat", ["the", "cat"]]):
        with pytest.raises(UsageError, match="sentence"):
            transformer.transform(wrong)


def test_wrong_settings_are_found_by_fit(trained: Path, tmp_path: Path) -> None:
    """The constructor takes anything, as scikit-learn asks of it; `fit` names a wrong run, layer or pooling."""
    for settings, error in (
        ({"layer": 99}, UsageError), ({"layer": "best"}, UsageError), ({"pool": "none"}, UsageError),
        ({"pool": "sum"}, UsageError), ({"run": tmp_path / "no"}, ModelError),
    ):  # fmt: skip
        transformer = EmbeddingTransformer(**{"run": trained, **settings})
        with pytest.raises(error):
            transformer.fit(TEXTS)
        with pytest.raises(error):
            transformer.transform(TEXTS)


def test_stateless(trained: Path) -> None:
    """Nothing is fitted: `transform` works at once, and scikit-learn knows it from the tags."""
    transformer = EmbeddingTransformer(trained)
    check_is_fitted(transformer)
    tags = get_tags(transformer)
    assert (tags.requires_fit, tags.input_tags.string, tags.input_tags.two_d_array) == (False, True, False)
    np.testing.assert_array_equal(transformer.transform(TEXTS), transformer.fit(None).transform(TEXTS))


def test_clone_and_parameters(trained: Path) -> None:
    """Parameters are kept as they are given; a clone has them and no more."""
    transformer = EmbeddingTransformer(trained, layer=1, pool="max")
    transformer.transform(TEXTS)
    copy = clone(transformer)
    assert copy.get_params() == {
        "run": trained,
        "layer": 1,
        "pool": "max",
        "device": "auto",
        "separator": None,
    }
    assert vars(copy) == copy.get_params()
    assert copy.set_params(layer="top").layer == "top"


def test_pickle_holds_no_weights(trained: Path) -> None:
    """A pickle is the path and the settings, after use too, and gives the same rows when it is back."""
    pipeline = make_pipeline(EmbeddingTransformer(str(trained)), LogisticRegression()).fit(TEXTS, CLASSES)
    transformer = pipeline[0]
    assert len(pickle.dumps(transformer)) < 1000
    back = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(back.predict_proba(TEXTS), pipeline.predict_proba(TEXTS))


def test_one_load_for_all_copies(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clones share one model in a process; a run that is replaced is loaded again."""
    from lmkit import api, pipelines

    loads = []
    load = api.load
    monkeypatch.setattr(api, "load", lambda *args, **settings: loads.append(args) or load(*args, **settings))
    pipelines._load.cache_clear()
    for _ in range(3):
        clone(EmbeddingTransformer(trained, pool="max")).fit_transform(TEXTS)
    assert len(loads) == 1
    (trained / "lmkit.json").touch()
    EmbeddingTransformer(trained).fit(TEXTS)
    assert len(loads) == 2


def train_again(run: Path, trained: Path) -> None:
    """Replace a copy of the small run by another one."""
    lmkit.train(
        trained.parent / "text.txt", out=run, overwrite=True, tokenizer="word", min_count=1,
        hidden_size=8, max_steps=2, batch_size=2, bptt=8, seed=7,
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(EmbeddingTransformer, "run"), (TextClassifier, "init_from")])
def test_hash_follows_the_run(
    kind: type[EmbeddingTransformer] | type[TextClassifier], name: str, run: Path, trained: Path
) -> None:
    """joblib's hash of an unfitted estimator changes when its run is trained again, and only then."""
    missing = joblib.hash(kind(**{name: run.parent / "missing"}))
    estimator = kind(**{name: run})
    before = joblib.hash(estimator)
    (run / "lmkit.json").touch()
    for copy in (clone(estimator), deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        assert vars(copy) == vars(estimator) == estimator.get_params()
        assert joblib.hash(copy) == before
    train_again(run, trained)
    assert len({before, missing, joblib.hash(estimator)}) == 3
    assert joblib.hash(estimator.set_params(**{name: run.parent / "missing"})) == missing


def test_pipelines_with_memory(run: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `memory=`, a pipeline and its clones in a search reuse the vectors of a run until it is trained again."""
    calls = []
    transform = EmbeddingTransformer.transform
    monkeypatch.setattr(EmbeddingTransformer, "transform", lambda *args: calls.append(1) or transform(*args))
    steps = EmbeddingTransformer(run), LogisticRegression()
    pipeline = make_pipeline(*steps, memory=joblib.Memory(run.parent / "cache", verbose=0))
    before = pipeline.fit(TEXTS, CLASSES)[-1].coef_
    clone(pipeline).fit(TEXTS, CLASSES)
    assert len(calls) == 1
    train_again(run, trained)
    after = pipeline.fit(TEXTS, CLASSES)[-1].coef_
    assert len(calls) == 2
    np.testing.assert_allclose(after, make_pipeline(*steps).fit(TEXTS, CLASSES)[-1].coef_)
    assert not np.allclose(after, before)
    calls.clear()
    grid = {"logisticregression__C": [0.1, 1, 10]}
    GridSearchCV(pipeline, grid, cv=2, refit=False, error_score="raise").fit(TEXTS, CLASSES)
    assert len(calls) == 2 + 6  # each training half once; each held-out half, which is not cached, for each C


def test_feature_names_and_frames(trained: Path) -> None:
    """Columns are named as scikit-learn names generated ones, without fitting too, and `set_output` uses them."""
    transformer = EmbeddingTransformer(trained, layer="all")
    names = transformer.get_feature_names_out()
    frame = transformer.set_output(transform="pandas").transform(pd.Series(TEXTS, index=list("abcdef")))
    assert list(frame.columns) == list(names) == [f"embeddingtransformer{i}" for i in range(len(names))]
    assert list(frame.index) == list("abcdef")
    np.testing.assert_array_equal(frame, clone(transformer).set_output(transform="default").transform(TEXTS))


def test_beside_other_features(trained: Path) -> None:
    """A FeatureUnion with TF-IDF, and a column of a frame, give the vectors beside the other features."""
    tfidf, vectors = TfidfVectorizer(), EmbeddingTransformer(trained)
    union = FeatureUnion([("tfidf", tfidf), ("vectors", vectors)]).fit(TEXTS)
    rows, width = union.transform(TEXTS).toarray(), len(vectors.get_feature_names_out())
    np.testing.assert_allclose(rows[:, -width:], vectors.transform(TEXTS))
    assert union.get_feature_names_out()[-1] == f"vectors__embeddingtransformer{width - 1}"
    frame = pd.DataFrame({"text": TEXTS, "length": [len(text) for text in TEXTS]})
    columns = ColumnTransformer([("vectors", vectors, "text"), ("length", "passthrough", ["length"])])
    np.testing.assert_allclose(columns.fit_transform(frame)[:, :width], vectors.transform(TEXTS), rtol=1e-6)


def test_search_over_layers_and_pooling(trained: Path, words: list[list[str]]) -> None:
    """A grid over layer and pool, with lists of words, finds a best pipeline, and cross-validation predicts."""
    pipeline = make_pipeline(EmbeddingTransformer(trained), LogisticRegression())
    name = "embeddingtransformer__"
    grid = {name + "layer": ["mix", "top", 0, "all"], name + "pool": ["mean", "last"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(words, CLASSES)
    assert len(search.cv_results_["params"]) == 8
    assert search.predict(words).shape == (6,)
    assert cross_val_predict(pipeline, np.array(TEXTS), CLASSES, cv=3).shape == (6,)


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_parallel(trained: Path, backend: str) -> None:
    """joblib's threads share the model, its processes load it themselves, and all give the same rows."""
    transformer = EmbeddingTransformer(trained)
    wanted = transformer.transform(TEXTS)
    work = joblib.Parallel(n_jobs=2, backend=backend)
    for rows in work(joblib.delayed(transformer.transform)(TEXTS) for _ in range(3)):
        np.testing.assert_array_equal(rows, wanted)


def test_bidirectional_encoder(trained: Path, tmp_path: Path, words: list[list[str]]) -> None:
    """An encoder of characters serves like a causal model, and knows words that it never read."""
    lmkit.train(
        trained.parent / "text.txt", out=tmp_path / "elmo", model="elmo", hidden_size=8, filters="1x4,2x4",
        character_size=4, max_steps=2, batch_size=2, bptt=8,
    )  # fmt: skip
    rows = EmbeddingTransformer(tmp_path / "elmo", layer="all", pool="max").fit_transform(
        [*words, ["unread"]]
    )
    wanted = lmkit.load(tmp_path / "elmo").embed([*words, ["unread"]], "all", "max")
    np.testing.assert_allclose(rows, [vector.flatten().numpy() for vector in wanted], atol=1e-6)
    assert rows.shape == (7, 3 * 16)
    assert rows[-1].any()


def test_third_party_encoder(
    trained: Path, python_with_plugins: "Callable[..., subprocess.CompletedProcess[str]]"
) -> None:
    """An encoder that nobody here has heard of serves like the built-in ones."""
    code = """if True:
        import sys, numpy, lmkit
        from lmkit.pipelines.sklearn import EmbeddingTransformer
        model = lmkit.train(sys.argv[1], out="run", model="neighbours", max_steps=2, batch_size=2, bptt=8)
        texts = ["the cat sat", "", "on the mat"]
        rows = EmbeddingTransformer("run", layer="top", pool="last").fit_transform(texts)
        wanted = [vector.numpy() for vector in model.embed(texts, "top", "last")]
        numpy.testing.assert_allclose(rows, wanted, atol=1e-6)
        print(rows.shape)
        """
    result = python_with_plugins(
        "-c", code, str(trained.parent / "text.txt"), plugins=("lmkit-demo-encoder",)
    )
    assert result.stdout == "(3, 16)\n", result.stderr


def test_without_scikit_learn() -> None:
    """Without the library, importing the adapter is one line that says which extra brings it."""
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from lmkit.errors import UsageError\n"
        "try: import lmkit.pipelines.sklearn\n"
        "except UsageError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.count("\n") == 1
    assert "sklearn" in result.stdout
    assert result.stdout.endswith("[sklearn]'\n")


def test_words_of_a_script_without_spaces(tmp_path: Path) -> None:
    """Lists of Chinese words are read as their text, and `separator` says otherwise; columns of words too."""
    (tmp_path / "text.txt").write_text("中国的首都是北京\n" * 20, encoding="utf-8")
    model = lmkit.train(
        tmp_path / "text.txt", model="gru", tokenizer="char", hidden_size=8, max_steps=2, batch_size=2, bptt=8,
        device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    words = [["中国", "的", "首都"], ["北京"]]
    transformer = EmbeddingTransformer(tmp_path / "run", pool="last", device="cpu")
    wanted = [vector.numpy() for vector in model.embed(["中国的首都", "北京"], "mix", "last")]
    np.testing.assert_allclose(transformer.transform(words), wanted, atol=1e-6)
    spaced = clone(transformer).set_params(separator=" ").transform(words)
    wanted = [vector.numpy() for vector in model.embed(["中国 的 首都", "北京"], "mix", "last")]
    np.testing.assert_allclose(spaced, wanted, atol=1e-6)
    with pytest.raises(UsageError, match="lists of words"):
        clone(transformer).set_params(separator=" ").transform(["中国"])
