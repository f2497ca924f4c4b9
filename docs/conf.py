"""How Sphinx makes the site: ``tox -e docs``, or ``sphinx-build docs docs/_build/html``."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

import matplotlib

matplotlib.use("agg")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "skiqa"
author = "The skiqa developers"
project_copyright = author
release = version = installed("skiqa")

extensions = [
    "mathml",
    "public_api",
    "repository_links",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "auto_examples/*.ipynb",
    "auto_examples/*.py",
    "**/sg_execution_times*",
]
highlight_language = "none"  # blocks say what they are; indented ones are commands
html_math_renderer = "mathml"

# Broken references are warnings, and warnings are errors. Not known here:
nitpicky = True
nitpick_ignore_regex = [
    # what scikit-learn, PyTorch and Python have: their sites are elsewhere
    (r"py:.*", r"(abc|builtins|numpy|pathlib|sklearn|torch)(\..*)?"),
    (r"py:class", r"ValueError|object"),
]

# Docstrings -------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types stand in the docstrings' words
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# Markdown ---------------------------------------------------------------------------------------

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence"]
myst_heading_anchors = 4

# Examples ---------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/\d\d_",
    "image_scrapers": ("two_themes.scrape",),
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "auto_examples/backreferences",
    "doc_module": ("skiqa",),
    "reference_url": {"skiqa": None},
    "thumbnail_size": (400, 280),
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "plot_gallery": "True",
}

# Pages ------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "skiqa"
html_static_path = ["_static"]
html_css_files = ["skiqa.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "skiqa"},
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}
