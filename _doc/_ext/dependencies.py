"""Read a page again when what it shows of recipes has changed, and only then.

Sphinx looks at the times of files. But most edits of a recipe change nothing of what
lists and tables elsewhere show of it, and these are the largest pages. So a page notes
digests of what it shows, and is read again when one of them is another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from _ext import noop

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

    #: A function that returns the digest of something; the text says of what.
    Digest = Callable[[BuildEnvironment, str], str]

_digests: dict[str, Digest] = {}


def kind(name: str) -> Callable[[Digest], Digest]:
    """Return a decorator for the function that makes the digests of a kind."""

    def register(digest: Digest) -> Digest:
        _digests[name] = digest
        return digest

    return register


def note(env: BuildEnvironment, name: str, of: str = "") -> None:
    """Note that the current page shows something, by its kind and its name."""
    notes = env.metadata[env.docname].setdefault("shown", {})
    notes[name, of] = _digests[name](env, of)


def _digest(env: BuildEnvironment, name: str, of: str) -> str | None:
    """Return the digest of something now; None where that kind is no longer known."""
    return _digests[name](env, of) if name in _digests else None


def _find_outdated(app: Sphinx, env: BuildEnvironment, *_: object) -> list[str]:
    """Return the pages that show something else now."""
    if noop.nothing_changed(app):
        return []
    now: dict[tuple[str, str], str | None] = {}
    outdated = []
    for docname, metadata in env.metadata.items():
        notes = metadata.get("shown", {})
        for name, of in notes.keys() - now.keys():
            now[name, of] = _digest(env, name, of)
        if any(now[note] != digest for note, digest in notes.items()):
            outdated.append(docname)
    return outdated


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("env-get-outdated", _find_outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
