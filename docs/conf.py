"""Sphinx: `make docs`.  Docstrings are plain text; docstrings.py makes reStructuredText of them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import docstrings

import isles

project = "isles"
author = "the isles authors"
release = isles.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "isles"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"


def setup(app):
    app.connect("autodoc-process-docstring", docstrings.docstring)
    app.connect("autodoc-process-signature", docstrings.signature)
