"""Memory: a very long line takes a few times what its own vectors take, whichever the encoder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LENGTH = 44_000
"""Characters of the line, each a token."""

SCRIPT = f"""
import json, sys
import torch
import lmkit
from lmkit.cli.measure import peak_memory

torch.set_num_threads(1)
model = lmkit.load(sys.argv[1], device="cpu")
model.embed(["the cat"] * 100)
before = peak_memory()
(vectors,) = model.embed(["the cat sat " * ({LENGTH} // 12) + "x" * ({LENGTH} % 12)])
print(json.dumps([list(vectors.shape), vectors.nbytes, peak_memory() - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("model", ["gru", "elmo"])
def test_a_very_long_line(trained_model, model: str) -> None:
    """Both directions, all layers, and the copy that is handed on."""
    run = trained_model(model, "char", hidden_size=64).run.directory
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(run)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    shape, size, grown = json.loads(result.stdout)
    assert shape[:2] == [3, LENGTH]
    assert grown < 6 * size
