"""The card with the answer, first on the page of a recipe, and the row of links.

``.. answer::`` in the docstring of a recipe becomes the card (see :mod:`_ext.answer`).
In which releases the fix works is not typed: it is computed from the transcripts. The
row of links stands in the card, or under the title of a recipe that has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from _ext import answer, dependencies, gallery, ids
from _ext.releases.differences import label
from _ext.releases.history import load
from _ext.show.links import colab
from _ext.show.nodes import element

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: What can be downloaded of a recipe.
DOWNLOADS = {"Notebook": ".ipynb", "Script": ".py", "Zip": ".zip"}

#: The anchor of the cell with the fix.
FIX = "fix"

#: The anchor of the downloads at the end.
END = "downloads"

#: What the section that shows the cause is called.
WHY = "Why it happens"


class AnswerCard(SphinxDirective):
    """``.. answer::`` shows cause and change in a card."""

    has_content = True
    option_spec = {"cost": directives.unchanged}  # noqa: RUF012 (docutils' form)

    def run(self) -> list[nodes.Node]:
        """Return the card, and the description for search engines."""
        cost = " ".join(self.options.get("cost", "").split())
        try:
            found = answer.parse("\n".join(self.content), cost)
        except answer.AnswerError as error:
            raise self.error(str(error)) from None
        card = element("div", *self._parts(found), kind="answer")
        card["ids"].append("answer")
        meta = nodes.meta("", name="description", content=found.text)
        return [meta, card]

    def _parts(self, found: answer.Answer) -> list[nodes.Node]:
        cause = self._paragraph(found.cause, "answer-cause")
        parts = [cause, change(found.change)]
        if found.cost:
            parts.append(self._paragraph(f"**Cost:** {found.cost}", "answer-cost"))
        if found.others:
            lead = nodes.strong("", answer.OTHERWISE)
            entries = [element("li", self._inline(entry)) for entry in found.others]
            parts.append(element("p", lead, kind="answer-others"))
            parts.append(element("ul", *entries, kind="answer-others"))
        return parts

    def _paragraph(self, text: str, kind: str) -> nodes.Node:
        return element("p", self._inline(text), kind=kind)

    def _inline(self, text: str) -> nodes.Node:
        words, messages = self.parse_inline(text)
        return nodes.inline("", "", *words, *messages)


def change(lines: tuple[str, ...]) -> nodes.Node:
    """Return the lines of a change, those that go and those that come marked."""
    tags = {"-": "del", "+": "ins"}
    shown = [
        element(tags.get(line[:1], "span"), nodes.Text(f"{line}\n")) for line in lines
    ]
    attrs = {
        "role": "group",
        "tabindex": "0",
        "aria_label": "The change",
    }
    return element("pre", *shown, kind="answer-change", **attrs)


def _finish(app: Sphinx, doctree: nodes.document) -> None:
    """Put the row of links into the page, and say in which releases the fix works."""
    docname = app.env.docname
    page = Path(app.srcdir, f"{docname}.rst")
    script, conf = page.with_suffix(".py"), app.config.sphinx_gallery_conf
    if not (script.exists() and gallery.is_executed(script, conf)):
        return
    for note in list(doctree.findall(_is_note)):
        note.parent.parent.remove(note.parent)
    for node in list(doctree.findall(_is_imprint)):
        node.parent.remove(node)
    for footer in list(doctree.findall(_is_footer)):
        footer.children = []
        footer.append(element("ul", *_downloads(docname), kind="recipe-links"))
    _list_related(doctree, conf["recommender"]["rubric_header"])
    card = next(doctree.findall(_is_card), None)
    dependencies.note(app.env, "id", page.stem)
    name = _named_by(ids.read(app.srcdir).get(page.stem, ""))
    row = element("ul", *name, *_links(doctree, docname, card), kind="recipe-links")
    if card is None:
        title = next(doctree.findall(nodes.title))
        title.parent.insert(title.parent.index(title) + 1, row)
        return
    recipe = load(page, Path(app.srcdir), app.config)
    if some := recipe.works():
        named = label(some, recipe.releases)
        card += element(
            "p", nodes.Text(f"Works with PyTorch {named}."), kind="answer-works"
        )
    card += row


def _list_related(doctree: nodes.document, header: str) -> None:
    """Show related recipes by their titles: Sphinx-Gallery's pictures take 200 pixels.

    Sphinx-Gallery puts them last, each once for HTML and once for other builders.
    """
    rubrics = doctree.findall(nodes.rubric)
    rubric = next((node for node in rubrics if node.astext() == header), None)
    if rubric is None:
        return
    shown = rubric.parent[rubric.parent.index(rubric) + 1 :]
    found = (link for node in shown for link in node.findall(addnodes.pending_xref))
    links = {link["reftarget"]: link for link in found}
    for node in shown:
        rubric.parent.remove(node)
    rubric.parent += element("ul", *map(_entry, links.values()), kind="related-recipes")


def is_above(node: nodes.Node) -> bool:
    """Tell what stands right under the title: the card, or the row of links."""
    classes = getattr(node, "attributes", {}).get("classes", ())
    return bool({"answer", "recipe-links"} & set(classes))


def _is_card(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and "answer" in node.get("ids", ())


def _is_note(node: nodes.Node) -> bool:
    """Tell Sphinx-Gallery's note that leads to the end of the page."""
    return isinstance(node, nodes.note) and gallery.NOTE in node["classes"]


def _is_imprint(node: nodes.Node) -> bool:
    """Tell Sphinx-Gallery's running time, which has a page, and its signature."""
    classes = set(getattr(node, "attributes", {}).get("classes", ()))
    return bool({"sphx-glr-timing", "sphx-glr-signature"} & classes)


def _is_footer(node: nodes.Node) -> bool:
    """Tell Sphinx-Gallery's downloads at the end of the page."""
    return isinstance(node, nodes.container) and gallery.DOWNLOADS in node["classes"]


def _links(
    doctree: nodes.document, docname: str, card: nodes.Node | None
) -> list[nodes.Node]:
    """Return the links of the row."""
    links = [_link("The fix", FIX)] if card is not None else []
    why = next((s for s in doctree.findall(nodes.section) if _named(s, WHY)), None)
    if why is not None:
        links.append(_link("Why", why["ids"][0]))
    last = next(doctree.findall(_is_footer), None)
    found = [*map(_entry, links), *_downloads(docname)]
    if last is not None:
        last["ids"].append(END)
        found.append(_entry(_link("Go to the end", END)))
    return found


def _named_by(id_: str) -> list[nodes.Node]:
    """Return the id of a recipe, if it has one."""
    return [element("li", nodes.Text(id_), kind="recipe-id")] if id_ else []


def _entry(link: nodes.Node) -> nodes.Node:
    return element("li", nodes.inline("", "", link))


def _downloads(docname: str) -> list[nodes.Node]:
    """Return an entry for each file to take away."""
    name = docname.rpartition("/")[2]
    return [
        _entry(_download(words, f"{name}{end}", docname))
        for words, end in DOWNLOADS.items()
    ]


def _named(section: nodes.section, words: str) -> bool:
    title = section.next_node(nodes.title)
    return title is not None and title.astext() == words


def _link(words: str, anchor: str) -> nodes.Node:
    return nodes.reference("", words, internal=True, refuri=f"#{anchor}")


def _download(words: str, file: str, docname: str) -> nodes.Node:
    text = nodes.inline("", words)
    return addnodes.download_reference(
        "", "", text, reftarget=file, refdoc=docname, refwarn=True, reftype="download"
    )


def _add_colab(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Add a link to the notebook in Colab, where the repository has an address."""
    address = colab(app, docname) if app.config.repository else None
    if address is None:
        return
    for row in doctree.findall(_is_row):
        link = nodes.reference("", "Colab", internal=False, refuri=address)
        row.append(_entry(link))


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and "recipe-links" in node.get("classes", ())


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx, before it collects the downloads."""
    app.add_directive("answer", AnswerCard)
    app.connect("doctree-read", _finish, priority=300)
    app.connect("doctree-resolved", _add_colab)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
