"""Real clients of npm, unchanged; LMKIT_NODE_MODULES is the folder that npm filled."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit

pytest.importorskip("starlette")
pytestmark = pytest.mark.pipelines

NO_CHAT = "this model does not chat: use /v1/completions"
TEXTS = ["the cat sat on the mat", "a dog ran"]
PRELUDE = """
const url = process.argv[2] + "/v1", texts = JSON.parse(process.argv[3])
const tell = value => console.log("\\n" + JSON.stringify(value))
const words = async ask => { try { return "no error: " + await ask() } catch (error) { return error.message } }
const joined = async chunks => { let text = ""; for await (const chunk of chunks) text += chunk; return text }
"""


def modules_with(*packages: str) -> Path:
    """The folder of npm; skips the test if it lacks one of these packages."""
    modules = Path(os.environ.get("LMKIT_NODE_MODULES", ""))
    if shutil.which("node") is None or not all(
        (modules / package / "package.json").exists() for package in packages
    ):
        pytest.skip(
            f"needs node, and LMKIT_NODE_MODULES with the node_modules of npm install {' '.join(packages)}"
        )
    return modules


def printed(command: Sequence[str | Path], folder: Path) -> str:
    """The output of a command that runs in this folder, without caches and messages to its makers."""
    quiet = {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_CONFIG_DIR": str(folder / "promptfoo"),
    }
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={**os.environ, **quiet}, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def told(script: str, address: str, folder: Path, *packages: str) -> Any:
    """What a script prints as its last line."""
    (folder / "node_modules").symlink_to(modules_with(*packages))
    (folder / "script.mjs").write_text(PRELUDE + script, encoding="utf-8")
    command = ["node", "script.mjs", address, json.dumps(TEXTS)]
    return json.loads(printed(command, folder).splitlines()[-1])


def wanted_text(model: lmkit.Model, prompt: str = "the cat", *, tokens: int = 8) -> str:
    """The text of `lmkit generate --seed 3`."""
    (found,) = model.generate(prompt, seed=3, max_tokens=tokens, decoder="sample")
    return found.text.removesuffix("\n")


def same_vectors(found: Any, model: lmkit.Model) -> None:
    wanted = [vector.tolist() for vector in model.embed(TEXTS, "mix", "mean")]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_openai(address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path) -> None:
    """Texts streamed and not, log-probabilities, vectors in both encodings, models, and errors in words."""
    script = """
import OpenAI from "openai"
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 })
const asked = { model: "bytes", prompt: "the cat", seed: 3, max_tokens: 8 }
const whole = await client.completions.create({ ...asked, logprobs: 2 })
let streamed = "", usage
const options = { stream: true, stream_options: { include_usage: true } }
for await (const chunk of await client.completions.create({ ...asked, ...options })) {
  streamed += chunk.choices[0]?.text ?? ""
  usage = chunk.usage ?? usage
}
const decoded = text => Array.from(new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer))
const messages = [{ role: "user", content: "a" }]
const vectors = await Promise.all(["float", "base64", undefined].map(encoding_format =>
  client.embeddings.create({ model: "elmo", input: texts, encoding_format })))
tell({
  whole: whole.choices[0], streamed, usage,
  float: vectors[0].data.map(one => one.embedding),
  base64: vectors[1].data.map(one => decoded(one.embedding)),
  usual: vectors[2].data.map(one => Array.from(one.embedding)),
  models: (await client.models.list()).data.map(one => one.id),
  chat: await words(() => client.chat.completions.create({ model: "bytes", messages })),
  responses: await words(() => client.responses.create({ model: "bytes", input: "a" })),
  refused: await words(() => client.completions.create({ ...asked, best_of: 3 })),
})
"""
    found = told(script, address("bytes", "elmo"), tmp_path, "openai")
    assert found["whole"]["text"] == found["streamed"] == wanted_text(models["bytes"])
    assert found["usage"]["completion_tokens"] == len(found["whole"]["logprobs"]["tokens"])
    assert found["float"] == found["base64"] == found["usual"]
    same_vectors(found["float"], models["elmo"])
    assert found["models"] == ["bytes", "elmo"]
    assert NO_CHAT in found["chat"]
    assert NO_CHAT in found["responses"]
    assert "best_of" in found["refused"]


AI = {
    "@ai-sdk/openai-compatible": """
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
const provider = createOpenAICompatible({ name: "served", baseURL: url, apiKey: "none" })
const model = provider.completionModel("bytes"), vectors = provider.embeddingModel("elmo")
const chat = provider("bytes")
""",
    "@ai-sdk/openai": """
import { createOpenAI } from "@ai-sdk/openai"
const provider = createOpenAI({ baseURL: url, apiKey: "none" })
const model = provider.completion("bytes"), vectors = provider.embedding("elmo"), chat = provider.chat("bytes")
""",
}


@pytest.mark.parametrize("package", AI)
def test_ai(
    package: str, address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path
) -> None:
    """The AI SDK's texts, streamed and not, and its vectors; its prompt is always a conversation."""
    script = """
import { embedMany, generateText, streamText } from "ai"
const asked = { model, prompt: "the cat", maxOutputTokens: 8, seed: 3, maxRetries: 0 }
const whole = await generateText({ ...asked, providerOptions: { openai: { logprobs: 2 } } })
tell({
  whole: whole.text, tokens: whole.usage.outputTokens,
  streamed: await joined(streamText(asked).textStream),
  vectors: (await embedMany({ model: vectors, values: texts, maxRetries: 0 })).embeddings,
  chat: await words(() => generateText({ model: chat, prompt: "a", maxRetries: 0 })),
})
"""
    found = told(AI[package] + script, address("bytes", "elmo"), tmp_path, "ai", package)
    assert found["whole"] == found["streamed"]
    assert found["whole"] == wanted_text(models["bytes"], "user:\nthe cat\n\nassistant:\n")
    assert found["tokens"] >= 1
    same_vectors(found["vectors"], models["elmo"])
    assert NO_CHAT in found["chat"]


def test_langchain(address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path) -> None:
    """Several prompts keep their order, and vectors come as floats."""
    script = """
import { OpenAI, OpenAIEmbeddings } from "@langchain/openai"
const settings = { apiKey: "none", maxRetries: 0, configuration: { baseURL: url } }
const model = new OpenAI({ ...settings, model: "line", temperature: 0, maxTokens: 6 })
const several = [...texts, "the", "", "a good"]
const vectors = new OpenAIEmbeddings({ ...settings, model: "elmo" })
tell({
  texts: (await model.generate(several)).generations.map(one => one[0].text),
  streamed: await joined(await model.stream("the cat")), whole: await model.invoke("the cat"),
  vectors: await vectors.embedDocuments(texts),
})
"""
    found = told(script, address("line", "elmo"), tmp_path, "@langchain/openai", "@langchain/core")
    prompts = [*TEXTS, "the", "", "a good"]
    wanted = [
        models["line"].generate(prompt, decoder="greedy", max_tokens=6)[0].text.removesuffix("\n")
        for prompt in prompts
    ]
    assert found["texts"] == wanted
    assert found["streamed"] == found["whole"]
    same_vectors(found["vectors"], models["elmo"])


def test_continue(address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path) -> None:
    """Continue's autocompletion gets a text; filling in the middle is refused in words."""
    script = """
import { constructLlmApi } from "@continuedev/openai-adapters"
const api = constructLlmApi({ provider: "openai", apiBase: url + "/", apiKey: "none" })
const asked = { model: "bytes", prompt: "the cat", max_tokens: 8, seed: 3 }
const signal = new AbortController().signal
const pieces = async function* (chunks) { for await (const chunk of chunks) yield chunk.choices[0]?.text ?? "" }
tell({
  whole: (await api.completionNonStream(asked, signal)).choices[0].text,
  streamed: await joined(pieces(api.completionStream({ ...asked, stream: true }, signal))),
  middle: await words(() => joined(pieces(api.fimStream({ ...asked, suffix: "b", stream: true }, signal)))),
})
"""
    found = told(script, address("bytes"), tmp_path, "@continuedev/openai-adapters")
    assert found["whole"] == found["streamed"] == wanted_text(models["bytes"])
    assert "reads to the right only" in found["middle"]


def test_promptfoo(address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path) -> None:
    """An evaluation of promptfoo reads the texts and counts the tokens."""
    modules = modules_with("promptfoo")
    provider = {"apiBaseUrl": address("line") + "/v1", "apiKey": "none", "max_tokens": 8, "temperature": 0}
    config = {
        "prompts": ["the {{word}}"],
        "providers": [{"id": "openai:completion:line", "config": provider}],
        "tests": [{"vars": {"word": "cat"}}],
    }
    (tmp_path / "promptfooconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [modules / ".bin" / "promptfoo", "eval", "--no-cache", "--no-progress-bar", "-o", "found.json"]
    printed([*command, "-c", "promptfooconfig.json"], tmp_path)
    (found,) = json.loads((tmp_path / "found.json").read_text())["results"]["results"]
    (wanted,) = models["line"].generate("the cat", decoder="greedy", max_tokens=8)
    assert found["response"]["output"] == wanted.text.removesuffix("\n")
    assert found["response"]["tokenUsage"]["completion"] >= 1
