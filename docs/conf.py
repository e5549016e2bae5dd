"""Configuration of the manual."""

import tomllib
from pathlib import Path

root = Path(__file__).resolve().parent.parent
metadata = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Poreforge"
author = "The Poreforge developers"
project_copyright = "The Poreforge developers, GPL-3.0-or-later"
release = metadata["version"]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Poreforge {release}"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
myst_enable_extensions = ["dollarmath"]
