"""The committed inventories of other documentation: ``_doc/inventories``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from _ext.files import digest

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config


def fields(item: Any) -> tuple[str, str, str]:
    """Return project, version and address of an object in an inventory.

    In Sphinx 8.1, the last that supports Python 3.10, it is a tuple.
    """
    if isinstance(item, tuple):
        return item[:3]
    return item.project_name, item.project_version, item.uri


def _note_contents(app: Sphinx, config: Config) -> None:
    """Make all pages stale when an inventory changes; Sphinx itself does not notice."""
    folder = Path(app.srcdir, "inventories")
    texts = [path.read_text("utf-8") for path in sorted(folder.glob("*.txt"))]
    config.inventories_digest = digest("".join(texts))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_config_value("inventories_digest", "", "env", str)
    app.connect("config-inited", _note_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
