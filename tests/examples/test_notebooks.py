"""The notebooks of the examples: made from their scripts, and run."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture
def make(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("notebooks/make.py")


def test_notebooks_are_what_the_scripts_make(make: ModuleType) -> None:
    """Each script has its notebook, without outputs, and no other is there."""
    assert [path.with_suffix(".ipynb") for path in make.scripts()] == NOTEBOOKS
    for path in make.scripts():
        wanted = make.notebook(path.read_text(encoding="utf-8"))
        assert path.with_suffix(".ipynb").read_text(encoding="utf-8") == wanted, "run python make.py"


def test_cells(make: ModuleType) -> None:
    """Text and code alternate as marked; blank lines between cells are dropped, those inside stay."""
    found = json.loads(
        make.notebook("# %% [markdown]\n# # Title\n#\n# text\n\n# %%\na = 1\n\nb = 2\n\n\n# %%\nb\n")
    )
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in found["cells"]]
    assert cells == [("markdown", "# Title\n\ntext"), ("code", "a = 1\n\nb = 2"), ("code", "b")]
    assert len({cell["id"] for cell in found["cells"]}) == 3


@pytest.mark.pipelines
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path) -> None:
    """Every cell runs in a real kernel; results show themselves as HTML, and training its progress."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    nbclient.NotebookClient(found, timeout=3600, kernel_name="python3").execute()
    shown = [
        output["data"].get("text/html", "")
        for cell in found.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert sum('class="words"' in text for text in shown) >= 2
    assert sum("<table" in text for text in shown) >= 4
    assert any("validation loss" in text for text in shown)
