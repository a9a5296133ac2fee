"""Write the notebook of a recipe: its text in Markdown, its code, and what it printed.

Sphinx-Gallery turns the text of a recipe into Markdown, all but roles and ``meta``,
which would stay as they are. They are converted here before. The outputs are those of
the page, from the record of its run (see :mod:`_ext.run.outcome`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from _ext import answer, gallery
from _ext.recipe import META, read
from _ext.run import outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nbformat import NotebookNode

    from _ext.answer import Answer

#: The tag of the cells that install what a notebook needs.
INSTALLATION = "installation"

_ROLE = re.compile(
    r"(?P<literal>``.+?``)"
    r"|:(?:py:)?(?P<role>[a-z]+):`(?:(?P<text>[^`<]+?)\s*<(?P<in>[^`>]+)>|(?P<alone>[^`]+))`",
    re.DOTALL,
)
_TABLE = re.compile(r"^\.\. list-table::.*\n(?:[ ]{3}.*\n|[ ]*\n)+", re.MULTILINE)
_TABLE_CELL = re.compile(r"^ {3}(?:(?P<row>\* )|  )- (?P<text>.*)")
_NEEDS = """\
**What this notebook needs.** The outputs below were printed with these versions, \
under Python {python}. Remove the `#` to install them; that replaces the versions that \
you have."""


@dataclass(frozen=True)
class Links:
    """What the roles in the text of a recipe lead to.

    Attributes
    ----------
    pages
        For each label the title of its page and its address within the site.
    objects
        The address of each function or class that other documentation describes.
    base
        The address of the site, which ends with a slash; empty if it is not known.
    """

    pages: dict[str, tuple[str, str]]
    objects: dict[str, str]
    base: str

    def markdown(self, text: str) -> str:
        """Return reStructuredText with Markdown in the place of the roles."""
        found = answer.find(text)
        if found is not None:
            shown = "\n".join(self._answer(found))
            text = answer.replaced(text, shown)
        text = _TABLE.sub(lambda found: _table(found[0]), text)
        return _ROLE.sub(self._role, META.sub("", text))

    def _answer(self, found: Answer) -> Iterator[str]:
        """Yield an answer in the reStructuredText that a notebook can have."""
        yield f"{found.cause}\n"
        yield from ("```diff", *found.change, "```", "")
        if found.cost:
            yield f"**Cost:** {found.cost}\n"
        if found.others:
            yield f"**{answer.OTHERWISE}**\n"
            yield from (f"* {entry}" for entry in found.others)
            yield ""

    def _role(self, match: re.Match) -> str:
        if match["literal"]:
            return match[0]
        target = " ".join((match["in"] or match["alone"]).split())
        shown = " ".join((match["text"] or "").split())
        if match["role"] == "ref":
            return self._page(target, shown)
        name = target.lstrip("~")
        address = self.objects.get(name)
        shown = shown or (name.rpartition(".")[2] if name != target else name)
        call = "()" if match["role"] in {"func", "meth"} and not match["text"] else ""
        code = f"``{shown}{call}``"
        return f"[{code}]({address})" if address else code

    def _page(self, label: str, shown: str) -> str:
        """Return a link to a page, or its title where the site has no address."""
        title, page = self.pages.get(label, (label, ""))
        shown = shown or title
        if self.base and page:
            return f"[{shown}]({self.base}{page})"
        # Without an address, a notebook can lead to another one beside it.
        name = PurePosixPath(page).stem
        return f"[{shown}]({name}.ipynb)" if name.startswith("plot_") else f"*{shown}*"


def _table(text: str) -> str:
    """Return a list-table as a table of Markdown; its first row is the head."""
    rows: list[list[str]] = []
    for line in text.splitlines()[1:]:
        cell = _TABLE_CELL.match(line)
        if cell and cell["row"]:
            rows.append([cell["text"]])
        elif cell and rows:
            rows[-1].append(cell["text"])
        elif rows and line.strip():
            rows[-1][-1] += f" {line.strip()}"
    lines = [" | ".join(each.replace("|", "\\|") for each in row) for row in rows]
    lines[1:1] = [" | ".join("---" for _ in rows[0])]
    return "".join(f"| {line} |\n" for line in lines) + "\n"


def write(script: Path, conf: dict, links: Links, needs: list[str]) -> str:
    """Return the notebook of a recipe.

    Parameters
    ----------
    script
        Sphinx-Gallery's copy of the recipe, with the page beside it.
    conf
        Sphinx-Gallery's settings.
    links
        What the roles in its text lead to.
    needs
        What pip has to install, a requirement each.
    """
    # It takes a tenth of a second, and most builds write no notebook.
    import nbformat  # noqa: PLC0415

    blocks = [_cleaned(block, links) for block in gallery.blocks(script)]
    raw = gallery.jupyter_notebook(blocks, conf, script.parent)
    ran = _runs(outcome.read(script))
    cells = [
        _cell(raw_cell, next(ran) if block.type == "code" else None)
        for block, raw_cell in zip(blocks, raw["cells"], strict=True)
        if raw_cell["source"][0].strip()
    ]
    if links.base and (page := links.pages.get(read(script).label)):
        cells[0]["source"] += f"\n\n[The page of this recipe]({links.base}{page[1]})"
    cells[1:1] = _installation(needs, raw["metadata"]["language_info"]["version"])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=raw["metadata"])
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _cleaned(block: Any, links: Links) -> Any:
    """Return a block as the page shows it."""
    content = gallery.without_comments(block.content)
    if block.type == "text":
        content = links.markdown(content)
    return block._replace(content=content)


def _runs(done: outcome.Outcome) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Yield the code cells of a recipe, each with its number if it ran."""
    for number, cell in enumerate(done.cells, 1):
        yield number if number <= done.reached else None, cell


def _cell(raw: dict[str, Any], ran: tuple[int | None, dict] | None) -> NotebookNode:
    """Return a cell, with its outputs if it is one of code."""
    from nbformat import v4  # noqa: PLC0415

    source = "".join(raw["source"]).strip()
    if ran is None:
        return v4.new_markdown_cell(source)
    number, cell = ran
    text = "\n".join(cell["output"])
    if cell["error"]:
        name, _, value = cell["error"].partition(": ")
        trace = {"ename": name, "evalue": value, "traceback": cell["output"]}
        outputs = [v4.new_output("error", **trace)]
    else:
        outputs = [v4.new_output("stream", text=text + "\n")] if text else []
    return v4.new_code_cell(source, execution_count=number, outputs=outputs)


def _installation(needs: list[str], python: str) -> list[NotebookNode]:
    """Return the cells that say what a notebook needs, if anything, and install it."""
    from nbformat import v4  # noqa: PLC0415

    if not needs:
        return []
    text = _NEEDS.format(python=python)
    tags = {"tags": [INSTALLATION]}
    code = f"# %pip install --quiet {' '.join(needs)}"
    return [
        v4.new_markdown_cell(text, metadata=tags),
        v4.new_code_cell(code, metadata=tags),
    ]
