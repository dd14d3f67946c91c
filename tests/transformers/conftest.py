"""Tiny models of transformers with random weights, with a tokenizer trained on the spot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

LINES = [
    "the king and the queen went to see a great old house",
    "nobody had been in the house for years",
    "the cat sat on the mat, and the dog lay by the door",
    "今天天气很好，我去打球",
    "",
] * 4
START = "<|endoftext|>"

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 24}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 24}),
    "llama": ("LlamaForCausalLM", {**SIZES, "intermediate_size": 48, "num_key_value_heads": 1}),
    "gpt-neox": ("GPTNeoXForCausalLM", {**SIZES, "intermediate_size": 48}),
}


def write_tokenizer(folder: Path) -> int:
    """Byte-level BPE as GPT-2's; returns the number of its tokens, of which the last is `START`."""
    library = pytest.importorskip("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_special_tokens([START])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()


def write_model(folder: Path, kind: str, *, more_ids: int = 0, **changes: Any) -> Any:
    """A model with random weights and its tokenizer in a folder; returns the model."""
    transformers = pytest.importorskip("transformers")
    folder.mkdir(exist_ok=True)
    size = write_tokenizer(folder)
    name, settings = KINDS[kind]
    target = getattr(transformers, name)
    ends = {"bos_token_id": size - 1, "eos_token_id": size - 1}
    torch.manual_seed(0)
    # A large range makes the predictions differ clearly.
    config = target.config_class(
        vocab_size=size + more_ids, initializer_range=0.5, **{**ends, **settings, **changes}
    )
    model = target(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """The folder and the model of each kind, made once."""
    found: dict[str, tuple[Path, Any]] = {}

    def folder(kind: str) -> tuple[Path, Any]:
        if kind not in found:
            path = tmp_path_factory.mktemp("models") / kind
            found[kind] = (path, write_model(path, kind))
        return found[kind]

    return folder


@pytest.fixture
def make() -> Callable[..., Any]:
    """`write_model`, for models with other settings."""
    return write_model
