"""What contributors call through make.

``record`` records transcripts under other releases, ``nightly`` compares with torch's
nightly build, ``new`` begins a recipe, ``preview`` shows one, ``inventories`` fetches
the addresses of other documentation. Each has a function ``main`` that takes the
arguments of the command line and returns the exit status: 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path
from typing import Any, NoReturn

#: The folder of the repository.
ROOT = Path(__file__).parents[3]


class Parser(argparse.ArgumentParser):
    """Reads the arguments of a command, and answers a wrong call in one line.

    Parameters
    ----------
    target
        What of make calls the command.
    description
        What it does.
    """

    def __init__(self, target: str, description: str | None) -> None:
        super().__init__(
            prog=f"make {target}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """End with status 2 and say why."""
        self.exit(2, f"{self.prog}: {message}\n")


def settings(root: Path = ROOT) -> dict[str, Any]:
    """Return what ``conf.py`` sets."""
    return runpy.run_path(str(root / "conf.py"))


def all_recipes() -> list[Path]:
    """Return the recipes, by name."""
    return sorted((ROOT / "recipes").glob("plot_*.py"))


def all_releases() -> list[str]:
    """Return the releases that the site knows, oldest first."""
    return settings()["torch_releases"]
