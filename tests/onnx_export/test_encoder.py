"""Encoders as ONNX files: the vectors of `embed` for sentences of any lengths, from words, characters and pieces."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import lmkit
from lmkit.cli import cli
from lmkit.embedding.mix import ScalarMix
from lmkit.errors import ModelError
from lmkit.options import choose

pytestmark = [pytest.mark.pipelines, pytest.mark.usefixtures("onnx")]

LINES = [
    "the cat sat on the mat",
    "a dög barked",
    "the zebra sat",
    "the",
    "it was a very long day for the dog",
]
CELLS = ["gru", "lstm", "xlstm-slstm", "min-gru", "sru"]
"""Gated cells, those whose initial state is not zero, and those that are linear in it."""
MODELS: dict[str, dict[str, Any]] = {
    "words": {"inputs": "tokens"},
    "characters": {},
    "characters without a projection": {"filters": "1x2,3x4", "project_filters": False, "activation": "tanh"},
    "no highways": {"num_highways": 0, "filters": "50x3"},
    "around the layers": {
        "cell": "lstm", "projection_size": 4, "projection_clip": 0.3, "cell_clip": 0.2, "norm": "layer",
        "num_layers": 3,
    },
    "rms norm, no residual": {"cell": "gru", "norm": "rms", "residual": False, "inputs": "tokens"},
    "no output layer": {"softmax": False, "inputs": "tokens"},
}  # fmt: skip


@pytest.fixture(scope="session")
def encoder() -> Callable[..., Any]:
    """encoder(tokenizer="word", **options): a model with random weights, ready to be read."""

    def made(tokenizer: str = "word", **options: Any) -> Any:
        torch.manual_seed(0)
        size = {"vocab_size": 300} if tokenizer == "sentencepiece" else {}
        splits = choose("tokenizer", {"name": tokenizer, **size}, "test")
        found = splits.load().fit(LINES * 9, splits.options)
        chosen = choose(
            "model",
            {"name": "elmo", "cell": "gru", "hidden_size": 6, "filters": "1x4,2x5", **options},
            "test",
        )
        model = chosen.load()(chosen.options, found.vocabulary)
        model.use_tokenizer(found)
        for weight in model.parameters():
            torch.nn.init.uniform_(weight, -0.7, 0.7)
        return model.eval()

    return made


def checked(model: Any) -> Any:
    """The ONNX model, after all checks of an export."""
    from lmkit.onnx_export.checks import check_declared
    from lmkit.onnx_export.encoder_checks import EncoderSession, check_encoder
    from lmkit.onnx_export.encoder_form import write_encoder

    proto = write_encoder(model)
    check_declared(proto, "encoder")
    check_encoder(model, EncoderSession(proto.SerializeToString(), model))
    return proto


@pytest.mark.parametrize("cell", CELLS)
def test_cells(encoder: Callable[..., Any], cell: str) -> None:
    """Encoders of any cell give the vectors of `embed`; each layer of a direction is one Scan."""
    proto = checked(encoder(cell=cell, inputs="tokens", num_layers=1))
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert kinds["Scan"] == 2
    assert not {"Loop", "LSTM", "GRU", "RNN", "ReverseSequence"} & kinds.keys()


@pytest.mark.parametrize("name", MODELS)
def test_models(encoder: Callable[..., Any], name: str) -> None:
    """Both kinds of inputs and what stands around the layers give the vectors of `embed`."""
    checked(encoder(**MODELS[name]))


@pytest.mark.parametrize("tokenizer", ["word", "char", "sentencepiece"])
@pytest.mark.parametrize("inputs", ["tokens", "characters"])
def test_sentences(encoder: Callable[..., Any], tokenizer: str, inputs: str) -> None:
    """Lines of different lengths in one call, one with an unknown word and one of a single token."""
    from lmkit.onnx_export.encoder_checks import EncoderSession
    from lmkit.onnx_export.encoder_form import write_encoder

    model = encoder(tokenizer, inputs=inputs, num_layers=1)
    session = EncoderSession(write_encoder(model).SerializeToString(), model)
    with torch.no_grad():
        wanted = model.embed(LINES)
    coded = []
    for line in LINES:
        encoding = model.tokenizer.encode(line)
        spellings = [line[start:end] for start, end in encoding.spans.tolist()]
        coded.append(model.token_codes(encoding.ids.tolist(), spellings))
    padded = torch.nn.utils.rnn.pad_sequence(coded, batch_first=True).numpy()
    layers, mix = session(padded, [len(codes) for codes in coded])
    for row, vectors in enumerate(wanted):
        found = torch.from_numpy(layers[row, :, : len(coded[row])])
        torch.testing.assert_close(found, vectors, rtol=0, atol=1e-5)
        mixed = torch.from_numpy(mix[row, : len(coded[row])])
        torch.testing.assert_close(mixed, vectors.mean(0), rtol=0, atol=1e-5)


def test_a_trained_mix(encoder: Callable[..., Any]) -> None:
    """An encoder with a mix of its own has it in the file."""
    model = encoder(inputs="tokens")
    model.mix = ScalarMix(model.num_layers)
    torch.nn.init.normal_(model.mix.weights)
    checked(model)


def test_a_length_beyond_the_codes_is_an_error(encoder: Callable[..., Any]) -> None:
    """A wrong length does not give vectors of something else."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    from lmkit.onnx_export.encoder_checks import EncoderSession
    from lmkit.onnx_export.encoder_form import write_encoder

    model = encoder(inputs="tokens", num_layers=1)
    session = EncoderSession(write_encoder(model).SerializeToString(), model)
    with pytest.raises(Fail, match="Out of range value"):
        session(np.zeros((2, 3), np.int64), [2, 4])


@pytest.mark.parametrize("damage", ["weights", "order"])
def test_a_wrong_file_is_refused(encoder: Callable[..., Any], damage: str) -> None:
    """A file of other numbers, or whose backward stack starts with the padding, does not pass the checks."""
    from lmkit.onnx_export.encoder_checks import EncoderSession, check_encoder
    from lmkit.onnx_export.encoder_form import write_encoder

    model = encoder(inputs="tokens")
    proto = write_encoder(model)
    if damage == "weights":
        constant = next(one for one in proto.graph.initializer if list(one.dims) == [18])
        values = np.frombuffer(constant.raw_data, np.float32) + 1e-3
        constant.raw_data = values.astype(np.float32).tobytes()
    else:
        # Rows are reversed as if each were as long as the longest.
        (node,) = (node for node in proto.graph.node if node.op_type == "Max")
        subtraction = next(one for one in proto.graph.node if one.output[0] == node.input[0])
        before = next(one for one in proto.graph.node if one.output[0] == subtraction.input[0])
        before.input[0] = _longest(before.input[0], proto)
    with pytest.raises(ModelError, match="not the same model"):
        check_encoder(model, EncoderSession(proto.SerializeToString(), model))


def _longest(name: str, proto: Any) -> str:
    """The largest length in place of each, as a new node before its readers."""
    import onnx

    place = next(index for index, one in enumerate(proto.graph.node) if name in one.input)
    proto.graph.node.insert(place, onnx.helper.make_node("ReduceMax", [name], ["largest"], keepdims=1))
    proto.graph.node.insert(place + 1, onnx.helper.make_node("Max", [name, "largest"], ["longest"]))
    return "longest"


@pytest.fixture(scope="module")
def elmo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an encoder over characters."""
    folder = tmp_path_factory.mktemp("elmo")
    (folder / "text.txt").write_text("\n".join(LINES * 9), encoding="utf-8")
    lmkit.train(
        folder / "text.txt", out=folder / "run", model="elmo", hidden_size=6, filters="1x4,2x5", max_steps=2,
        batch_size=2, bptt=8,
    )  # fmt: skip
    return folder / "run"


def export(run: Path, file: Path, *options: str) -> Result:
    """The result of the command."""
    return CliRunner().invoke(cli, ["export", str(run), str(file), "--to", "onnx", *options])


def test_the_command(elmo: Path, tmp_path: Path) -> None:
    """The command writes the file with its facts: the form, and the spelling of each id for characters."""
    import onnx

    done = export(elmo, tmp_path / "a.onnx")
    assert done.exit_code == 0, done.output
    model = onnx.load(tmp_path / "a.onnx")
    facts = {one.key: one.value for one in model.metadata_props}
    assert (facts["lmkit.form"], facts["lmkit.model"], facts["lmkit.state"]) == (
        "encoder",
        "elmo (2 x lstm)",
        "[]",
    )
    tokenizer = json.loads(facts["lmkit.tokenizer"])
    assert len(tokenizer["spellings"]) == tokenizer["size"]
    assert {"the", "cat"} <= set(tokenizer["spellings"])
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert axes == {
        "characters": ["batch", "time", 50], "lengths": ["batch"], "layers": ["batch", 3, "time", 12],
        "mix": ["batch", "time", 12],
    }  # fmt: skip


def test_refusals(elmo: Path, tmp_path: Path) -> None:
    """Options of causal models are usage errors."""
    for option in (["--form", "window"], ["--form", "step"], ["--weights", "int8"]):
        done = export(elmo, tmp_path / "a.onnx", *option)
        assert (done.exit_code, "are for causal models: leave them out" in done.stderr) == (2, True)
    assert not (tmp_path / "a.onnx").exists()
