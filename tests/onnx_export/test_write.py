"""`lmkit export --to onnx`: what the file says, what is refused, and that no wrong file gets its name."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import lmkit
from lmkit import runs
from lmkit.cli import cli

pipelines = pytest.mark.pipelines


def export(run: Path, file: Path, *options: str) -> Result:
    """The result of the command."""
    return CliRunner().invoke(cli, ["export", str(run), str(file), "--to", "onnx", *options])


@pytest.fixture
def ngram(tmp_path: Path) -> Path:
    """A run of a model of counts."""
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 9, encoding="utf-8")
    lmkit.train(tmp_path / "text.txt", out=tmp_path / "ngram", model="ngram", order=2)
    return tmp_path / "ngram"


def test_a_missing_library_is_one_line(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, the command says which one it needs, and writes nothing."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [name for name in sys.modules if name.startswith("lmkit.onnx_export.")]:
        monkeypatch.delitem(sys.modules, name)
    done = export(trained, tmp_path / "a.onnx")
    assert done.exit_code == 2
    assert "needs the library onnx, which is not installed: pip install" in done.stderr
    assert "[onnx]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_options_belong_to_the_format(trained: Path, tmp_path: Path) -> None:
    """--form and --weights are options of this format; others do not have them."""
    archive = ["export", str(trained), str(tmp_path / "a.zip"), "--to", "archive", "--form", "step"]
    done = CliRunner().invoke(cli, archive)
    assert (done.exit_code, "--form" in done.stderr) == (2, True)
    assert "--form [step|window]" in export(trained, tmp_path / "a.onnx", "--help").stdout


@pipelines
@pytest.mark.usefixtures("onnx")
def test_facts(trained: Path, tmp_path: Path) -> None:
    """The file says where it comes from, what its state is and how ids are spelled."""
    import onnx

    assert export(trained, tmp_path / "a.onnx").exit_code == 0
    facts = {one.key: one.value for one in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert facts["lmkit.version"] == lmkit.__version__
    assert (facts["lmkit.form"], facts["lmkit.weights"], facts["lmkit.model"]) == ("step", "float32", "gru")
    state = {"input": "h_0", "output": "next_h_0", "shape": [8], "type": "float32", "initial": ["0.0"]}
    assert json.loads(facts["lmkit.state"]) == [state]
    tokenizer = json.loads(facts["lmkit.tokenizer"])
    vocabulary = runs.load_run(trained).tokenizer.vocabulary
    assert tokenizer["fingerprint"] == vocabulary.fingerprint
    assert (tokenizer["start_id"], tokenizer["eos_id"], tokenizer["unk_id"]) == (vocabulary.size, 0, 1)
    assert tokenizer["tokens"] == ["", "\ufffd", "the", "cat", "mat", "on", "sat"]


@pipelines
@pytest.mark.usefixtures("onnx")
def test_initial_states_of_infinity(tmp_path: Path) -> None:
    """An initial state that JSON cannot write is text that Python and JavaScript read as a number."""
    import onnx

    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 9, encoding="utf-8")
    lmkit.train(
        tmp_path / "text.txt", out=tmp_path / "run", model="xlstm-slstm", hidden_size=8, max_steps=1,
        batch_size=2, bptt=8,
    )  # fmt: skip
    assert export(tmp_path / "run", tmp_path / "a.onnx").exit_code == 0
    facts = {one.key: one.value for one in onnx.load(tmp_path / "a.onnx").metadata_props}
    initial = {one["input"]: one["initial"] for one in json.loads(facts["lmkit.state"])}
    assert initial == {"h_0": ["0.0"], "c_0": ["0.0"], "n_0": ["0.0"], "m_0": ["-Infinity"]}


@pipelines
@pytest.mark.usefixtures("onnx")
def test_a_window_by_hand(trained: Path, tmp_path: Path) -> None:
    """The file alone, in onnxruntime, gives the log-probabilities that lmkit gives a text."""
    import onnxruntime

    assert export(trained, tmp_path / "w.onnx", "--form", "window").exit_code == 0
    session = onnxruntime.InferenceSession(tmp_path / "w.onnx", providers=["CPUExecutionProvider"])
    model = lmkit.load(trained)
    ids = model.tokenizer.ids("the cat on the mat").astype(np.int64)
    read = np.concatenate([[model.vocabulary.size], ids])[:, None]
    logits, _ = session.run(None, {"ids": read, "h_0": np.zeros((1, 8), np.float32)})
    log_probs = torch.from_numpy(logits[:, 0]).log_softmax(-1)
    found = log_probs[torch.arange(len(read)), torch.tensor([*ids, 0])].sum().item()
    assert found == pytest.approx(model.sentence_scores(["the cat on the mat"])[0], abs=1e-4)


@pipelines
@pytest.mark.usefixtures("onnx")
def test_no_wrong_file_gets_its_name(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the checks fail nothing is written, and an older file stays; without --overwrite it stays anyway."""
    from lmkit.errors import ModelError
    from lmkit.onnx_export import write

    def fail(*_: Any, **__: Any) -> None:
        raise ModelError("not the same model")

    (tmp_path / "old.onnx").write_text("old", encoding="utf-8")
    done = export(trained, tmp_path / "old.onnx")
    assert (done.exit_code, "exists already" in done.stderr) == (2, True)
    monkeypatch.setattr(write, "check_steps", fail)
    for name in ("old.onnx", "new.onnx"):
        assert export(trained, tmp_path / name, "--overwrite").exit_code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_text(encoding="utf-8") == "old"


@pipelines
@pytest.mark.usefixtures("onnx")
def test_refusals(trained: Path, ngram: Path, tmp_path: Path) -> None:
    """A model of counts, and int8 where it does not belong, are usage errors that say what to do."""
    done = export(ngram, tmp_path / "a.onnx")
    assert (done.exit_code, "holds a model lmkit:ngram" in done.stderr) == (2, True)
    done = export(trained, tmp_path / "a.onnx", "--form", "window", "--weights", "int8")
    assert (done.exit_code, "leave out --form window" in done.stderr) == (2, True)
    assert not (tmp_path / "a.onnx").exists()
    (tmp_path / "text.txt").write_text("the cat sat on the mat a b c d\n" * 9, encoding="utf-8")
    lmkit.train(
        tmp_path / "text.txt", out=tmp_path / "adaptive", model="gru", hidden_size=8, output="adaptive",
        cutoffs=(4, 8), tied=False, tokenizer="word", min_count=1, max_steps=1, batch_size=2, bptt=8,
    )  # fmt: skip
    done = export(tmp_path / "adaptive", tmp_path / "a.onnx", "--weights", "int8")
    assert (done.exit_code, "not AdaptiveOutputLayer" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["word", "char", "byte", "sentencepiece"])
@pipelines
@pytest.mark.usefixtures("onnx")
def test_spellings(name: str) -> None:
    """The tokens of each built-in tokenizer, joined as the file says, are the text that it decodes."""
    from lmkit.onnx_export.facts import joined, spellings
    from lmkit.options import choose

    lines = ["the cat sat on the mat", "ünï 😀\tx"] * 9
    chosen = choose(
        "tokenizer", {"name": name, **({"vocab_size": 290} if name == "sentencepiece" else {})}, "x"
    )
    tokenizer = chosen.load().fit(iter(lines), chosen.options)
    join = " " if name == "word" else ""
    tokens = spellings(tokenizer, join)
    assert tokens is not None
    for line in lines[:2]:
        ids = tokenizer.ids(line).tolist()
        assert joined([tokens[id_] for id_ in ids], join) == tokenizer.decode(ids)
