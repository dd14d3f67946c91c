"""The processes that torchrun starts, by the variables that it sets in their environment."""

import os
import socket
from pathlib import Path

from lmkit.errors import UsageError

MARK = ".launch"
"""The file in a run's directory that names the launch whose processes train in it."""


def started() -> int:
    """The number of processes that were started to train together, including this one."""
    # Both, since other programs have variables called WORLD_SIZE.
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ and "WORLD_SIZE" in os.environ else 1


def follows() -> bool:
    """Whether another process leads this one."""
    return started() > 1 and os.environ["RANK"] != "0"


def local_rank() -> int:
    """The number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def may_restart() -> bool:
    """Whether the processes start again when one of them is killed."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def is_restart() -> bool:
    """Whether the processes have started before, for the same command."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def attempt() -> str:
    """A name for this start of the processes; on several machines the same for all starts.

    There, only the torchrun of the machine whose process was killed counts a restart.
    """
    return "all" if _machines() > 1 else os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def check_restarts() -> None:
    """Raise UsageError if the processes could not connect again after a restart."""
    if may_restart() and _machines() > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UsageError(
            "--max-restarts on several machines: start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its "
            "environment, on each of them; without it, restarted processes look for those before"
        )


def _machines() -> int:
    return int(os.environ.get("GROUP_WORLD_SIZE", "1"))


def mark(directory: Path) -> None:
    """Note that this launch trains in a directory."""
    (directory / MARK).write_text(_name(), encoding="utf-8")


def has_marked(directory: Path) -> bool:
    """Whether this launch trained in a directory before a restart."""
    try:
        return (directory / MARK).read_text(encoding="utf-8") == _name()
    except OSError:
        return False


def _name() -> str:
    """A name that only this launch has; its restarts have it too."""
    own = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    # Without --rdzv-id all launches are called "none", and the same torchrun on one machine starts process 0 again.
    return f"{socket.gethostname()} {os.getppid()}" if own == "none" else own
