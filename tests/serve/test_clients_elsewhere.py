"""Real clients in other processes: Python packages, also those that cannot be installed beside lmkit, and npm packages.

LMKIT_CLIENT_PYTHONS lists Pythons, separated as in PATH, in which a package is looked for that this one lacks.
LMKIT_NODE_MODULES is the folder that npm filled.
"""

import json
import math
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lmkit

pytest.importorskip("starlette")
asking = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("asking.py"))))
pytestmark = pytest.mark.pipelines

NO_CHAT = "this model does not chat: use /v1/completions"
TEXTS = ["the cat sat on the mat", "a dog\nran 中文"]
PRELUDE = """
import json, sys
url = sys.argv[1] + "/v1"
texts = json.loads(sys.argv[2])

def words(call):
    try:
        return f"no error: {call()}"
    except Exception as error:
        return str(error)

def tell(value):
    print("\\n" + json.dumps(value))
"""
HAS = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "DSPY_CACHEDIR": "dspy",
    "GUIDELLM__MP_CONTEXT_TYPE": "forkserver",
    "GUIDELLM__MAX_WORKER_PROCESSES": "1",
}


def environment(python: str = sys.executable) -> dict[str, str]:
    """That of a client: other Pythons do not see the packages of this one."""
    kept = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH" or python == sys.executable
    }
    return {**kept, **OFFLINE}


@cache
def python_with(package: str) -> str:
    """A Python that has this package; skips the test without one."""
    others = os.environ.get("LMKIT_CLIENT_PYTHONS", "").split(os.pathsep)
    for python in [sys.executable, *filter(None, others)]:
        command = [python, "-c", HAS, package]
        if not subprocess.run(command, capture_output=True, env=environment(python), check=False).returncode:
            return python
    pytest.skip(f"needs {package}, here or in a Python of LMKIT_CLIENT_PYTHONS")


def printed(command: Sequence[str | Path], folder: Path, python: str = sys.executable) -> str:
    """The output of a client that runs in this folder."""
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment(python), check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def told(package: str, script: str, address: str, folder: Path) -> Any:
    """What a script of a package prints as its last line."""
    python = python_with(package)
    command = [python, "-c", PRELUDE + script, address, json.dumps(TEXTS)]
    return json.loads(printed(command, folder, python).splitlines()[-1])


def line_score(model: lmkit.Model, text: str) -> float:
    """The natural logarithm of a text's probability without its last end."""
    return -math.log(2) * sum(record.surprisal for record in model.surprisal(text.split("\n"), "token")[:-1])


HELM = """
from helm.clients.openai_client import OpenAILegacyCompletionsClient
from helm.common.cache import BlackHoleCacheConfig
from helm.common.request import Request

client = OpenAILegacyCompletionsClient(cache_config=BlackHoleCacheConfig(), api_key="none", base_url=url)
found = {}
for name in ("ngram", "line", "bytes"):
    asked = {"model": f"lmkit/{name}", "model_deployment": f"lmkit/{name}"}
    given = []
    for text in texts:
        answer = client.make_request(Request(**asked, prompt=text, echo_prompt=True, max_tokens=0, temperature=0))
        assert answer.success, answer.error
        (one,) = answer.completions
        assert one.text == text
        given.append(one.logprob)
    answer = client.make_request(
        Request(**asked, prompt="the cat", num_completions=3, max_tokens=6, top_k_per_token=2, stop_sequences=["."])
    )
    assert answer.success, answer.error
    assert len(answer.completions) == 3
    assert not any("." in one.text for one in answer.completions)
    found[name] = given
answer = client.make_request(Request(model="lmkit/none", prompt="a"))
assert not answer.success
tell([found, answer.error])
"""


def test_helm(address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path) -> None:
    """HELM's legacy client: the sum over a text's tokens is lmkit's; an unknown model is an error in words."""
    names = ("ngram", "line", "bytes")
    found, error = told("helm.clients.openai_client", HELM, address(*names), tmp_path)
    for name in names:
        np.testing.assert_allclose(found[name], [line_score(models[name], text) for text in TEXTS], atol=1e-4)
    assert "is not served; give one of: ngram, line, bytes" in error


def test_guidellm(address: Callable[..., str], tmp_path: Path) -> None:
    """20 requests in 8 streams: no error, and each answer has the tokens that were asked for."""
    python = python_with("guidellm")
    rows = [json.dumps({"prompt": text, "output_tokens_count": 12}) for text in asking.sentences(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    printed(
        [
            python, "-m", "guidellm", "run", "--disable-progress", "--profile", "kind=concurrent,streams=8",
            "--backend", f"kind=openai_http,target={address('line')},request_format=/v1/completions",
            "--data", "kind=json_file,path=rows.jsonl", "--output", "kind=json,path=found.json",
            "--constraint", "kind=max_requests,count=20",
        ],
        tmp_path,
        python,
    )  # fmt: skip
    (benchmark,) = json.loads((tmp_path / "found.json").read_text())["benchmarks"]
    requests = benchmark["requests"]
    assert [one["output_tokens"] for one in requests["successful"]] == [12] * 20
    assert not requests["errored"]
    assert not requests["incomplete"]


TEXT_CLIENTS = {
    "inspect_ai": """
import asyncio, os
os.environ |= {"SERVED_API_KEY": "none", "SERVED_BASE_URL": url}
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model

model = get_model("openai-api-completions/served/bytes")
config = GenerateConfig(
    max_tokens=8, temperature=1.0, seed=3, logprobs=True, top_logprobs=1, extra_body={"echo": True}
)
found = asyncio.run(model.generate([ChatMessageUser(content="the cat")], config=config))
tokens = [one.token for one in found.choices[0].logprobs.content]
assert "".join(tokens).startswith("the cat"), tokens
tell(found.completion.removeprefix("the cat"))
""",
    "semantic_kernel": """
import asyncio
from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import OpenAITextCompletion, OpenAITextPromptExecutionSettings

client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
model = OpenAITextCompletion(ai_model_id="bytes", async_client=client)
settings = OpenAITextPromptExecutionSettings(max_tokens=8, seed=3, temperature=1.0)
async def both():
    whole = (await model.get_text_contents("the cat", settings))[0].text
    streamed = [one async for chunk in model.get_streaming_text_contents("the cat", settings) for one in chunk]
    assert "".join(one.text or "" for one in streamed) == whole
    return whole
tell(asyncio.run(both()))
""",
    "llama_index.llms.openai_like": """
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model="bytes", api_base=url, api_key="none", is_chat_model=False, max_tokens=8, temperature=1.0,
    additional_kwargs={"seed": 3}, logprobs=True, max_retries=0,
)
found = model.complete("the cat")
assert found.logprobs
assert "".join(chunk.delta for chunk in model.stream_complete("the cat")) == found.text
tell(found.text)
""",
    "langchain_openai": """
from langchain_openai import OpenAI

model = OpenAI(model="bytes", base_url=url, api_key="none", max_tokens=8, temperature=1.0, seed=3)
whole = model.invoke("the cat")
assert "".join(model.stream("the cat")) == whole
tell(whole)
""",
    "dspy": """
import dspy

settings = {"api_base": url, "api_key": "none", "cache": False, "model_type": "text"}
model = dspy.LM("text-completion-openai/bytes", **settings, max_tokens=8, temperature=1.0, seed=3)
(found,) = model("the cat")
assert isinstance(found, str)
tell(None)  # it adds to the prompt
""",
    "lmwrapper": """
import os
os.environ["OPENAI_BASE_URL"] = sys.argv[1] + "/runs/bytes/v1"
from lmwrapper.openai_wrapper import OpenAiModelNames, get_open_ai_lm
from lmwrapper.structs import LmPrompt

os.environ["OPENAI_API_KEY"] = "none"
model = get_open_ai_lm(OpenAiModelNames.gpt_3_5_turbo_instruct)
prompt = LmPrompt("the cat", max_tokens=8, logprobs=1, temperature=0, cache=False, echo=True)
found = model.predict(prompt)
assert found.get_full_text() == "the cat" + found.completion_text
assert len(found.full_logprobs) == len("the cat") + len(found.completion_tokens)
tell(None)
""",
}
"""Programs that continue a text. They tell the text with seed 3, or nothing if they cannot be given a seed."""


@pytest.mark.parametrize("package", TEXT_CLIENTS)
def test_texts(
    package: str, address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path
) -> None:
    """The text is that of `lmkit generate`, also where it is streamed."""
    found = told(package, TEXT_CLIENTS[package], address("bytes"), tmp_path)
    (wanted,) = models["bytes"].generate("the cat", seed=3, max_tokens=8, decoder="sample")
    assert found in (None, wanted.text.removesuffix("\n"))


def test_lmppl(address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path) -> None:
    """The perplexity of lmppl, which speaks an old version of openai, is that of the tokens without the end."""
    script = """
import lmppl, openai

scorer = lmppl.OpenAI("none", "ngram")
openai.api_base = url
tell(scorer.get_perplexity(texts))
"""
    found = told("lmppl", script, address("ngram"), tmp_path)
    model = models["ngram"]
    counts = [len(model.surprisal(text.split("\n"), "token")) - 1 for text in TEXTS]
    wanted = [math.exp(-line_score(model, text) / count) for text, count in zip(TEXTS, counts, strict=True)]
    assert found == pytest.approx(wanted, rel=1e-5)


VECTOR_CLIENTS = {
    "haystack": """
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder
from haystack.utils import Secret

embedder = OpenAIDocumentEmbedder(
    model="elmo", api_base_url=url, api_key=Secret.from_token("none"), progress_bar=False, max_retries=0
)
tell([one.embedding for one in embedder.run([Document(content=text) for text in texts])["documents"]])
""",
    "llama_index.embeddings.openai_like": """
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

model = OpenAILikeEmbedding(model_name="elmo", api_base=url, api_key="none", max_retries=0)
tell(model.get_text_embedding_batch(texts))
""",
    "semantic_kernel": """
import asyncio
from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import OpenAITextEmbedding

client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
found = asyncio.run(OpenAITextEmbedding(ai_model_id="elmo", async_client=client).generate_embeddings(texts))
tell(found.tolist())
""",
    "litellm": """
import litellm

found = litellm.embedding(model="openai/elmo", input=texts, api_base=url, api_key="none", num_retries=0)
tell([one["embedding"] for one in found.data])
""",
    "dspy": """
import dspy

tell(dspy.Embedder("openai/elmo", api_base=url, api_key="none", caching=False)(texts).tolist())
""",
}


@pytest.mark.parametrize("package", VECTOR_CLIENTS)
def test_vectors(
    package: str, address: Callable[..., str], models: dict[str, lmkit.Model], tmp_path: Path
) -> None:
    """The vectors are those of `lmkit embed`, in the order of the texts."""
    found = told(package, VECTOR_CLIENTS[package], address("elmo"), tmp_path)
    texts = [text.replace("\n", " ") for text in TEXTS] if package.startswith("llama_index") else TEXTS
    wanted = [vector.tolist() for vector in models["elmo"].embed(texts, "mix", "mean")]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


OPENAI = "import openai\nclient = openai.OpenAI(base_url=url, api_key='none', max_retries=0)\n"
CHAT_CLIENTS = {
    "pydantic_ai": """
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel("line", provider=OpenAIProvider(base_url=url, api_key="none"))
tell(words(lambda: Agent(model).run_sync("a")))
""",
    "inspect_ai": """
import asyncio
from inspect_ai.model import get_model

model = get_model("openai-api/served/line", base_url=url, api_key="none")
tell(words(lambda: asyncio.run(model.generate("a"))))
""",
    "instructor": OPENAI
    + """
import instructor, pydantic

class Number(pydantic.BaseModel):
    value: int

create = instructor.from_openai(client).chat.completions.create
asked = {"model": "line", "response_model": Number, "messages": [{"role": "user", "content": "a"}]}
tell(words(lambda: create(**asked)))
""",
    "outlines": OPENAI
    + """
import outlines

tell(words(lambda: outlines.from_openai(client, "line")("a")))
""",
    "guidance": """
from guidance import assistant, gen, models, user

def ask():
    model = models.OpenAI("line", api_key="none", base_url=url)
    with user():
        model += "a"
    with assistant():
        model += gen(max_tokens=4)
    return model

tell(words(ask))
""",
    "haystack": """
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret

generator = OpenAIChatGenerator(
    model="line", api_base_url=url, api_key=Secret.from_token("none"), max_retries=0
)
tell(words(lambda: generator.run([ChatMessage.from_user("a")])))
""",
    "aisuite": """
import aisuite

client = aisuite.Client({"openai": {"base_url": url, "api_key": "none"}})
messages = [{"role": "user", "content": "a"}]
tell(words(lambda: client.chat.completions.create(model="openai:line", messages=messages)))
""",
    "litellm": """
import litellm

asked = {"messages": [{"role": "user", "content": "a"}], "api_base": url, "api_key": "none", "num_retries": 0}
tell(words(lambda: litellm.completion(model="openai/line", **asked)))
""",
    "semantic_kernel": """
import asyncio
from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatHistory

client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
model, history = OpenAIChatCompletion(ai_model_id="line", async_client=client), ChatHistory()
history.add_user_message("a")
ask = model.get_chat_message_contents
tell(words(lambda: asyncio.run(ask(history, OpenAIChatPromptExecutionSettings()))))
""",
}


@pytest.mark.parametrize("package", CHAT_CLIENTS)
def test_programs_that_chat(package: str, address: Callable[..., str], tmp_path: Path) -> None:
    """A program that only chats shows its user the server's words."""
    assert NO_CHAT in told(package, CHAT_CLIENTS[package], address("line"), tmp_path)
