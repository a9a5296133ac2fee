"""Report what the recipes do differently under torch's nightly build.

``make nightly`` runs them under the newest build that pip finds, compares them with the
transcripts of the newest release, and writes ``build/nightly.md``: nothing where they
do the same. The transcripts themselves are thrown away.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from _ext import files
from _ext.commands import ROOT, Parser, all_recipes, all_releases, record
from _ext.releases.differences import Change, changes

REPORT = ROOT / "build/nightly.md"

#: What is said of each kind of change.
WORDS = {
    "appeared": "raises now",
    "disappeared": "raises no more",
    "type": "raises another exception",
    "wording": "raises in other words",
    "output": "prints something else",
}


def report(old: Path, new: Path) -> str:
    """Return the differences between two folders of transcripts, as Markdown.

    Parameters
    ----------
    old
        The transcripts of the newest release.
    new
        Those of the nightly build, of the same recipes.
    """
    lines = []
    for path in sorted(new.glob("plot_*.json")):
        before = json.loads((old / path.name).read_text("utf-8"))
        lines += _recipe(path.stem, before, json.loads(path.read_text("utf-8")))
    if not lines:
        return ""
    head = f"Against torch {old.name}, torch {new.name} changes what these recipes do."
    return "\n".join([head, "", *lines]) + "\n"


def _recipe(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return a line for each difference in one recipe."""
    if old["status"] != new["status"]:
        return [f"- `{name}`: {old['status']} before, {new['status']} now"]
    return [
        f"- `{name}`, line {after['line']}: {_words(change)}"
        for before, after in zip(old["cells"], new["cells"], strict=True)
        for change in changes(before, after)
    ]


def _words(change: Change) -> str:
    shown = [f"`{line}`" for line in (change.before, change.now) if line]
    return ": ".join([WORDS[change.kind], *filter(None, [", then ".join(shown)])])


def main(arguments: list[str] | None = None) -> int:
    """Run the recipes under the nightly build and report; return the exit status."""
    Parser("nightly", __doc__).parse_args(arguments)
    newest = record.TRANSCRIPTS / all_releases()[-1]
    with tempfile.TemporaryDirectory() as folder:
        try:
            record.record_release(record.NIGHTLY, all_recipes(), store=Path(folder))
        except record.RecordError as error:
            print(error, file=sys.stderr)
            return 1
        (nightly,) = (path for path in Path(folder).iterdir() if path.is_dir())
        text = report(newest, nightly)
    REPORT.parent.mkdir(exist_ok=True)
    files.replace(REPORT, text)
    print(text or f"torch {nightly.name} does what {newest.name} does.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
