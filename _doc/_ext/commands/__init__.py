"""What contributors call through make.

``record`` records transcripts under other releases, ``nightly`` compares with torch's
nightly build, ``new`` begins a recipe, ``preview`` shows one, ``inventories`` fetches
the addresses of other documentation.
"""

from __future__ import annotations

from pathlib import Path

#: The folder of the repository.
ROOT = Path(__file__).parents[3]
