"""The architecture `lmkit.Tok2Vec.v1`: components of spaCy learn from the vectors of a run, which stays as it is."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lmkit
from lmkit.errors import ModelError, UsageError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

pytestmark = pytest.mark.pipelines

EXAMPLE = Path(__file__).parents[2] / "examples" / "tagging"
WORDS = {"the": "DET", "a": "DET", "cat": "NOUN", "dog": "NOUN", "mat": "NOUN", "sat": "VERB", "on": "ADP"}
TEXTS = ["the cat sat on the mat", "a dog sat", "the mat", "on a cat sat the dog"]
HASHES = {
    "@architectures": "spacy.MultiHashEmbed.v2", "width": 8, "attrs": ["NORM", "SUFFIX"], "rows": [50, 50],
    "include_static_vectors": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, trained on such sentences; a test that removes it takes a copy."""
    pytest.importorskip("spacy")
    folder = tmp_path_factory.mktemp("tok2vec")
    (folder / "text.txt").write_text("\n".join(TEXTS * 10), encoding="utf-8")
    lmkit.train(
        folder / "text.txt", out=folder / "gru", model="gru", tokenizer={"name": "word", "min_count": 1},
        hidden_size=16, max_steps=20, batch_size=2, bptt=8, device="cpu",
    )  # fmt: skip
    return folder / "gru"


def layer(run: Path, **settings: Any) -> Any:
    """The layer itself, initialized."""
    from lmkit.pipelines.spacy_tok2vec import tok2vec

    model = tok2vec(str(run), **{"width": 6, "device": "cpu", **settings})
    model.initialize(X=docs(TEXTS[:1]))
    return model


def docs(texts: list[str]) -> list[Any]:
    import spacy

    nlp = spacy.blank("en")
    return [nlp.make_doc(text) for text in texts]


def tagger(run: Path, **settings: Any) -> "Language":
    """A pipeline whose tagger has its own layer."""
    import spacy

    nlp = spacy.blank("en")
    own = {"@architectures": "lmkit.Tok2Vec.v1", "run": str(run), "width": 16, "device": "cpu", **settings}
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": own}})
    return nlp


def examples(nlp: "Language") -> "list[Example]":
    from spacy.training import Example

    return [
        Example.from_dict(
            nlp.make_doc(text),
            {
                "tags": [WORDS[word] for word in text.split()],
                "entities": [
                    (at, at + 3, "ANIMAL") for at in (text.find("cat"), text.find("dog")) if at >= 0
                ],
                "cats": {"SHORT": float(len(text) < 10), "LONG": float(len(text) >= 10)},
            },
        )
        for text in TEXTS
    ]


def learned(nlp: "Language", steps: int = 150) -> "Language":
    """The pipeline after some steps on the examples."""
    given = examples(nlp)
    optimizer = nlp.initialize(lambda: given)
    for _ in range(steps):
        nlp.update(given, sgd=optimizer)
    return nlp


def test_vectors_before_the_projection_are_those_of_the_component(run: Path) -> None:
    """Tokens are aligned by their characters; white space, empty and long documents in one batch are no matter."""
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("lmkit", config={"run": str(run), "layer": "all", "device": "cpu"})
    texts = ["the cat  doesn't,sat", "", "mat", "the cat sat on the mat " * 500]
    vectors = layer(run, layer="all").layers[0]
    found = vectors.predict(docs(texts))
    for rows, doc in zip(found, nlp.pipe(texts), strict=True):
        np.testing.assert_array_equal(rows, doc.tensor)
    assert vectors.get_dim("nO") == found[0].shape[1]


def test_gradient_reaches_the_projection(run: Path) -> None:
    """Of the projection's weights the gradient is that of finite differences."""
    model, batch = layer(run), docs(TEXTS)
    linear = next(node for node in model.walk() if node.name == "linear")
    generator = np.random.default_rng(0)
    outputs, backprop = model.begin_update(batch)
    weights = [generator.normal(size=rows.shape).astype("f") for rows in outputs]
    assert backprop(weights) == []

    def value() -> float:
        rows = zip(model.predict(batch), weights, strict=True)
        return float(sum((a.astype("d") * b).sum() for a, b in rows))

    matrix, gradient = linear.get_param("W"), linear.get_grad("W").copy()
    for place in [(0, 0), (3, 5), (5, 2)]:
        before = matrix[place]
        values = []
        for change in (1e-2, -1e-2):
            matrix[place] = before + change
            values.append(value())
        matrix[place] = before
        assert gradient[place] == pytest.approx((values[0] - values[1]) / 2e-2, rel=2e-2, abs=1e-2)


def test_vectors_of_training_documents_are_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a second epoch no document is embedded again, unless there was no room; prediction keeps none."""
    from lmkit.pipelines import spacy_tok2vec

    computed, original = [], spacy_tok2vec.token_vectors

    def counted(model: Any, given: list[Any], **settings: Any) -> Any:
        computed.extend(doc.text for doc in given)
        return original(model, given, **settings)

    monkeypatch.setattr(spacy_tok2vec, "token_vectors", counted)
    for room, wanted in ((spacy_tok2vec.MOST_KEPT, TEXTS), (0, [*TEXTS, *TEXTS[::-1], TEXTS[0]])):
        monkeypatch.setattr(spacy_tok2vec, "MOST_KEPT", room)
        model = layer(run)
        computed.clear()
        first, _ = model.begin_update(docs(TEXTS))
        again, _ = model.begin_update(docs(TEXTS[::-1]))
        one, _ = model.begin_update(docs(TEXTS[:1]))
        assert computed == wanted
        for a, b in zip([*first, first[0]], [*again[::-1], *one], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    model.predict(docs(TEXTS))
    assert not model.layers[0].shims[0]._kept


def test_components_learn_and_the_run_does_not(run: Path) -> None:
    """A tagger, an entity recogniser and a classifier learn from one shared layer; the run's files keep their bytes."""
    import spacy

    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    nlp = spacy.blank("en")
    width, listener = 16, {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    inner = {
        "@architectures": "lmkit.Tok2Vec.v1",
        "run": str(run),
        "width": width,
        "device": "cpu",
        "beside": HASHES,
    }
    encode = {"@architectures": "spacy.MaxoutWindowEncoder.v2", "width": width, "depth": 1, "window_size": 1,
              "maxout_pieces": 2}  # fmt: skip
    nlp.add_pipe(
        "tok2vec", config={"model": {"@architectures": "spacy.Tok2Vec.v2", "embed": inner, "encode": encode}}
    )
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}})
    parser = {"@architectures": "spacy.TransitionBasedParser.v2", "state_type": "ner", "extra_state_tokens": False,
              "hidden_width": 16, "maxout_pieces": 2, "use_upper": True}  # fmt: skip
    nlp.add_pipe("ner", config={"model": {**parser, "tok2vec": listener}})
    reduced = {"@architectures": "spacy.TextCatReduce.v1", "exclusive_classes": True, "use_reduce_mean": True,
               "use_reduce_first": False, "use_reduce_last": False, "use_reduce_max": False}  # fmt: skip
    nlp.add_pipe("textcat", config={"model": {**reduced, "tok2vec": listener}})
    scores = learned(nlp).evaluate(examples(nlp))
    assert (scores["tag_acc"], scores["ents_f"], scores["cats_macro_f"]) == (1, 1, 1)
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def test_a_saved_pipeline_contains_the_run(run: Path, tmp_path: Path) -> None:
    """A pipeline that is moved to where the run is not tags as before, also in two processes and from bytes."""
    import spacy

    copy = shutil.copytree(run, tmp_path / "run")
    nlp = learned(tagger(copy))
    wanted = [[token.tag_ for token in doc] for doc in nlp.pipe(TEXTS)]
    assert wanted == [[WORDS[word] for word in text.split()] for text in TEXTS]
    nlp.to_disk(tmp_path / "saved")
    data = nlp.to_bytes()
    shutil.rmtree(copy)
    for again in (spacy.load(tmp_path / "saved"), spacy.blank("en").from_config(nlp.config).from_bytes(data)):
        assert [[token.tag_ for token in doc] for doc in again.pipe(TEXTS)] == wanted
        assert [[token.tag_ for token in doc] for doc in again.pipe(TEXTS, n_process=2)] == wanted
    again.to_disk(tmp_path / "resaved")
    assert [token.tag_ for token in spacy.load(tmp_path / "resaved")(TEXTS[0])] == wanted[0]


def test_the_commands_of_the_example(run: Path, tmp_path: Path) -> None:
    """`spacy train` with the example's config, `spacy evaluate` and `spacy assemble` of the trained parts work."""
    lines = []
    for text in TEXTS * 5:
        rows = [f"{n}\t{w}\t_\t{WORDS[w]}\t_\t_\t_\t_\t_\t_" for n, w in enumerate(text.split(), 1)]
        lines += [*rows, ""]
    for part in ("train", "dev", "test"):
        (tmp_path / f"en-{part}.conllu").write_text("\n".join([*lines, ""]), encoding="utf-8")

    def python(*arguments: object) -> str:
        command = [sys.executable, *map(str, arguments)]
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )
        assert result.returncode == 0, result.stderr + result.stdout
        return result.stdout

    python(EXAMPLE / "docbin.py", tmp_path, "docs", "--size", 20)
    python("-m", "spacy", "train", EXAMPLE / "spacy.cfg", "--output", "tagger", "--paths.run", run,
           "--training.max_steps", 60, "--training.eval_frequency", 30)  # fmt: skip
    trained = "tagger/model-last"
    (tmp_path / "assembled.cfg").write_text(
        '[nlp]\nlang = "en"\npipeline = ["tok2vec", "tagger"]\n[components]\n'
        f'[components.tok2vec]\nsource = "{trained}"\n[components.tagger]\nsource = "{trained}"\n',
        encoding="utf-8",
    )
    python("-m", "spacy", "assemble", "assembled.cfg", "assembled")
    for pipeline in (trained, "assembled"):
        python("-m", "spacy", "evaluate", pipeline, "docs/test.spacy", "--output", "scores.json")
        assert '"tag_acc":1.0' in (tmp_path / "scores.json").read_text(encoding="utf-8").replace(" ", "")


def test_errors_name_the_remedy(run: Path, tmp_path: Path) -> None:
    """A missing run, an unknown layer, a damaged copy and a layer of unknown width are errors in words."""
    import thinc.api

    with pytest.raises(ModelError, match="not a run's directory"):
        learned(tagger(tmp_path / "none"))
    with pytest.raises(UsageError, match="there is no layer 'topp'"):
        learned(tagger(run, layer="topp"))
    with pytest.raises(UsageError, match="does not know its width"):
        layer(run, beside=thinc.api.noop())
    stored = layer(run).layers[0].shims[0]
    data = stored.to_bytes()
    with pytest.raises(ModelError):
        stored.from_bytes(data[: len(data) // 2])
    assert stored.run == run


def test_start_is_light() -> None:
    """spaCy finds the architecture by its entry point, and importing it loads none of the code that loads models."""
    code = (
        "import sys, spacy; spacy.registry.architectures.get('lmkit.Tok2Vec.v1'); "
        "print('lmkit.api' in sys.modules, 'lmkit.runs' in sys.modules, 'lmkit.archive' in sys.modules)"
    )
    pytest.importorskip("spacy")
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.stdout == "False False False\n", result.stderr
