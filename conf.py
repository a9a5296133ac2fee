"""Sphinx configuration of the torch.export cookbook.

Run by ``make html`` as ``sphinx-build -c . _doc build/html``. Settings only: what
computes something is an extension in ``_doc/_ext``.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_doc"))

# -- Project ---------------------------------------------------------------------------

project = "torch.export cookbook"
author = "the torch.export cookbook authors"
project_copyright = f"2026, {author}"
language = "en"
# Where the site is, https://<host>/<folder>/, and its repository,
# https://github.com/<owner>/<name>. What needs an address that is empty is left out.
html_baseurl = os.environ.get("SITE_URL", "")
repository = os.environ.get("REPOSITORY_URL", "")

# -- General ---------------------------------------------------------------------------

extensions = [
    # Sphinx's own
    "sphinx.ext.intersphinx",
    # third-party
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx_last_updated_by_git",
    "sphinx_reredirects",
    # ours
    "_ext.garbage",
    "_ext.inventories",
    "_ext.noop",
    "_ext.dependencies",
    "_ext.ids",
    "_ext.run",
    "_ext.releases",
    "_ext.show",
    "_ext.find",
    "_ext.take",
]
exclude_patterns = ["auto_recipes/**/GALLERY_HEADER.rst", "inventories", "transcripts"]
templates_path = ["_doc/_templates"]
nitpicky = True
suppress_warnings = [
    # Sphinx-Gallery's image scrapers are functions, which Sphinx cannot pickle.
    "config.cache",
    # Where Git is missing or knows too little, pages have no dates.
    "git.command_not_found",
    "git.dependency_not_found",
    "git.subprocess_error",
    "git.too_shallow",
    # A space in the path of the checkout breaks no link: pages have relative addresses.
    "sphinx_gallery.space_in_filename",
]

# -- Recipes ---------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": ["../recipes"],
    "gallery_dirs": ["auto_recipes"],
    # The page of the gallery is written by hand: see _ext/find/cards.py.
    "copyfile_regex": r"index\.rst",
    # A recipe runs under its bare name, so the pattern must not ask for a folder.
    "filename_pattern": r"(^|[/\\])plot_[^/\\]*$",
    "within_subsection_order": "FileNameSortKey",
    # A page shows what a script prints, not the value of a cell's last expression.
    "capture_repr": (),
    # The first notes when a cell ends, the second draws the programs that it made.
    "image_scrapers": ("_ext.run.capture.end_cell", "_ext.show.pictures.scrape"),
    # The class of every variable in the code would be a third of a page.
    "inspect_global_variables": False,
    # Each recipe has a process of its own: there is nothing to reset.
    "reset_modules": (),
    # The exit status still says that a recipe failed: see _ext/run/scheduler.py.
    "only_warn_on_example_error": True,
    "remove_config_comments": True,
    "recommender": {
        "enable": True,
        "n_examples": 4,
        "rubric_header": "Related recipes",
    },
    "backreferences_dir": "auto_recipes/backreferences",
    "doc_module": ("torch",),
    # torch documents Dim and its like under the module that defines them.
    "prefer_full_module": {r"^torch\.export\.dynamic_shapes\."},
    "write_computation_times": True,
}
recipe_time_limit = 120  # seconds of CPU time
# What recipes are forked from has torch, and what torch imports only when it exports,
# saves or converts for the first time: a conversion to ONNX takes 1.0 s instead of 1.4.
recipe_preload = [
    "torch",
    "torch.export._trace",
    "torch.export._draft_export",
    "torch.utils.serialization.config",
    "sympy.tensor.tensor",
    "torch.onnx._internal.exporter._core",
    "onnxscript.function_libs.torch_lib.ops",
]
# The tags of recipes. Each recipe has one topic and one or more kinds of symptom; the
# page of a topic, _doc/topics/<topic>.rst, lists its recipes in order.
recipe_topics = [
    "start here",
    "inputs",
    "dynamic shapes",
    "control flow",
    "data-dependent values",
    "wrong results",
    "side effects",
    "operators",
    "modules",
    "after the export",
    "onnx",
    "whole models",
]
recipe_symptoms = [
    "export fails",
    "run fails",
    "wrong without an error",
    "turns static",
    "conversion fails",
    "how to",
]
# The releases that recipes are recorded under, oldest first; to add one, add it here,
# run "make transcripts RELEASE=<it>" and write _doc/releases/<it>.rst.
torch_releases = [
    "2.6.0",
    "2.7.1",
    "2.8.0",
    "2.9.1",
    "2.10.0",
    "2.11.0",
    "2.12.1",
    "2.13.0",
    "2.14.1",
    "2.15.0",
]

# -- Links to other documentation ------------------------------------------------------

# Where the documentation of a release of torch is.
torch_docs = "https://docs.pytorch.org/docs/{}/"
# The inventories are committed, so a build neither needs the network nor depends on
# it; "make inventories" brings them up to date.
intersphinx_mapping = {
    name: (address, f"inventories/{name}.txt")
    for name, address in {
        "numpy": "https://numpy.org/doc/stable/",
        "onnx": "https://onnx.ai/onnx/",
        "onnxruntime": "https://onnxruntime.ai/docs/api/python/",
        "python": "https://docs.python.org/3/",
        "torch": torch_docs.format("stable"),
    }.items()
}

# -- HTML ------------------------------------------------------------------------------

html_theme = "furo"
html_title = project
html_static_path = ["_doc/_static"]
html_favicon = html_logo = "_doc/_static/mark.svg"
html_css_files = ["cookbook.css", "pictures.css", "releases.css"]
html_js_files = [("scroll.js", {"defer": "defer"})]
html_last_updated_fmt = "%d %B %Y"
git_last_updated_timezone = "UTC"
git_untracked_show_sourcelink = True  # it takes the links for editing along
html_copy_source = False
html_show_sourcelink = False

# -- Old links -------------------------------------------------------------------------

# Where pages are that were renamed or removed, relative to the old address:
# "auto_recipes/plot_exporter_old": "plot_exporter_new.html". _doc/addresses.txt lists
# all pages that ever were published.
redirects: dict[str, str] = {}
redirect_html_template_file = "_templates/redirect.html"

# -- Link check ------------------------------------------------------------------------

linkcheck_retries = 3
linkcheck_timeout = 20  # seconds
# GitHub writes the lines of a file with scripts: there is no anchor in what it sends.
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]

# -- Copy button -----------------------------------------------------------------------

# Code is for copying; prompts and what it printed are not.
copybutton_selector = ", ".join(
    f"div.highlight-{language} pre"
    for language in ("Python", "bash", "console", "pycon", "python")
)
copybutton_exclude = ".gp, .go"
