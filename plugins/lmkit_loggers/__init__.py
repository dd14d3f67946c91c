"""The built-in loggers, described without importing their libraries, which extras install."""

from lmkit import LoggerSpec, hookimpl


@hookimpl
def lmkit_loggers() -> list[LoggerSpec]:
    return [
        LoggerSpec(
            name="tensorboard",
            target="lmkit_loggers.tensorboard:TensorBoardLogger",
            summary="Event files for TensorBoard, in the run (extra tensorboard)",
        ),
        LoggerSpec(
            name="wandb",
            target="lmkit_loggers.weights_and_biases:WandbLogger",
            summary="Weights & Biases, online or offline (extra wandb)",
        ),
        LoggerSpec(
            name="trackio",
            target="lmkit_loggers.trackio:TrackioLogger",
            summary="trackio, on this machine or in a Space of Hugging Face (extra trackio)",
        ),
    ]
