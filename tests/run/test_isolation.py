"""Neither the order of the recipes nor their number at a time changes a byte."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from _ext import gallery
from _ext.run import cache
from conftest import ROOT, Site

NAMES = ["plot_after", "plot_before", "plot_export", "plot_process", "plot_unicode"]


@pytest.fixture(scope="module", autouse=True)
def _threads():
    """Let the environment of the build ask for more threads than recipes may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        yield


@pytest.fixture(scope="module")
def reference(make_site):
    """Build the recipes one after the other, in the order of their names."""
    site = make_site(*NAMES)
    site.build("-D", "record_transcripts=1", "-D", "recipe_jobs=1")
    shutil.rmtree(site.folder / "html")  # Sphinx 8 would keep old words in its index.
    site.build()
    assert site.returncode == 0, site.log
    return site


def with_transcripts(make_site, reference):
    """Make a site of the same recipes and transcripts in another folder."""
    site = make_site(*NAMES)
    folder = site.folder / "_doc/transcripts"
    folder.mkdir()
    for name in NAMES:
        path = reference.transcript(name)
        (folder / path.parent.name).mkdir(exist_ok=True)
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes())
    return site


def rebuilt(make_site, reference, *options):
    """Build it in another folder; return what the reader gets."""
    site = with_transcripts(make_site, reference).build(*options)
    assert site.returncode == 0, site.log
    return site.files()


def test_two_jobs_in_another_folder(make_site, reference):
    """Side by side, elsewhere: the same bytes."""
    assert rebuilt(make_site, reference, "-D", "recipe_jobs=2") == reference.files()


def test_where_fork_is_not_available(reference, tmp_path):
    """A process that starts from nothing prints the same: two recipes run again."""
    shutil.copytree(reference.folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "html")
    for name in ("plot_export", "plot_process"):
        gallery.stamp(tmp_path / f"_doc/auto_recipes/{name}.py").unlink()
    site = Site(tmp_path).build("-D", "recipe_start_method=spawn")
    assert site.returncode == 0, site.log
    assert site.executed() == 2
    assert site.files() == reference.files()


def test_another_environment(make_site, reference, tmp_path):
    """Packages and settings in other folders: the same bytes."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    packages = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (environment / packages).rmdir()
    (environment / packages).symlink_to(sysconfig.get_path("purelib"))
    for name in ("conf.py", "_doc"):
        (tmp_path / name).symlink_to(ROOT / name)
    site = with_transcripts(make_site, reference)
    python = environment / Path(sys.executable).relative_to(sys.prefix)
    site.build(python=python, confdir=tmp_path)
    assert site.returncode == 0, site.log
    assert site.files() == reference.files()


def test_other_order(make_site, reference):
    """Run in the opposite order, each recipe prints what it printed before."""
    site = make_site()
    for place, name in enumerate(reversed(NAMES)):
        site.add(name).recipe(name).rename(site.recipe(f"plot_{place}_{name}"))
    site.build("-D", "record_transcripts=1", "-D", "recipe_jobs=1")
    for place, name in enumerate(reversed(NAMES)):
        other = site.transcript(f"plot_{place}_{name}").read_text("utf-8")
        renamed = json.loads(other.replace(f"plot_{place}_{name}", name))
        first = json.loads(reference.transcript(name).read_text("utf-8"))
        assert outputs(renamed) == outputs(first)


def outputs(record):
    """Return what a recipe printed, cell by cell."""
    return [cell["output"] for cell in record["cells"]]


def test_recipe_cannot_see_another(reference):
    """What one recipe patches is not there for the next."""
    assert "False torch.float32" in reference.page("plot_after")


def test_process_of_a_recipe(reference):
    """It has one thread, and none of our modules that is no ingredient of the cache."""
    threads, _, modules = outputs(
        json.loads(reference.transcript("plot_process").read_text("utf-8"))
    )
    assert threads == ["1 1"]
    files = {name.partition(".")[2].replace(".", "/") for name in modules[0].split()}
    packages = {"", "run", "show"}  # they import what is on the list, and set up Sphinx
    assert "show/pictures" in files
    assert {f"{name}.py" for name in files - packages} <= set(cache.RUNNER_MODULES)
