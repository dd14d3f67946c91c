"""Other names of options, as users of PyTorch's examples, fairseq and transformers type them."""

ALIASES: dict[str, tuple[str, ...]] = {
    "batch_size": ("batch",),
    "bptt": ("seq_len",),
    "clip_norm": ("max_grad_norm",),
    "embedding_size": ("emsize", "embedding_dim"),
    "hidden_size": ("hidden", "nhid"),
    "learning_rate": ("lr",),
    "log_every": ("log_interval", "logging_steps"),
    "max_epochs": ("epochs", "max_epoch", "num_train_epochs"),
    "max_steps": ("steps", "max_update"),
    "num_layers": ("layers", "nlayers"),
    "optimizer": ("optim",),
    "save_every": ("save_steps",),
    "schedule": ("lr_scheduler",),
    "temperature": ("temp",),
    "warmup": ("warmup_ratio",),
    "weight_decay": ("wd",),
}
"""Aliases by the name of an option, in any part. An option of that very name takes precedence over an alias."""

CANONICAL = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
