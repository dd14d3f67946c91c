"""The lines that docs/pipelines.md gives for other libraries run, and give lmkit's vectors."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lmkit
from lmkit.cli import cli

pytestmark = pytest.mark.pipelines

PAGE = Path(__file__).parent.parent.parent / "docs" / "pipelines.md"
TEXTS = ["the cat sat on the mat", "", "a bird sang"]


@pytest.fixture
def wanted(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The vectors of TEXTS by the run that the page calls runs/elmo, in a folder where that is."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/elmo").symlink_to(trained)
    return [vector.tolist() for vector in lmkit.load(trained).embed(TEXTS, layer="mix", pool="mean")]


def lines_of(section: str) -> dict[str, Any]:
    """What the Python of a section of the page defines, without its subsections and its training."""
    text = re.split(r"\n##+ ", PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1])[0]
    text = text.split("\nThe library's trainer")[0]
    space: dict[str, Any] = {"__name__": "docs"}
    for code in re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(compile(code, section, "exec"), space)
    return space


def test_langchain(wanted: list[list[float]]) -> None:
    """The class is one of LangChain's embeddings, and its vector store finds a text by itself."""
    from langchain_core.vectorstores import InMemoryVectorStore

    embeddings = lines_of("LangChain")["embeddings"]
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), wanted, atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_query(TEXTS[0]), wanted[0], atol=1e-6)
    store = InMemoryVectorStore.from_texts([TEXTS[0], TEXTS[2]], embeddings)
    assert store.similarity_search(TEXTS[2], k=1)[0].page_content == TEXTS[2]


def test_haystack(wanted: list[list[float]]) -> None:
    """The two components work in Haystack's pipelines, and its retriever finds a text by itself."""
    from haystack import Document, Pipeline
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    space = lines_of("Haystack")
    found = space["LmkitDocumentEmbedder"]("runs/elmo").run([Document(content=text) for text in TEXTS])
    documents = found["documents"]
    np.testing.assert_allclose([document.embedding for document in documents], wanted, atol=1e-6)

    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents([documents[0], documents[2]])
    query = Pipeline()
    query.add_component("embedder", space["LmkitTextEmbedder"]("runs/elmo"))
    query.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=1))
    query.connect("embedder.embedding", "retriever.query_embedding")
    result = query.run({"embedder": {"text": TEXTS[2]}})
    assert result["retriever"]["documents"][0].content == TEXTS[2]


def test_transformers(wanted: list[list[float]]) -> None:
    """The lines for transformers run in a folder where the command above them has run."""
    command = ["export", "runs/elmo", "exported", "--to", "transformers"]
    assert f"lmkit {' '.join(command)}" in PAGE.read_text(encoding="utf-8")
    assert CliRunner().invoke(cli, command).exit_code == 0
    space = lines_of("transformers")
    # This run is causal, so `<s>` comes first.
    assert space["output"].last_hidden_state.shape == (2, 1 + 6, len(wanted[0]))
    assert space["model"](**space["words"])[0].shape == (1, 1 + 2, len(wanted[0]))


def test_sentence_transformers(wanted: list[list[float]]) -> None:
    """The lines for sentence-transformers run, and the folder that they save has the same vectors."""
    model = lines_of("sentence-transformers")["model"]
    np.testing.assert_allclose(model.encode(TEXTS), wanted, atol=1e-6)
