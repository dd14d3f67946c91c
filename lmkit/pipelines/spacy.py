"""A component for spaCy's pipelines that stores a vector for each token in `doc.tensor`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lmkit.corpus.word_lists import Words
from lmkit.pipelines import copy_run, needs, shared_model

if TYPE_CHECKING:
    import numpy as np
    from spacy.language import Language  # pyright: ignore[reportMissingImports]
    from spacy.tokens import Doc  # pyright: ignore[reportMissingImports]

    from lmkit.api import Model

__all__ = ["Embedder", "create", "token_vectors"]

spacy_language = needs("spacy.language", "spacy")
spacy_util = needs("spacy.util", "spacy")


class Embedder:
    """Store the vectors of a document's tokens in `doc.tensor`: (tokens, features) float32.

    The encoder reads the document's text as one sentence, and a token gets the vector of its characters; tokens of
    white space get zeros. words: it reads a list of the tokens instead, for a model that was trained on such tokens
    separated by spaces.
    If the pipeline has no word vectors, spaCy computes the vectors and similarities of tokens, spans and documents
    from `doc.tensor`.

    The run is loaded with the first document, once per process, so the path in a saved pipeline's config need not
    exist: `to_disk` copies the run into the pipeline's folder, and `from_disk` uses the copy.
    """

    def __init__(self, run: str | Path, layer: str | int, device: str, words: bool = False) -> None:
        self.run = run
        self.layer = layer
        self.device = device
        self.words = words

    def __call__(self, doc: "Doc") -> "Doc":
        """The document with its `tensor`. Raises UsageError, ModelError, PluginError."""
        return next(self._embedded([doc]))

    def pipe(self, stream: Iterable["Doc"], *, batch_size: int) -> Iterator["Doc"]:
        """The same for a stream of documents, `batch_size` at a time."""
        for docs in spacy_util.minibatch(stream, batch_size):
            yield from self._embedded(docs)

    def _embedded(self, docs: list["Doc"]) -> Iterator["Doc"]:
        found = token_vectors(shared_model(self.run, self.device), docs, layer=self.layer, words=self.words)
        for doc, vectors in zip(docs, found, strict=True):
            doc.tensor = vectors
            yield doc

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Copy the run to `path`; spaCy calls this. Raises ModelError if it is damaged."""
        copy_run(self.run, Path(path))

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Self:
        """Use the run in `path`, or keep the config's path if no copy was saved."""
        from lmkit.run_paths import MANIFEST

        if (Path(path) / MANIFEST).is_file():
            self.run = Path(path)
        return self


def token_vectors(
    model: "Model", docs: Iterable["Doc"], *, layer: str | int, words: bool
) -> list["np.ndarray"]:
    """(tokens, features) float32 of each document, as `Embedder` describes them; layers "all" are concatenated.

    Raises UsageError for an unknown layer, ModelError for a model without vectors.
    """
    found = model.embed(
        [
            [token.text for token in doc]
            if words
            else Words.of(doc.text, [(token.idx, token.idx + len(token)) for token in doc])
            for doc in docs
        ],
        layer=layer,
    )
    return [(vectors.transpose(0, 1).flatten(1) if layer == "all" else vectors).numpy() for vectors in found]


@spacy_language.Language.factory(
    "lmkit", assigns=["doc.tensor"], default_config={"layer": "mix", "device": "auto", "words": False}
)
def create(nlp: "Language", name: str, run: str, layer: str | int, device: str, words: bool) -> Embedder:
    """The component of `nlp.add_pipe("lmkit", config={"run": "runs/elmo"})`.

    run: the directory of a run. layer: "mix", "top", a number from 0, or "all" for all layers, concatenated.
    device: as in `lmkit.load`. words: whether the tokens are read as a list of words, not in the document's text.
    """
    return Embedder(run, layer, device, words)
