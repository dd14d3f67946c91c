"""Import a folder with a causal model of transformers as a run."""

from pathlib import Path
from typing import Any

from lmkit import runs
from lmkit.contracts import Tokenizer
from lmkit.errors import ModelError, UsageError
from lmkit.options import choose
from lmkit_transformers.folder import CONFIG, check_causal, load_model
from lmkit_transformers.model import TransformersModel, longest_context
from lmkit_transformers.options import DEFAULT_CONTEXT, ImportOptions
from lmkit_transformers.windows import kept

TOKENIZER_FILE = "tokenizer.json"


def read(
    file: Path,
    out: Path,
    *,
    overwrite: bool = False,
    max_expansion: float | None = None,
    options: ImportOptions,
) -> None:
    """Create a run from a local folder; its files are copied, and nothing is downloaded or unpickled.

    Raises UsageError when `out` is taken or the library is missing, ModelError when the folder has no causal model in
    safetensors with a tokenizer.json; then `out` is unchanged.
    """
    runs.check_free(out, overwrite=overwrite)
    if not file.is_dir():
        raise UsageError(
            f"{file} is not a folder; models are imported from local folders: download one first (hf download NAME "
            "--local-dir FOLDER)"
        )
    tokens = _tokens(file)
    config = runs.read_json(file / CONFIG)
    end = options.end_token or _named(tokens, _first(config.get("eos_token_id")))
    if end is None:
        raise UsageError(
            f"{file / CONFIG} names no token after a text; give one of the tokenizer as --end-token"
        )
    tokenizer_table: dict[str, Any] = {
        "name": "lmkit:hf",
        "file": str(file / TOKENIZER_FILE),
        "end_token": end,
    }
    tokenizer_choice = choose("tokenizer", tokenizer_table, "import")
    tokenizer: Tokenizer = tokenizer_choice.load().from_file(file / TOKENIZER_FILE, tokenizer_choice.options)
    begin = _begin_id(file, config, tokens, options)
    network = load_model(file)
    check_causal(network, file)
    context = options.context or min(longest_context(network.config) or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    table = {"name": "lmkit:transformers", "begin_id": begin, "context": context, "reset": options.reset}
    chosen = choose("model", table, "import")
    model = TransformersModel.around(network, file, chosen.options, tokenizer.vocabulary)
    runs.make_run(
        out, model, tokenizer, model_choice=chosen, tokenizer_choice=tokenizer_choice,
        data={
            "description": f"imported from {file.name}",
            "notice": f"a text begins with {_named(tokens, begin) or begin} and a line ends with {end}; a token is "
            f"predicted from at most {context:,} before it, and in a longer text from at least {kept(context) + 1:,}",
        },
        overwrite=overwrite,
    )  # fmt: skip


def _tokens(folder: Path) -> dict[str, Any]:
    """The ids of the tokens in a folder's tokenizer.json, as far as they can be found."""
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelError(
            f"{folder} has no {TOKENIZER_FILE}; write it with transformers: "
            f"AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    table = runs.read_json(folder / TOKENIZER_FILE)
    model = table.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):
        found = {str(pair[0]): i for i, pair in enumerate(vocabulary) if isinstance(pair, list) and pair}
    else:
        found = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    added = table.get("added_tokens")
    added = added if isinstance(added, list) else []
    tokens = (token for token in added if isinstance(token, dict))
    return found | {str(token.get("content")): token.get("id") for token in tokens}


def _first(value: Any) -> Any:
    """An id of config.json; of several, the first."""
    return value[0] if isinstance(value, list) and value else value


def _named(tokens: dict[str, Any], i: Any) -> str | None:
    return next((token for token, id_ in tokens.items() if id_ == i), None)


def _begin_id(folder: Path, config: dict[str, Any], tokens: dict[str, Any], options: ImportOptions) -> int:
    """The id of the token before every text."""
    if options.begin_token is not None:
        if options.begin_token not in tokens:
            raise UsageError(
                f"{folder}: its tokenizer has no token {options.begin_token!r}; give another --begin-token"
            )
        return tokens[options.begin_token]
    for name in ("bos_token_id", "eos_token_id"):
        found = _first(config.get(name))
        if type(found) is int and found >= 0:
            return found
    raise UsageError(
        f"{folder / CONFIG} names no token before a text; give one of the tokenizer as --begin-token"
    )
