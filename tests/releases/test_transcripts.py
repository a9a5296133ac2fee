"""What a recipe prints is what its transcript says, or the build fails."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def site(make_site):
    """Build a site with transcripts."""
    return make_site("plot_unicode").record()


def change(path, edit):
    """Edit a transcript."""
    record = json.loads(path.read_text("utf-8"))
    edit(record)
    path.write_text(json.dumps(record), "utf-8")


def test_transcript_holds_each_cell(site):
    """A transcript has the outputs of the page, cell by cell."""
    record = json.loads(site.transcript("plot_unicode").read_text("utf-8"))
    assert [cell["output"] for cell in record["cells"]] == [
        ["naïve → ∀x ∈ ℝ: 日本語 🔥"],
        ["a       b", "", "  c"],
    ]
    assert [cell["line"] for cell in record["cells"]] == [7, 12]


def test_no_drift(site):
    """A build that prints what is recorded is silent."""
    site.build()
    assert site.returncode == 0, site.log


def test_drift_fails_with_the_difference(site):
    """Another output is an error that shows recipe, cell and difference."""

    def edit(record):
        record["cells"][1]["output"][2] = "  d"

    change(site.transcript("plot_unicode"), edit)
    site.build()
    assert site.returncode == 1
    assert "recipes/plot_unicode.py no longer prints what _doc/tr" in site.log
    assert "--- recorded, cell at line 12" in site.log
    assert "-  d\n+  c" in site.log


def test_another_python_is_an_excuse(site):
    """Under another Python than the recorded one a difference is shown, and no more."""
    change(
        site.transcript("plot_unicode"), lambda r: r["cells"][0].update(output=["a"])
    )
    packages = site.transcript("plot_unicode").with_name("packages.json")
    change(packages, lambda record: record.update(python="3.1.0"))
    site.build()
    assert site.returncode == 0, site.log
    assert "recipes/plot_unicode.py prints something else, under Python 3." in site.log
    assert "the transcripts are of Python 3.1." in site.log
    assert "-a\n" in site.log


def test_missing_transcript(site):
    """A recipe without a transcript is an error that says what to do."""
    site.transcript("plot_unicode").unlink()
    site.build()
    assert site.returncode == 1
    assert "plot_unicode.json: run 'make transcripts'" in site.log


def test_broken_transcript(site):
    """A transcript that cannot be read is named."""
    path = site.transcript("plot_unicode")
    path.write_text("{", "utf-8")
    site.build()
    assert site.returncode == 2
    assert f"{path} is not valid JSON" in site.log


def test_running_time_is_the_recorded_one(site):
    """The page and the table of times show the recorded time."""
    change(site.transcript("plot_unicode"), lambda record: record.update(seconds=61.5))
    site.build()
    assert "(1 minutes 1.500 seconds)" in site.page("plot_unicode")
    times = (site.folder / "html/sg_execution_times.html").read_text("utf-8")
    assert "01:01.500" in times


def test_recording_says_what_changed(site):
    """Recording anew prints the difference to the old transcript."""

    def edit(record):
        record["cells"][0]["output"] = ["something else"]

    change(site.transcript("plot_unicode"), edit)
    site.record()
    assert site.returncode == 0, site.log
    assert "-something else\n+naïve" in site.log
    assert site.build().returncode == 0
