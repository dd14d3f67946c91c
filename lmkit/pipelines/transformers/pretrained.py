"""The base class of runs as models of the transformers library: lmkit reads and writes their weights."""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from lmkit import api
from lmkit.errors import UsageError
from lmkit.kinds import is_module
from lmkit.pipelines import needs
from lmkit.pipelines.encoders import save_run
from lmkit.pipelines.transformers.config import LmkitConfig, local_folder

transformers: Any = needs("transformers", "transformers")


class LmkitPreTrained(transformers.PreTrainedModel):
    """A model of a run, whose weights are in the files of the run.

    A subclass registers the run's model, if it is a module, as a submodule before it calls `post_init`.
    """

    config_class = LmkitConfig
    main_input_name = "input_ids"

    def __init__(self, config: LmkitConfig, model: api.Model) -> None:
        super().__init__(config)
        self.run = model

    def post_init(self) -> None:
        super().post_init()
        inner = self.run.run.model
        if is_module(inner):
            self._prefix = next(name for name, module in self.named_modules() if module is inner) + "."
            self._register_load_state_dict_pre_hook(self._with_prefix)

    def _with_prefix(self, state_dict: dict[str, Tensor], prefix: str, *_args: Any) -> None:
        """Also load the names of a run's file, which transformers' Trainer reads when it resumes a training."""
        own = self.state_dict()
        for name in [name for name in state_dict if name.startswith(prefix)]:
            inner = name.removeprefix(prefix)
            if inner not in own and self._prefix + inner in own:
                state_dict[prefix + self._prefix + inner] = state_dict.pop(name)

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: the weights are loaded already, and transformers would draw new ones."""

    @property
    def device(self) -> torch.device:
        return self.run.device

    @property
    def dtype(self) -> torch.dtype:
        return next((weight.dtype for weight in self.parameters()), torch.float32)

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
        Raises ModelError when the folder has no valid run of such a model, UsageError for a device_map.
        """
        if device_map is not None:
            raise UsageError("an lmkit model is on one device: leave device_map out and call .to(device)")
        folder = local_folder(pretrained_model_name_or_path)
        if config is None:
            config = LmkitConfig.from_pretrained(folder, **kwargs)
        model = cls(config, api.load(folder, device="cpu"))
        if dtype not in (None, "auto"):
            model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)
        return model.eval()

    def save_pretrained(
        self,
        save_directory: str | Path,
        is_main_process: bool = True,
        *_args: Any,
        push_to_hub: bool = False,
        **_kwargs: Any,
    ) -> None:
        """Write the run, with the model's current weights, config.json and, if it generates, its settings."""
        if push_to_hub:
            raise UsageError("save_pretrained writes a folder: call model.push_to_hub(name) for the hub")
        if not is_main_process:
            return
        directory = Path(save_directory)
        save_run(self.run, directory)
        self.config.architectures = [type(self).__name__]
        self.config.save_pretrained(directory)
        if self.can_generate():
            self.generation_config.save_pretrained(directory)
