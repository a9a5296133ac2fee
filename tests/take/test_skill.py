"""The skill is whole, says what the recipes say, and asks a command that it has."""

from __future__ import annotations

import json
import re
import zipfile

import pytest
from _ext.take import offline, skill
from conftest import RECIPES


@pytest.fixture(scope="module")
def folder(html):
    """Return the folder of the skill."""
    return html / "skill"


@pytest.fixture(scope="module")
def router(folder):
    """Return its first page."""
    return (folder / "SKILL.md").read_text("utf-8")


def test_front_matter(router):
    """It has a name and a description, each on one line and short enough."""
    found = re.match(r"---\nname: (\S+)\ndescription: (.+)\n---\n\n# ", router)
    assert found[1] == skill.NAME
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", found[1])
    assert 50 < len(found[2]) <= 1024
    assert ": " not in found[2]  # YAML would read a key
    assert len(router.splitlines()) < 100
    assert "$" not in router


def test_references(router, folder):
    """It leads to each file that there is, and to no other."""
    linked = set(re.findall(r"\]\((\S+?)\)", router))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    assert linked == files - {"SKILL.md"}
    assert (folder / "scripts/explain.py").exists()


def test_answers(html, folder):
    """Each recipe is in one reference, with the cause and the change of its answer."""
    index = json.loads((html / "errors.json").read_text("utf-8"))
    texts = [path.read_text("utf-8") for path in folder.glob("references/*.md")]
    entries = re.split(r"^(?=## )", "\n".join(texts), flags=re.MULTILINE)
    assert len(index["recipes"]) == len(RECIPES)
    for recipe in index["recipes"]:
        (entry,) = (e for e in entries if e.startswith(f"## {recipe['id']} "))
        change = "\n".join(recipe["answer"]["change"])
        assert f"```diff\n{change}\n```" in entry
        assert recipe["title"] in entry
        assert f"auto_recipes/{recipe['name']}.md" in entry
        assert "](plot_" not in entry


def test_zip(html, folder, tmp_path):
    """The zip has the files of the folder, under the name of the skill."""
    again = tmp_path / "other.zip"
    offline.pack(folder, again, skill.NAME)
    assert again.read_bytes() == (html / "skill.zip").read_bytes()
    with zipfile.ZipFile(again) as archive:
        names = {name.removeprefix(f"{skill.NAME}/") for name in archive.namelist()}
    paths = (path for path in folder.rglob("*") if path.is_file())
    assert names == {path.relative_to(folder).as_posix() for path in paths}


def test_its_command_is_that_of_the_site(html, folder):
    """Nothing is there in two versions."""
    ours = (folder / "scripts/explain.py").read_bytes()
    assert ours == (html / "explain.py").read_bytes()


def test_template():
    """It names the statuses of the command."""
    text = skill.TEMPLATE.read_text("utf-8")
    assert "Exit status 0" in text and "Exit status 3" in text
