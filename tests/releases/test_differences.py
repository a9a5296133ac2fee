"""The differences between releases are grouped, named and said in words."""

from __future__ import annotations

import random

import pytest
from _ext.releases.differences import (
    Change,
    behavior,
    changes,
    exceptions,
    groups,
    label,
    normalize,
    when,
)

RELEASES = ["2.6", "2.7", "2.8", "2.9", "2.10"]


def cell(*output, caught=(), error=None):
    """Make a cell of a transcript."""
    return {"output": list(output), "caught": list(caught), "error": error}


def failing(kind="RuntimeError"):
    """Make a cell that ended its recipe."""
    return cell(
        "Traceback (most recent call last):",
        '  File "plot_x.py", line 3, in <module>',
        f"{kind}: first line",
        "  second line",
        error="  second line",
    )


def raising(kind="a.ValueError", message="no"):
    """Make a cell that caught an exception."""
    return cell(message, caught=[[kind, message]])


def history(*cells):
    """Give the releases their cells; None where nothing is recorded."""
    pairs = zip(RELEASES, cells, strict=True)
    return {release: found for release, found in pairs if found is not None}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f32[s0, s1] s0", "f32[s77, s27] s77"),
        ("u0 + zuf1", "u7 + zuf0"),
        ("at 0x7f0123456789", "at 0x55e0aabbccdd"),
        ("/usr/lib/python3/site.py", "/opt/x/.venv/site.py"),
        ("torch/_dynamo/x.py:12 in f", "torch/_dynamo/x.py:99 in f"),
        ('File "torch/x.py", line 3, in f', 'File "torch/x.py", line 4, in f'),
        ("[<class 'b'>, <class 'a'>]", "[<class 'a'>, <class 'b'>]"),
        ("<class 'a'>, <class 'triton.language.dtype'>]", "<class 'a'>]"),
        ("torch._utils._CudaDeviceProperties", "torch._C._CudaDeviceProperties"),
    ],
)
def test_normalized_to_the_same(one, other):
    """Names of symbols, addresses, folders and torch's lines make no difference."""
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f32[s0, s0]", "f32[s77, s27]"),
        ("s0", "u0"),
        ("VR[1, 1024]", "VR[2, 1024]"),
        ("plot_x.py:12", "plot_x.py:13"),
        ("1 / 2", "1 / 3"),
        ("add_1", "add_2"),
    ],
)
def test_normalized_to_others(one, other):
    """All else does."""
    assert normalize(one) != normalize(other)


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (["2.6"], "2.6"),
        (["2.6", "2.7"], "2.6 – 2.7"),
        (["2.6", "2.9", "2.10"], "2.6, 2.9 – 2.10"),
        (RELEASES, "2.6 – 2.10"),
    ],
)
def test_label(some, expected):
    """Releases in a row are a range."""
    assert label(some, RELEASES) == expected


def test_groups():
    """Releases that print the same are one group, in a row or not."""
    found = groups(history(cell("s0"), cell("x"), cell("s77"), None, cell()))
    assert found == [["2.6", "2.8"], ["2.7"], ["2.10"]]


@pytest.mark.parametrize(
    ("some", "known", "expected"),
    [
        (["2.9", "2.10"], RELEASES, "since 2.9"),
        (["2.10"], RELEASES, "since 2.10"),
        (["2.6", "2.7"], RELEASES, "up to 2.7"),
        (["2.8"], RELEASES, "only on 2.8"),
        (["2.6", "2.8"], RELEASES, "on 2.6, 2.8, not on 2.7, 2.9 – 2.10"),
        (["2.9"], ["2.7", "2.9"], "on 2.9, not on 2.7"),
        (["2.7"], ["2.7", "2.9"], "on 2.7, not on 2.9"),
        (["2.8"], ["2.6", "2.8", "2.9"], "on 2.8, not on 2.6, 2.9"),
        (["2.8", "2.10"], ["2.7", "2.8", "2.10"], "since 2.8"),
    ],
)
def test_when(some, known, expected):
    """A change has a date only where the releases beside it are recorded."""
    assert when(some, known, RELEASES) == expected


def test_uncaught_exception():
    """The exception that ended a recipe is found in its traceback, whole."""
    assert exceptions(failing()) == [("RuntimeError", "first line\n  second line")]


def test_older_transcript():
    """A transcript without the newer keys says that nothing was raised."""
    assert exceptions({"output": ["x"], "source": "1"}) == []


QUIET, RAISES, OTHER, FAILS = cell("fine"), raising(), raising("TypeError"), failing()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([QUIET] * 5, []),
        ([RAISES] * 5, []),
        ([RAISES, RAISES, QUIET, QUIET, QUIET], ["Raises up to 2.7: ValueError."]),
        ([QUIET, QUIET, QUIET, RAISES, RAISES], ["Raises since 2.9: ValueError."]),
        ([QUIET, RAISES, QUIET, QUIET, QUIET], ["Raised only on 2.7: ValueError."]),
        (
            [QUIET, RAISES, QUIET, RAISES, QUIET],
            ["Raises on 2.7, 2.9, not on 2.6, 2.8, 2.10: ValueError."],
        ),
        (
            [RAISES, RAISES, OTHER, OTHER, OTHER],
            ["Raises another exception since 2.8: TypeError, before ValueError."],
        ),
        (
            [raising("RuntimeError")] * 3 + [raising("AssertionError")] * 2,
            [],
        ),
        (
            [RAISES, OTHER, RAISES, RAISES, RAISES],
            [
                (
                    "Raises different exceptions: ValueError on 2.6, 2.8 – 2.10; "
                    "TypeError on 2.7."
                )
            ],
        ),
        (
            [RAISES, OTHER, OTHER, QUIET, QUIET],
            [
                "Raises up to 2.8: ValueError, TypeError.",
                "Raises another exception since 2.7: TypeError, before ValueError.",
            ],
        ),
        ([FAILS, FAILS, QUIET, QUIET, QUIET], ["Fixed in 2.8: RuntimeError before."]),
        (
            [FAILS, RAISES, RAISES, RAISES, RAISES],
            ["Fixed in 2.7: RuntimeError before."],
        ),
        ([QUIET, QUIET, QUIET, FAILS, FAILS], ["Fails since 2.9: RuntimeError."]),
        ([QUIET, FAILS, QUIET, QUIET, QUIET], ["Fails only on 2.7: RuntimeError."]),
        ([FAILS] * 5, []),
        ([FAILS, None, QUIET, None, None], ["Fails on 2.6, not on 2.8: RuntimeError."]),
        (
            [None, None, QUIET, None, RAISES],
            ["Raises on 2.10, not on 2.8: ValueError."],
        ),
        ([None] * 5, []),
        ([None, None, RAISES, None, None], []),
    ],
)
def test_behavior(cells, expected):
    """A difference of behavior is said in words."""
    assert behavior(history(*cells), RELEASES) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            ["is 1.5", "is 1.5", "is 33", "is 33", "is 33"],
            ["Another number since 2.8: 33, before 1.5."],
        ),
        (["1 2", "1 2", "3 4", "3 4", "3 4"], ["Other numbers since 2.8."]),
        (
            ["1", "2", "1", "1", "1"],
            ["Different numbers on 2.6, 2.8 – 2.10 and on 2.7."],
        ),
        (
            ["1", "2", "3", "3", "3"],
            ["Different numbers on 2.6 and on 2.7 and on 2.8 – 2.10."],
        ),
        (["1 a", "2 b", "2 b", "2 b", "2 b"], []),
        (["add_1", "add_2", "add_2", "add_2", "add_2"], []),
        (["s0", "s0", "s77", "s77", "s77"], []),
    ],
)
def test_numbers(texts, expected):
    """Numbers are compared where nothing else differs."""
    assert behavior(history(*map(cell, texts)), RELEASES) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (QUIET, QUIET, []),
        (QUIET, cell("other"), [Change("output")]),
        (cell("s0"), cell("s77"), []),
        (QUIET, RAISES, [Change("appeared", now="ValueError: no")]),
        (RAISES, QUIET, [Change("disappeared", before="ValueError: no")]),
        (RAISES, OTHER, [Change("type", "ValueError: no", "TypeError: no")]),
        (FAILS, QUIET, [Change("disappeared", before="RuntimeError: first line")]),
        (
            raising(message="old words"),
            raising(message="new words"),
            [Change("wording", "old words", "new words", "ValueError")],
        ),
        (
            raising(message="head\nold"),
            raising(message="head\nnew"),
            [Change("wording", "old", "new", "ValueError: head")],
        ),
        (
            raising(message="head"),
            raising(message="head\nmore"),
            [Change("wording", "", "more", "ValueError: head")],
        ),
        (raising(message="dim s0"), raising(message="dim s77"), []),
        (
            raising(message="s5\nof s6"),
            raising(message="s5\nof s5"),
            [Change("wording", "of s6", "of s5", "ValueError: s5")],
        ),
        (
            raising(message="s5\ns0"),
            raising(message="s0\ns0"),
            [Change("wording", "s1", "s0", "ValueError: s0")],
        ),
        (
            raising(message="<class 'b'>, <class 'a'>, <class 'd'>"),
            raising(message="<class 'c'>, <class 'd'>, <class 'a'>"),
            [
                Change(
                    "wording",
                    "<class 'a'>, <class 'b'>, <class 'd'>",
                    "<class 'a'>, <class 'c'>, <class 'd'>",
                    "ValueError",
                )
            ],
        ),
    ],
)
def test_changes(old, new, expected):
    """What changed from one release to the next, each with a line of the message."""
    assert changes(old, new) == expected


#: What messages and outputs are made of, each normalized in another way or not.
WORDS = (
    *("s0", "s1", "u0", "u7", "1", "2.5", "-3", "\n", "\n", " ", "add_1", "é"),
    *("0x7f0123456789", "0x55e0aabbccdd", "/usr/lib/x.py", "torch/_x/y.py:12"),
    *(
        "<class 'a'>",
        ", ",
        "<class 'b'>, <class 'a'>",
        "<class 'triton.x'>",
        "<class '",
    ),
    *("torch._C._CudaDeviceProperties", "Traceback (most recent call last):\n"),
)


def random_cell(random):
    """Return a cell of random words, which raises, fails or only prints."""

    def text():
        return "".join(random.choices(WORDS, k=random.randrange(7)))

    caught = [[random.choice(["A", "b.C"]), text()] for _ in range(random.randrange(3))]
    error = text() or "E" if random.random() < 0.2 else None
    return cell(*text().split("\n"), caught=caught, error=error)


@pytest.mark.parametrize("seed", range(10))
def test_any_cells_can_be_compared(seed):
    """No text is one that the comparison cannot cope with."""
    made = random.Random(seed)
    for _ in range(100):
        cells = [random_cell(made) for _ in RELEASES]
        behavior(history(*cells), RELEASES)
        for old in cells:
            assert changes(old, old) == []
            for new in cells:
                assert bool(changes(old, new)) == bool(changes(new, old))


def test_long_lines_begin_near_their_difference():
    """Where two lines differ late, their common beginning is cut off."""
    start = "the same words " * 20
    (change,) = changes(raising(message=f"{start}a"), raising(message=f"{start}b"))
    assert change.before.startswith("… ")
    assert change.before.endswith(" a")
    assert len(change.before) < 60
