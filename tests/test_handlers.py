"""The order in which our handlers are called is the one that the documentation says."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

#: Prints each of our handlers, in the order in which Sphinx calls those of an event.
LIST = """
import json, sys
from pathlib import Path
from sphinx.application import Sphinx

conf, folder = sys.argv[1:]
paths = [Path(folder, name) for name in ("_doc", "html", "doctrees")]
app = Sphinx(paths[0], conf, *paths[1:], "html", status=None, warning=None)
print(json.dumps([
    (event, str(each.priority), f"{each.handler.__module__}.{each.handler.__name__}")
    for event, listeners in app.events.listeners.items()
    for each in sorted(listeners, key=lambda each: each.priority)
    if each.handler.__module__.startswith("_ext.")
]))
"""


@pytest.fixture(scope="module")
def connected(make_site):
    """Return the handlers of an application that is made and builds nothing."""
    folder = make_site().folder
    command = [sys.executable, "-c", LIST, str(ROOT), str(folder)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def documented():
    """Return the rows of the table: event, priority, handler, why."""
    text = (ROOT / "_doc/how-this-site-works.rst").read_text("utf-8")
    _, _, section = text.partition("\nWho comes when\n")
    rows = re.findall(
        r"^   \* - (.+)\n     - (\d+)\n     - ``(.+)``\n     - (.+(?:\n {7}.+)*)",
        section,
        re.MULTILINE,
    )
    return [(event.strip("`"), *rest) for event, *rest in rows]


def by_event(rows):
    """Return what is called for each event, in its order."""
    found = {}
    for event, priority, handler, *_ in rows:
        found.setdefault(event, []).append((int(priority), handler))
    return found


def test_table_is_right(connected, documented):
    """The table has each handler, in the order in which it is called, and no other."""
    handlers = [
        (event, priority, handler.removeprefix("_ext."))
        for event, priority, handler in connected
    ]
    assert by_event(documented) == by_event(handlers), (
        "Bring the table 'Who comes when' in _doc/how-this-site-works.rst up to date."
    )


def test_events_come_in_their_order(documented):
    """An event is there once, with all its handlers."""
    events = [event for event, *_ in documented]
    assert events == sorted(events, key=events.index)
    assert all(len(why) > 10 for *_, why in documented)
