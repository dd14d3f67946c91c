"""lmkit's encoders in sentence-transformers: the same sentence vectors, in order, saved, loaded and trained."""

import importlib
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmkit
from lmkit.errors import UsageError

pipelines = pytest.mark.pipelines

SENTENCES = ["the cat sat", "", "on the mat , isn't it ?", "cat", "the mat sat on the cat"]


@pytest.fixture(scope="module", params=["gru", "elmo"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small runs of a causal model and of an encoder."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "text.txt").write_text("the cat sat on the mat , isn't it ?\n" * 40, encoding="utf-8")
    own = {"filters": "1x4,2x4", "character_size": 4} if request.param == "elmo" else {}
    lmkit.train(
        folder / "text.txt", out=folder / "run", model=request.param, tokenizer="word", min_count=1,
        hidden_size=8, max_steps=2, batch_size=2, bptt=8, **own,
    )  # fmt: skip
    return folder / "run"


def transformer(*modules: Any) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(modules=list(modules), device="cpu")


def module(run: Path, **settings: Any) -> Any:
    from lmkit.pipelines.sentence_transformers import LmkitModule

    return LmkitModule(run, **settings)


def wanted(run: Path, **settings: Any) -> np.ndarray:
    """(sentences, features): what lmkit itself gives."""
    return torch.stack(lmkit.load(run).embed(SENTENCES, **settings)).numpy()


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sentence-transformers the adapter says which extra brings it."""
    # The name that is imported, too: an earlier test may have loaded it.
    for name in ("sentence_transformers", "sentence_transformers.base.modules"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "lmkit.pipelines.sentence_transformers", raising=False)
    with pytest.raises(
        UsageError, match=r"sentence_transformers.* is not installed: pip install '.*\[transf"
    ):
        importlib.import_module("lmkit.pipelines.sentence_transformers")


@pipelines
@pytest.mark.parametrize(
    "settings", [{}, {"layer": "top", "pool": "max"}, {"layer": 0, "pool": "last"}], ids=str
)
def test_vectors_are_those_of_lmkit(run: Path, settings: dict[str, Any]) -> None:
    """encode gives what `embed` gives for the layer and the pooling; by default the mean of the mix."""
    model = transformer(module(run, **settings))
    np.testing.assert_allclose(
        model.encode(SENTENCES), wanted(run, **{"layer": "mix", "pool": "mean", **settings}), atol=1e-6
    )
    np.testing.assert_allclose(model.encode("cat"), model.encode(SENTENCES)[3], atol=1e-6)
    assert model.get_embedding_dimension() == lmkit.load(run).encoder.width


@pipelines
def test_order_survives_sorting(run: Path) -> None:
    """encode sorts by length and batches: each vector is still at its sentence's place."""
    texts = [" ".join(["cat", "mat", "the"][i % 3] for i in range(n)) for n in range(1, 40)]
    random.Random(1).shuffle(texts)
    alone = torch.cat([lmkit.load(run).embed([text], "mix", "mean")[0][None] for text in texts])
    np.testing.assert_allclose(transformer(module(run)).encode(texts, batch_size=4), alone, atol=1e-6)


@pipelines
def test_tokens(run: Path) -> None:
    """output_value="token_embeddings" gives the vectors of a sentence's tokens without padding."""
    found = transformer(module(run)).encode(SENTENCES[2:], output_value="token_embeddings")
    for one, other in zip(found, lmkit.load(run).embed(SENTENCES[2:], layer="mix"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pipelines
def test_with_the_librarys_own_pooling(run: Path) -> None:
    """With pool="none", a Pooling module behind it pools, and skips padding."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    encoder = module(run, pool="none")
    model = transformer(encoder, Pooling(encoder.get_embedding_dimension(), "mean"))
    np.testing.assert_allclose(model.encode(SENTENCES), wanted(run, layer="mix", pool="mean"), atol=1e-6)


@pipelines
def test_similarity_and_prompts(run: Path) -> None:
    """similarity works on the vectors, and a prompt is put before each sentence."""
    model = transformer(module(run))
    vectors = model.encode(["the cat", "the cat", "on mat"])
    assert model.similarity(vectors, vectors)[0, 1] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(model.encode(["cat"], prompt="the ")[0], vectors[0], atol=1e-6)


@pipelines
def test_saved_folders(run: Path, tmp_path: Path) -> None:
    """A saved folder gives the same vectors without the run that it came from, by both ways of loading."""
    from sentence_transformers import SentenceTransformer

    from lmkit.pipelines.sentence_transformers import LmkitModule

    model = transformer(module(run, layer="top", pool="max"))
    for weight in model.parameters():  # as training would
        weight.data.mul_(1.5)
    model.save(str(tmp_path / "saved"))
    trusted = SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
    by_hand = transformer(LmkitModule.load(str(tmp_path / "saved"), subfolder="0_LmkitModule"))
    for again in (trusted, by_hand):
        assert again[0].get_config_dict() == {"layer": "top", "pool": "max"}
        np.testing.assert_array_equal(again.encode(SENTENCES), model.encode(SENTENCES))
    inner = tmp_path / "saved" / "0_LmkitModule"
    np.testing.assert_allclose(
        wanted(inner, layer="top", pool="max"), model.encode(SENTENCES), atol=1e-6
    )  # it is a run


WORDS = ["the", "cat", "sat", "on", "mat", ",", "isn't", "it", "?"]


def pairs() -> dict[str, list[str]]:
    """Texts, and the same words in another order: the nearest of all after training."""
    chance = random.Random(0)
    anchors = [" ".join(chance.choices(WORDS, k=chance.randint(1, 6))) for _ in range(16)]
    return {"anchor": anchors, "positive": [" ".join(reversed(text.split())) for text in anchors]}


def trainer(model: Any, folder: Path, cached: bool = False) -> Any:
    """The library's trainer for six steps, with a checkpoint after the third."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses

    loss = (
        losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=3)
        if cached
        else losses.MultipleNegativesRankingLoss(model)
    )
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder), max_steps=6, save_steps=3, per_device_train_batch_size=8, learning_rate=0.02,
        seed=0, use_cpu=True, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    return SentenceTransformerTrainer(
        model=model, args=args, train_dataset=Dataset.from_dict(pairs()), loss=loss
    )


def loss_of(trainer: Any) -> float:
    """The loss on all pairs."""
    with torch.no_grad():
        columns = [trainer.model.preprocess(texts) for texts in pairs().values()]
        return float(trainer.loss(columns, None))


@pipelines
@pytest.mark.parametrize("cached", [False, True], ids=["whole batches", "cached in parts"])
def test_training(run: Path, tmp_path: Path, cached: bool) -> None:
    """The library's trainer lowers a loss, its own weights change, and what it saves gives the trained vectors."""
    from sentence_transformers import SentenceTransformer

    pytest.importorskip("accelerate")
    model = transformer(module(run))
    before = model.encode(SENTENCES)
    training = trainer(model, tmp_path / "out", cached)
    loss = loss_of(training)
    training.train()
    assert loss_of(training) < loss - 0.1
    after = model.encode(SENTENCES)
    assert np.abs(after - before).max() > 0.01
    model.save(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
    np.testing.assert_array_equal(again.encode(SENTENCES), after)
    np.testing.assert_array_equal(transformer(module(run)).encode(SENTENCES), before)  # the run is as it was


@pipelines
def test_resumed_training(run: Path, tmp_path: Path) -> None:
    """Training that goes on from a checkpoint gives the vectors of training without a stop, bit for bit."""
    from sentence_transformers import SentenceTransformer

    pytest.importorskip("accelerate")
    found = []
    for checkpoint in (None, str(tmp_path / "checkpoint-3")):
        model = SentenceTransformer(modules=[module(run)], device="cpu", trust_remote_code=True)
        trainer(model, tmp_path).train(resume_from_checkpoint=checkpoint)
        found.append(model.encode(SENTENCES))
    np.testing.assert_array_equal(*found)


@pipelines
def test_sentences_survive_as_characters(run: Path) -> None:
    """Any string passes through the features as it is: spaces, other scripts, no characters."""
    texts = ["", " ", " the  cat\n", "首都 \U0001f600 e\u0301"]
    model = lmkit.load(run)
    wanted = torch.stack(model.embed(texts, "mix", "mean"))
    np.testing.assert_allclose(transformer(module(run)).encode(texts), wanted, atol=1e-6)


@pipelines
def test_mistakes_are_told(trained: Path) -> None:
    """A layer or a pooling that there is not is refused at once, as are inputs that are no strings."""
    for settings in ({"layer": "all"}, {"layer": 9}, {"pool": "sum"}):
        with pytest.raises(UsageError):
            module(trained, **settings)
    with pytest.raises(UsageError, match="give strings"):
        module(trained).preprocess([("the", "cat")])


@pipelines
def test_a_folder_for_transformers(run: Path, tmp_path: Path) -> None:
    """The folder that `export` writes works with the library's own modules too."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from lmkit.pipelines.transformers import export

    export(run, tmp_path / "exported")
    encoder = Transformer(str(tmp_path / "exported"))
    model = transformer(encoder, Pooling(encoder.get_embedding_dimension(), "mean"))
    np.testing.assert_allclose(model.encode(SENTENCES), wanted(run, layer="top", pool="mean"), atol=1e-6)
