"""Build the documentation as a site: python docs/make_site.py [--serve] (pip install '.[docs]')."""

import shutil
import subprocess
import sys
from pathlib import Path

from make_api import API

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "build" / "pages"
COPIED = ("*.md", "docs/*.md", "docs/*.png", "examples/*/*.md", "examples/*/*.png")


def gather() -> None:
    """Copy the pages and pictures into one folder with the same paths, so that their links hold; README is first."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    for pattern in COPIED:
        for path in ROOT.glob(pattern):
            target = PAGES / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (PAGES / "README.md").rename(PAGES / "index.md")
    (PAGES / "reference.md").write_text(reference(), encoding="utf-8")


def reference() -> str:
    """The plugin API as mkdocstrings renders it: signatures with types, methods and attributes."""
    sections = [
        f"## {title}\n\n" + "\n\n".join(f"::: {name.replace(':', '.')}" for name in names)
        for title, names in API.items()
    ]
    return "\n\n".join(["# Reference", *sections, ""])


def main() -> None:
    gather()
    subprocess.run(
        ["zensical", *(["serve"] if "--serve" in sys.argv else ["build", "--clean", "--strict"])],
        cwd=ROOT,
        check=True,
    )


if __name__ == "__main__":
    main()
