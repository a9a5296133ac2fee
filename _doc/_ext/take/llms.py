"""``llms.txt`` and ``llms-full/``: the recipes for programs that read text.

The first is a list, in the form of llmstxt.org: topics, and a line for each recipe with
a link to its Markdown. The other has a file for each topic with the recipes themselves,
because all of them would be too long for a model to read. ``llms-full.txt``, where
programs look for them, says where they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _ext import files, ids, noop, site
from _ext.find import topics
from _ext.recipe import Front, read
from _ext.take import twins

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NAMES = "llms.txt", "llms-full.txt"
FOLDER = "llms-full"
SUMMARY = (
    "Executable recipes for torch.export: each reproduces an error or a wrong result, "
    "shows its cause and gives the fix. Outputs are those of torch {release}."
)

_BESIDE = re.compile(r"\]\((plot_\w+(?:\.md|\.html|/))\)")


def _line(about: Front, id_: str, address: str) -> str:
    """Return the line of a recipe in the list."""
    said = about.description or twins.markdown(about.symptom.replace("\n", " "))
    name = f"{id_}: {about.title}" if id_ else about.title
    return f"- [{name}]({address}): {said}"


def _texts(app: Sphinx) -> dict[str, str]:
    """Return each file by its name."""
    srcdir, base = Path(app.srcdir), app.config.html_baseurl.rstrip("/")
    known, whole = ids.read(srcdir), twins.texts(app)
    summary = SUMMARY.format(release=app.config.torch_pinned)
    head = f"# {app.config.project}\n\n> {summary}\n"
    short, parts, found = [head], [head, "All recipes, divided by topic:\n"], {}
    for topic in app.config.recipe_topics:
        if not topics.path(srcdir, topic).exists():
            continue
        heading, names = topics.heading(srcdir, topic), topics.listed(srcdir, topic)
        short.append(f"## {heading}\n")
        for name in names:
            about = read(Path(srcdir, "auto_recipes", f"{name}.py"))
            address = _addressed(base, f"auto_recipes/{name}.md")
            short.append(_line(about, known.get(name, ""), address))
        short[-1] += "\n"
        part = f"{FOLDER}/{topic.replace(' ', '-')}.md"
        count = f"{len(names)} recipes" if names[1:] else "one recipe"
        parts.append(f"- [{heading}]({_addressed(base, part)}): {count}")
        found[part] = "\n\n".join([head, *map(whole.__getitem__, names), ""])
        found[part] = _BESIDE.sub(r"](../auto_recipes/\1)", found[part])
    lists = ["\n".join(short), "\n".join([*parts, ""])]
    return {**dict(zip(NAMES, lists, strict=True)), **found}


def _addressed(base: str, path: str) -> str:
    return f"{base}/{path}" if base else path


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write all files, unless they are up to date."""
    if error is not None or not site.is_made(app):
        return
    if noop.nothing_changed(app) and all(
        Path(app.outdir, name).exists() for name in (*NAMES, FOLDER)
    ):
        return
    Path(app.outdir, FOLDER).mkdir(exist_ok=True)
    for name, text in _texts(app).items():
        files.replace(Path(app.outdir, name), text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
