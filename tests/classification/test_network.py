"""The network of a classifier: pooling against its definition, padding, layers, and what a seed decides."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import lmkit
from lmkit.classification.classifier import Classifier, classify, load_classifier
from lmkit.classification.examples import Example, hold_out
from lmkit.classification.network import encode, pooled
from lmkit.classification.options import ClassifyOptions
from lmkit.classification.report import Report
from lmkit.classification.training import ClassifierTrainer, LabelledTexts
from lmkit.errors import UsageError
from lmkit.training.report import Silent

PAIRS = [
    (f"the {word} film {n}", label) for n in range(10) for word, label in (("good", "pos"), ("bad", "neg"))
]
TEXTS = ["good", "", "a long text that says that the film is bad and dull " * 3, "the film", "fine\nor not"]
SMALL = {"hidden_size": 8, "max_epochs": 2, "min_count": 1, "device": "cpu", "tokenizer": "word"}


def test_pooling_is_its_definition() -> None:
    """Each pooling of a row is that of its own steps, whatever the padding holds."""
    torch.manual_seed(0)
    states, lengths = torch.randn(3, 5, 4, dtype=torch.float64), torch.tensor([5, 1, 3])
    found = pooled(states, lengths, "concat", 2)
    for row, length in enumerate(lengths):
        own = states[row, :length]
        wanted = torch.cat([own[-1], own[0], own.mean(0), own.max(0).values])
        torch.testing.assert_close(found[row], wanted)
    torch.testing.assert_close(pooled(states, lengths, "last", 1)[2], states[2, 2])


@pytest.mark.parametrize(
    "options", [{}, {"directions": "both", "pool": "concat"}, {"model": "lstm", "pool": "max"}]
)
def test_a_text_does_not_depend_on_the_others(options: dict[str, str]) -> None:
    """The probabilities of a text are the same in a batch and alone, but for rounding; blank texts have some too."""
    made = classify(PAIRS, **{**SMALL, **options})
    together = made.predict_proba(TEXTS)
    alone = np.concatenate([made.predict_proba([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(1), 1)


def test_a_seed_repeats_a_training(tmp_path: Path) -> None:
    """Equal seeds give equal classifiers on a CPU; a saved or pickled one gives the same probabilities."""
    first, second = (classify(PAIRS, seed=3, **SMALL) for _ in range(2))
    wanted = first.predict_proba(TEXTS)
    np.testing.assert_array_equal(second.predict_proba(TEXTS), wanted)
    first.save(tmp_path / "clf")
    np.testing.assert_array_equal(load_classifier(tmp_path / "clf").predict_proba(TEXTS), wanted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).predict_proba(TEXTS), wanted)
    with pytest.raises(UsageError):
        first.predict("one string")


def weights(model: object) -> dict[str, torch.Tensor]:
    assert isinstance(model, torch.nn.Module)
    return dict(model.named_parameters())


def test_a_model_that_is_never_unfrozen_stays(trained: Path) -> None:
    """With --unfreeze never, the weights of the model are those of its run; else they change."""
    before = weights(lmkit.load(trained).run.model)
    for unfreeze, same in (("never", True), ("all", False)):
        after = weights(classify(PAIRS, init_from=trained, unfreeze=unfreeze, max_epochs=1).parts.models[0])
        assert all(torch.equal(old, after[name]) for name, old in before.items()) == same


def test_layers_are_unfrozen_from_the_top(trained: Path) -> None:
    """The head learns first, then one more layer each epoch, the embedding last; rates fall by the decay."""
    parts = classify(PAIRS, init_from=trained, max_epochs=1).parts
    data = LabelledTexts([encode(parts.tokenizer, "a film", 9)], [0])
    options = ClassifyOptions(learning_rate=1.0, layer_decay=2.0)
    trainer = ClassifierTrainer(parts.network, data, data, options, pretrained=True, reporter=Silent())
    head, layer, below = trainer.groups
    known = weights(parts.models[0])
    assert len(head) == 2
    assert {id(p) for p in layer} == {id(p) for name, p in known.items() if name.startswith("stack.")}
    assert any(p is known["embedding.weight"] for p in below)
    for epoch, wanted in enumerate([(True, False, False), (True, True, False), (True, True, True)]):
        trainer._unfreeze(epoch)
        assert tuple(all(p.requires_grad for p in group) for group in trainer.groups) == wanted
    assert {group["peak"] for group in trainer.optimiser.param_groups} == {1.0, 0.5, 0.25}


def test_an_encoder_reads_both_ways(tmp_path: Path) -> None:
    """A run of an encoder is frozen or fine-tuned; its two ends are pooled, and its layers are mixed."""
    text = tmp_path / "text.txt"
    text.write_text("the good film\nthe bad film\n" * 20, encoding="utf-8")
    lmkit.train(
        text, model="elmo", inputs="tokens", tokenizer="word", min_count=1, out=tmp_path / "elmo", hidden_size=8,
        batch_size=2, bptt=8, max_steps=2, device="cpu",
    )  # fmt: skip
    for unfreeze in ("never", "gradual"):
        made = classify(PAIRS, init_from=tmp_path / "elmo", unfreeze=unfreeze, max_epochs=2, pool="last")
        together = made.predict_proba(TEXTS)
        np.testing.assert_allclose(made.predict_proba(TEXTS[2:3])[0], together[2], atol=1e-6)
        assert made.parts.network.head.mix is not None


def test_a_tenth_of_each_class_is_held_out() -> None:
    """Held-out texts are a tenth of each class and are not trained on; a class of one text keeps it."""
    examples = [
        Example(f"{label}{n}", label)
        for label, count in (("a", 100), ("b", 40), ("c", 1))
        for n in range(count)
    ]
    train, valid = hold_out(examples, 0)
    assert [sum(one.label == label for one in valid) for label in "abc"] == [10, 4, 0]
    assert not set(train) & set(valid)
    assert hold_out(examples, 0) == (train, valid)


def test_figures_are_those_of_scikit_learn() -> None:
    """Accuracy, macro F1 and each class's figures equal scikit-learn's, classes that nothing has included."""
    metrics = pytest.importorskip("sklearn.metrics")
    truth, found = list("aabbbccaab"), list("abbbcccaaa")
    report = Report.of(tuple("abcd"), truth, found)
    assert report.accuracy == metrics.accuracy_score(truth, found)
    assert report.macro_f1 == pytest.approx(metrics.f1_score(truth, found, average="macro"))
    np.testing.assert_array_equal(
        report.confusion, metrics.confusion_matrix(truth, found, labels=list("abcd"))
    )
    wanted = metrics.precision_recall_fscore_support(truth, found, labels=list("abcd"), zero_division=0)
    np.testing.assert_allclose(
        [[c.precision, c.recall, c.f1, c.texts] for c in report.classes], np.transpose(wanted)
    )


def test_the_classifier_says_what_it_is() -> None:
    """Its repr names the number of classes and the model."""
    made = classify(PAIRS, **SMALL)
    assert isinstance(made, Classifier)
    assert repr(made) == "<lmkit classifier of 2 classes on lmkit:recurrent>"
