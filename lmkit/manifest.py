"""lmkit.json, which makes a directory a model: read and checked without loading the model."""

import reprlib
from pathlib import Path
from typing import Any

import lmkit
from lmkit import run_paths, strict_json
from lmkit.errors import LmkitError, ModelError, reason_of
from lmkit.pickles import SUFFIXES, refuse_pickle
from lmkit.run_paths import ARCHIVES, MANIFEST, is_unfinished, unfinished

FORMAT = 1


def read_manifest(directory: Path) -> dict[str, Any]:
    """lmkit.json, checked as far as its form goes."""
    path = directory / MANIFEST
    if not directory.is_dir():
        raise _no_directory(directory)
    if not path.exists():
        for other in sorted(directory.iterdir()):
            if other.suffix.lower() in SUFFIXES and other.is_file():
                refuse_pickle(other, by_name=True)
        if is_unfinished(directory):
            raise unfinished(directory)
        raise run_paths.not_a_run(directory)
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise ModelError(
            f"{path}: format {reprlib.repr(manifest.get('format'))}, this lmkit {lmkit.__version__} reads {FORMAT}; "
            f"it was written by lmkit {reprlib.repr(manifest.get('lmkit'))}: install a version that matches"
        )
    return manifest


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model, which nobody vouches for; ModelError where it holds none."""
    try:
        value = strict_json.read(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; restore it or train the model again") from None
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not sound JSON ({reason_of(error)}); restore it or train the model again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: must hold a JSON object, not {type(value).__name__}")
    return value


def _no_directory(path: Path) -> LmkitError:
    """The error for what was given in place of a run's directory."""
    if path.is_file():
        if path.name.endswith(ARCHIVES):
            return run_paths.is_archive(path)
        refuse_pickle(path, by_name=True)
    return run_paths.not_a_run(path)
