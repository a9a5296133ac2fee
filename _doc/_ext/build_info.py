"""Write the same ``.buildinfo`` wherever a site is built.

By the digest of settings in that file Sphinx knows that all pages have to be written
again. Extensions put into the settings where they are installed, and Sphinx-Gallery
where the pages are, so the digest was another one in each folder.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx


def without(places: Iterable[str], value: Any) -> Any:
    """Return a setting with no word of some folders, in whatever it holds."""
    if isinstance(value, str):
        for place in places:
            value = value.replace(place, "")
        return value
    if isinstance(value, dict):
        return {key: without(places, each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(without(places, each) for each in value)
    return value


def _digest_again(app: Sphinx) -> None:
    """Let the builder make its digest of settings that do not depend on the folder."""
    if not hasattr(app.builder, "create_build_info"):
        return
    places = [sys.prefix, str(app.srcdir), str(app.confdir)]
    settings = list(app.config.filter({"html"}))
    for setting in settings:
        app.config[setting.name] = without(places, setting.value)
    app.builder.build_info = app.builder.create_build_info()
    for setting in settings:
        app.config[setting.name] = setting.value


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    # Sphinx makes its digest before any handler changes a setting.
    app.connect("builder-inited", _digest_again, priority=0)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
