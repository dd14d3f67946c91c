"""Import libraries that one of lmkit's extras installs."""

import importlib
from types import ModuleType

from lmkit.errors import UsageError
from lmkit.plugins import install_hint


def needs(module: str, extra: str) -> ModuleType:
    """Import a library that one of lmkit's extras installs.

    Raises UsageError, with the command that installs the extra, if the library is missing.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise  # the library is installed, but one of its dependencies is missing
        raise UsageError(
            f"this needs the library {library}, which is not installed: {install_hint(extra)}"
        ) from error
