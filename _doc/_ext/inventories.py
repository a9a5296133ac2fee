"""The committed inventories of other documentation: ``_doc/inventories``.

The links to torch go to the documentation of the newest release. Where that of an
earlier one has what they are about is in ``releases.json``, for the picker: for each
release, by a page of ``torch.txt`` or by a name on it, the page there, with an anchor
where that is another. What is not listed is where ``torch.txt`` says. ``null`` stands
for what the release does not document, an empty text for what nobody has looked up.
``make inventories`` fills the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from _ext.files import digest

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

#: The file on earlier releases.
RELEASES = "releases.json"

Places: TypeAlias = "dict[str, str | None]"


def releases(folder: Path) -> dict[str, Places]:
    """Return what is known of the documentation of earlier releases of torch."""
    path = folder / RELEASES
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


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
    config.torch_places = releases(folder)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_config_value("inventories_digest", "", "env", str)
    app.add_config_value("torch_docs", "", "html", str)
    app.add_config_value("torch_places", {}, "html", dict)
    app.connect("config-inited", _note_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
