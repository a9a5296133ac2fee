"""Links from a page to the repository: its source, its notebook in Colab, a new issue.

They are there where ``repository`` is set. Notebooks with their outputs are not in the
repository's main branch: Colab opens them on the branch that the built site is
published from, ``pages_branch``, which has the site at its top.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from sphinx.errors import ConfigError

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

_GITHUB = "https://github.com/"
_COLAB = "https://colab.research.google.com/github/"


def _check(app: Sphinx, config: Config) -> None:
    """Reject an address that no link can be made of."""
    address = config.repository
    if address and not re.fullmatch(rf"{_GITHUB}[\w.-]+/[\w.-]+/?", address):
        raise ConfigError(
            f'REPOSITORY_URL is "{address}": give {_GITHUB}<owner>/<name>, or nothing.'
        )


def source(page: str, suffix: str) -> str:
    """Return the path of what a page is made from, in the repository."""
    path = PurePosixPath(page)
    if path.parts[0] != "auto_recipes":
        return f"_doc/{page}{suffix}"
    return f"recipes/{path.name}{'.rst' if path.name == 'index' else '.py'}"


def _issue(app: Sphinx, page: str, title: str) -> str:
    """Return the address of a new issue; launch.js fills in the chosen release."""
    said = f"Page: {page}\nRelease of torch: {app.config.torch_pinned}\n\n"
    query = urlencode({"title": f"{title}: ", "body": said})
    return f"{app.config.repository.rstrip('/')}/issues/new?{query}"


def colab(app: Sphinx, page: str) -> str | None:
    """Return the address of a recipe's notebook in Colab."""
    file, files = f"{page}.ipynb", cast("dict[Any, Any]", app.env.dlfiles)
    known = files.get(Path(file)) or files.get(file)  # the second is for Sphinx 8.1
    if known is None:
        return None
    name = app.config.repository.removeprefix(_GITHUB).strip("/")
    return f"{_COLAB}{name}/blob/{app.config.pages_branch}/_downloads/{known[1]}"


def _add_links(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], doctree: object
) -> None:
    """Tell the templates about the links of a page that somebody wrote."""
    generated = "orphan" in app.env.metadata.get(page, {})
    if not app.config.repository or doctree is None or generated:
        return
    # The extension for dates takes the suffix away from pages that Git does not know.
    context["page_source_suffix"] = Path(app.env.doc2path(page)).suffix
    path = source(page, context["page_source_suffix"])
    edit = f"{app.config.repository.rstrip('/')}/edit/{app.config.source_branch}/{path}"
    context["theme_source_edit_link"] = edit.replace("{", "{{").replace("}", "}}")
    context["launch"] = {
        "edit": edit,
        "issue": _issue(app, page, app.env.titles[page].astext()),
    }


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_config_value("repository", "", "html", str)
    app.add_config_value("source_branch", "main", "html", str)
    app.add_config_value("pages_branch", "gh-pages", "html", str)
    app.connect("config-inited", _check)
    app.connect("html-page-context", _add_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
