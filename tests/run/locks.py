"""Locks by which a test sees that a process lives."""

from __future__ import annotations

import pytest

fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")


def is_held(path):
    """Tell whether a process has a lock on a file."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
