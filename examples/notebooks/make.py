"""Make each notebook of this folder from the script of the same name: python make.py.

In a script, `# %%` begins a cell of code and `# %% [markdown]` a cell of text, whose lines are comments. Edit the
scripts: they are shorter to read and to compare than notebooks.
"""

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def scripts() -> list[Path]:
    """The scripts that become notebooks."""
    return sorted(path for path in FOLDER.glob("*.py") if path.name != Path(__file__).name)


def notebook(script: str) -> str:
    """The notebook of a script, without outputs, as JSON (nbformat 4.5)."""
    cells = []
    for number, part in enumerate(re.split(r"^# %%", script, flags=re.MULTILINE)[1:], 1):
        first, _, body = part.partition("\n")
        is_text = first.strip() == "[markdown]"
        lines = body.strip("\n").splitlines()
        if is_text:
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        source = [f"{line}\n" for line in lines[:-1]] + lines[-1:]
        cell: dict[str, Any] = {"cell_type": "markdown" if is_text else "code", "id": f"cell-{number}"}
        if not is_text:
            cell |= {"execution_count": None, "outputs": []}
        cells.append({**cell, "metadata": {}, "source": source})
    found = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write all notebooks."""
    for script in scripts():
        text = notebook(script.read_text(encoding="utf-8"))
        script.with_suffix(".ipynb").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
