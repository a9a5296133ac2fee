"""A recipe says what it is; what nothing can be made of is named, with a remedy."""

from __future__ import annotations

import pytest
from _ext import recipe
from conftest import RECIPES

#: A docstring that is as it has to be, in the lines 1 to 9.
DOCSTRING = '''\
"""
.. _l-x:

A title
=======

A symptom
of two lines.
"""
'''


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a recipe and returns its path."""
    folder = tmp_path / "recipes"
    folder.mkdir()

    def write(text: str | bytes):
        path = folder / "plot_x.py"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def with_meta(lines: str) -> str:
    """Return a docstring with a meta directive, which begins in line 10."""
    return DOCSTRING.replace('lines.\n"""', f'lines.\n\n.. meta::\n{lines}"""')


def test_all_that_it_says(written):
    """Label, title, symptom, description, words, tags and wordings are found."""
    text = with_meta("   :description: Do\n      this.\n   :keywords: a, b c\n")
    text += '# sphinx_gallery_tags = ["inputs", "run fails"]\n'
    text += '# sphinx_gallery_wording = "one"\n# sphinx_gallery_wording = "two"\n'
    assert recipe.read(written(text)) == recipe.Front(
        name="plot_x",
        label="l-x",
        title="A title",
        symptom="A symptom\nof two lines.",
        description="Do this.",
        keywords=("a", "b c"),
        tags=("inputs", "run fails"),
        wordings=("one", "two"),
    )


def test_nothing_said(written):
    """What it does not say is empty."""
    about = recipe.read(written(DOCSTRING))
    said = about.description, about.keywords, about.tags, about.wordings
    assert said == ("", (), (), ())


@pytest.mark.parametrize("indent", [4, 5, 6, 9])
def test_meta_continues(written, indent):
    """A continuation is part of it, however far it is indented; so is what follows."""
    lines = f"   :description: Do\n{' ' * indent}this.\n\n   :keywords: a,b ,\n"
    about = recipe.read(written(with_meta(lines)))
    assert (about.description, about.keywords) == ("Do this.", ("a", "b"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("   :description:\n   :keywords: a\n", r"line 10: No content for meta tag"),
        ("   :keywords: a\n   b, c\n", r"line 10: Invalid meta directive"),
        ("", r"line 10: Content block expected"),
    ],
)
def test_wrong_meta(written, lines, message):
    """A description that nothing can be made of is named, with its line."""
    with pytest.raises(recipe.RecipeError, match=rf"plot_x\.py, {message}.* Write ':"):
        recipe.read(written(with_meta(lines)))


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("tags = [inputs", r"is not a Python value: \[inputs; give a list"),
        ("tags", r"has no value: give a list, as in \[.inputs"),
        ('tags = "onnx"', r"is 'onnx': give a list"),
        ('tags = ["onnx", 2]', r"is \['onnx', 2\]: give a list"),
        ("needs_torch = 2.8", r"is 2\.8: give the release as text, as in .2\.8"),
        ('needs_torch = "newest"', r"is 'newest': give the release"),
        ("needs_torch", "has no value: give the release"),
        ("needs_program = 3", r"is 3: name the program"),
        ('needs_program = " "', r"is ' ': name the program"),
        ("time_limit = True", r"is True: give seconds"),
        ("time_limit = 0", r"is 0: give seconds"),
        ("time_limit = 1e999", r"is inf: give seconds"),
        ("wording = 3", r"is 3: give a text"),
        ("picture = 3", r"is 3: say what to see"),
        ("start_ignore = 1", r"is 1: give no value"),
        ("parallel = True", r"is not known: take one of end_ignore, .*, or remove it"),
        ("time_limit = 3\n# sphinx_gallery_time_limit = 4", "is there a second time"),
    ],
)
def test_wrong_comment(written, comment, message):
    """A comment that does not fit is named, with its line and what to write."""
    line = 11 if "\n" in comment else 10
    path = written(f"{DOCSTRING}# sphinx_gallery_{comment}\n")
    where = rf"^recipes/plot_x\.py, line {line}: '# sphinx_gallery_\w+' "
    with pytest.raises(recipe.RecipeError, match=where + message):
        recipe.read(path)


def test_each_setting_has_a_wrong_value_here():
    """The table above and that of the settings know the same names."""
    marks = test_wrong_comment.pytestmark[0].args[1]
    tried = {comment.split(" = ")[0].strip() for comment, _ in marks}
    assert recipe.SETTINGS.keys() - {"end_ignore"} <= tried


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"""No title."""\n', " has no title: begin its docstring with a label"),
        ("x = 1\n", " has no title: begin its docstring"),
        (f"{DOCSTRING}x = (\n", r", line 10, is not Python: '\(' was never closed"),
        (f"{DOCSTRING}\0\n", " is not Python: .*null byte"),
        (f"\ufeff{DOCSTRING}", ", line 1, begins with a byte order mark: save it as"),
        (f"{DOCSTRING}# é\n".encode("latin-1"), ", line 10, is not UTF-8: save it in"),
    ],
)
def test_unreadable(written, text, message):
    """A file that is no recipe is named, with what to do."""
    with pytest.raises(recipe.RecipeError, match=rf"^recipes/plot_x\.py{message}"):
        recipe.read(written(text))


def test_what_it_needs(monkeypatch):
    """Releases are compared as versions are."""
    monkeypatch.setattr(recipe, "installed_torch", lambda: "2.9.1")
    expected = {"2.8": True, "2.9": True, "2.9.1": True, "2.9.2": False, "2.10": False}
    for needed, applies in expected.items():
        source = f'# sphinx_gallery_needs_torch = "{needed}"\n'
        assert recipe.needed_torch(source) == needed
        assert recipe.applies(source) is applies
    assert recipe.applies("import torch\n")


def test_program_and_time():
    """A program that is there is not missing; a recipe may raise its own limit."""
    there = '# sphinx_gallery_needs_program = "python3"\n'
    assert recipe.missing_program(there) is None
    gone = '# sphinx_gallery_needs_program = "no-such-program"\n'
    assert recipe.missing_program(gone) == "no-such-program"
    assert recipe.time_limit("# sphinx_gallery_time_limit = 300\n", 120) == 300
    assert recipe.time_limit("", 120) == 120


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_real_recipes(path):
    """Each recipe of the site can be read."""
    assert recipe.read(path).tags
