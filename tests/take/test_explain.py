"""The command finds what the box finds, and says it to readers and to programs."""

from __future__ import annotations

import ast
import base64
import json
import random
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from _ext.find import messages
from _ext.take import command, explain
from conftest import ROOT, needs_chromium
from pasting import LOG, pasted, real_errors

SCRIPT = (ROOT / "_doc/_static/errors-match.js").read_text("utf-8")
SPECIALIZED = (
    "torch._dynamo.exc.UserError: Constraints violated (batch)! For more information, "
    'run with TORCH_LOGS="+dynamic".\n'
    "  - You marked batch as dynamic but your code specialized it to be a constant (4)."
)
RECIPE = "plot_exporter_shapes_specialized"

#: Texts in which JavaScript and Python differ: white space, ends of lines, lengths.
ODD = [
    "",
    " \n\t",
    "TX014",
    " tx1\n",
    "TX9999",
    "\u00a0\u3000TX002\ufeff",
    SPECIALIZED.replace(" ", "\u00a0"),
    SPECIALIZED.replace(" ", "\u2003"),
    SPECIALIZED.replace("\n", "\u2028"),
    SPECIALIZED.replace("\n", "\x85"),
    SPECIALIZED.replace("\n", "\x0b\x1c\n"),
    SPECIALIZED.replace("batch", "\U0001f525\u0130\u212a\u017f"),
    "\U0001f4a5" * 5000 + SPECIALIZED,
    "\U0001f4a5 " * 200 + "\n" + SPECIALIZED + "\n" + "\U0001f4a5" * 200001,
    f"{LOG * 5}{SPECIALIZED}\n{LOG * 5}",
    " ".join(f"export guard dimension{number}" for number in range(5000)),
    "\u0661\u0662 export Constraints violated \u0967",
    "> > # > E   ValueError: \u2018x\u2019 is not \u201cexported\u201d",
]

#: What the box answers to texts, as the command has it.
ANSWER = """
([cases]) => cases.map(([text, release]) =>
  cookbookMatch.answer(site, text, release).answers.map((one) => [
    one.recipe.name, one.certain, !!one.usual, !!one.isOpen, one.why,
    one.quote ?? null, one.message ?? null, one.words ?? null,
  ]))
"""


@pytest.fixture(scope="module")
def raw(html):
    """Return the index of the site."""
    return json.loads((html / "errors.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def index(raw):
    """Return the index, prepared."""
    return explain.prepare(raw)


@pytest.fixture(scope="module")
def box(browser, raw):
    """Return a function that asks the functions of the box."""
    page = browser.new_context().new_page()
    page.add_script_tag(content=SCRIPT)
    page.evaluate("raw => { globalThis.site = cookbookMatch.prepare(raw) }", raw)
    return lambda cases: page.evaluate(ANSWER, [cases])


def of_command(index, text, release):
    """Return what the command answers, as the box has it."""
    found = explain.answer(index, explain.utf16(text), release)
    said = [
        [
            *(a.recipe["name"], a.certain, a.usual, a.is_open, a.why),
            *(a.quote, a.message, a.words),
        ]
        for a in found
    ]
    return json.loads(json.dumps(said))  # two halves of a character are one again


def different(box, index, cases):
    """Return the cases that box and command answer differently."""
    return {
        (text[-200:], release): (wanted, found)
        for (text, release), wanted in zip(cases, box(cases), strict=True)
        if wanted != (found := of_command(index, text, release))
    }


# -- The same answers --


def test_same_expressions():
    """The regular expressions of the command, piece by piece, are those of the box."""
    tree = ast.parse(Path(explain.__file__).read_text("utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    made = [call for call in calls if getattr(call.func, "id", "") in {"js", "any_of"}]
    inside = (node for call in made for each in call.args for node in ast.walk(each))
    pieces = [node.value for node in inside if isinstance(node, ast.Constant)]
    pieces += [explain._LEVEL, explain._DAY, explain._CLOCK, explain._NAME]
    # Some are in strings and templates, where more is escaped.
    plain, escaped = SCRIPT, SCRIPT.replace("\\\\", "\\").replace("\\`", "`")
    said = [piece.replace('\\"', '"') for piece in pieces]
    assert len(said) > 100
    assert [one for one in said if one not in plain and one not in escaped] == []


def test_same_numbers():
    """So are the lengths: how much is read, shown and certain."""
    numbers = re.findall(r"^  const ([A-Z]+) = (\d+);", SCRIPT, re.MULTILINE)
    ours = {name: getattr(explain, f"_{name}", None) for name, _ in numbers}
    del ours["LINKED"]  # of a link, which a terminal has not
    assert ours == {name: int(of) for name, of in numbers if name in ours}
    assert len(ours) > 10


@needs_chromium
def test_real_errors(box, index, raw):
    """To each real error, plain and pasted in one of the ways, both say the same."""
    releases = ["", *raw["releases"]]
    cases = []
    for number, text in enumerate(real_errors()):
        ways = list(pasted(text).values())
        release = releases[number % len(releases)]
        cases += [[text, release], [ways[number % len(ways)], release]]
    assert len(cases) > 600
    assert different(box, index, cases) == {}


@needs_chromium
@pytest.mark.parametrize("how", pasted(SPECIALIZED))
def test_ways_of_pasting(box, index, how):
    """To one message and to something else, pasted in all ways."""
    texts = [SPECIALIZED, "Traceback (most recent call last):\nKeyError: 'x'"]
    cases = [[pasted(text)[how], ""] for text in texts]
    assert different(box, index, cases) == {}


@needs_chromium
@pytest.mark.parametrize("number", range(len(ODD)))
def test_odd_texts(box, index, number):
    """To what JavaScript and Python would read differently."""
    assert different(box, index, [[ODD[number], ""], [ODD[number], "2.9"]]) == {}


@needs_chromium
def test_torn_texts(box, index):
    """To pieces of real errors with anything between them."""
    chance = random.Random(0)
    texts = real_errors()
    between = ["\n", " ", "\u2028", "\r", "\x0c", "{}", "\\n", "\U0001f525", "# ", "| "]
    cases = []
    for _ in range(150):
        pieces = chance.sample(texts, 3)
        torn = [text[: chance.randrange(len(text))] for text in pieces]
        cases.append([chance.choice(between).join(torn), "2.13"])
    assert different(box, index, cases) == {}


@needs_chromium
def test_page_and_command(browser, html):
    """Ten errors, pasted into the page or given to the file, are answered alike."""
    page = browser.new_context().new_page()
    page.goto((html / "errors.html").as_uri())
    release = page.evaluate("document.documentElement.dataset.torch")
    for text in real_errors("real_errors")[::6][:10]:
        page.fill("#error-text", text)
        page.wait_for_function(
            "n => document.querySelector('.error-box').dataset.answered === `${n}`",
            arg=len(text.strip()),
        )
        shown = page.evaluate(
            """() => [...document.querySelectorAll("#error-matches li")].map((one) => [
              one.querySelector(".recipe-id").textContent,
              one.querySelector(".error-title").textContent,
              one.querySelector(".error-reason").textContent,
              one.querySelector(".error-advice").textContent,
            ])"""
        )
        done = call(html / "explain.py", "--json", "--torch", release, given=text)
        said = json.loads(done.stdout)["answers"]
        assert shown == [[a["id"], a["title"], a["reason"], a["cause"]] for a in said]


# -- The command --


def call(file, *arguments, given="", **options):
    """Call the command with nothing of this environment, not even its packages."""
    python = [sys.executable, "-I", "-S", "-X", "utf8", str(file)]
    given = given if isinstance(given, bytes) else given.encode()
    return subprocess.run(
        [*python, *arguments],
        capture_output=True,
        check=False,
        input=given,
        **options,
    )


@pytest.fixture
def file(html, tmp_path):
    """Return the command, alone in a folder."""
    shutil.copy(html / "explain.py", tmp_path)
    return tmp_path / "explain.py"


def test_it_needs_nothing_else(html):
    """It is Python 3.10 and imports the standard library alone."""
    text = (html / "explain.py").read_text("utf-8")
    tree = ast.parse(text, feature_version=(3, 10))
    nodes = list(ast.walk(tree))
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    assert not names & {"socket", "urllib", "http", "ssl"}


def test_it_has_the_index(html, raw):
    """What is in it is errors.json; nothing else of the module is another."""
    text = (html / "explain.py").read_text("utf-8")
    (code,) = re.findall(r'^INDEX = """\n([\w+/=\n]+)"""$', text, re.MULTILINE)
    assert json.loads(zlib.decompress(base64.b64decode(code))) == raw
    source = (ROOT / "_doc/_ext/take/explain.py").read_text("utf-8")
    assert text.replace(f'"""\n{code}"""', '""') == source
    assert explain.FORMAT == messages.FORMAT == raw["format"]


def test_no_place_for_the_index():
    """A module without the line says so."""
    with pytest.raises(ValueError, match="INDEX"):
        command.filled("x = 1\n", b"{}")


@pytest.mark.parametrize("how", ["file", "input", "message", "dash", "wide", "bom"])
def test_answer(file, how):
    """A certain answer has title, cause, change, releases, address; the status is 0."""
    log = file.with_name("error.txt")
    encodings = {"wide": "utf-16", "bom": "utf-8-sig"}
    log.write_text(SPECIALIZED, encodings.get(how, "utf-8"))
    given = {"input": [], "dash": ["-"], "message": [SPECIALIZED]}.get(how, [str(log)])
    done = call(file, *given, given=SPECIALIZED)
    said = done.stdout.decode()
    assert (done.returncode, done.stderr) == (explain.CERTAIN, b"")
    parts = ["Exact", "TX014 Keep the batch", "  | Constraints", "The batch size"]
    parts += [
        "    - heads",
        "    + heads",
        "Works with PyTorch 2.6",
        f"{RECIPE}.html#fix",
    ]
    assert sorted(parts, key=said.find) == parts
    assert all(part in said for part in parts)


@pytest.mark.parametrize(
    "text", ["hello", "KeyError: 'x'", "", "export of a dimension"]
)
def test_nothing_is_certain(file, text):
    """That is said first, and by the status."""
    done = call(file, given=text)
    assert done.returncode == explain.NOT_CERTAIN
    assert done.stdout.startswith(b"Nothing is certain")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.txt"], "no.txt cannot be read"),
        (["TX9999"], "There is no recipe TX9999"),
        (["run"], "Say which script"),
        (["run", "no.py"], "There is no script no.py"),
        (["--torch", "1.0", "TX001"], "RELEASE is one of 2.6, "),
        (["--index", "no.json", "TX001"], "no.json cannot be read"),
        (["--what"], "unrecognized arguments"),
        (["a.txt", "b.txt"], "unrecognized arguments"),
    ],
)
def test_wrong_call(file, arguments, message):
    """It is said what to do, and the status is 2."""
    done = call(file, *arguments, cwd=file.parent)
    assert done.returncode == explain.WRONG_CALL
    assert message in done.stderr.decode()
    assert done.stdout == b""


def test_not_an_index(file):
    """A file of another kind or format is none."""
    for text in ("[]", '{"format": 1}', "{"):
        other = file.with_name("other.json")
        other.write_text(text, "utf-8")
        done = call(file, "--index", str(other), "TX001")
        assert done.returncode == explain.WRONG_CALL
        assert b"other.json" in done.stderr


def test_id(file, raw):
    """An id is answered by its recipe, however it is written."""
    for recipe in raw["recipes"][:3]:
        done = call(file, recipe["id"].lower())
        assert done.returncode == explain.CERTAIN
        assert f"{recipe['id']} {recipe['title'][:20]}" in done.stdout.decode()


def test_json(file):
    """A program gets all that a reader gets."""
    done = call(file, "--json", "--torch", "2.9", given=SPECIALIZED)
    said = json.loads(done.stdout)
    first = said["answers"][0]
    assert (said["torch"], said["certain"]) == ("2.9", True)
    assert (first["id"], first["name"], first["why"]) == ("TX014", RECIPE, "message")
    assert first["change"][0].startswith("- heads")
    assert "2.9" in first["works"]
    assert not any(answer["certain"] for answer in said["answers"][1:])
    done = call(file, "--json", given="hello")
    assert json.loads(done.stdout) == {"torch": "", "certain": False, "answers": []}
    assert done.returncode == explain.NOT_CERTAIN


def test_beside_the_index(html, raw, tmp_path):
    """The module of the repository takes the index beside it."""
    shutil.copy(ROOT / "_doc/_ext/take/explain.py", tmp_path)
    done = call(tmp_path / "explain.py", "TX001")
    assert b"errors.json cannot be read" in done.stderr
    shutil.copy(html / "errors.json", tmp_path)
    assert call(tmp_path / "explain.py", "TX001").returncode == explain.CERTAIN


def test_address(raw, html, monkeypatch):
    """A page is on the site, or in the folder of the command, or has its name alone."""
    page = f"auto_recipes/{RECIPE}.html"
    known = {**raw, "site": "https://cookbook.example/"}
    assert explain.address(known, page) == f"https://cookbook.example/{page}"
    assert explain.address({}, page) == page
    monkeypatch.setattr(explain, "_HERE", html)
    assert explain.address({}, f"{page}#fix") == f"{(html / page).as_uri()}#fix"


@pytest.mark.parametrize(
    ("version", "release"), [("2.9.1+cpu", "2.9"), ("2.16.0.dev2026", "2.16")]
)
def test_installed_release(monkeypatch, version, release):
    """Its wording is preferred; torch is not imported for it."""
    monkeypatch.setattr(explain.metadata, "version", lambda _: version)
    assert explain.installed() == release


def test_release_that_the_fix_does_not_work_with(raw, index):
    """That is said."""
    (one,) = explain.answer(index, "TX014")
    one.recipe = {**one.recipe, "answer": {**one.recipe["answer"], "works": ["2.9"]}}
    assert "Works with PyTorch 2.9. You have 2.6." in explain.shown(raw, one, "2.6")
    assert "You have" not in explain.shown(raw, one, "2.9")
    assert "You have" not in explain.shown(raw, one, "9.9")


# -- Running a script --

RAISES = """\
import sys
print("begin", flush=True)
print(sys.argv[1:], __name__, file=sys.stderr, flush=True)
sys.stdin.readline()
try:
    raise KeyError("another")
except KeyError as error:
    raise ValueError({!r}) from error
""".format(SPECIALIZED.partition(": ")[2])


@pytest.fixture
def script(file):
    """Return a script that waits and raises."""
    path = file.with_name("my_export.py")
    path.write_text(RAISES, "utf-8")
    return path


def test_script_that_raises(file, script):
    """What it prints comes at once, its traceback as usual, then the answer."""
    arguments = [sys.executable, str(file), "run", str(script), "-x", "run"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(arguments, **pipes) as process:
        assert process.stderr.readline() == b"['-x', 'run'] __main__\n"
        out, rest = process.communicate(b"\n")
    assert process.returncode == 1
    assert out == b"begin\n"
    trace, _, said = rest.decode().partition("\n\nExact")
    plain = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        check=False,
        input=b"\n",
    )
    assert trace == plain.stderr.decode().partition("\n")[2].rstrip("\n")
    assert "TX014" in said


def test_script_for_programs(file, script):
    """The answer stands alone in the output."""
    done = call(file, "--json", "run", str(script), given="\n")
    assert json.loads(done.stdout)["answers"][0]["id"] == "TX014"
    assert b"begin" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("print('well')", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('no')", 1),
        ("import os; os.kill(os.getpid(), 9)", 137),
    ],
)
def test_script_that_does_not_raise(file, text, status):
    """Nothing is added, and its status is kept."""
    script = file.with_name("well.py")
    script.write_text(text, "utf-8")
    done = call(file, "run", str(script))
    assert done.returncode == status
    assert b"certain" not in done.stderr


def test_script_with_an_unknown_exception(file):
    """What it logged before is no answer to it."""
    script = file.with_name("other.py")
    logged = f"Traceback (most recent call last):\n{SPECIALIZED}\n"
    script.write_text(f"import sys\nsys.stderr.write({logged!r})\n{{}}['x']\n", "utf-8")
    done = call(file, "run", str(script))
    assert done.stderr.rstrip().endswith(b"Nothing is certain: no recipe matches.")
    assert done.returncode == 1


def test_last_traceback():
    """It has the exceptions that it was caused by, and none before them."""
    head = "Traceback (most recent call last):\n"
    first, cause, last = (f"{head}{name}Error: x\n" for name in ("A", "B", "C"))
    for chained in explain._CHAINED:
        text = f"{first}\n{cause}\n{chained}\n\n{last}"
        assert explain.last_traceback(text) == text.removeprefix(f"{first}\n")
    assert explain.last_traceback("no traceback") == ""
