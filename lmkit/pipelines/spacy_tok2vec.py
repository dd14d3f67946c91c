"""The architecture `lmkit.Tok2Vec.v1` of spaCy: frozen vectors of a run and a trained projection, for any component."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.errors import UsageError
from lmkit.pipelines import needs, shared_model
from lmkit.pipelines.spacy import token_vectors

if TYPE_CHECKING:
    import numpy as np
    from spacy.tokens import Doc  # pyright: ignore[reportMissingImports]

    from lmkit.api import Model

__all__ = ["StoredRun", "tok2vec"]

thinc = needs("thinc.api", "spacy")

ARCHIVE = "run.zip"
MOST_KEPT = 1 << 28
"""Bytes of the vectors of training documents that are kept, so that each is computed once and not in every epoch."""


class StoredRun(thinc.Shim):
    """The run that a model reads, whose files are saved inside the model.

    run: its directory; after loading, that of an unpacked copy, which lives as long as this object. It is loaded when
    vectors are first needed, so the path of a saved pipeline's config need not exist.
    """

    def __init__(self, run: str | Path, device: str) -> None:
        super().__init__(None)
        self.run = Path(run)
        self.device = device
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None
        self._kept: dict[tuple[str, ...], Any] = {}
        self._room = MOST_KEPT

    def vectors(self, docs: "list[Doc]", *, layer: str | int, words: bool, keep: bool) -> "list[np.ndarray]":
        """`token_vectors` of the run; keep: remember them for the next time, up to `MOST_KEPT`."""
        if not keep:
            return token_vectors(self.load(), docs, layer=layer, words=words)
        keys = [tuple(token.text_with_ws for token in doc) for doc in docs]
        new = {key: doc for key, doc in zip(keys, docs, strict=True) if key not in self._kept}
        found = token_vectors(self.load(), list(new.values()), layer=layer, words=words)
        computed = dict(zip(new, found, strict=True))
        rows = [computed[key] if key in computed else self._kept[key] for key in keys]
        for key, vectors in computed.items():
            # The first documents stay: epochs are in random order, so that any is as likely to come again.
            if vectors.nbytes <= self._room:
                self._room -= vectors.nbytes
                self._kept[key] = vectors
        return rows

    def load(self) -> "Model":
        """The model of the run. Raises ModelError and PluginError as `lmkit.load` does."""
        return shared_model(self.run, self.device)

    def finish_update(self, optimizer: object) -> None:
        """Do nothing: the run is frozen."""

    def to_device(self, device_type: str, device_id: int) -> None:
        """Do nothing: the config's `device` is where the run computes."""

    def copy(self) -> "StoredRun":
        """Itself: nothing in it changes by training."""
        return self

    def to_bytes(self) -> bytes:
        """The run's files, without checkpoints. Raises ModelError if the run is damaged."""
        from lmkit.archive import write_archive

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / ARCHIVE
            write_archive(self.load().run, file)
            return file.read_bytes()

    def from_bytes(self, data: bytes) -> "StoredRun":
        """Read the run that `to_bytes` wrote. Raises ModelError if it is damaged."""
        from lmkit.archive import read_archive

        folder = tempfile.TemporaryDirectory(prefix="lmkit-")
        file = Path(folder.name) / ARCHIVE
        file.write_bytes(data)
        read_archive(file, Path(folder.name) / "run")
        file.unlink()
        self.run, self._unpacked = Path(folder.name) / "run", folder
        self._kept, self._room = {}, MOST_KEPT
        return self


def tok2vec(
    run: str,
    width: int,
    layer: str | int = "mix",
    device: str = "auto",
    words: bool = False,
    beside: Any = None,
) -> Any:
    """The layer of `@architectures = "lmkit.Tok2Vec.v1"`: (tokens, width) for each document, with a trained projection.

    run, layer, device, words: as for the component `lmkit` (`lmkit.pipelines.spacy.create`). The run's weights stay
    as they are; training changes the linear projection of its vectors to `width`.
    beside: another layer from documents to vectors, such as spacy.MultiHashEmbed.v2, which is trained too; its
    vectors are concatenated with those of the run before the projection.
    """
    linear = thinc.Linear(nO=width)
    vectors = thinc.Model(
        "lmkit_vectors",
        _forward,
        init=_init,
        dims={"nO": None},
        attrs={"layer": layer, "words": words},
        shims=[StoredRun(run, device)],
    )
    inputs = vectors if beside is None else thinc.concatenate(vectors, beside)

    def init(model: Any, X: Any = None, Y: Any = None) -> None:  # noqa: N803 (thinc's names)
        inputs.initialize(X=X)
        sizes = [part.maybe_get_dim("nO") for part in ([vectors] if beside is None else [vectors, beside])]
        if None in sizes:
            raise UsageError(
                "lmkit.Tok2Vec.v1: the layer in `beside` does not know its width; use one that does, such as "
                "spacy.MultiHashEmbed.v2"
            )
        linear.set_dim("nI", sum(sizes))
        projection.initialize()

    # spaCy's own layers are normalised like this one: components train as fast whatever the scale of the vectors.
    projection = thinc.chain(linear, thinc.LayerNorm(nI=width), thinc.Dropout(0.0))
    model = thinc.chain(inputs, thinc.with_array(projection))
    model.init = init
    model.set_dim("nO", width)
    return model


def _init(model: Any, X: Any = None, Y: Any = None) -> None:  # noqa: N803 (thinc's names)
    """Set the number of features of the run's vectors."""
    encoder = model.shims[0].load().encoder
    model.set_dim("nO", encoder.width * (encoder.num_layers if model.attrs["layer"] == "all" else 1))


def _forward(model: Any, docs: "list[Doc]", is_train: bool) -> tuple[list[Any], Callable[[Any], list["Doc"]]]:
    """(tokens, features) of each document; no gradient flows into the run."""
    layer, words = model.attrs["layer"], model.attrs["words"]
    found = model.shims[0].vectors(docs, layer=layer, words=words, keep=is_train)
    return [model.ops.asarray2f(rows) for rows in found], _nothing


def _nothing(gradients: Any) -> list["Doc"]:
    return []
