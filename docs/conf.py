"""Sphinx settings: `make docs` builds the site in docs/_build, with warnings as errors."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

project = "rdl"
author = "The rdl founders"
project_copyright = "The rdl founders, MIT licence"
version = release = installed_version("rdl")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "generated_text",
    "mathml",
]
exclude_patterns = ["_build", "jupyter_execute", "**/.ipynb_checkpoints"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"rdl {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3  # links to headings are checked, as those to files are
nb_execution_mode = "auto"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy processes with two threads wait
nb_merge_streams = True

smartquotes = False  # `--out` is no dash
default_role = "code"  # docstrings write `name`
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes are in the text; jaxtyping's would fill three lines
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
