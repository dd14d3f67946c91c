"""The original's weights: the published vectors, every variant, and files that are not what they should be."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lmkit_elmo.original import read
from lmkit_elmo.original_options import OriginalOptions
from torch import Tensor

import lmkit
from lmkit.cli import cli
from lmkit.errors import ModelError, UsageError

Arrays = dict[str, np.ndarray]
SENTENCE = ["The", "cat", "naïve", "x" * 60, "antidisestablishmentarianism", ","]


def options_of(**changes: Any) -> dict[str, Any]:
    """An options.json of a small network; changes: keys of its two tables."""
    stack = {
        "dim": 6, "projection_dim": 4, "n_layers": 2, "cell_clip": 0.3, "proj_clip": 0.2, "use_skip_connections": True
    }  # fmt: skip
    characters = {
        "embedding": {"dim": 3}, "filters": [[1, 2], [3, 4], [5, 3]], "n_highway": 2, "n_characters": 262,
        "max_characters_per_token": 50, "activation": "relu",
    }  # fmt: skip
    for key, value in changes.items():
        table = stack if key in stack else characters
        table[key] = value
        if value is None:
            del table[key]
    return {"lstm": stack, "char_cnn": characters}


def arrays_of(options: dict[str, Any], rows: int = 261) -> Arrays:
    """Weights for it, by the paths that bilm-tf gives them."""
    stack, characters = options["lstm"], options["char_cnn"]
    dim, width, size = stack["dim"], stack["projection_dim"], characters["embedding"]["dim"]
    total = sum(number for _, number in characters["filters"])
    shapes: dict[str, tuple[int, ...]] = {"char_embed": (rows, size)}
    for i, (length, number) in enumerate(characters["filters"]):
        shapes |= {f"CNN/W_cnn_{i}": (1, length, size, number), f"CNN/b_cnn_{i}": (number,)}
    for i in range(characters.get("n_highway", 0)):
        for gate in ("carry", "transform"):
            shapes |= {f"CNN_high_{i}/W_{gate}": (total, total), f"CNN_high_{i}/b_{gate}": (total,)}
    if total != width:
        shapes |= {"CNN_proj/W_proj": (total, width), "CNN_proj/b_proj": (width,)}
    for direction in range(2):
        for layer in range(stack["n_layers"]):
            at = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            shapes |= {f"{at}/W_0": (2 * width, 4 * dim), f"{at}/B": (4 * dim,)}
            if dim != width:
                shapes[f"{at}/W_P_0"] = (dim, width)
    chance = np.random.default_rng(3)
    return {name: chance.normal(0, 0.6, shape).astype("f4") for name, shape in shapes.items()}


class Plain:
    """The network written down step by step, one sentence at a time, over all 50 positions of a word."""

    def __init__(self, options: dict[str, Any], arrays: Arrays) -> None:
        self.stack, self.characters = options["lstm"], options["char_cnn"]
        self.arrays = {name: array.astype("f8") for name, array in arrays.items()}

    def ids(self, word: str) -> list[int]:
        if word in ("<S>", "</S>"):
            inside = [256 if word == "<S>" else 257]
        else:
            inside = list(word.encode()[:48])
        ids = [258, *inside, 259]
        return [i + 1 for i in ids + [260] * (50 - len(ids))]

    def word(self, word: str) -> np.ndarray:
        a = self.arrays
        table = np.concatenate([np.zeros_like(a["char_embed"][:1]), a["char_embed"]])
        x = table[self.ids(word)]
        act = {"relu": lambda v: np.maximum(v, 0), "tanh": np.tanh}[self.characters["activation"]]
        parts = []
        for i, (length, _) in enumerate(self.characters["filters"]):
            weight, bias = a[f"CNN/W_cnn_{i}"][0], a[f"CNN/b_cnn_{i}"]
            windows = [np.tensordot(x[t : t + length], weight, 2) + bias for t in range(50 - length + 1)]
            parts.append(act(np.max(windows, 0)))
        y = np.concatenate(parts)
        for i in range(self.characters.get("n_highway", 0)):
            at = f"CNN_high_{i}"
            gate = sigmoid(y @ a[f"{at}/W_carry"] + a[f"{at}/b_carry"])
            new = np.maximum(y @ a[f"{at}/W_transform"] + a[f"{at}/b_transform"], 0)
            y = gate * new + (1 - gate) * y
        return y @ a["CNN_proj/W_proj"] + a["CNN_proj/b_proj"] if "CNN_proj/W_proj" in a else y

    def layers(self, words: list[str]) -> np.ndarray:
        """(layers, tokens, 2 width)."""
        x = np.stack([self.word(word) for word in ("<S>", *words, "</S>")])
        ways = [self.direction(0, x), [layer[::-1] for layer in self.direction(1, x[::-1])]]
        layers = [np.concatenate(pair, 1) for pair in zip(*ways, strict=True)]
        return np.stack([np.concatenate([x, x], 1), *layers])[:, 1:-1]

    def direction(self, direction: int, x: np.ndarray) -> list[np.ndarray]:
        found = []
        for layer in range(self.stack["n_layers"]):
            at = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            y = self.lstm(at, x)
            x = y + x if layer and self.stack.get("use_skip_connections") else y
            found.append(x)
        return found

    def lstm(self, at: str, x: np.ndarray) -> np.ndarray:
        a, ys = self.arrays, []
        clip, bound = self.stack.get("cell_clip") or np.inf, self.stack.get("proj_clip") or np.inf
        c, h = np.zeros(self.stack["dim"]), np.zeros(self.stack["projection_dim"])
        for row in x:
            i, j, f, o = np.split(np.concatenate([row, h]) @ a[f"{at}/W_0"] + a[f"{at}/B"], 4)
            c = np.clip(sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j), -clip, clip)
            h = sigmoid(o) * np.tanh(c)
            if f"{at}/W_P_0" in a:
                h = np.clip(h @ a[f"{at}/W_P_0"], -bound, bound)
            ys.append(h)
        return np.stack(ys)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., OriginalOptions]:
    """files(options, arrays): the two files, and where they are."""

    def make(
        options: Any, arrays: Arrays, change: Callable[[h5py.File], Any] | None = None
    ) -> OriginalOptions:
        described, weights = tmp_path / "options.json", tmp_path / "weights.hdf5"
        described.write_text(options if isinstance(options, str) else json.dumps(options), encoding="utf-8")
        with h5py.File(weights, "w") as file:
            for name, array in arrays.items():
                file[name] = array
            if change:
                change(file)
        return OriginalOptions(str(described), str(weights))

    return make


@pytest.fixture(scope="module")
def published(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the published small model, made by the command."""
    folder, out = shared / "reference" / "elmo", tmp_path_factory.mktemp("published") / "run"
    line = [
        "import",
        "elmo",
        "--options",
        folder / "options.json",
        "--weights",
        folder / "lm_weights.hdf5",
        "--out",
        out,
    ]
    result = CliRunner().invoke(cli, [str(part) for part in line])
    assert (result.exit_code, result.stdout) == (0, "")
    return out


@torch.no_grad()
def test_published_sentences(published: Path, shared: Path) -> None:
    """With the states carried from batch to batch, row by row, all 30 sentences have their published vectors."""
    folder = shared / "reference" / "elmo"
    encoder: Any = lmkit.load(published).encoder
    sentences = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    rows = [h5py.File(folder / f"lm_embeddings_{row}.hdf5") for row in range(3)]
    stateless = 0
    for i in range(10):
        batch = [sentences[row][i].split() for row in range(3)]
        alone = encoder.embed(batch)
        for row, layers in enumerate(encoder.embed(batch, stateful=True)):
            wanted = torch.tensor(rows[row][str(i)][()])  # pyright: ignore
            assert torch.allclose(top(layers), wanted, rtol=1e-5, atol=1e-6), (row, i)
            stateless += torch.allclose(top(alone[row]), wanted, rtol=1e-5, atol=1e-6)
    assert stateless == 3  # the first batch


def top(layers: Tensor) -> Tensor:
    """[forward, backward] of the last layer."""
    return torch.stack(layers[-1].chunk(2, -1))


@torch.no_grad()
def test_published_words(published: Path, shared: Path) -> None:
    """All 458 words have their published vectors, those of the two boundaries among them."""
    folder = shared / "reference" / "elmo"
    encoder: Any = lmkit.load(published).encoder
    words = (folder / "vocab_test.txt").read_text(encoding="utf-8").split("\n")
    with h5py.File(folder / "elmo_token_embeddings.hdf5") as file:
        wanted = torch.tensor(file["embedding"][()])  # pyright: ignore
    found = encoder.inputs.words(words)
    for word, boundary in zip(("<S>", "</S>"), encoder.inputs.boundaries(), strict=True):
        found[words.index(word)] = boundary
    assert len(words) == 458
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_no_scores(published: Path) -> None:
    """A file without a softmax gives vectors and no scores, and says so in one line."""
    result = CliRunner().invoke(cli, ["eval", str(published), __file__])
    assert result.exit_code == 4
    assert "no output layer" in result.stderr


def test_states_of_smaller_batches(published: Path) -> None:
    """A smaller batch goes on with, and changes, the states of its first rows only."""
    one, two, three = [["The", "cat"]], [["a"], ["dog", "barked"]], [["It"], [], ["was"]]
    encoder: Any = lmkit.load(published).encoder
    with torch.no_grad():
        rows = [encoder.embed(batch, stateful=True) for batch in (two, one, three)]
        encoder.forget()
        # Each row by itself, in a separate batch.
        first = [encoder.embed([words], stateful=True)[0] for words in (["a"], ["The", "cat"], ["It"])]
        encoder.forget()
        second = [encoder.embed([words], stateful=True)[0] for words in (["dog", "barked"], [])]
    for found, wanted in zip((rows[0][0], rows[1][0], rows[2][0]), first, strict=True):
        torch.testing.assert_close(found, wanted)
    for found, wanted in zip((rows[0][1], rows[2][1]), second, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("rows", [261, 262])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_skip_connections": False},
        {"use_skip_connections": None, "n_characters": 261},
        {"projection_dim": 6},
        {"projection_dim": 9, "dim": 9},
        {"projection_dim": 9, "dim": 12},
        {"n_highway": None},
        {"n_highway": 0},
        {"activation": "tanh", "n_layers": 3},
        {"cell_clip": None, "proj_clip": None, "n_layers": 1},
        {"filters": [[7, 4]], "n_highway": 1},
    ],
    ids=str,
)
def test_every_variant(
    files: Callable[..., OriginalOptions], tmp_path: Path, changes: dict[str, Any], rows: int
) -> None:
    """Skip connections, projections, characters, highways, clips: each with and without equals the plain network."""
    options = options_of(**changes)
    arrays = arrays_of(options, rows)
    read(tmp_path / "run", options=files(options, arrays))
    encoder = lmkit.load(tmp_path / "run").encoder
    with torch.no_grad():
        found = encoder.embed([SENTENCE, [], ["a"]])
    wanted = Plain(options, arrays).layers(SENTENCE)
    torch.testing.assert_close(found[0], torch.tensor(wanted, dtype=torch.float32), rtol=1e-4, atol=1e-5)
    assert found[1].shape == (options["lstm"]["n_layers"] + 1, 0, wanted.shape[2])


OPTIONS = options_of()
LSTM = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell"


def _replace(name: str, make: Callable[[h5py.File], Any]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        make(file)

    return change


WRONG_WEIGHTS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "missing": (_replace("CNN/W_cnn_1", lambda f: None), "no dataset 'CNN/W_cnn_1'"),
    "missing group": (_replace("RNN_1", lambda f: None), "no dataset 'RNN_1/"),
    "shape": (_replace("CNN/b_cnn_1", lambda f: f.create_dataset("CNN/b_cnn_1", (5,), "f4", np.ones(5))), "wanted [4]"),
    "rank": (_replace("char_embed", lambda f: f.create_dataset("char_embed", (261,), "f4", np.ones(261))), "[261, 3]"),
    "type": (_replace(f"{LSTM}/B", lambda f: f.create_dataset(f"{LSTM}/B", (24,), "i8", np.ones(24))), "float32"),
    "huge": (_replace("char_embed", lambda f: f.create_dataset("char_embed", (10**12, 3), "f4")), "char_embed"),
    "not there": (_replace("char_embed", lambda f: f.create_dataset("char_embed", (261, 3), "f4")), "holds fewer"),
    "external": (_replace("RNN_0", lambda f: f.__setitem__("RNN_0", h5py.ExternalLink("w.hdf5", "RNN_0"))), "a link"),
    "soft": (_replace("RNN_0", lambda f: f.__setitem__("RNN_0", h5py.SoftLink("/RNN_1"))), "a link"),
    "a file's": (
        _replace("CNN/b_cnn_0", lambda f: f.create_dataset("CNN/b_cnn_0", (2,), "f4", external=[("b", 0, 8)])),
        "other files",
    ),
    "infinite": (lambda f: f["CNN/b_cnn_0"].__setitem__(0, np.inf), "'CNN/b_cnn_0' contains NaN or an infinity"),  # pyright: ignore
    "third layer": (
        lambda f: f.__setitem__(f"{LSTM.replace('Cell0', 'Cell2')}/B", np.ones(24, "f4")),
        "Cell2', which is not in the options",
    ),
    "third highway": (lambda f: f.__setitem__("CNN_high_2/b_carry", np.ones(9, "f4")), "CNN_high_2"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_WEIGHTS)
def test_wrong_weights(files: Callable[..., OriginalOptions], tmp_path: Path, name: str) -> None:
    """Weights that are not those of the options, or not in the file, are one line of a ModelError, and no run."""
    change, message = WRONG_WEIGHTS[name]
    given = files(OPTIONS, arrays_of(OPTIONS), change)
    with pytest.raises(ModelError) as caught:
        read(tmp_path / "run", options=given)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(given.weights))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "options.json"),
        ("[]", "not an object"),
        ('{"lstm": 3}', "lstm is not an object"),
        ('{"lstm": {}, "lstm": {}}', "twice"),
        ("[" * 100_000, "nested"),
        (" " * (1 << 21), "bytes"),
        (options_of(dim=10**12), "lstm.dim is 1000000000000"),
        (options_of(dim=-1), "lstm.dim is -1"),
        (options_of(dim=6.0), "lstm.dim"),
        (options_of(dim=True), "lstm.dim"),
        (options_of(dim=None), "lstm.dim is missing"),
        (options_of(projection_dim=7), "more than lstm.dim"),
        (options_of(n_layers=10**6), "n_layers"),
        (options_of(n_layers=0), "n_layers"),
        (options_of(cell_clip=-3), "cell_clip"),
        (options_of(proj_clip="3"), "proj_clip"),
        (options_of(use_skip_connections=1), "use_skip_connections"),
        (options_of(activation="gelu"), "activation"),
        (options_of(activation=None), "activation is missing"),
        (options_of(filters=[]), "filters"),
        (options_of(filters=[[1, 2, 3]]), "filters"),
        (options_of(filters=[[51, 2]]), "filters"),
        (options_of(filters=[[1, 10**12]]), "filters"),
        (options_of(filters=[["1", 2]]), "filters"),
        (options_of(filters=[[1, 65536]] * 64), "weights.hdf5"),
        (options_of(max_characters_per_token=40), "max_characters_per_token"),
        (options_of(n_characters=300), "n_characters"),
        (options_of(n_highway=10**9), "n_highway"),
        (options_of(embedding={"dim": 0}), "char_cnn.embedding.dim"),
        (options_of() | {"bidirectional": False}, "bidirectional"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_wrong_options(
    files: Callable[..., OriginalOptions], tmp_path: Path, options: Any, message: str
) -> None:
    """Options that no such network has, or that the weights do not fit, are one line of a ModelError."""
    with pytest.raises(ModelError, match=message) as caught:
        read(tmp_path / "run", options=files(options, arrays_of(OPTIONS)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_damaged_weights(files: Callable[..., OriginalOptions], tmp_path: Path) -> None:
    """A file that is cut off or changed is a ModelError or another model, never a crash."""
    given = files(OPTIONS, arrays_of(OPTIONS))
    path = Path(given.weights or "")
    sound = path.read_bytes()
    for size in range(0, len(sound), 997):
        path.write_bytes(sound[:size])
        with pytest.raises(ModelError):
            read(tmp_path / "run", options=given)
    chance = np.random.default_rng(0)
    for _ in range(60):
        changed = np.frombuffer(sound, np.uint8).copy()
        changed[chance.integers(len(sound), size=8)] = chance.integers(256, size=8)
        path.write_bytes(changed.tobytes())
        with suppress(ModelError):
            read(tmp_path / "run", options=given, overwrite=True)


def test_command_needs_both_files(tmp_path: Path) -> None:
    """Without one of the two files, or where a run is already, the command says what to give."""
    with pytest.raises(UsageError, match=r"--options options\.json and --weights"):
        read(tmp_path / "run", options=OriginalOptions("options.json"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    with pytest.raises(UsageError, match="overwrite"):
        read(tmp_path / "run", options=OriginalOptions("options.json", "weights.hdf5"))
    with pytest.raises(ModelError, match="No such file or directory"):
        read(tmp_path / "new", options=OriginalOptions(str(tmp_path / "no.json"), "weights.hdf5"))
    result = CliRunner().invoke(cli, ["import", "elmo", "--help"])
    assert "FILE" not in result.output
    assert "--options TEXT" in result.output


def test_missing_library(
    files: Callable[..., OriginalOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without h5py the error says which extra brings it."""
    given = files(OPTIONS, arrays_of(OPTIONS))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UsageError, match=r"pip install '.*\[elmo\]'"):
        read(tmp_path / "run", options=given)
