"""``llms.txt`` and ``llms-full.txt``: the recipes for programs that read text.

The first is a list, in the form of llmstxt.org: topics, and a line for each recipe. The
second has the recipes themselves as Markdown, with code and outputs, made from the
notebooks.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _ext import files, noop, site
from _ext.find import topics
from _ext.recipe import Front, read
from _ext.take.notebooks import INSTALLATION

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NAMES = "llms.txt", "llms-full.txt"
SUMMARY = (
    "Executable recipes for torch.export: each reproduces an error or a wrong result, "
    "shows its cause and gives the fix. Outputs are those of torch {release}."
)

_LITERAL = re.compile("(?<!`)``(?!`)")
_ROLE = re.compile(r":[a-z:]+:`~?([^`<]*?)(?: ?<[^`]*>)?`")


def markdown(text: str) -> str:
    """Return the text of a recipe without what is left of reStructuredText."""
    return _LITERAL.sub("`", _ROLE.sub(r"`\1`", text)).strip()


def _fenced(text: str, language: str) -> str:
    """Return code or an output as a block."""
    longest = max(map(len, re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def recipe(script: Path) -> str:
    """Return a recipe as Markdown, with what it printed."""
    notebook = json.loads(script.with_suffix(".ipynb").read_text("utf-8"))
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if INSTALLATION in cell["metadata"].get("tags", ()):
            continue
        if cell["cell_type"] == "markdown":
            parts.append(markdown(text))
            continue
        parts.append(_fenced(text, "python"))
        for output in cell["outputs"]:
            shown = "".join(output.get("text", output.get("traceback", "")))
            parts += ["Output:", _fenced(shown, "text")]
    return "\n\n".join(parts)


def _line(about: Front, address: str) -> str:
    """Return the line of a recipe in the list."""
    said = about.description or markdown(about.symptom.replace("\n", " "))
    return f"- [{about.title}]({address}): {said}"


def _texts(app: Sphinx) -> tuple[str, str]:
    """Return the list of the recipes, and the recipes."""
    srcdir, base = Path(app.srcdir), app.config.html_baseurl.rstrip("/")
    summary = SUMMARY.format(release=app.config.torch_pinned)
    short = [f"# {app.config.project}", "", f"> {summary}"]
    full = list(short)
    for topic in app.config.recipe_topics:
        if not topics.path(srcdir, topic).exists():
            continue
        short += ["", f"## {topics.heading(srcdir, topic)}", ""]
        for name in topics.listed(srcdir, topic):
            script = Path(srcdir, "auto_recipes", f"{name}.py")
            address = site.address(app, f"auto_recipes/{name}")
            address = f"{base}/{address}" if base else address
            short.append(_line(read(script), address))
            full += ["", recipe(script), "", f"Page: {address}"]
    return "\n".join([*short, ""]), "\n".join([*full, ""])


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write both files, unless they are up to date."""
    if error is not None or not site.is_made(app):
        return
    if noop.nothing_changed(app) and all(
        Path(app.outdir, name).exists() for name in NAMES
    ):
        return
    for name, text in zip(NAMES, _texts(app), strict=True):
        files.replace(Path(app.outdir, name), text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
