"""A build before which nothing has changed looks at no recipe; any other does."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from _ext import noop

#: What Sphinx-Gallery says when it looks at recipes.
LOOKS = "generating gallery for"


@pytest.fixture(scope="module")
def built(make_site):
    """Build a site twice: the transcripts are recorded by the first build."""
    site = make_site("plot_unicode").record().build()
    assert site.returncode == 0, site.log
    assert LOOKS in site.log
    return site


@pytest.fixture
def site(built, tmp_path):
    """Return that site, as it was."""
    with built.put_back(tmp_path / "kept") as site:
        yield site


def test_nothing_changed(site):
    """The second build leaves the recipes alone, and its files are the same."""
    before = site.files()
    site.build()
    assert site.returncode == 0, site.log
    assert LOOKS not in site.log
    assert site.files() == before


def test_another_folder(copy_pair):
    """A site that was moved is looked at."""
    assert LOOKS in copy_pair().build().log


@pytest.mark.parametrize(
    "name",
    [
        "recipes/plot_unicode.py",
        "_doc/index.rst",
        "_doc/auto_recipes/plot_unicode.rst",
        "_doc/transcripts/{release}/plot_unicode.json",
    ],
)
def test_changed_file(site, name):
    """A file that was given, or generated, has another time."""
    release = site.transcript("plot_unicode").parent.name
    os.utime(site.folder / name.format(release=release))
    assert LOOKS in site.build().log


def test_removed_file(site):
    """A generated file is gone."""
    (site.folder / "_doc/auto_recipes/plot_unicode.zip").unlink()
    assert LOOKS in site.build().log


def test_changed_setting(site):
    """A setting has another value."""
    assert LOOKS in site.build("-D", "html_title=Another").log


@pytest.mark.parametrize("variable", ["SOURCE_DATE_EPOCH", "PYTHONPATH"])
def test_changed_environment(site, monkeypatch, tmp_path_factory, variable):
    """Files shall have another date, or another distribution is installed."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "another-1.0.dist-info").mkdir()
    values = {"SOURCE_DATE_EPOCH": "1700000000", "PYTHONPATH": str(folder)}
    monkeypatch.setenv(variable, values[variable])
    assert LOOKS in site.build().log


def test_warning_is_repeated(site):
    """After a build with a warning the next one looks again, and warns again."""
    transcript = site.transcript("plot_unicode")
    text = transcript.read_text("utf-8")
    transcript.write_text(text.replace("naïve", "naive"), "utf-8")
    for _ in range(2):
        site.build()
        assert site.returncode == 1
        assert "no longer prints what" in site.log


def test_edit_during_a_build(tmp_path):
    """A file that was edited while a build ran is not taken for what was built."""
    (tmp_path / "_doc").mkdir()
    page = tmp_path / "_doc/index.rst"
    page.write_text("before", "utf-8")
    conf = {"gallery_dirs": ["made"], "examples_dirs": ["../recipes"]}
    app = App(tmp_path, conf)
    noop._states[app] = noop._State("")
    noop._compare(app, app.config)
    page.write_text("edited in the meantime", "utf-8")
    noop._write(app, None)
    noop._compare(app, app.config)
    assert not noop.nothing_changed(app)
    noop._write(app, None)
    noop._compare(app, app.config)
    assert noop.nothing_changed(app)


class App:
    """What of Sphinx's application is asked for."""

    def __init__(self, folder, conf):
        self.srcdir, self.doctreedir = folder / "_doc", folder
        self.outdir = folder / "html"
        self.config = SimpleNamespace(sphinx_gallery_conf=conf)
        self.statuscode = self._warncount = 0


@pytest.mark.parametrize("nothing", [True, False])
def test_gallery_is_hidden_from_its_generator_alone(tmp_path, nothing):
    """Settings are given back after Sphinx-Gallery's handler, whatever has changed."""
    conf = dict.fromkeys(noop.NO_GALLERY, "given") | {"more": 1}
    app = App(tmp_path, dict(conf))
    noop._states[app] = noop._State("", nothing_changed=nothing)
    noop._hide_gallery(app)
    hidden = {**conf, **noop.NO_GALLERY} if nothing else conf
    assert app.config.sphinx_gallery_conf == hidden
    noop._show_gallery(app)
    assert app.config.sphinx_gallery_conf == conf


def test_skipped_handler(tmp_path):
    """A marked handler keeps its name, and is called where something has changed."""
    app = App(tmp_path, {})

    @noop.skipped
    def handler(app, argument):
        return argument

    assert handler.__name__ == "handler"
    for nothing, answer in ((True, None), (False, 3)):
        noop._states[app] = noop._State("", nothing_changed=nothing)
        assert handler(app, 3) == answer
