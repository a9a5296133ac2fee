"""Problems of real people, made small: they fail, and the fix of their recipe helps."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from conftest import RECIPES, ROOT

#: ``problem`` raises ``raises``; ``fixed`` is this input with the fix of the recipe,
#: compared with a reference. ``error`` is what was pasted in public at ``url``.
PROBLEMS = [
    json.loads(line)
    for line in (ROOT / "tests/data/public_problems.jsonl").read_text().splitlines()
]


def run(code, folder):
    """Run code as a script of its own, and return how it ended."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(
        command, cwd=folder, capture_output=True, check=False, text=True
    )


def each(found):
    """Return a parameter for each problem, named by its recipe and its thread."""
    return [
        pytest.param(p, id=f"{p['recipe'].removeprefix('plot_exporter_')}-{number}")
        for number, p in enumerate(found)
    ]


@pytest.mark.rerun
@pytest.mark.parametrize("problem", each(PROBLEMS))
def test_fix_helps(problem, tmp_path):
    """The small input fails as it is, and passes with the fix."""
    assert problem["recipe"] in {path.stem for path in RECIPES}
    failed = run(problem["problem"], tmp_path)
    header = rf"^(\[rank0\]: )?([\w.]+\.)?{problem['raises']}(:|$)"
    assert failed.returncode, "the problem no longer fails"
    assert re.search(header, failed.stderr, re.MULTILINE), failed.stderr
    fixed = run(problem["fixed"], tmp_path)
    assert not fixed.returncode, fixed.stderr
