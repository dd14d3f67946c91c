"""Runs as models of the transformers library: importing this module registers their config, model and tokenizer.

A folder that `export` writes is an lmkit run, which `lmkit.load` can read, with transformers' config.json and
tokenizer_config.json. lmkit loads the model, since only its plugin can read its files: transformers would create
it without memory and then fill in the weights, which loses all other attributes of an encoder.

The tokenizer gives one id for each token of a string, or for each word of a list (`is_split_into_words=True`), and
also the `characters` from which the model restores the text (`lmkit.pipelines.spelling`): an encoder may read the
spelling of words, and words outside the vocabulary need not share an id.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from lmkit import api, run_paths, runs
from lmkit.corpus.word_lists import Words
from lmkit.errors import ModelError, UsageError
from lmkit.options import choose
from lmkit.pipelines import needs
from lmkit.pipelines.encoders import one_layer, save_run
from lmkit.pipelines.spelling import TEXT, WORD, kept_tokens, pieces_of, read, spell

# By name, so that type checkers can check this module without the library.
transformers: Any = needs("transformers", "transformers")
base: Any = needs("transformers.tokenization_utils_base", "transformers")
outputs: Any = needs("transformers.modeling_outputs", "transformers")

__all__ = ["LmkitConfig", "LmkitModel", "LmkitTokenizer", "export", "write_folder"]

CHARACTERS = "characters"


class LmkitConfig(transformers.PreTrainedConfig):
    """The config for transformers and its users; the run in the same folder has the model.

    layer: the layer of `last_hidden_state`: "top", "mix" or the number of a layer, as in `Model.embed`.
    separator: between the words of a list, as in `Model.embed`.
    """

    model_type = "lmkit"
    layer = "top"
    separator: str | None = None

    @classmethod
    def of(cls, model: api.Model) -> Self:
        """The config of a model; ModelError if it is not an encoder."""
        encoder = model.encoder
        return cls(
            hidden_size=encoder.width,
            num_hidden_layers=encoder.num_layers - 1,
            vocab_size=encoder.vocabulary.size + 1,
            pad_token_id=encoder.vocabulary.size,
        )


class LmkitModel(transformers.PreTrainedModel):
    """Any encoder of lmkit, including a recurrent causal model, for `AutoModel`.

    Raises UsageError when the encoder lacks the config's layer.
    """

    config_class = LmkitConfig
    main_input_name = "input_ids"

    def __init__(self, config: LmkitConfig, model: api.Model) -> None:
        super().__init__(config)
        self.encoder = model.encoder  # registers its weights if it is a module
        self.run = model
        one_layer(self.encoder, config.layer)  # refuses an unknown layer before reading
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: the weights are loaded already, and transformers would draw new ones."""

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    @property
    def dtype(self) -> torch.dtype:
        return next((weight.dtype for weight in self.parameters()), torch.float32)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        characters: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_ignored: Any,
    ) -> Any:
        """last_hidden_state (batch, tokens, features), and hidden_states, one per layer, on request.

        input_ids, attention_mask: (batch, tokens); characters: (batch, any): all from the tokenizer.
        Tokens whose mask is 0 are not read, and their vectors are zeros.
        Raises UsageError if the characters are missing or do not match the ids.
        """
        if characters is None:
            raise UsageError(
                "the model needs the characters of tokens, not only ids: call it as model(**tokenizer(...))"
            )
        tokens = input_ids != self.config.pad_token_id
        kept = tokens if attention_mask is None else tokens & attention_mask.bool()
        vectors = self.encoder.embed(_sentences(tokens, kept, characters, self.config.separator))
        if [rows.shape[1] for rows in vectors] != kept.sum(1).tolist():
            raise UsageError(
                "a truncated or masked text has other tokens than before: "
                "truncate it before the tokenizer, or give lists of words"
            )
        select = one_layer(self.encoder, self.config.layer)
        last = _padded(kept, [select(rows) for rows in vectors], self.encoder.width)
        layers = None
        if self.config.output_hidden_states if output_hidden_states is None else output_hidden_states:
            layers = tuple(
                _padded(kept, [rows[layer] for rows in vectors], self.encoder.width)
                for layer in range(self.encoder.num_layers)
            )
        output = outputs.BaseModelOutput(last_hidden_state=last, hidden_states=layers)
        wanted = self.config.return_dict if return_dict is None else return_dict
        return output if wanted else output.to_tuple()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *_args: Any,
        config: LmkitConfig | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: Any = None,
        **kwargs: Any,
    ) -> Self:
        """The model in a folder of this machine, in evaluation mode on the CPU, as lmkit loads it.

        kwargs: attributes of the config, such as `layer="mix"`; arguments for downloads are ignored.
        Raises ModelError when the folder has no valid run, UsageError for a device_map.
        """
        if device_map is not None:
            raise UsageError("an lmkit model is on one device: leave device_map out and call .to(device)")
        folder = _folder(pretrained_model_name_or_path)
        if config is None:
            config = LmkitConfig.from_pretrained(folder, **kwargs)
        model = cls(config, api.load(folder, device="cpu"))
        if dtype not in (None, "auto"):
            model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)
        return model.eval()

    def save_pretrained(
        self, save_directory: str | Path, *_args: Any, push_to_hub: bool = False, **_kwargs: Any
    ) -> None:
        """Write the run, with the model's current weights, and config.json."""
        if push_to_hub:
            raise UsageError("save_pretrained writes a folder: call model.push_to_hub(name) for the hub")
        directory = Path(save_directory)
        save_run(self.run, directory)
        self.config.architectures = [type(self).__name__]
        self.config.save_pretrained(directory)


class LmkitTokenizer(base.PreTrainedTokenizerBase):
    """The tokenizer of a run. Padding, which lmkit's vocabularies lack, is an additional id: vocabulary.size.

    part: the name and options of the tokenizer and the fingerprint of its vocabulary; by default, those of the run
    in the folder. name_or_path: the folder with the tokenizer's files. Raises ModelError if they are missing.
    """

    model_input_names = ("input_ids", "attention_mask", CHARACTERS)
    is_fast = False

    def __init__(
        self, part: Mapping[str, Any] | None = None, name_or_path: str | Path = "", **kwargs: Any
    ) -> None:
        folder = _folder(name_or_path)
        part = _part(folder) if part is None else dict(part)
        self.inner = _load_tokenizer(part, folder)
        kwargs.pop("added_tokens_decoder", None)
        kwargs.setdefault("pad_token", "<pad>")
        super().__init__(part=part, name_or_path=str(name_or_path), **kwargs)

    def _encode_plus(
        self,
        text: Any,
        text_pair: Any = None,
        *,
        padding_strategy: Any = False,
        truncation_strategy: Any = None,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: Any = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_offsets_mapping: bool = False,
        **_ignored: Any,
    ) -> Any:
        if text_pair is not None or return_overflowing_tokens or return_offsets_mapping:
            raise UsageError(
                "an lmkit tokenizer supports no pairs, offsets or overflowing tokens: leave them out"
            )
        single = isinstance(text, str) or (is_split_into_words and all(isinstance(w, str) for w in text))
        cut = truncation_strategy not in (None, base.TruncationStrategy.DO_NOT_TRUNCATE)
        rows = [
            self._row(sentence, is_split_into_words, max_length if cut else None)
            for sentence in ([text] if single else text)
        ]
        batch = self.pad(
            {name: [row[name] for row in rows] for name in ("input_ids", CHARACTERS)},
            padding=padding_strategy,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=padding_side,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
        )
        if single and return_tensors is None:
            return base.BatchEncoding({name: values[0] for name, values in batch.items()})
        return batch

    def _row(self, sentence: Any, words: bool, limit: int | None) -> dict[str, list[int]]:
        """The ids and characters of a string or of a list of words."""
        if isinstance(sentence, str) == words:
            wanted = "a list of words" if words else "a string (or say is_split_into_words=True)"
            raise UsageError(f"a sentence is of the type {type(sentence).__name__}: give {wanted}")
        if words:
            ids, pieces = [self._first_id(word) for word in sentence], list(sentence)
            spans = np.stack([np.arange(len(ids)), np.arange(1, len(ids) + 1)], 1)
        else:
            encoding = self.inner.encode(sentence)
            spans = encoding.spans
            ids, pieces = encoding.ids.tolist(), pieces_of(sentence, spans)
        kept = kept_tokens(spans, limit, left=self.truncation_side == "left")
        return {"input_ids": ids[kept], CHARACTERS: spell(pieces[kept], WORD if words else TEXT)}

    def pad(self, encoded_inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Pad as transformers does, and pad the characters to the longest row, always on the right."""
        if isinstance(encoded_inputs, Sequence):
            encoded_inputs = {name: [row[name] for row in encoded_inputs] for name in encoded_inputs[0]}
        fields = dict(encoded_inputs)
        rows = fields.pop(CHARACTERS, None)
        batch = super().pad(fields, *args, **kwargs)
        if rows is not None:
            batch[CHARACTERS] = _like(batch["input_ids"], rows)
        return batch

    @property
    def vocab_size(self) -> int:
        return self.inner.vocabulary.size

    def __len__(self) -> int:
        return self.vocab_size + 1

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        return {}

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        return {}

    def get_vocab(self) -> dict[str, int]:
        """Ids by their text; the last of several with one text."""
        return {self.inner.decode([id_]): id_ for id_ in range(self.vocab_size)}

    def tokenize(self, text: str, **_ignored: Any) -> list[str]:
        return pieces_of(text, self.inner.encode(text).spans)

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        return self.vocab_size if tokens == self.pad_token else self._first_id(tokens)

    def _first_id(self, word: str) -> int:
        """The id of a word: its first. The model's vectors for the word do not depend on it."""
        found = self.inner.ids(word)
        return int(found[0]) if found.size else self.inner.vocabulary.unk_id or 0

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        if isinstance(ids, int):
            return self.pad_token if ids == self.vocab_size else self.inner.decode([ids])
        shown = [id_ for id_ in map(int, ids) if not skip_special_tokens or id_ != self.vocab_size]
        return [self.convert_ids_to_tokens(id_) for id_ in shown]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def _decode(self, token_ids: Any, **_ignored: Any) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        return self.inner.decode([id_ for id_ in ids if id_ != self.vocab_size])

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return 0

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the tokenizer's files as in a run; those of an existing run are kept."""
        folder = Path(save_directory) / run_paths.TOKENIZER
        if not (Path(save_directory) / run_paths.MANIFEST).exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.inner.save(folder)
        return tuple(str(path) for path in folder.rglob("*") if path.is_file())


def export(run: str | Path, out: str | Path, *, overwrite: bool = False) -> None:
    """Write a run as a folder for `AutoModel`, `AutoTokenizer` and `pipeline`; `lmkit.load` can also read it.

    Raises UsageError when `out` is taken, ModelError when the run is not a valid encoder.
    """
    write_folder(api.load(run, device="cpu").run, Path(out), overwrite=overwrite)


def write_folder(run: runs.LoadedRun, out: Path, *, overwrite: bool = False) -> None:
    """The same for a loaded run; `lmkit export RUN OUT --to transformers` calls it."""
    runs.check_free(out, overwrite=overwrite)
    loaded = api.Model(run)
    model = LmkitModel(LmkitConfig.of(loaded), loaded)
    with runs.staging(out) as folder:
        model.save_pretrained(folder / "run")
        LmkitTokenizer(name_or_path=run.directory).save_pretrained(folder / "run")
        runs.put_in_place(folder / "run", out)


def _folder(path: str | Path) -> Path:
    if not Path(path).is_dir():
        raise ModelError(
            f"{path} is not a local folder, but lmkit models are loaded only from there: "
            "download it first (hf download NAME --local-dir FOLDER) and give that folder"
        )
    return Path(path)


def _part(folder: Path) -> dict[str, Any]:
    """The tokenizer's entry in a run."""
    manifest = runs.read_manifest(folder)
    vocabulary = manifest.get("vocabulary")
    fingerprint = vocabulary.get("fingerprint") if isinstance(vocabulary, dict) else None
    return {"tokenizer": manifest.get("tokenizer"), "fingerprint": fingerprint}


def _load_tokenizer(part: Mapping[str, Any], folder: Path) -> Any:
    """The tokenizer in a folder; ModelError unless it is unchanged since it was saved."""
    where = f"{folder}: part"
    if not isinstance(part.get("tokenizer"), dict):
        raise ModelError(f"{where}: damaged: it has no tokenizer; export the run again")
    try:
        chosen = choose("tokenizer", part["tokenizer"], where)
    except UsageError as error:
        raise ModelError(str(error)) from error
    tokenizer = chosen.load().load(folder / run_paths.TOKENIZER, chosen.options)
    if tokenizer.vocabulary.fingerprint != part.get("fingerprint"):
        raise ModelError(
            f"{folder / run_paths.TOKENIZER}: has changed since it was saved; export the run again"
        )
    return tokenizer


def _sentences(tokens: Tensor, kept: Tensor, characters: Tensor, separator: str | None) -> list[Any]:
    """The strings, or lists of words, of rows of characters, without the tokens that are not kept."""
    rows = characters.long().cpu().numpy()
    found, marks = [], set()
    for row, present, wanted in zip(rows, tokens.cpu().numpy(), kept.cpu().numpy(), strict=True):
        pieces, mark = read(row)
        if len(pieces) != present.sum():
            raise UsageError(
                "ids and characters do not match: truncate a text in the tokenizer "
                "(truncation=True, max_length=...), not its tensors"
            )
        found.append([piece for piece, use in zip(pieces, wanted[present], strict=True) if use])
        marks |= {mark} - {None}
    if len(marks) > 1:
        raise UsageError("strings and lists of words in one batch: give only one kind")
    if marks == {WORD}:
        return [Words(pieces, separator) for pieces in found]
    return ["".join(pieces) for pieces in found]


def _padded(kept: Tensor, rows: list[Tensor], width: int) -> Tensor:
    """(batch, tokens, features) with the vectors of each row where `kept` (batch, tokens) is true, else zeros."""
    vectors = torch.cat(rows) if rows else torch.zeros(0, width)
    padded = vectors.new_zeros(*kept.shape, width)
    padded[kept.to(vectors.device)] = vectors
    return padded


def _like(ids: Any, rows: Any) -> Any:
    """Rows of characters in the same type as ids: a list, or a padded array or tensor."""
    plain = [row if isinstance(row, list) else np.asarray(row).tolist() for row in rows]
    longest = max((len(row) for row in plain), default=0)
    padded = [row + [0] * (longest - len(row)) for row in plain]
    if isinstance(ids, Tensor):
        return torch.tensor(padded, dtype=torch.int64)
    return np.array(padded, np.int64) if isinstance(ids, np.ndarray) else cast(Any, padded)


transformers.AutoConfig.register(LmkitConfig.model_type, LmkitConfig, exist_ok=True)
transformers.AutoModel.register(LmkitConfig, LmkitModel, exist_ok=True)
transformers.AutoTokenizer.register(LmkitConfig, tokenizer_class=LmkitTokenizer, exist_ok=True)
