"""lmkit's causal models in transformers: the numbers and the texts of lmkit, by `generate` and its pipeline."""

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import lmkit
from lmkit import states
from lmkit.cli import cli
from lmkit.errors import ModelError, UsageError
from lmkit.generation.text import prompt_ids

pytestmark = pytest.mark.pipelines
transformers = pytest.importorskip("transformers")

TEXT = "the cat sat on the mat , isn't it ?\na bird sang by the house .\nthe dog lay by the door\n" * 20
PROMPTS = ["the cat", "", "a bird sang\nby the", "it ?\n", "the dog lay by the door , isn't"]
SMALL = {"hidden_size": 8, "init_range": 1.0, "max_steps": 1, "batch_size": 2, "bptt": 8, "min_count": 1}
KINDS: dict[str, dict[str, Any]] = {
    "words": {"model": "lstm", "tokenizer": "word", "num_layers": 2, "reset": "never", "dropout": 0.0},
    "lines": {"model": "gru", "tokenizer": "char", "reset": "line"},
    "bytes": {"model": "rnn", "tokenizer": "byte", "reset": "document"},
    "pieces": {"model": "xlstm-mlstm", "tokenizer": "sentencepiece", "vocab_size": 300, "output": "mixture"},
    "adaptive": {
        "model": "xlstm-slstm",
        "tokenizer": "word",
        "output": "adaptive",
        "tied": False,
        "cutoffs": (4, 9),
    },
    "window": {"model": "window", "tokenizer": "word", "order": 3, "reset": "line"},
}


def train(folder: Path, **options: Any) -> Path:
    """A run whose weights are mostly random, so that its texts are of all kinds of tokens."""
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    settings = SMALL | options
    if options.get("tokenizer") != "word":
        del settings["min_count"]
    if options["model"] == "window":
        del settings["init_range"]
    lmkit.train(folder / "text.txt", out=folder / "run", **settings)
    return folder / "run"


def exported(run: Path) -> Path:
    """The run as a folder for transformers."""
    from lmkit.pipelines.transformers import export

    out = run.parent / "exported"
    if not out.exists():
        export(run, out)
    return out


def loaded(folder: Path) -> tuple[Any, Any]:
    """The model and the tokenizer as anybody loads them."""
    return (
        transformers.AutoModelForCausalLM.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


class Both:
    """A run in lmkit, and in transformers."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = exported(run)
        self.own = lmkit.load(run, device="cpu")
        self.model, self.tokenizer = loaded(self.folder)
        self.size = self.own.vocabulary.size

    def batch(self, prompts: list[str], side: str = "left") -> Any:
        return self.tokenizer(prompts, padding=True, padding_side=side, return_tensors="pt")

    @torch.no_grad()
    def log_probs(self, ids: list[int]) -> torch.Tensor:
        """(1 + tokens, vocabulary) by lmkit, token by token: before the first of a text's ids and after each."""
        causal = self.own.causal
        state = causal.initial_state(1)
        rows = [causal.next_log_probs(state)]
        for id_ in ids:
            ends = id_ == causal.vocabulary.eos_id and causal.reset_policy == "line"
            state = causal.initial_state(1) if ends else causal.advance(torch.tensor([id_]), state)
            rows.append(causal.next_log_probs(state))
        return torch.cat(rows)

    def ids(self, prompt: str) -> list[int]:
        return prompt_ids(self.own.tokenizer, prompt)


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """A small run of each kind."""
    return Both(train(tmp_path_factory.mktemp(request.param), **KINDS[request.param]))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """The run of words that is never reset."""
    return Both(train(tmp_path_factory.mktemp("one"), **KINDS["words"]))


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal to 1e-5."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_logits_are_those_of_lmkit(both: Both, side: str) -> None:
    """Every row of a padded batch has lmkit's distributions after `<s>` and each token; padding repeats the last."""
    batch = both.batch(PROMPTS, side)
    logits = both.model(**batch).logits
    assert logits.shape == (*batch["input_ids"].shape, len(both.tokenizer))
    read = batch["input_ids"] != both.tokenizer.pad_token_id
    for row, mask, prompt in zip(logits, read, PROMPTS, strict=True):
        wanted = both.log_probs(both.ids(prompt))
        close(row[mask, : both.size].log_softmax(-1), wanted)
        assert (row[:, both.size :] == torch.finfo(row.dtype).min).all()
        padding = row[~mask, : both.size].log_softmax(-1)
        close(padding, wanted[0 if side == "left" else -1].expand_as(padding))
    close(both.model(**batch, logits_to_keep=2).logits, logits[:, -2:])
    close(both.model(**batch, logits_to_keep=torch.tensor([0, 3])).logits, logits[:, [0, 3]])


@torch.no_grad()
def test_a_text_may_begin_without_the_start_token(both: Both) -> None:
    """The first state is that after `<s>`, which need not be given; `<s>` later begins a new text."""
    ids = both.tokenizer("the cat", return_tensors="pt")["input_ids"]
    without = both.tokenizer("the cat", return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert without.tolist() == [both.ids("the cat")]
    logits = both.model(ids).logits
    close(both.model(without).logits, logits[:, 1:])
    packed = torch.cat([without, ids], 1)
    close(both.model(packed).logits[:, without.shape[1] :], logits)
    mask = packed != both.tokenizer.bos_token_id  # as the tokenizer gives it
    close(both.model(packed, mask).logits[:, without.shape[1] :], logits)


@torch.no_grad()
def test_masked_tokens_are_not_read(both: Both) -> None:
    """A token whose mask is 0 is as if it were not there, also inside a row."""
    ids = torch.tensor([both.ids("the cat sat")])
    mask = torch.ones_like(ids)
    mask[:, 1] = 0
    logits = both.model(ids, attention_mask=mask).logits
    kept = ids[:, mask[0].bool()]
    close(logits[:, mask[0].bool()], both.model(kept).logits)
    close(logits[:, 1], logits[:, 0])


@torch.no_grad()
def test_the_state_goes_on(both: Both) -> None:
    """Pieces of padded rows, each with the cache of the one before, have the logits of the whole; a copy is apart."""
    batch = both.batch(PROMPTS)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    whole = both.model(ids, mask).logits
    cache = None
    for first in range(0, ids.shape[1], 3):
        last = min(first + 3, ids.shape[1])
        output = both.model(ids[:, first:last], mask[:, :last], cache=cache)
        close(output.logits, whole[:, first:last])
        assert cache is None or output.cache is cache
        cache = output.cache
        assert cache.get_seq_length() == last
    apart = copy.deepcopy(cache)
    later = [both.model(ids[:, :2], cache=one).logits for one in (cache, apart)]
    assert torch.equal(*later)
    assert not torch.allclose(both.model(ids[:, :2]).logits, later[0])


@torch.no_grad()
def test_no_state_is_returned_where_none_is_wanted(words: Both) -> None:
    """Without `use_cache`, in training and with labels there is no cache; a given one stays as it is."""
    batch = words.batch(PROMPTS)
    kept = words.model(**batch).cache
    before = copy.deepcopy(kept.state)
    following = torch.full((len(PROMPTS), 1), 3)
    output = words.model(following, cache=kept, use_cache=False)
    assert output.cache is None
    assert kept.get_seq_length() == batch["input_ids"].shape[1]
    assert all(map(torch.equal, states.leaves(kept.state), states.leaves(before)))
    close(output.logits, words.model(following, cache=kept).logits)
    assert words.model(**batch, labels=batch["input_ids"]).cache is None
    assert words.model(**batch, labels=batch["input_ids"], use_cache=True).cache is not None
    assert words.model.train()(**batch).cache is None
    words.model.eval()


@pytest.mark.parametrize("side", ["left", "right"])
def test_greedy_texts_are_those_of_lmkit(both: Both, side: str) -> None:
    """Alone and in a batch padded on either side, with a cache and without, the text is that of `lmkit generate`."""
    batch = both.batch(PROMPTS, side)
    settings = {"do_sample": False, "max_new_tokens": 12}
    found = both.model.generate(**batch, **settings)
    assert torch.equal(both.model.generate(**batch, **settings, use_cache=False), found)
    for row, prompt in zip(found[:, batch["input_ids"].shape[1] :].tolist(), PROMPTS, strict=True):
        (wanted,) = both.own.generate(prompt, decoder="greedy", max_tokens=12)
        alone = both.model.generate(**both.batch([prompt]), **settings)[0].tolist()
        text = both.tokenizer.decode(alone, skip_special_tokens=True)
        assert (
            text
            == both.tokenizer.decode(both.tokenizer(prompt)["input_ids"], skip_special_tokens=True)
            + wanted.text
        )
        new = alone[len(both.ids(prompt)) + 1 :]
        assert row[: len(new)] == new
        assert set(row[len(new) :]) <= {both.tokenizer.pad_token_id}


def test_generation_goes_on_from_a_cache(both: Both) -> None:
    """A second call with the cache of the first and all ids continues as one call does."""
    batch = both.batch(PROMPTS)
    settings = {"do_sample": False, "return_dict_in_generate": True, "eos_token_id": []}
    whole = both.model.generate(**batch, **settings, max_new_tokens=9).sequences
    first = both.model.generate(**batch, **settings, max_new_tokens=4)
    new = torch.ones(len(PROMPTS), 4, dtype=torch.long)
    mask = torch.cat([batch["attention_mask"], new], 1)
    again = both.model.generate(
        first.sequences, attention_mask=mask, cache=first.cache, **settings, max_new_tokens=5
    )
    assert torch.equal(again.sequences, whole)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_k": 5, "top_p": 0.8}])
def test_tokens_are_drawn_from_the_distribution_of_lmkit(both: Both, options: dict[str, Any]) -> None:
    """Along a sampled path, the processed scores of each step are the distribution that lmkit's decoder draws from."""
    from lmkit_decoders import SampleOptions
    from lmkit_decoders.sample import distribution

    torch.manual_seed(1)
    batch = both.batch(PROMPTS)
    drawn = both.model.generate(
        **batch, **options, max_new_tokens=6, return_dict_in_generate=True, output_scores=True
    )
    new = drawn.sequences[:, batch["input_ids"].shape[1] :].tolist()
    unk = both.own.vocabulary.unk_id
    for row, prompt in enumerate(PROMPTS):
        ids = both.ids(prompt)
        for step, scores in enumerate(drawn.scores):
            path = [*ids, *new[row][:step]]
            if (
                both.tokenizer.pad_token_id in path
                or both.model.generation_config.eos_token_id in new[row][:step]
            ):
                break
            log_probs = both.log_probs(path)[-1:]
            if unk is not None:
                log_probs[:, unk] = -torch.inf
            found = scores[row].softmax(-1)
            close(found[: both.size].double(), distribution(log_probs, SampleOptions(**options))[0])
            assert not found[both.size :].any()


@pytest.mark.parametrize("use_cache", [True, False])
def test_beams_are_those_of_lmkit(both: Both, use_cache: bool) -> None:
    """Beam search finds lmkit's hypotheses with their scores, for each row of a padded batch."""
    batch = both.batch(PROMPTS)
    found = both.model.generate(
        **batch, num_beams=4, num_return_sequences=4, do_sample=False, length_penalty=0.0, max_new_tokens=7,
        early_stopping="never", use_cache=use_cache, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    texts = both.tokenizer.batch_decode(
        found.sequences[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
    )
    scores = found.sequences_scores.view(len(PROMPTS), 4)
    for number, prompt in enumerate(PROMPTS):
        wanted = both.own.generate(prompt, decoder="beam", width=4, num=4, max_tokens=7)
        # transformers adds up the tokens in float32.
        sums = torch.tensor([one.log_prob for one in wanted])
        torch.testing.assert_close(scores[number], sums, rtol=1e-5, atol=1e-5)
        for text, one in zip(texts[4 * number :], wanted, strict=False):
            # At the beginning of a line, lmkit's first word has no space before it.
            assert text.removeprefix(" ") == one.text.removeprefix(" ")


def test_the_pipeline(both: Both) -> None:
    """`pipeline("text-generation")` continues prompts, one or several at once, with lmkit's texts."""
    generate = transformers.pipeline("text-generation", model=str(both.folder), device="cpu")
    prompts = ["the cat", "a bird sang by", "it"]
    wanted = [p + both.own.generate(p, decoder="greedy", max_tokens=8)[0].text for p in prompts]
    for size in (1, 3):
        found = generate(prompts, batch_size=size, do_sample=False, max_new_tokens=8)
        assert [one["generated_text"] for (one,) in found] == wanted
    assert generate("", do_sample=False, max_new_tokens=3)[0]["generated_text"].strip()
    drawn = generate("the", max_new_tokens=3, num_return_sequences=2, return_full_text=False)
    assert len(drawn) == 2


def test_the_tokenizer_encodes_as_lmkit(both: Both) -> None:
    """`<s>`, then the ids of lmkit's prompts; a line end is `</s>`; the text of a continuation is lmkit's."""
    tokenizer, own, vocabulary = both.tokenizer, both.own.tokenizer, both.own.vocabulary
    start = tokenizer.bos_token_id
    assert (start, tokenizer.pad_token_id, len(tokenizer)) == (both.size + 1, both.size, both.size + 2)
    assert (tokenizer.eos_token_id, tokenizer.unk_token_id) == (vocabulary.eos_id, vocabulary.unk_id)
    for text in [*PROMPTS, "the\ncat\n\nsat.", "  the\tcat <s> </s> <pad> ", "\n"]:
        ids = tokenizer(text)["input_ids"]
        assert ids == [start, *prompt_ids(own, text)]
        wanted = "\n".join(own.decode(own.ids(line).tolist()) for line in text.split("\n"))
        assert tokenizer.decode(ids, skip_special_tokens=True) == wanted
        assert tokenizer.decode(ids) == "<s>" + wanted
        assert tokenizer.decode([*ids, tokenizer.pad_token_id], skip_special_tokens=True) == wanted
    first, *rest = own.ids("the cat sat").tolist()
    assert own.decode([first]) + tokenizer.decode(rest) == own.decode([first, *rest])
    for limit in (1, 2, 3):
        cut = tokenizer("the cat sat on the mat", truncation=True, max_length=limit)["input_ids"]
        assert cut == tokenizer("the cat sat on the mat")["input_ids"][:limit]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("the cat")["input_ids"])
    assert tokens[0] == "<s>"
    assert tokenizer.convert_tokens_to_ids("<s>") == start
    plain = type(tokenizer).from_pretrained(both.folder, model_input_names=["input_ids", "attention_mask"])
    assert plain("the cat").keys() == {"input_ids", "attention_mask"}


def test_saved_and_loaded(both: Both, tmp_path: Path) -> None:
    """save_pretrained writes the weights and settings of now, into a run that lmkit and transformers read alike."""
    model, tokenizer = loaded(both.folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)
    model.generation_config.temperature = 0.8
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again, read = loaded(tmp_path / "saved")
    batch = read(PROMPTS, padding=True, return_tensors="pt")
    assert batch.data.keys() == tokenizer(PROMPTS, padding=True, return_tensors="pt").data.keys()
    with torch.no_grad():
        found = again(**batch).logits
        assert torch.equal(found, model(**batch).logits)
        assert not torch.allclose(found, both.model(**batch).logits)
    assert again.generation_config.temperature == 0.8
    texts = [
        own.generate("the", decoder="greedy", max_tokens=5)[0].text
        for own in (lmkit.load(tmp_path / "saved"), again.run)
    ]
    assert texts[0] == texts[1]


def examples(tokenizer: Any) -> list[dict[str, list[int]]]:
    """Lines of unlike length, each with its end."""
    return [{"input_ids": tokenizer(line + "\n")["input_ids"]} for line in TEXT.split("\n")[:8]]


def trainer(folder: Path, out: Path, **arguments: Any) -> Any:
    """transformers' Trainer for the lines, without randomness."""
    model, tokenizer = loaded(folder)
    settings = {
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "optim": "sgd", "learning_rate": 0.5,
        "lr_scheduler_type": "constant", "max_steps": 1, "logging_steps": 1, "save_strategy": "no", "report_to": [],
        "use_cpu": True, "max_grad_norm": 0.0, "disable_tqdm": True,
    } | arguments  # fmt: skip
    return transformers.Trainer(
        model,
        transformers.TrainingArguments(out, **settings),
        train_dataset=examples(tokenizer),
        eval_dataset=examples(tokenizer),
        data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )


def losses(made: Any) -> list[float]:
    return [entry["loss"] for entry in made.state.log_history if "loss" in entry]


@torch.no_grad()
def test_the_loss_is_that_of_lmkit(both: Both) -> None:
    """The mean over tokens of what `lmkit eval` adds up, line ends included."""
    lines = ["the cat sat on the mat", "a bird sang"]
    batch = both.batch([line + "\n" for line in lines], "right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    scores = both.own.line_scores(lines, independent=True)
    count = int(batch["attention_mask"].sum())
    assert float(both.model(**batch, labels=labels).loss) == pytest.approx(-scores.sum() / count, abs=1e-5)
    shared = both.model(**batch, labels=labels, num_items_in_batch=torch.tensor(2 * count)).loss
    assert float(shared) == pytest.approx(-scores.sum() / count / 2, abs=1e-5)
    packed = torch.cat([row[row != both.tokenizer.pad_token_id] for row in batch["input_ids"]])[None]
    loss = both.model(packed, labels=packed).loss
    assert float(loss) == pytest.approx(-scores.sum() / count, abs=1e-5)


def test_accumulated_gradients_are_those_of_one_batch(words: Both, tmp_path: Path) -> None:
    """Trainer's steps of one row of any length, eight of them added up, change the weights as one batch of eight."""
    together = trainer(words.folder, tmp_path / "a")
    parts = trainer(
        words.folder, tmp_path / "b", per_device_train_batch_size=1, gradient_accumulation_steps=8
    )
    for made in (together, parts):
        made.train()
    assert losses(together) == pytest.approx(losses(parts), abs=1e-4)
    for one, other in zip(together.model.parameters(), parts.model.parameters(), strict=True):
        close(one, other)


def test_the_trainer_fine_tunes(words: Both, tmp_path: Path) -> None:
    """The loss falls, a training that stops goes on from its checkpoint, and lmkit reads what was learned."""
    settings = {"optim": "adamw_torch", "learning_rate": 0.01, "save_strategy": "steps", "save_steps": 20}
    made = trainer(words.folder, tmp_path / "out", **settings, max_steps=60)
    made.train()
    found = losses(made)
    assert sum(found[-5:]) < 0.7 * sum(found[:5])
    assert made.evaluate()["eval_loss"] < found[0]
    again = trainer(words.folder, tmp_path / "out", **settings, max_steps=60)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-40"))
    for one, other in zip(made.model.parameters(), again.model.parameters(), strict=True):
        close(one, other)
    learned = lmkit.load(tmp_path / "out" / "checkpoint-60")
    lines = TEXT.split("\n")[:3]
    assert (
        learned.line_scores(lines, independent=True).sum()
        > words.own.line_scores(lines, independent=True).sum()
    )


SCRIPT = """
import lmkit, torch, lmkit.pipelines.transformers as adapter
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
Path("text.txt").write_text("the cat sat on the mat\\na bird sang\\n" * 20)
own = lmkit.train("text.txt", out="run", cell="mycell", hidden_size=8, max_steps=2, batch_size=2, bptt=8)
adapter.export("run", "exported")
model, tokenizer = AutoModelForCausalLM.from_pretrained("exported"), AutoTokenizer.from_pretrained("exported")
batch = tokenizer(["the cat", "mat a bird"], padding=True, return_tensors="pt")
found = model.generate(**batch, do_sample=False, max_new_tokens=6)[:, batch["input_ids"].shape[1]:]
for row, prompt in zip(found, ["the cat", "mat a bird"], strict=True):
    assert tokenizer.decode(row) == own.generate(prompt, decoder="greedy", max_tokens=6)[0].text
"""


def test_somebody_elses_cell(python_with_plugins: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    """A cell from a plugin generates the same, in a separate process."""
    result = python_with_plugins("-c", SCRIPT, plugins=("lmkit-demo-cell",))
    assert result.returncode == 0, result.stderr


def told(kind: type[Exception], match: str, call: Callable[[], object]) -> None:
    with pytest.raises(kind, match=match):
        call()


def test_mistakes_are_told(words: Both) -> None:
    """What cannot be done is one line that says what to do instead."""
    model, batch = words.model, words.batch(PROMPTS)
    cache = model(**batch).cache
    one = torch.full((1, 1), 3)
    told(
        UsageError, "DynamicCache: leave the cache out", lambda: model(one, cache=transformers.DynamicCache())
    )
    told(UsageError, "5 rows, but input_ids has 1", lambda: model(one, cache=cache))
    told(UsageError, "load the folder with AutoModel", lambda: model(one, output_hidden_states=True))
    told(UsageError, "inputs_embeds", lambda: model(one, inputs_embeds=torch.zeros(1, 1, 8)))
    told(ValueError, "stateful", lambda: model.generate(**batch, prompt_lookup_num_tokens=2))
    told(UsageError, "forget", lambda: cache.crop(1))
    told(
        UsageError,
        "stop_strings",
        lambda: model.generate(one, max_new_tokens=2, stop_strings=["cat"], tokenizer=words.tokenizer),
    )
    vectors = transformers.AutoModel.from_pretrained(words.folder)
    told(UsageError, "line end", lambda: vectors(**words.tokenizer("the\ncat", return_tensors="pt")))


def test_other_kinds_of_models_are_refused(tmp_path: Path, words: Both) -> None:
    """Models of counts, mixtures and encoders are refused with the way to use them; so is the command."""
    from lmkit.pipelines.transformers import export

    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    lmkit.train(tmp_path / "text.txt", model="ngram", order=2, tokenizer="word", out=tmp_path / "ngram")
    told(
        ModelError,
        "lmkit:ngram.* causal neural models.*another --to",
        lambda: export(tmp_path / "ngram", tmp_path / "x"),
    )
    result = CliRunner().invoke(
        cli, ["export", str(tmp_path / "ngram"), str(tmp_path / "x"), "--to", "transformers"]
    )
    assert (result.exit_code, "causal neural models" in result.output) == (4, True)
    assert not (tmp_path / "x").exists()
    lmkit.train(
        tmp_path / "text.txt", model="elmo", hidden_size=8, filters="1x4,2x4", character_size=4,
        max_steps=1, batch_size=2, bptt=8, out=tmp_path / "elmo",
    )  # fmt: skip
    export(tmp_path / "elmo", tmp_path / "encoder")
    told(ModelError, "lmkit:elmo.*use AutoModel", lambda: loaded(tmp_path / "encoder"))
