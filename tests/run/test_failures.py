"""A recipe that fails is named with its place; all others are still built."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT
from locks import is_held

BAD = {
    "plot_raises": 'File "plot_raises.py", line 13',
    "plot_hangs": (
        "recipes/plot_hangs.py did not finish: it was still running at line 16 after "
        "3 s and was ended, with less than 0.3 s of CPU time: it waits for something."
    ),
    "plot_computes": (
        "recipes/plot_computes.py did not finish: it had taken 0.5 s of CPU time at "
        "line 13 and was ended."
    ),
    "plot_exits": "recipes/plot_exits.py did not finish: its process ended by itself "
    "with exit status 3",
    "plot_crashes": "recipes/plot_crashes.py did not finish: its process was ended by "
    "SIGSEGV at line 13",
    "plot_killed": "recipes/plot_killed.py did not finish: its process was ended by "
    "SIGKILL, often for want of memory",
}
LEAKS = {
    "plot_registers": [
        "registers fractions.Fraction in torch.utils._pytree.SUPPORTED_NODES and",
        "registers fractions.Fraction in torch.fx._pytree.SUPPORTED_NODES and",
    ],
    "plot_sets": [
        "leaves the default dtype changed from torch.float32 to torch.float64",
        "leaves the configuration torch._dynamo.config.recompile_limit changed from",
        "leaves the environment variable COOKBOOK changed from unset to changed",
        "changes the working folder in line 19 and stays there",
    ],
    "plot_leaves_file": ["leaves the file 'left.txt'"],
}
TRACES = [
    "the cell at line 7 prints a memory address: an object at 0x7f0123456789",
    "the cell at line 12 prints a path: in ",
]


#: Recipes that are not bad.
GOOD = ["about_nothing", "plot_address", "plot_locks", "plot_spawns", "plot_unicode"]


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """Name the file that a process has a lock on, which a recipe starts."""
    path = tmp_path_factory.mktemp("held") / "held"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELD_BY_A_RECIPE", str(path))
        yield path


@pytest.fixture(scope="module")
def site(make_site, held):
    """Build a site of all bad recipes and of some good ones, once."""
    return make_site(*BAD, *LEAKS, *GOOD).record()


def test_exit_status_is_not_zero(site):
    """The build fails."""
    assert site.returncode == 1
    assert "Extension error" not in site.log


@pytest.mark.parametrize("name", BAD)
def test_failing_recipe_is_named(site, name):
    """The log names the recipe, the line where it is known, and the reason."""
    assert BAD[name] in site.log


@pytest.mark.parametrize("name", [name for name in BAD if name != "plot_raises"])
def test_page_of_a_dead_recipe_does_not_look_finished(site, name):
    """Its page says that it did not finish."""
    assert "did not finish" in site.page(name)


def test_page_of_a_raising_recipe_shows_the_traceback(site):
    """Its page ends with the traceback, after the output of the cells before."""
    page = site.page("plot_raises")
    assert page.index("before") < page.index("as it must")


@pytest.mark.parametrize("name", LEAKS)
def test_leak_is_reported(site, name):
    """The log names the recipe and each thing that it left behind."""
    for leak in LEAKS[name]:
        assert f"recipes/{name}.py: {leak}" in site.log


def test_all_leaks_are_those_above(site):
    """No other recipe is said to leak, and no other thing."""
    reported = site.log.count("[recipe.leak]")
    assert reported == 4 + 4 + 1  # two tables for each of the two pytree registries


@pytest.mark.parametrize("trace", TRACES)
def test_trace_of_the_machine_is_reported(site, trace):
    """An output that would differ elsewhere is a warning with recipe and cell."""
    assert f"recipes/plot_address.py: {trace}" in site.log


def test_other_pages_are_built(site):
    """A good recipe among bad ones has its output."""
    assert "日本語" in site.page("plot_unicode")


def test_recipe_that_is_not_executed_is_shown(site):
    """A script that is no recipe has a page with its code and without output."""
    page = site.page("about_nothing")
    assert "this must not run" in page
    assert "sphx-glr-script-out" not in page


def test_process_of_a_recipe_ends_with_it(site, held):
    """What a recipe has started does not go on."""
    assert held.exists()
    assert not is_held(held)


def test_locks(site):
    """A recipe that ends with a lock leaves nothing for Python to warn of."""
    assert "Lock" in site.page("plot_locks")
    assert "resource_tracker" not in site.log


def test_bad_recipes_run_again(site):
    """Each build fails and says why until they are mended, without ``-W`` too."""
    command = [sys.executable, "-m", "sphinx", "-c", ROOT, "-j", "auto", "-d"]
    command += [site.folder / "doctrees", site.folder / "_doc", site.folder / "html"]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        command, capture_output=True, check=False, env=environment, text=True
    )
    assert done.returncode == 1
    for name, message in BAD.items():
        assert message in done.stderr, name
    assert done.stderr.count("[recipe.leak]") == 9


#: Recipes that no page can be made of, and what is said of each.
UNREADABLE = {
    "plot_syntax": (
        '"""\nTitle\n=====\n"""\nx = (\n',
        "recipes/plot_syntax.py, line 5, is not Python: '(' was never closed.",
    ),
    "plot_bare": ("print(1)\n", "recipes/plot_bare.py has no title: begin its"),
    "plot_limit": (
        '"""\nTitle\n=====\n"""\n# sphinx_gallery_time_limit = "x"\n',
        "recipes/plot_limit.py, line 5: '# sphinx_gallery_time_limit' is 'x': give",
    ),
    "plot_unknown": (
        '"""\nTitle\n=====\n"""\n# sphinx_gallery_time_limt = 300\n',
        "recipes/plot_unknown.py, line 5: '# sphinx_gallery_time_limt' is not known",
    ),
    "plot_comment": (
        '"""\nTitle\n=====\n"""\n# sphinx_gallery_tags = [inputs\n',
        "recipes/plot_comment.py, line 5: '# sphinx_gallery_tags' is not a Python",
    ),
}


def test_unreadable_recipes_are_left_out(make_site):
    """What no page can be made of is named with place and remedy; others are built."""
    site = make_site("plot_unicode")
    for name, (text, _) in UNREADABLE.items():
        site.recipe(name).write_text(text, "utf-8")
    for _ in range(2):
        site.record()
        assert site.returncode == 1
        for _, message in UNREADABLE.values():
            assert message in site.log
        assert site.log.count("It is left out of this build.") == len(UNREADABLE)
        assert "Extension error" not in site.log
        assert "日本語" in site.page("plot_unicode")
