"""Real clients against a real server: openai, the lm-evaluation-harness and others, unchanged."""

import math
import random
import runpy
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lmkit

pytest.importorskip("starlette")
asking = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("asking.py"))))
pytestmark = pytest.mark.pipelines


def pairs(count: int) -> list[tuple[str, str]]:
    """Contexts and continuations, some with the line's end, some without a context."""
    chance = random.Random(5)
    found = []
    for first, second in zip(asking.sentences(count, 1), asking.sentences(count, 2), strict=True):
        context = "" if chance.random() < 0.1 else f"{first}\n{second}" if chance.random() < 0.3 else first
        found.append((context, (" " if context else "") + second + ("\n" if chance.random() < 0.3 else "")))
    return found


def wanted_scores(model: lmkit.Model, asked: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    from lmkit.pipelines.harness.continuations import score_continuations

    def silent(items: Any, *, total: int | None, label: str) -> Any:
        return items

    return score_continuations(model.causal, model.tokenizer, asked, batch_size=8, progress=silent)


def requests(*arguments: Any) -> list[Any]:
    return [SimpleNamespace(args=one if isinstance(one, tuple) else (one,)) for one in arguments]


def same_scores(found: Any, wanted: list[tuple[float, bool]]) -> None:
    np.testing.assert_allclose(
        [score for score, _ in found], [score for score, _ in wanted], atol=1e-6, rtol=1e-6
    )
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]


def harness(address: str, **settings: Any) -> Any:
    pytest.importorskip("lm_eval")
    pytest.importorskip("tenacity")
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    return LocalCompletionsAPI(
        base_url=f"{address}/v1/completions", model="x", max_length=100_000, **settings
    )


@pytest.mark.parametrize("kind", asking.KINDS)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_local_completions(
    kind: str, batch_size: int, address: Callable[..., str], models: dict[str, lmkit.Model]
) -> None:
    """The harness's scores are lmkit's own, without a tokenizer folder; a rolling text of three lines likewise."""
    lm = harness(address(kind), batch_size=batch_size)
    lm.model = kind
    asked = pairs(200 if batch_size == 8 else 20)
    same_scores(lm.loglikelihood(requests(*asked), disable_tqdm=True), wanted_scores(models[kind], asked))
    text = "\n".join(asking.sentences(3, 9))
    (score,) = lm.loglikelihood_rolling(requests(text), disable_tqdm=True)
    assert score == pytest.approx(wanted_scores(models[kind], [("", text)])[0][0], abs=1e-5)


@pytest.mark.parametrize("kind", ["line", "never"])
def test_local_completions_with_a_folder(
    kind: str,
    address: Callable[..., str],
    models: dict[str, lmkit.Model],
    served_runs: dict[str, Path],
    tmp_path: Path,
) -> None:
    """An exported tokenizer gives the same scores as the server's own addresses."""
    pytest.importorskip("transformers")
    from click.testing import CliRunner

    from lmkit.cli import cli

    folder = tmp_path / "exported"
    result = CliRunner().invoke(cli, ["export", str(served_runs[kind]), str(folder), "--to", "transformers"])
    assert result.exit_code == 0, result.output
    import_module("lmkit.pipelines.transformers")  # registers the tokenizer
    lm = harness(address(kind), batch_size=8, tokenizer=str(folder), tokenizer_backend="huggingface")
    lm.model = kind
    asked = pairs(40)
    same_scores(lm.loglikelihood(requests(*asked), disable_tqdm=True), wanted_scores(models[kind], asked))


def test_several_runs_for_the_harness(address: Callable[..., str], models: dict[str, lmkit.Model]) -> None:
    """With several runs, each has the harness's addresses under /runs/NAME."""
    lm = harness(f"{address('ngram', 'bytes')}/runs/bytes", batch_size=8)
    asked = pairs(10)
    same_scores(lm.loglikelihood(requests(*asked), disable_tqdm=True), wanted_scores(models["bytes"], asked))


def test_generate_until(address: Callable[..., str]) -> None:
    """Texts end at the line's end by themselves, one request after another and several at once."""
    found = []
    for settings in ({"batch_size": 4}, {"batch_size": 1, "num_concurrent": 3}):
        lm = harness(address("line"), **settings)
        lm.model = "line"
        asked = [
            ("the cat", {"until": ["\n"], "max_gen_toks": 20}),
            ("a dog", {"until": [], "max_gen_toks": 8}),
        ]
        found.append(lm.generate_until(requests(*asked), disable_tqdm=True))
    assert found[0] == found[1]
    assert all("\n" not in text for text in found[0])


def test_gguf(address: Callable[..., str], models: dict[str, lmkit.Model]) -> None:
    """The place of a space between context and continuation changes nothing; greediness is lmkit's."""
    pytest.importorskip("lm_eval")
    from lm_eval.models.gguf import GGUFLM

    lm = GGUFLM(address("ngram"))
    one, other = lm.loglikelihood(requests(("the cat", " sat"), ("the cat ", "sat")), disable_tqdm=True)
    assert one == other
    assert one[0] == pytest.approx(wanted_scores(models["ngram"], [("the cat", " sat")])[0][0], abs=1e-6)
    (empty,) = lm.loglikelihood(requests(("", "the")), disable_tqdm=True)
    assert empty[0] == pytest.approx(wanted_scores(models["ngram"], [("", "the")])[0][0], abs=1e-6)
    (text,) = lm.generate_until(requests(("the cat", {"until": ["\n"]})), disable_tqdm=True)
    assert isinstance(text, str)


def test_openai(address: Callable[..., str], models: dict[str, lmkit.Model]) -> None:
    """Completions streamed and not have one text; vectors arrive in base64; errors have their words."""
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{address('line', 'elmo')}/v1", api_key="none", max_retries=0)
    asked = {"model": "line", "prompt": "the cat", "seed": 3, "max_tokens": 20}
    whole = client.completions.create(**asked, logprobs=2)
    streamed = "".join(
        chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True) if chunk.choices
    )
    assert streamed == whole.choices[0].text
    tops = whole.choices[0].logprobs.top_logprobs
    assert all(math.isfinite(value) for top in tops for value in top.values())
    vectors = client.embeddings.create(model="elmo", input=["the cat", "a dog"])
    own = models["elmo"].embed(["the cat", "a dog"], "mix", "mean")
    np.testing.assert_allclose([one.embedding for one in vectors.data], [v.tolist() for v in own], atol=1e-6)
    assert [one.id for one in client.models.list()] == ["line", "elmo"]
    assert client.models.retrieve("line").id == "line"
    with pytest.raises(openai.NotFoundError, match="does not chat: use /v1/completions"):
        client.chat.completions.create(model="line", messages=[{"role": "user", "content": "a"}])
    with pytest.raises(openai.BadRequestError, match="best_of"):
        client.completions.create(**asked, best_of=3)


def test_openai_raises_the_error_of_a_stream(models: dict[str, lmkit.Model]) -> None:
    """A stream that the server ends is an exception with its words."""
    openai = pytest.importorskip("openai")
    import uvicorn

    from lmkit.serve.app import Server, make_app
    from lmkit.serve.limits import Limits
    from lmkit.serve.listening import bound

    listening = bound("127.0.0.1", 0)
    app = make_app(Server({"bytes": models["bytes"]}, Limits(max_tokens=10**8, timeout=1.0)))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=2)
    with pytest.raises(openai.APIError, match="--timeout"):
        for _ in client.completions.create(
            model="bytes", prompt="a", max_tokens=10**8, stream=True, extra_body={"ignore_eos": True}
        ):
            pass
    server.should_exit = True
    thread.join(20)


def test_langchain(address: Callable[..., str], models: dict[str, lmkit.Model]) -> None:
    """20 prompts keep their order; vectors need one option, which the refusal names."""
    langchain = pytest.importorskip("langchain_openai")
    url = f"{address('line', 'elmo')}/v1"
    llm = langchain.OpenAI(
        model="line", base_url=url, api_key="none", temperature=0, max_tokens=6, max_retries=0
    )
    prompts = asking.sentences(20, 8)
    found = [one[0].text for one in llm.generate(prompts).generations]
    model = models["line"]
    wanted = [model.generate(prompt, decoder="greedy", max_tokens=6)[0].text for prompt in prompts]
    assert found == [text.removesuffix("\n") for text in wanted]
    settings = {"model": "elmo", "base_url": url, "api_key": "none", "max_retries": 0}
    vectors = langchain.OpenAIEmbeddings(**settings, check_embedding_ctx_length=False)
    own = models["elmo"].embed(prompts, "mix", "mean")
    np.testing.assert_allclose(vectors.embed_documents(prompts), [v.tolist() for v in own], atol=1e-6)


def test_litellm(address: Callable[..., str]) -> None:
    """`text_completion` of two of its providers gives a text and log-probabilities."""
    litellm = pytest.importorskip("litellm")
    for provider in ("text-completion-openai", "hosted_vllm"):
        found = litellm.text_completion(
            model=f"{provider}/line", prompt="the cat", max_tokens=5, logprobs=1, seed=1,
            api_base=f"{address('line')}/v1", api_key="none",
        )  # fmt: skip
        assert found.choices[0].text is not None
        assert found.usage.completion_tokens >= 1


def test_llm(address: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`llm` prints a text and logs the chosen tokens' log-probabilities and the usage."""
    llm = pytest.importorskip("llm")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: served\n  model_name: line\n  api_base: {address('line')}/v1\n  completion: true\n"
    )
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    response = llm.get_model("served").prompt("the cat", logprobs=2, seed=1, max_tokens=8)
    text = response.text()
    assert isinstance(text, str)
    assert response.response_json["usage"]["completion_tokens"] >= 1
    assert response.response_json["logprobs"]
