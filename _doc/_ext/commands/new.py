"""Begin a recipe: ``make new NAME=plot_exporter_shapes_example``.

The second word of the name says the topic: that of the recipes which begin like it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from string import Template
from typing import TYPE_CHECKING

from _ext import files, ids
from _ext.commands import ROOT, Parser, settings
from _ext.find import topics
from _ext.recipe import read

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"plot_exporter_([a-z0-9]+)(_[a-z0-9]+)+")


class RecipeNameError(ValueError):
    """A name that no recipe can have; the message says what to do."""


def words(root: Path) -> dict[str, str]:
    """Return the topic of each word that names of recipes have after the prefix."""
    found: dict[str, Counter] = {}
    for topic in settings(root)["recipe_topics"]:
        for name in topics.listed(root / "_doc", topic):
            found.setdefault(name.split("_")[2], Counter())[topic] += 1
    return {word: count.most_common(1)[0][0] for word, count in found.items()}


def topic_of(name: str, root: Path) -> str:
    """Return the topic of a new recipe.

    Raises
    ------
    RecipeNameError
        If the recipe exists, or the name says no topic.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise RecipeNameError(
            f'NAME is "{name}": call it plot_exporter_<topic>_<what>, in small '
            "letters, digits and underscores, for example plot_exporter_shapes_example."
        )
    if (root / f"recipes/{name}.py").exists():
        raise RecipeNameError(
            f"recipes/{name}.py exists: edit it, or take another name."
        )
    known = words(root)
    if match[1] not in known:
        meant = "\n".join(f"  {word}: {topic}" for word, topic in known.items())
        raise RecipeNameError(
            f'"{match[1]}" in {name} is no topic. Take one of these words:\n{meant}'
        )
    return known[match[1]]


def create(name: str, root: Path = ROOT) -> tuple[Path, Path]:
    """Write the skeleton, list it on the page of its topic, and return both files.

    Its address is listed too, among those that have to stay, and it gets an id.
    """
    topic = topic_of(name, root)
    page = root / f"_doc/{topics.page(topic)}.rst"
    # The list may name a recipe that was begun and given up.
    names = reversed(topics.listed(root / "_doc", topic))
    last = next(name for name in names if (root / f"recipes/{name}.py").exists())
    template = Template((root / "_doc/_templates/recipe.py.txt").read_text("utf-8"))
    recipe = root / f"recipes/{name}.py"
    text = template.substitute(
        label=name.replace("plot_", "l-plot-", 1).replace("_", "-"),
        topic=topic,
        next_label=read(root / f"recipes/{last}.py").label,
    )
    files.replace(recipe, text)
    entry = re.compile(rf"^   {last}$", re.MULTILINE)
    listed = entry.sub(f"   {last}\n   {name}", page.read_text("utf-8"))
    files.replace(page, listed)
    addresses = root / "_doc/addresses.txt"
    lines = {*addresses.read_text("utf-8").split(), f"auto_recipes/{name}.html"}
    files.replace(addresses, "".join(f"{line}\n" for line in sorted(lines)))
    with (root / "_doc" / ids.NAME).open("a", encoding="utf-8") as listed_ids:
        listed_ids.write(f"{ids.following(root / '_doc')} {name}\n")
    return recipe, page


def main(arguments: list[str] | None = None) -> int:
    """Begin the recipe that the command names; return the exit status."""
    parser = Parser("new", __doc__)
    parser.add_argument("name", help="such as plot_exporter_shapes_example")
    given = parser.parse_args(arguments)
    try:
        recipe, page = (path.relative_to(ROOT) for path in create(given.name))
    except RecipeNameError as error:
        parser.error(str(error))
    print(f'Wrote {recipe}: replace each "write this".')
    print(
        f"Listed it last in {page}: move it to where it is to be read, and lead there"
    )
    print("from the table. Its address is in _doc/addresses.txt from now on, and its")
    print(f"id, {ids.read(ROOT / '_doc')[recipe.stem]}, in _doc/ids.txt.")
    print(f"See it with: make recipe NAME={recipe.stem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
