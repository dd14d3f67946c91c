"""lmkit's encoders in transformers: the same vectors by AutoModel, AutoTokenizer and its pipeline."""

import copy
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit import api, runs
from lmkit.cli import cli
from lmkit.contracts import Encoder
from lmkit.errors import LmkitError, ModelError, UsageError

pipelines = pytest.mark.pipelines

SENTENCES = ["the cat sat", "", "  on\tthe mat , isn't it ? ", "ünïcode 😀 <pad> </s>", "cat"]
WORDS = [["the", "cat"], [], ["on", "the", "mat", "<pad>", "isn't"], ["😀" * 70]]
KINDS = {
    "words": {"model": "gru", "tokenizer": "word", "hidden_size": 8, "num_layers": 2},
    "bytes": {"model": "gru", "tokenizer": "byte", "hidden_size": 8},
    "elmo": {"model": "elmo", "hidden_size": 8, "filters": "1x4,2x4", "character_size": 4},
}


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small runs of several kinds."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "text.txt").write_text("the cat sat on the mat , isn't it ?\n" * 40, encoding="utf-8")
    lmkit.train(
        folder / "text.txt", out=folder / "run", max_steps=2, batch_size=2, bptt=8, **KINDS[request.param]
    )
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    """The run as a folder for transformers."""
    from lmkit.pipelines.transformers import export

    export(run, run.parent / "exported")
    return run.parent / "exported"


def loaded(folder: Path, **settings: Any) -> tuple[Any, Any]:
    """The model and the tokenizer as anybody loads them."""
    from transformers import AutoModel, AutoTokenizer

    return AutoModel.from_pretrained(folder, **settings), AutoTokenizer.from_pretrained(folder)


def rows(vectors: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    """The vectors of each sentence without its padding."""
    return [found[kept.bool()] for found, kept in zip(vectors, mask, strict=True)]


def same(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    """Both have the same vectors to 1e-6."""
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without transformers the adapter says which extra brings it."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in [name for name in sys.modules if name.startswith("lmkit.pipelines.transformers")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        UsageError, match=r"transformers.* is not installed: pip install '.*\[transformers\]'"
    ):
        importlib.import_module("lmkit.pipelines.transformers")


@pipelines
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("sentences", [SENTENCES, WORDS], ids=["strings", "words"])
@torch.no_grad()
def test_vectors_are_those_of_lmkit(run: Path, exported: Path, side: str, sentences: list[Any]) -> None:
    """Every layer of every sentence equals that of `embed`, in a batch with padding on either side."""
    model, tokenizer = loaded(exported)
    batch = tokenizer(
        sentences,
        is_split_into_words=sentences is WORDS,
        padding=True,
        padding_side=side,
        add_special_tokens=False,
        return_tensors="pt",
    )
    output = model(**batch, output_hidden_states=True)
    wanted = lmkit.load(run).embed(sentences)
    mask = batch["attention_mask"]
    same(rows(output.last_hidden_state, mask), [layers[-1] for layers in wanted])
    assert len(output.hidden_states) == len(wanted[0]) == model.config.num_hidden_layers + 1
    for number, layer in enumerate(output.hidden_states):
        same(rows(layer, mask), [layers[number] for layers in wanted])
        assert not layer[mask == 0].any()
    assert output.last_hidden_state.shape == (*mask.shape, model.config.hidden_size)


@pipelines
@torch.no_grad()
def test_the_start_has_zeros(run: Path, exported: Path) -> None:
    """`<s>`, which the tokenizer of a causal model puts first, is not read; the other vectors are those of `embed`."""
    model, tokenizer = loaded(exported)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    vectors, read = model(**batch)[0], batch["attention_mask"].bool()
    if tokenizer.bos_token:
        assert (batch["input_ids"][:, 0] == tokenizer.bos_token_id).all()
        assert not vectors[:, 0].any()
        read[:, 0] = False
    same(rows(vectors, read), lmkit.load(run).embed(SENTENCES, layer="top"))


@pipelines
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("length", range(1, 8))
@torch.no_grad()
def test_a_cut_parts_no_character(exported: Path, side: str, length: int) -> None:
    """A text cut to `max_length` tokens, or fewer where a character has several, is read by the model."""
    model, tokenizer = loaded(exported)
    tokenizer.truncation_side = side
    batch = tokenizer(
        ["zürich 東", "the"], truncation=True, max_length=length, padding=True, return_tensors="pt"
    )
    assert batch["input_ids"].shape[1] <= length
    assert model(**batch).last_hidden_state.shape[:2] == batch["input_ids"].shape


@pipelines
@pytest.mark.parametrize("batch_size", [1, 3])
def test_feature_extraction(run: Path, exported: Path, batch_size: int) -> None:
    """The pipeline gives a sentence's vectors, alone and in batches, in order."""
    from transformers import pipeline

    extract = pipeline("feature-extraction", model=str(exported), device="cpu")
    found = extract(SENTENCES, batch_size=batch_size, return_tensors=True)
    wanted = lmkit.load(run).embed(SENTENCES, layer="top")
    first = 1 if extract.tokenizer.bos_token else 0
    # As with any model, what the pipeline batches keeps its padding.
    same([one[0, first : first + len(other)] for one, other in zip(found, wanted, strict=True)], wanted)
    tokens, width = lmkit.load(run).embed(["the cat"], layer=0)[0].shape
    assert torch.tensor(extract("the cat")).shape == (1, first + tokens, width)


@pipelines
@torch.no_grad()
def test_layers_by_name(run: Path, exported: Path) -> None:
    """`layer` says what last_hidden_state is: when a model is loaded, in a pipeline, and in a saved config."""
    from transformers import pipeline

    wanted = lmkit.load(run).embed(["the cat"], layer="mix")
    model, tokenizer = loaded(exported, layer="mix")
    same([model(**tokenizer("the cat", add_special_tokens=False, return_tensors="pt"))[0][0]], wanted)
    model.save_pretrained(run.parent / "mixed")
    same(
        [
            loaded(run.parent / "mixed")[0](
                **tokenizer("the cat", add_special_tokens=False, return_tensors="pt")
            )[0][0]
        ],
        wanted,
    )
    extract = pipeline("feature-extraction", model=str(exported), model_kwargs={"layer": "mix"})
    same([extract("the cat", return_tensors=True, tokenize_kwargs={"add_special_tokens": False})[0]], wanted)


@pipelines
@torch.no_grad()
def test_masked_tokens_are_not_read(run: Path, exported: Path) -> None:
    """Words whose mask is 0 are as if they were not there, and have zeros."""
    model, tokenizer = loaded(exported)
    words = [["the", "cat", "sat"]]
    batch = tokenizer(words, is_split_into_words=True, add_special_tokens=False, return_tensors="pt")
    batch["attention_mask"][0, 1] = 0
    output = model(**batch)
    same(rows(output[0], batch["attention_mask"]), lmkit.load(run).embed([["the", "sat"]], layer="top"))
    assert not output[0][0, 1].any()


@pipelines
@torch.no_grad()
def test_truncation(run: Path, exported: Path) -> None:
    """A text that the tokenizer cuts is the beginning of it, or with truncation_side="left" the end."""
    model, tokenizer = loaded(exported)
    text = "the cat sat on the mat"
    for side in ("right", "left"):
        tokenizer.truncation_side = side
        batch = tokenizer(text, truncation=True, max_length=2, add_special_tokens=False, return_tensors="pt")
        pieces = tokenizer.tokenize(text)
        left = "".join(pieces[:2] if side == "right" else pieces[-2:])
        same([model(**batch)[0][0]], lmkit.load(run).embed([left], layer="top"))


@pipelines
def test_a_collator_pads(exported: Path) -> None:
    """Sentences tokenized one by one are padded by transformers' collators as those of one call."""
    from transformers import DataCollatorWithPadding

    tokenizer = loaded(exported)[1]
    together = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    collated = DataCollatorWithPadding(tokenizer)([tokenizer(sentence) for sentence in SENTENCES])
    assert together.keys() == collated.keys() == set(tokenizer.model_input_names)
    for name, values in together.items():
        assert torch.equal(values, collated[name])


@pipelines
def test_ids_are_those_of_the_tokenizer(run: Path, exported: Path) -> None:
    """Ids and their text are the run's; padding is a separate id that no word in a text has."""
    tokenizer, own = loaded(exported)[1], lmkit.load(run).tokenizer
    text = "the cat <pad>"
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == own.ids(text).tolist()
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == own.decode(own.ids(text).tolist())
    assert tokenizer.pad_token_id == own.vocabulary.size
    assert len(tokenizer) == own.vocabulary.size + (2 if tokenizer.bos_token else 1)
    for ids in (tokenizer(text), tokenizer(["<pad>"], is_split_into_words=True)):
        assert tokenizer.pad_token_id not in ids["input_ids"]


@pipelines
@torch.no_grad()
def test_what_was_learned_is_saved(run: Path, exported: Path) -> None:
    """save_pretrained writes the weights of now, into a folder that lmkit and transformers read alike."""
    model, tokenizer = loaded(exported)
    for weight in model.parameters():
        weight.mul_(1.5)
    model.save_pretrained(run.parent / "learned")
    tokenizer.save_pretrained(run.parent / "learned")
    again, tokenizer = loaded(run.parent / "learned")
    batch = tokenizer(SENTENCES, padding=True, add_special_tokens=False, return_tensors="pt")
    found = again(**batch).last_hidden_state
    assert torch.equal(found, model(**batch).last_hidden_state)
    same(
        rows(found, batch["attention_mask"]), lmkit.load(run.parent / "learned").embed(SENTENCES, layer="top")
    )
    assert not torch.allclose(found, loaded(exported)[0](**batch).last_hidden_state)


@pipelines
def test_gradients_reach_the_weights(exported: Path) -> None:
    """The model is a module to fine-tune: its weights are parameters, of copies too."""
    model, tokenizer = loaded(exported)
    other = copy.deepcopy(model)
    other(**tokenizer(["the cat", "sat"], padding=True, return_tensors="pt"))[0].square().sum().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in other.parameters())
    assert all(weight.grad is None for weight in model.parameters())


@pipelines
def test_a_tokenizer_alone(exported: Path, tmp_path: Path) -> None:
    """A tokenizer saved without a model is loaded by itself."""
    tokenizer = loaded(exported)[1]
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert again(SENTENCES).data == tokenizer(SENTENCES).data


class Bare(Encoder):
    """An encoder without weights: the lengths of words."""

    num_layers = 1
    width = 1

    def __init__(self, model: api.Model) -> None:
        self.vocabulary = model.vocabulary
        self.use_tokenizer(model.tokenizer)

    def embed(self, sentences: Any) -> list[torch.Tensor]:
        return [torch.tensor([[[float(len(word))] for word in sentence]]) for sentence in sentences]

    def save(self, directory: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Any) -> "Bare":
        raise NotImplementedError


@pipelines
def test_an_encoder_that_is_no_module(trained: Path) -> None:
    """An encoder needs no parameters: the contract's `embed` is enough."""
    from lmkit.pipelines.transformers import LmkitConfig, LmkitModel, LmkitTokenizer

    run = runs.load_run(trained)
    bare = api.Model(runs.LoadedRun(**{**vars(run), "model": Bare(api.Model(run))}))
    batch = LmkitTokenizer(name_or_path=trained)(
        [["a", "bcd"]], is_split_into_words=True, return_tensors="pt"
    )
    model = LmkitModel(LmkitConfig.of(bare), bare).to("cpu")
    assert model(**batch).last_hidden_state.tolist() == [[[1.0], [3.0]]]
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)


SCRIPT = """
import lmkit, torch, lmkit.pipelines.transformers as adapter
from pathlib import Path
from transformers import AutoModel, AutoTokenizer
Path("text.txt").write_text("the cat sat on the mat\\n" * 20)
own = lmkit.train("text.txt", out="run", model="neighbours", max_steps=2, batch_size=2, bptt=8)
adapter.export("run", "exported")
batch = AutoTokenizer.from_pretrained("exported")(["the cat", "mat"], padding=True, return_tensors="pt")
found = AutoModel.from_pretrained("exported")(**batch).last_hidden_state
for row, wanted in zip(found, own.embed(["the cat", "mat"], layer="top"), strict=True):
    assert torch.allclose(row[:len(wanted)], wanted, atol=1e-6)
"""


@pipelines
def test_somebody_elses_encoder(python_with_plugins: Any) -> None:
    """An encoder from a plugin works the same, in a separate process."""
    result = python_with_plugins("-c", SCRIPT, plugins=("lmkit-demo-encoder",))
    assert result.returncode == 0, result.stderr


@pipelines
def test_the_command(trained: Path, tmp_path: Path) -> None:
    """`lmkit export RUN DIR --to transformers` writes the same folder; one that is taken stays unless told."""
    out = tmp_path / "exported"
    command = ["export", str(trained), str(out), "--to", "transformers"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert {"config.json", "model.safetensors", "tokenizer_config.json"} <= {p.name for p in out.iterdir()}
    assert loaded(out)[0].config.model_type == "lmkit"
    refused = CliRunner().invoke(cli, command)
    assert (refused.exit_code, "exists already" in refused.output) == (2, True)
    assert CliRunner().invoke(cli, [*command, "--overwrite"]).exit_code == 0


@pipelines
def test_mistakes_are_told(trained: Path, tmp_path: Path) -> None:
    """What cannot be done is one line that says what to do instead."""
    from lmkit.pipelines.transformers import LmkitModel, LmkitTokenizer, export

    export(trained, tmp_path / "x")
    model, tokenizer = loaded(tmp_path / "x")
    batch = tokenizer("the cat sat", return_tensors="pt")
    words = tokenizer([["the", "cat"]], is_split_into_words=True, return_tensors="pt")

    def told(kind: type[LmkitError], match: str, call: Any) -> None:
        with pytest.raises(kind, match=match):
            call()

    ids = batch["input_ids"]
    told(UsageError, r"model\(\*\*tokenizer", lambda: model(ids))
    told(
        UsageError,
        "ids and characters do not match",
        lambda: model(ids[:, :1], characters=batch["characters"]),
    )
    both = tokenizer.pad(
        [tokenizer("the cat"), {k: v[0].tolist() for k, v in words.items()}], return_tensors="pt"
    )
    told(UsageError, "one kind", lambda: model(**both))
    told(UsageError, "is_split_into_words", lambda: tokenizer([["the", "cat"]]))
    told(UsageError, "list of words", lambda: tokenizer(["a", ["b"]], is_split_into_words=True))
    told(UsageError, "no pairs", lambda: tokenizer("the", "cat"))
    told(UsageError, "zebra cannot be added", lambda: tokenizer.add_tokens(["zebra"]))
    told(UsageError, "<mark> cannot be added", lambda: tokenizer.add_special_tokens({"sep_token": "<mark>"}))
    assert tokenizer.add_tokens([]) == 0
    told(UsageError, "exists already", lambda: export(trained, tmp_path / "x"))
    for layer in ("all", 9):
        told(UsageError, "layer", lambda layer=layer: loaded(tmp_path / "x", layer=layer))
    told(UsageError, "device_map", lambda: LmkitModel.from_pretrained(tmp_path / "x", device_map="auto"))
    told(UsageError, "push_to_hub", lambda: model.save_pretrained(tmp_path / "y", push_to_hub=True))
    told(ModelError, "hf download", lambda: LmkitModel.from_pretrained("someone/something"))
    told(ModelError, "it has no tokenizer", lambda: LmkitTokenizer({}, tmp_path / "x"))
    told(ModelError, "folder of runs", lambda: LmkitTokenizer(name_or_path=tmp_path))


@pipelines
@pytest.mark.parametrize("separator", [None, "", " "])
def test_words_of_scripts_have_the_separator_of_embed(exported: Path, separator: str | None) -> None:
    """Lists of words are read as `embed` reads them; `separator` of the config is put between them."""
    words = [["中国", "的", "cat"], ["the", "cat", "the"]]
    model, tokenizer = loaded(exported, layer="mix", separator=separator)
    batch = tokenizer(
        words, is_split_into_words=True, padding=True, add_special_tokens=False, return_tensors="pt"
    )
    with torch.no_grad():
        output = model(**batch)
    wanted = api.load(exported, device="cpu").embed(words, "mix", separator=separator)
    same(rows(output.last_hidden_state, batch["attention_mask"]), wanted)


@pipelines
def test_offsets_masks_and_lengths(exported: Path) -> None:
    """As from transformers' own tokenizers: the characters of each token; (0, 0) and 1 for `<s>` and padding."""
    _, tokenizer = loaded(exported)
    wanted = {"return_offsets_mapping": True, "return_special_tokens_mask": True, "return_length": True}
    texts = ["the cat sat", "", "ünïcode 😀"]
    first = [(0, 0)] * tokenizer.num_special_tokens_to_add()

    def expected(text: str) -> list[tuple[int, int]]:
        return [*first, *((start, end) for start, end in tokenizer.inner.encode(text).spans.tolist())]

    batch = tokenizer(texts, padding=True, padding_side="right", **wanted)
    width = max(map(len, batch["input_ids"]))
    for place, text in enumerate(texts):
        offsets = expected(text)
        padding = width - len(offsets)
        assert batch["offset_mapping"][place] == offsets + [(0, 0)] * padding
        inner = [0] * (len(offsets) - len(first))
        assert batch["special_tokens_mask"][place] == [1] * len(first) + inner + [1] * padding
        assert batch["length"][place] == len(offsets)
    one = tokenizer("the cat", **wanted)
    assert (one["offset_mapping"], one["length"]) == (expected("the cat"), [len(one["input_ids"])])
    left = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt", **wanted)
    assert left["offset_mapping"].shape == (3, width, 2)
    assert left["offset_mapping"][0, -1].tolist() == list(expected(texts[0])[-1])
    words = tokenizer([["the", "cat"]], is_split_into_words=True, **wanted)
    assert words["offset_mapping"] == [[*first, (0, 3), (0, 3)]]
    short = tokenizer("the cat sat", truncation=True, max_length=2, **wanted)
    assert len(short["offset_mapping"]) == len(short["special_tokens_mask"]) == len(short["input_ids"])
    assert not {"offset_mapping", "special_tokens_mask", "length"} & set(tokenizer("the cat"))
