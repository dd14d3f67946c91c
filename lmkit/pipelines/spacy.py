"""A component for spaCy's pipelines that writes a vector for each token into `doc.tensor`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lmkit.pipelines import copy_run, needs, shared_model

if TYPE_CHECKING:
    from spacy.language import Language  # pyright: ignore[reportMissingImports]
    from spacy.tokens import Doc  # pyright: ignore[reportMissingImports]

__all__ = ["Embedder", "create"]

spacy_language = needs("spacy.language", "spacy")
spacy_util = needs("spacy.util", "spacy")


class Embedder:
    """Writes the vectors of a document's tokens into `doc.tensor`: (tokens, features) float32.

    The encoder reads spaCy's tokens as the words of one sentence; white space is no word, and its rows are zeros.
    Where the pipeline has no word vectors of its own, spaCy takes the vectors and similarities of tokens, spans
    and documents from `doc.tensor` by itself.

    The run is loaded with the first document, once a process, so that the path in a saved pipeline's config may
    be gone: `to_disk` puts a copy of the run into the pipeline's folder, and `from_disk` turns to it.
    """

    def __init__(self, run: str | Path, layer: str | int, device: str) -> None:
        self.run = run
        self.layer = layer
        self.device = device

    def __call__(self, doc: "Doc") -> "Doc":
        """The document with its `tensor`. Raises UsageError, ModelError, PluginError."""
        return next(self._embedded([doc]))

    def pipe(self, stream: Iterable["Doc"], *, batch_size: int) -> Iterator["Doc"]:
        """The same for a stream of documents, `batch_size` at a time."""
        for docs in spacy_util.minibatch(stream, batch_size):
            yield from self._embedded(docs)

    def _embedded(self, docs: list["Doc"]) -> Iterator["Doc"]:
        words = [[token.text for token in doc if not token.is_space] for doc in docs]
        found = shared_model(self.run, self.device).embed(words, layer=self.layer)
        for doc, vectors in zip(docs, found, strict=True):
            if self.layer == "all":
                vectors = vectors.transpose(0, 1).flatten(1)
            doc.tensor = vectors.new_zeros(len(doc), vectors.shape[1]).numpy()
            doc.tensor[[token.i for token in doc if not token.is_space]] = vectors.numpy()
            yield doc

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Copy the run to `path`; spaCy calls this. Raises ModelError where it is damaged."""
        copy_run(self.run, Path(path))

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Self:
        """Take the run from `path`; the config's path stays where no copy was saved."""
        from lmkit.run_paths import MANIFEST

        if (Path(path) / MANIFEST).is_file():
            self.run = Path(path)
        return self


@spacy_language.Language.factory(
    "lmkit", assigns=["doc.tensor"], default_config={"layer": "mix", "device": "auto"}
)
def create(nlp: "Language", name: str, run: str, layer: str | int, device: str) -> Embedder:
    """The component of `nlp.add_pipe("lmkit", config={"run": "runs/elmo"})`.

    run: the directory of a run. layer: "mix", "top", a number from 0, or "all" for the layers side by side.
    device: as of `lmkit.load`.
    """
    return Embedder(run, layer, device)
