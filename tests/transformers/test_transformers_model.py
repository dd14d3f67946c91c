"""Causal models of transformers as runs: log-probabilities are those of transformers' own logits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lmkit_transformers.model import TransformersModel
from lmkit_transformers.options import ImportOptions, TransformersOptions
from lmkit_transformers.read import read
from torch import Tensor

import lmkit
from lmkit import states
from lmkit.errors import LmkitError, ModelError, UsageError
from lmkit.testing import models as rules
from lmkit.testing.rules import Rule

pytestmark = pytest.mark.pipelines

Folders = Callable[[str], tuple[Path, Any]]
LINE = "the king sat by the door"


@pytest.fixture(scope="module", params=["gpt2", "llama", "gpt-neox"])
def imported(
    request: pytest.FixtureRequest, folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> tuple[lmkit.Model, Any]:
    """An imported model, and the model itself."""
    folder, network = folders(request.param)
    out = tmp_path_factory.mktemp("runs") / request.param
    read(folder, out, options=ImportOptions())
    return lmkit.load(out, device="cpu"), network


@torch.no_grad()
def own_log_probs(network: Any, ids: list[int]) -> Tensor:
    """(tokens, vocabulary) what transformers predicts after each of ids."""
    return network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)


def test_log_probs_are_those_of_transformers(imported: tuple[lmkit.Model, Any]) -> None:
    """Each token and the end of the line are predicted from the begin token and all tokens before."""
    model, network = imported
    ids = [*model.tokenizer.ids(LINE).tolist(), model.vocabulary.eos_id]
    begin = network.config.bos_token_id
    wanted = own_log_probs(network, [begin, *ids[:-1]])
    causal = model.causal
    with torch.no_grad():
        scores, state = causal.log_probs(torch.tensor([ids]), causal.initial_state(1))
        rows = torch.cat([chunk for chunk, _ in causal.scan(torch.tensor([ids]), causal.initial_state(1))], 1)
        torch.testing.assert_close(scores[0], wanted[range(len(ids)), ids], atol=1e-5, rtol=0)
        torch.testing.assert_close(rows[0], wanted, atol=1e-5, rtol=0)
        after = own_log_probs(network, [begin, *ids])[-1:]
        torch.testing.assert_close(causal.next_log_probs(state), after, atol=1e-5, rtol=0)


def test_scores_of_a_text_are_those_of_transformers(imported: tuple[lmkit.Model, Any]) -> None:
    """`score` adds up all tokens of all lines, each line by itself."""
    model, network = imported
    lines = [LINE, "nobody", "", "今天天气很好"]
    total = 0.0
    for line in lines:
        ids = [*model.tokenizer.ids(line).tolist(), model.vocabulary.eos_id]
        rows = own_log_probs(network, [network.config.bos_token_id, *ids[:-1]])
        total += float(rows[range(len(ids)), ids].sum())
    found = model.score(lines)
    assert found.log_prob == pytest.approx(total, abs=1e-4)
    assert found.escaped_lines == 0


class Predicting:
    """In place of a part: a rule of the suite gets this model."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def load(self) -> type[Any]:
        return type(self.model)


RULES = [
    rule
    for rule in rules.RULES.rules
    if rule.name not in ("check_vocabulary", "check_save", "check_gradients")
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules_for_models(
    rule: Rule, imported: tuple[lmkit.Model, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite's rules hold, with a context so short that texts fill it several times."""
    model, network = imported
    options = TransformersOptions(begin_id=network.config.bos_token_id, context=4)
    short = TransformersModel.around(network, Path("none"), options, rules.VOCABULARY)
    monkeypatch.setattr(rules, "built", lambda part: short)
    part: Any = Predicting(model.causal)
    for case in rule.cases(part):
        rule.function(part, case)


@torch.no_grad()
def test_a_long_text_slides_by_half_the_context(imported: tuple[lmkit.Model, Any]) -> None:
    """Token by token: a full context keeps its latest half, wherever the text is cut into calls."""
    model, network = imported
    context, begin = 6, network.config.bos_token_id
    short = TransformersModel.around(
        network, Path("none"), TransformersOptions(begin_id=begin, context=context), model.vocabulary
    )
    ids = [*range(5, 25)]
    history, wanted = [begin], []
    for token in ids:
        wanted.append(float(own_log_probs(network, history)[-1, token]))
        history = [*(history[-3:] if len(history) == context else history), token]
    for cuts in ((20,), (1,) * 20, (5, 9, 6)):
        state, scores = short.initial_state(1), []
        for part in torch.tensor(ids).split(list(cuts)):
            found, state = short.log_probs(part[None], state)
            scores += found[0].tolist()
        np.testing.assert_allclose(scores, wanted, atol=1e-5)


@torch.no_grad()
def test_without_information_the_begin_token_is_forgotten(imported: tuple[lmkit.Model, Any]) -> None:
    """After `initial_state(start=False)` the tokens themselves are the only context, as in `lmkit context`."""
    model, network = imported
    state = model.causal.initial_state(1, start=False)
    begin = own_log_probs(network, [network.config.bos_token_id])[-1]
    torch.testing.assert_close(model.causal.next_log_probs(state)[0], begin, atol=1e-5, rtol=0)
    scores, state = model.causal.log_probs(torch.tensor([[7, 8]]), state)
    torch.testing.assert_close(scores[0, 1], own_log_probs(network, [7])[-1, 8], atol=1e-5, rtol=0)
    assert states.leaves(state)[1].tolist() == [[2]]


@torch.no_grad()
def test_ids_beyond_the_vocabulary_have_no_probability(make: Callable[..., Any], tmp_path: Path) -> None:
    """Networks are often padded to a round number of ids; the others sum to one."""
    network = make(tmp_path / "gpt2", "gpt2", more_ids=7)
    read(tmp_path / "gpt2", tmp_path / "run", options=ImportOptions())
    causal = lmkit.load(tmp_path / "run", device="cpu").causal
    rows = causal.next_log_probs(causal.initial_state(1))
    wanted = own_log_probs(network, [network.config.bos_token_id])[:, :-7]
    torch.testing.assert_close(rows, wanted - wanted.logsumexp(-1, keepdim=True), atol=1e-5, rtol=0)


def test_begin_and_end_are_those_that_are_named(folders: Folders, tmp_path: Path) -> None:
    """Running text is read on across lines with GPT-2's line feed as the end of each."""
    folder, network = folders("gpt2")
    options = ImportOptions(begin_token="a", end_token="\u010a", reset="document", context=16)
    read(folder, tmp_path / "run", options=options)
    model = lmkit.load(tmp_path / "run", device="cpu")
    table = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert model.vocabulary.eos_id == table["\u010a"]
    assert (model.causal.reset_policy, model.run.model_choice.options.begin_id) == ("document", table["a"])
    ids = [
        *model.tokenizer.ids("the").tolist(),
        table["\u010a"],
        *model.tokenizer.ids("cat"),
        table["\u010a"],
    ]
    rows = own_log_probs(network, [table["a"], *ids[:-1]])
    assert model.score(["the", "cat"]).log_prob == pytest.approx(
        float(rows[range(len(ids)), ids].sum()), abs=1e-4
    )


def test_the_run_holds_the_files(folders: Folders, tmp_path: Path) -> None:
    """Weights, settings and tokenizer are copied and hashed; a changed file is noticed."""
    folder, _ = folders("llama")
    run = tmp_path / "run"
    read(folder, run, options=ImportOptions())
    files = json.loads((run / "lmkit.json").read_text())["files"]
    assert set(files) == {
        "config.json", "model.safetensors", "tokenizer/huggingface.json", "tokenizer/tokenizer.json"
    }  # fmt: skip
    assert (run / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    lmkit.load(run)
    (run / "config.json").write_text((run / "config.json").read_text() + " ")
    with pytest.raises(ModelError, match=r"config\.json: has changed since it was saved"):
        lmkit.load(run)


def test_weights_in_parts(folders: Folders, tmp_path: Path) -> None:
    """Large models have several files and an index."""
    folder, network = folders("gpt2")
    parts = tmp_path / "parts"
    network.save_pretrained(parts, max_shard_size="30KB")
    (parts / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert len(list(parts.glob("*.safetensors"))) > 1
    read(folder, tmp_path / "whole", options=ImportOptions())
    read(parts, tmp_path / "run", options=ImportOptions())
    scores = [lmkit.load(tmp_path / name).score([LINE]).log_prob for name in ("whole", "run")]
    assert scores[0] == scores[1]


def damage(folder: Path, target: Path, **config: Any) -> Path:
    """A copy of a folder with other values in config.json."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    table = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(table | config))
    return target


def test_folders_that_cannot_be_imported(folders: Folders, tmp_path: Path) -> None:
    """Each is refused in words, and leaves no run behind."""
    folder, network = folders("gpt2")
    out = tmp_path / "run"

    def refused(path: Path, words: str, kind: type[LmkitError] = ModelError, **options: Any) -> None:
        with pytest.raises(kind, match=words):
            read(path, out, options=ImportOptions(**options))
        assert not out.exists()

    refused(
        tmp_path / "owner" / "name", "is not a folder; models are imported from local folders", UsageError
    )
    refused(folder, "has no token 'absent'", UsageError, begin_token="absent")
    refused(folder, "has no token 'absent' to end lines with", end_token="absent")
    refused(folder, "reads 24 tokens, not 25; lower --context", context=25)
    none = damage(folder, tmp_path / "none", eos_token_id=None)
    refused(none, "names no token after a text; give one of the tokenizer as --end-token", UsageError)
    (none / "tokenizer.json").unlink()
    refused(none, "has no tokenizer.json; write it with transformers")
    small = damage(folder, tmp_path / "deep", n_layer=3)
    refused(small, "lack 12 of the weights of GPT2LMHeadModel")
    strange = damage(folder, tmp_path / "strange", model_type="mystery", architectures=["Mystery"])
    refused(strange, "transformers cannot load it as a causal model")
    cut = damage(folder, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-8])
    refused(cut, r"model\.safetensors: not a valid safetensors file")
    (cut / "model.safetensors").unlink()
    torch.save(network.state_dict(), cut / "pytorch_model.bin")
    refused(cut, "only pytorch_model.bin, a pickle, which can run any code")


def test_models_that_see_both_sides_are_refused(make: Callable[..., Any], tmp_path: Path) -> None:
    """transformers loads BERT as a causal model, whose predictions would see later tokens."""
    transformers = pytest.importorskip("transformers")
    make(tmp_path / "bert", "gpt2")
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vocabulary = json.loads((tmp_path / "bert" / "config.json").read_text())["vocab_size"]
    config = transformers.BertConfig(
        vocab_size=vocabulary, eos_token_id=0, bos_token_id=0, initializer_range=1.0, **settings
    )
    transformers.BertLMHeadModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match="a bert sees the tokens on both sides"):
        read(tmp_path / "bert", tmp_path / "run", options=ImportOptions())


def test_it_is_not_trained(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 30)
    with pytest.raises(UsageError, match="a transformers model is imported, not trained"):
        lmkit.train(tmp_path / "text.txt", model="transformers", out=tmp_path / "run")
