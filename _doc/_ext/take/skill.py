"""The skill for coding assistants: ``skill/`` at the top of the site, and a zip of it.

``SKILL.md`` says when to use it and how to ask ``explain.py``, which lies in it; each
topic has a reference. What these say is that of the recipes, of the index of messages
and of the pages of the topics: nothing is written twice.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from _ext import files, noop, site
from _ext.find import messages, topics
from _ext.releases.differences import label
from _ext.releases.history import load, recipes
from _ext.take import command, offline, twins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

#: The name of the skill, as its front matter has it, and of the folder in the zip.
NAME = "torch-export-cookbook"

FOLDER = "skill"
ARCHIVE = "skill.zip"
TEMPLATE = Path(__file__).parents[2] / "_templates/SKILL.md.txt"

#: The messages of a recipe that a reference shows, and the characters of each.
MESSAGES = 4
LONGEST = 120

#: A link to a recipe; its title may have brackets: ``x[mask]``.
_LINK = re.compile(r"\[((?:[^][]|\[[^][]*\])+)\]\((plot_\w+)\.md\)")


class _Skill:
    """The files of the skill.

    Parameters
    ----------
    app
        The application that builds the site.
    """

    def __init__(self, app: Sphinx) -> None:
        self.app, self.srcdir = app, Path(app.srcdir)
        self.index = messages.index(self.srcdir, app.config)
        self.recipes = {recipe["name"]: recipe for recipe in self.index["recipes"]}
        self.openings = {
            page.stem: twins.opening(load(page, self.srcdir, app.config))
            for page in recipes(self.srcdir, app.config)
        }

    def texts(self) -> dict[str, str]:
        """Return the files that are made here, by their path."""
        found = {}
        lines = []
        for topic in self.app.config.recipe_topics:
            if topics.path(self.srcdir, topic).exists():
                path = f"references/{topic.replace(' ', '-')}.md"
                about = topics.read(self.srcdir, topic)
                said = twins.markdown(" ".join(about.introduction.split()))
                first = re.split(r"(?<=[.?!]) ", said, maxsplit=1)[0]
                lines.append(f"- [{about.heading}]({path}): {first}")
                entries = map(self._entry, about.recipes)
                found[path] = "\n\n".join([f"# {about.heading}", said, *entries, ""])
        return {"SKILL.md": self._router(lines), **found}

    def _router(self, references: list[str]) -> str:
        """Return the page that says what to read when."""
        releases = self.index["releases"]
        template = Template(TEMPLATE.read_text("utf-8"))
        return template.substitute(
            name=NAME,
            references="\n".join(references),
            recipes=len(self.recipes),
            releases=f"{releases[0]} to {releases[-1]}",
            where=self.app.config.html_baseurl or "the site that this skill is from",
        )

    def _entry(self, name: str) -> str:
        """Return the answer of a recipe, with messages that lead to it."""
        recipe = self.recipes[name]
        head, _, rest = self.openings[name].partition("\n")
        title = f"{recipe.get('id', '')} {head.removeprefix('# ')}".strip()
        parts = [f"## {title}", *self._messages(recipe)]
        parts.append(_LINK.sub(self._named, rest.strip()))
        works = (recipe["answer"] or {}).get("works")
        if works:
            named = label(works, self.index["releases"])
            parts.append(f"**Works with:** PyTorch {named}.")
        parts.append(f"**Whole recipe:** `auto_recipes/{name}.md`")
        return "\n\n".join(parts)

    def _named(self, link: re.Match[str]) -> str:
        """Return the title of another recipe with its id."""
        id_ = self.recipes.get(link[2], {}).get("id")
        return f"{link[1]} ({id_})" if id_ else link[1]

    def _messages(self, recipe: dict[str, Any]) -> Iterator[str]:
        """Yield a list of first lines of messages, if there are any."""
        said = [each["message"] for each in recipe["messages"] if _is_printed(each)]
        lines = (text.partition("\n")[0][:LONGEST] for text in said)
        found = list(dict.fromkeys(lines))[:MESSAGES]
        if found:
            yield "\n".join(
                ["Messages:", "", *(f"- {twins.literal(t)}" for t in found)]
            )


def _is_printed(message: dict[str, Any]) -> bool:
    return message.get("printed", True)


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write the skill and its zip, unless they are up to date."""
    written = Path(app.outdir, command.NAME)
    if error is not None or not site.is_made(app) or not written.exists():
        return
    folder, archive = Path(app.outdir, FOLDER), Path(app.outdir, ARCHIVE)
    if noop.nothing_changed(app) and archive.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    texts = _Skill(app).texts()
    texts[f"scripts/{command.NAME}"] = written.read_text("utf-8")
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.replace(folder / name, text)
    offline.pack(folder, archive, NAME)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx, after that of the command."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
