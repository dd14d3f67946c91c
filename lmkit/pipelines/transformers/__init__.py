"""Runs as models of the transformers library: importing this package registers their config, models and tokenizer.

A folder that `export` writes is an lmkit run, which `lmkit.load` can read, with transformers' config.json and
tokenizer_config.json. lmkit loads the model, since only its plugin can read its files: transformers would create
it without memory and then fill in the weights, which loses all other attributes.
"""

from pathlib import Path
from typing import Any

from lmkit import api, runs
from lmkit.pipelines import needs
from lmkit.pipelines.transformers.cache import LmkitCache
from lmkit.pipelines.transformers.causal import LmkitForCausalLM
from lmkit.pipelines.transformers.config import LmkitConfig, is_causal
from lmkit.pipelines.transformers.encoder import LmkitModel
from lmkit.pipelines.transformers.tokenizer import CAUSAL, LmkitTokenizer

transformers: Any = needs("transformers", "transformers")

__all__ = [
    "LmkitCache",
    "LmkitConfig",
    "LmkitForCausalLM",
    "LmkitModel",
    "LmkitTokenizer",
    "export",
    "write_folder",
]


def export(run: str | Path, out: str | Path, *, overwrite: bool = False) -> None:
    """Write a run as a folder for transformers, which `lmkit.load` can also read.

    It is for `AutoModel`, `AutoTokenizer` and `pipeline`, and that of a causal neural model for `AutoModelForCausalLM`.
    Raises UsageError when `out` is taken, ModelError when the run is neither a valid encoder nor such a model.
    """
    write_folder(api.load(run, device="cpu").run, Path(out), overwrite=overwrite)


def write_folder(run: runs.LoadedRun, out: Path, *, overwrite: bool = False) -> None:
    """The same for a loaded run; `lmkit export RUN OUT --to transformers` calls it."""
    runs.check_free(out, overwrite=overwrite)
    loaded = api.Model(run)
    config = LmkitConfig.of(loaded)
    causal = is_causal(loaded)
    model = LmkitForCausalLM(config, loaded) if causal else LmkitModel(config, loaded)
    with runs.staging(out) as folder:
        model.save_pretrained(folder / "run")
        LmkitTokenizer(None, run.directory, **(CAUSAL if causal else {})).save_pretrained(folder / "run")
        runs.put_in_place(folder / "run", out)


transformers.AutoConfig.register(LmkitConfig.model_type, LmkitConfig, exist_ok=True)
transformers.AutoModel.register(LmkitConfig, LmkitModel, exist_ok=True)
transformers.AutoModelForCausalLM.register(LmkitConfig, LmkitForCausalLM, exist_ok=True)
transformers.AutoTokenizer.register(LmkitConfig, tokenizer_class=LmkitTokenizer, exist_ok=True)
