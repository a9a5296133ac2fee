"""The Markdown twin of each recipe, ``auto_recipes/<name>.md``, for those who paste.

It is made from the notebook, so it has what the page prints, and says in short what
other releases print differently, from the transcripts. The page names it in its head,
has a link to it in the row of links, and a button that copies it (``markdown.js``).

Extensions that write Markdown (sphinx-llm, sphinx-markdown-builder, sphinx-llms-txt)
build the pages a second time, and know nothing of outputs that other releases have.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.util.osutil import relative_uri

from _ext import files, ids, noop, site
from _ext.releases.differences import Cell, exceptions, groups, label, printed
from _ext.releases.history import load, recipes
from _ext.show.nodes import element
from _ext.take.notebooks import INSTALLATION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

    from _ext.releases.history import Recipe

#: Characters of a line that another release prints.
LONGEST = 160

_LITERAL = re.compile("(?<!`)``(?!`)")
_ROLE = re.compile(r":[a-z:]+:`~?([^`<]*?)(?: ?<[^`]*>)?`")
_LINK = re.compile(r"\]\((?:[^)\s]*/)?(plot_\w+)(?:\.ipynb|\.html|/)\)")


def markdown(text: str) -> str:
    """Return the text of a recipe without what is left of reStructuredText."""
    said = _LITERAL.sub("`", _ROLE.sub(r"`\1`", text)).strip()
    return _LINK.sub(r"](\1.md)", said)


def _fenced(text: str, language: str) -> str:
    """Return code or an output as a block."""
    longest = max(map(len, re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def twin(recipe: Recipe, about: str) -> str:
    """Return a recipe as Markdown, with what it printed.

    Parameters
    ----------
    recipe
        What is known of it.
    about
        What stands below its first paragraphs.
    """
    parts = []
    number = itertools.count()
    for cell in _cells(recipe):
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            parts += [_fenced(text, "python"), *_outputs(cell)]
            parts += _others(recipe, next(number))
        else:
            parts.append(markdown(text))
    parts.insert(1, about)
    return "\n\n".join(parts)


def opening(recipe: Recipe) -> str:
    """Return the beginning of a recipe as Markdown: title and answer."""
    return markdown("".join(_cells(recipe)[0]["source"]))


def _cells(recipe: Recipe) -> list[dict[str, Any]]:
    """Return the cells of a notebook, without those that install something."""
    notebook = json.loads(recipe.script.with_suffix(".ipynb").read_text("utf-8"))
    return [
        cell
        for cell in notebook["cells"]
        if INSTALLATION not in cell["metadata"].get("tags", ())
    ]


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    """Yield what a cell printed."""
    for output in cell["outputs"]:
        shown = "".join(output.get("text", output.get("traceback", "")))
        yield "Output:"
        yield _fenced(shown, "text")


def _others(recipe: Recipe, number: int) -> list[str]:
    """Return a list of what other releases do differently in a cell, in short."""
    history = recipe.history(number)
    said = list(recipe.behavior(number))
    if recipe.pinned in history:
        reference = history[recipe.pinned]
        having: dict[str, list[str]] = {}
        for group in groups(history):
            if recipe.pinned not in group:
                words = _other(reference, history[group[0]])
                having.setdefault(words, []).extend(group)
        said += [f"{label(of, recipe.releases)}: {it}" for it, of in having.items()]
    if missing := recipe.unreached(number):
        said.append(f"{label(missing, recipe.releases)}: not reached.")
    if not said:
        return []
    entries = "\n".join(f"- {line}" for line in said)
    return [f"With other versions of PyTorch:\n\n{entries}"]


def _other(reference: Cell, cell: Cell) -> str:
    """Say what a cell does that another one does not: in a line, the first."""
    if cell.get("error"):
        kind, message = exceptions(cell)[-1]
        line = f"{kind}: {message}".partition("\n")[0]
        return f"raises {_cut(line)}"
    known = set(printed(reference).splitlines())
    normal = printed(cell).splitlines()
    shown = "\n".join(cell["output"]).splitlines()
    lines = shown if len(shown) == len(normal) else normal
    for words, line in zip(normal, lines, strict=True):
        if words not in known and line.strip():
            return f"prints {_cut(line.strip())}"
    return "prints less" if lines else "prints nothing"


def _cut(line: str) -> str:
    """Return a line as a literal, without its end if it is long."""
    return f"{literal(line[:LONGEST])}{'…' if len(line) > LONGEST else ''}"


def literal(text: str) -> str:
    """Return text as a literal of Markdown."""
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def about(recipe: Recipe, id_: str, address: str) -> str:
    """Return what a page says of itself: id, where its fix works, its address."""
    works = label(recipe.works(), recipe.releases)
    facts = [f"**Id:** {id_}."] if id_ else []
    facts += [f"**Works with:** PyTorch {works}."] if works else []
    facts += [f"**Outputs:** those of PyTorch {recipe.pinned}. [The page]({address})"]
    return " ".join(facts)


def texts(app: Sphinx) -> dict[str, str]:
    """Return the twin of each recipe by its name."""
    known = ids.read(app.srcdir)
    base = app.config.html_baseurl.rstrip("/")
    found = {}
    for page in recipes(Path(app.srcdir), app.config):
        recipe = load(page, Path(app.srcdir), app.config)
        address = site.address(app, recipe.docname)
        # As seen from the twin, where the site has no address.
        address = f"{base}/{address}" if base else address.partition("/")[2]
        said = about(recipe, known.get(recipe.name, ""), address)
        found[recipe.name] = twin(recipe, said)
    return found


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write all twins, unless they are up to date."""
    if error is not None or not site.is_made(app):
        return
    folder = Path(app.outdir, "auto_recipes")
    if noop.nothing_changed(app) and list(folder.glob("*.md")):
        return
    folder.mkdir(exist_ok=True)  # singlehtml has none
    for name, text in texts(app).items():
        files.replace(folder / f"{name}.md", f"{text}\n")


def _has_twin(app: Sphinx, docname: str) -> bool:
    return site.is_made(app) and Path(app.srcdir, f"{docname}.ipynb").exists()


def _address(app: Sphinx, docname: str) -> str:
    """Return where the twin of a page is, as seen from the page."""
    return relative_uri(site.address(app, docname), f"{docname}.md")


def _add_link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Add a link to the twin to the row of links at the top of a recipe."""
    row = next(doctree.findall(_is_row), None)
    if row is not None and _has_twin(app, docname):
        uri = _address(app, docname)
        link = nodes.reference("", "Markdown", internal=True, refuri=uri)
        entry = element("li", nodes.inline("", "", link), kind="recipe-markdown")
        others = [each for each in row.children if _has_download(each)]
        row.insert(row.index(others[-1]) + 1 if others else len(row), entry)


def _has_download(entry: nodes.Node) -> bool:
    return any(entry.findall(addnodes.download_reference))


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and "recipe-links" in node.get("classes", ())


def _add_alternate(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    """Name the twin in the head of a page, and load the script that copies it."""
    if _has_twin(app, page):
        context["metatags"] = (
            f'{context.get("metatags", "")}<link rel="alternate" type="text/markdown" '
            f'href="{_address(app, page)}">\n'
        )
        app.add_js_file("markdown.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("doctree-resolved", _add_link)
    app.connect("html-page-context", _add_alternate)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
