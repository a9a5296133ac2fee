"""Digests, and files that are either whole or not there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def digest(text: str) -> str:
    """Return a short fingerprint of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def replace(path: Path, content: str | bytes) -> bool:
    """Write a file that is whole, and touch it only if its content is another.

    Returns
    -------
    bool
        Whether the file was written.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return False
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    new.replace(path)
    return True
