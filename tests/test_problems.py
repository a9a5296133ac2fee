"""Problems of real people, made small: they fail, and the fix of their recipe helps."""

from __future__ import annotations

import json
import re

import forks
import pytest
from conftest import RECIPES, ROOT

#: ``problem`` raises ``raises``; ``fixed`` is this input with the fix of the recipe,
#: compared with a reference. ``error`` is what was pasted in public at ``url``.
PROBLEMS = [
    json.loads(line)
    for line in (ROOT / "tests/data/public_problems.jsonl").read_text().splitlines()
]


def each(found):
    """Return a parameter for each problem, named by its recipe and its thread."""
    return [
        pytest.param(p, id=f"{p['recipe'].removeprefix('plot_exporter_')}-{number}")
        for number, p in enumerate(found)
    ]


@pytest.mark.rerun
@pytest.mark.parametrize("problem", each(PROBLEMS))
def test_fix_helps(problem, tmp_path, forkserver):
    """The small input fails as it is, and passes with the fix."""
    assert problem["recipe"] in {path.stem for path in RECIPES}
    failed = forks.run(problem["problem"], tmp_path)
    header = rf"^(\[rank0\]: )?([\w.]+\.)?{problem['raises']}(:|$)"
    assert failed.returncode, "the problem no longer fails"
    assert re.search(header, failed.stderr, re.MULTILINE), failed.stderr
    fixed = forks.run(problem["fixed"], tmp_path)
    assert not fixed.returncode, fixed.stderr
