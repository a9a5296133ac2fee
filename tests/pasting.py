"""What people paste: texts of real errors, and what stands around them."""

from __future__ import annotations

import json
import re

from conftest import ROOT

FRAMES = "\n".join(
    f'  File "/usr/lib/python3.12/site-packages/torch/nn/a.py", line {line}, in f\n'
    "    return forward_call(*args, **kwargs)\n"
    "           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"
    for line in range(90)
)
LOG = "".join(
    f"2026-11-22 10:00:{number % 60:02} INFO epoch {number} loss 0.25 saved\n"
    for number in range(1200)
)


def pasted(text):
    """Return a text in all the ways in which people paste it."""
    lines = text.splitlines()
    each = "\n".join

    def before(prefix):
        return each(f"{prefix}{line}" for line in lines)

    cell = "Cell In[3], line 2\n      1 m = Model()\n----> 2 export(m, (x,))\n\n"
    return {
        "ansi": each(f"\x1b[31m{line}\x1b[0m" for line in lines),
        "glog": before("E0101 10:00:00.123000 77 torch/a/b.py:7] [0/0] "),
        "logging": before("2026-01-26 12:50:57,802 - trainer - ERROR - "),
        "loguru": before("2026-01-26 12:50:57.802 | ERROR    | app.base:report:74 - "),
        "rank": before("[rank0]: "),
        "rank, with frames": each(
            f"[rank0]: {line}" for line in f"{FRAMES}\n{text}".splitlines()
        ),
        "docker": before("trainer-1  | "),
        "kubernetes": before("2026-01-26T12:50:57.802134Z stderr F "),
        "quoted": before("> "),
        "pytest": f">       export(m, x)\n\ntests/test_a.py:12: \n{before('E       ')}",
        "jupyter": f"{cell}{text}",
        "frames": f"Traceback (most recent call last):\n{FRAMES}\n{text}",
        "bars": f" 10%|█ | 1/10 [00:01<00:09, 1.0s/it]\n{text}\n 50%|██ | 5/10 [00:05]",
        "around": f"{LOG}{text}\n{LOG}",
        "wrapped": re.sub(r"(.{50}\S*) ", r"\1\n    ", text),
        "crlf": "\r\n".join(lines),
        "fenced": f"```\n{text}\n```",
        "workflow": before("2026-01-26T12:50:57.8021340Z ##[error]"),
        "ray": before("(EngineCore_DP0 pid=123) "),
    }


def real_errors(*names):
    """Return texts of real people, from the files of these names or from all."""
    folder = ROOT / "tests/data"
    named = [folder / f"{name}.jsonl" for name in names]
    paths = named or sorted(folder.glob("*errors*.jsonl"))
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    return [json.loads(line)["text"] for line in lines]
