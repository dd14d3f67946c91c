"""examples/onnx: text from a file, without lmkit, in Python and in node."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lmkit

SCRIPTS = Path(__file__).parent.parent.parent / "examples" / "onnx"
PROMPTS = ["the cat", "", "on the mat"]

pytestmark = pytest.mark.pipelines


@pytest.fixture(scope="module", params=["word", "char", "byte", "sentencepiece"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small model with this tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    size = {"vocab_size": 275} if request.param == "sentencepiece" else {}
    (folder / "text.txt").write_text(
        "the cat sat on the mat\nthe dog sat on the cat\n" * 30, encoding="utf-8"
    )
    lmkit.train(
        folder / "text.txt", model="gru", tokenizer=request.param, hidden_size=12, max_steps=40, batch_size=4,
        bptt=8, out=folder / "run", **size,
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="module")
def file(run: Path) -> Path:
    """Its ONNX file."""
    pytest.importorskip("onnx", reason="needs the extra onnx: pip install '.[onnx]'")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx: pip install '.[onnx]'")
    from lmkit.onnx_export.write import write

    target = run.parent / "model.onnx"
    write(lmkit.load(run, device="cpu").run, target)
    return target


def expected(run: Path) -> list[str]:
    """Greedy continuations of the prompts, with them."""
    found = lmkit.load(run, device="cpu").generate_each(PROMPTS, decoder="greedy", max_tokens=20)
    return [(prompt + one[0].text).rstrip("\n") for prompt, one in zip(PROMPTS, found, strict=True)]


def printed(*line: object) -> str:
    """What a script prints, in the text's own encoding."""
    done = subprocess.run([str(part) for part in line], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().rstrip("\r\n")


def test_in_python(run: Path, file: Path) -> None:
    """The script prints lmkit's greedy text, and imports neither lmkit nor torch."""
    source = (SCRIPTS / "generate.py").read_text(encoding="utf-8")
    assert "import lmkit" not in source
    assert "import torch" not in source
    found = [printed(sys.executable, SCRIPTS / "generate.py", file, p, "--max-tokens", 20) for p in PROMPTS]
    assert found == expected(run)


def test_in_node(run: Path, file: Path, tmp_path: Path) -> None:
    """The script for node prints the same; LMKIT_NODE_MODULES is the folder that npm filled.

    It does not split prompts into pieces, and says so.
    """
    node, modules = shutil.which("node"), os.environ.get("LMKIT_NODE_MODULES", "")
    if node is None or not Path(modules, "onnxruntime-node").is_dir():
        pytest.skip(
            "needs node, and LMKIT_NODE_MODULES with the node_modules of npm install onnxruntime-node"
        )
    script = tmp_path / "generate.mjs"
    shutil.copyfile(SCRIPTS / "generate.mjs", script)
    (tmp_path / "node_modules").symlink_to(modules)
    if lmkit.load(run, device="cpu").tokenizer.unit == "piece":
        assert printed(node, script, file, "", 20) == expected(run)[PROMPTS.index("")]
        refused = subprocess.run([node, script, file, "the"], capture_output=True, text=True, check=False)
        assert (refused.returncode, "leave the prompt out" in refused.stderr) == (2, True)
        return
    assert [printed(node, script, file, prompt, 20) for prompt in PROMPTS] == expected(run)


@pytest.mark.parametrize(
    ("tokenizer", "inputs"),
    [
        ("word", "characters"),
        ("char", "tokens"),
        ("byte", "tokens"),
        ("sentencepiece", "characters"),
        ("sentencepiece", "tokens"),
    ],
)
def test_vectors(tokenizer: str, inputs: str, tmp_path: Path) -> None:
    """The script for encoders prints lmkit's tokens and the mean of their layers, of lines of several lengths."""
    pytest.importorskip("onnx", reason="needs the extra onnx: pip install '.[onnx]'")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx: pip install '.[onnx]'")
    from lmkit.onnx_export.write import write

    (tmp_path / "text.txt").write_text(
        "the cat sat on the mat\nthe dög sat on the cat\n" * 30, encoding="utf-8"
    )
    size = {"vocab_size": 275} if tokenizer == "sentencepiece" else {}
    model = lmkit.train(
        tmp_path / "text.txt", model="elmo", inputs=inputs, tokenizer=tokenizer, hidden_size=6, num_layers=1,
        filters="1x4,2x5", max_steps=1, batch_size=2, bptt=8, out=tmp_path / "run", **size,
    )  # fmt: skip
    write(model.run, tmp_path / "encoder.onnx")
    lines = ["the cat sat", "a zebra", "the dög sat on the mat"]
    found = printed(sys.executable, SCRIPTS / "embed.py", tmp_path / "encoder.onnx", *lines).splitlines()
    wanted = torch.cat(model.embed(lines, layer="mix"))
    vectors = torch.tensor([json.loads(line)["vector"] for line in found])
    torch.testing.assert_close(vectors, wanted, rtol=0, atol=1e-5)
