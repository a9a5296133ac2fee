"""The catalogue of messages is read from the source of torch, release by release."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from _ext.commands import messages
from _ext.commands.message_source import Tree

ROOT = Path(__file__).parents[2]


def write(root: Path, files: dict[str, str]) -> Path:
    """Write made-up source files, and return their folder."""
    for path, source in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(source), "utf-8")
    return root


def found(root: Path, source: str, **others: str) -> list[tuple[str, str]]:
    """Return texts and kinds of the messages of a made-up module, as committed."""
    path = "torch/export/made_up.py"
    files = {f"torch/export/{name}.py": text for name, text in others.items()}
    tree = Tree(write(root, {path: source, **files}))
    return [(messages.fold(text), kind) for text, kind, _ in tree.messages(path)]


def release(root: Path, name: str, source: str) -> Path:
    """Write a made-up release of torch, and return its folder."""
    version = f"__version__ = '{name}'\n"
    files = {"torch/version.py": version, "torch/export/made_up.py": source}
    return write(root / name, files)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('f"cannot export {x}"', "cannot export {}"),
        ('f"cannot export {x!r:>10} here"', "cannot export {} here"),
        ('"cannot " "export " + str(x)', "cannot export {}"),
        ('"cannot export %s of %d%%" % (x, y)', "cannot export {} of {}%"),
        ('"cannot export %(x)s" % {"x": x}', "cannot export {}"),
        ('"cannot export {} of {y:>3}".format(x, y=y)', "cannot export {} of {}"),
        ('"cannot {} {}".format("export", x)', "cannot export {}"),
        ('"\\n".join(["cannot export", f"for {x}"])', "cannot export\nfor {}"),
        ('", ".join(x)', "{}"),
        ('textwrap.dedent("""\n    cannot export\n\n      it""")', "cannot export\nit"),
        ('"cannot  export\\n"', "cannot export"),
        ('"\\033[31mcannot export\\033[0m"', "cannot export"),
        ('f"cannot export {x}{y}"', "cannot export {}"),
    ],
)
def test_what_varies_is_a_hole(tmp_path, expression, expected):
    """A message is its fixed words, however the source puts them together."""
    source = f"def f(x, y):\n    raise ValueError({expression})\n"
    assert [(expected, "ValueError")] == found(tmp_path, source)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ('raise RuntimeError(f"cannot export {x}")', "RuntimeError"),
        ('raise torch._dynamo.exc.UserError(T, f"cannot export {x}")', "UserError"),
        ('raise kind_of_error(f"cannot export {x}")', "exception"),
        ('assert x, f"cannot export {x}"', "assert"),
        ('torch._check(x, lambda: f"cannot export {x}")', "check"),
        ('torch._check_value(x, lambda: f"cannot export {x}")', "check"),
        ('torch._assert(x, f"now cannot export {x}"[4:])', None),
        ('warnings.warn(f"cannot export {x}", UserWarning, stacklevel=2)', "warning"),
        ('log.warning("cannot export %s", x)', "log"),
        ('logging.getLogger("x").info("cannot export %s", x)', "log"),
        ('torch._logging.warning_once(log, "cannot export %s", x)', "log"),
        ('log.debug("cannot export %s", x)', None),
        ('print("cannot export", x)', "report"),
        ('graph.call_function(op, (x, f"cannot export {x}"))', "assert"),
        ("source += f'torch._assert({x}, \"cannot export {x}\")'", "assert"),
    ],
)
def test_a_message_has_the_kind_of_its_call(tmp_path, statement, kind):
    """Each form of a call that prints is known, and what does not print is not."""
    expected = [("cannot export {}", kind)] if kind else []
    assert expected == found(tmp_path, f"def f(x):\n    {statement}\n")


def test_an_exception_may_be_built_before_it_is_raised(tmp_path):
    """What a name stands for is known where the exception is made."""
    source = """
        def f(x):
            msg = f"cannot export {x}"
            msg += ", as it is"
            error = ValueError(msg)
            raise error
    """
    assert found(tmp_path, source) == [("cannot export {}, as it is", "ValueError")]


def test_each_branch_makes_a_message(tmp_path):
    """A message that depends on a condition has all of its wordings."""
    source = """
        def f(x):
            if x:
                what = "a tuple"
            elif x is None:
                return
            else:
                what = "nothing" if x == 0 else "a list"
            raise ValueError(f"cannot export {what}")
    """
    expected = [f"cannot export {what}" for what in ("a tuple", "nothing", "a list")]
    assert expected == [text for text, _ in found(tmp_path, source)]


def test_a_loop_adds_to_a_message(tmp_path):
    """What a loop appends is there once, with a hole for the other rounds."""
    source = """
        def f(xs):
            lines = ["cannot export"]
            for x in xs:
                lines.append(f"because of {x}")
            raise ValueError("\\n".join(lines))
    """
    expected = ["cannot export", "cannot export\nbecause of {}\n{}"]
    assert expected == [text for text, _ in found(tmp_path, source)]


def test_nested_functions_know_the_names_around_them(tmp_path):
    """A nested function, a check's message included, is read with its closure."""
    source = """
        def f(x):
            what = "this program"

            def message():
                return f"cannot export {what}"

            def inner(y):
                raise ValueError(f"{what} has no {y}")

            torch._check(x, message)
    """
    expected = {
        ("this program has no {}", "ValueError"),
        ("cannot export this program", "check"),
    }
    assert expected <= set(found(tmp_path, source))


def test_constants_and_helpers_are_followed(tmp_path):
    """Constants and functions, of the module or of another one, become their texts."""
    source = """
        from .other import PREFIX, describe

        class Problem(Exception):
            def __init__(self, x):
                super().__init__(f"{PREFIX} problem {x}")

        class Model:
            _advice = "use strict mode"

            def f(self, x):
                raise ValueError(f"{PREFIX} {describe(x)}, {self._advice}")
    """
    other = """
        PREFIX = "[export]"

        def describe(x):
            return f"cannot export {x}"
    """
    expected = [
        ("[export] problem {}", "Problem"),
        ("[export] cannot export {}, use strict mode", "ValueError"),
    ]
    assert expected == found(tmp_path, source, other=other)


def test_a_function_that_raises_what_it_is_given_is_a_call_site(tmp_path):
    """The text is found where the helper is called."""
    source = """
        def fail(msg):
            raise ValueError(msg)

        def f(x):
            fail(f"this program cannot be exported: {x}")
    """
    expected = ("this program cannot be exported: {}", "ValueError")
    assert expected in found(tmp_path, source)


def test_a_graph_break_is_one_message(tmp_path):
    """A graph break has its lines; hints that all share are holes."""
    source = """
        from torch._dynamo import graph_break_hints
        from torch._dynamo.exc import unimplemented

        def f(x):
            unimplemented(
                gb_type="Unsupported thing",
                context=f"call {x}",
                explanation=f"Dynamo cannot trace {x}.",
                hints=["Move it out.", *graph_break_hints.SUPPORTABLE],
            )
    """
    text = (
        "Unsupported thing\nExplanation: Dynamo cannot trace {}.\nHint: Move it out.\n"
        "Hint: {}\nDeveloper debug context: call {}"
    )
    assert [(text, "graph break")] == found(tmp_path, source)


def test_reports_and_constants_are_messages(tmp_path):
    """What a report returns, and a constant with such a name, is a message."""
    source = """
        _STEP_ONE_ERROR_MESSAGE = "Failed to export the model."

        class Report:
            def __str__(self):
                return f"Found {self.n} issues in this program."
    """
    expected = {
        ("Failed to export the model.", "report"),
        ("Found {} issues in this program.", "report"),
    }
    assert expected == set(found(tmp_path, source))


def test_a_message_that_is_kept_for_later_counts(tmp_path):
    """A variable or an argument with such a name holds a message, once."""
    source = """
        def f(self, x):
            msg = f"not all values of {x}"
            msg += " satisfy the guard"
            self.violations.append((x, msg))
            self.keep(x, hint=f"you may have meant {x}")
            if x:
                message = "cannot export"
                raise ValueError(message + " this at all")
    """
    expected = [
        ("cannot export this at all", "ValueError"),
        ("not all values of {} satisfy the guard", "report"),
        ("you may have meant {}", "report"),
    ]
    assert sorted(found(tmp_path, source)) == expected


def test_every_text_that_a_helper_is_given_counts(tmp_path):
    """A helper that is given the class of the exception too is a call site."""
    source = """
        def _fail(kind, msg):
            raise OpError(kind, msg)

        def f(x):
            _fail(TypeError, f"these values are not equal: {x}")
    """
    expected = ("these values are not equal: {}", "OpError")
    assert expected in found(tmp_path, source)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{}: {} not",
        "graph_module",
        'File "{}", line {}, in {}',
        "def f():\nreturn x",
    ],
)
def test_what_is_no_message_is_left_out(text):
    """Names, frames and source have no fixed words of a message."""
    assert not messages.says_something(text)


def test_a_user_error_keeps_its_case(tmp_path):
    """The name of the example that a UserError refers to is in the catalogue."""
    source = 'raise UserError(T, "cannot export this", case_name="cond_operands")\n'
    root = write(tmp_path, {"torch/export/made_up.py": source})
    catalogue, _ = messages.read(root)
    assert catalogue["export", "cannot export this"].case == "cond_operands"


def test_graph_breaks_have_their_numbers(tmp_path):
    """The number is looked up in the registry that the release ships."""
    entry = {"Gb_type": "Unsupported thing", "Context": "", "Explanation": ""}
    source = 'unimplemented(gb_type="Unsupported thing", explanation="", context="")\n'
    files = {
        messages.REGISTRY: json.dumps({"GB0042": [entry]}),
        "torch/_dynamo/made_up.py": source,
    }
    catalogue, _ = messages.read(write(tmp_path, files))
    assert [message.graph_break for message in catalogue.values()] == ["GB0042"]


def test_texts_without_fixed_words_are_counted(tmp_path):
    """A text that is nearly all hole is left out, and counted."""
    source = 'def f(x):\n    raise ValueError(f"{x}: no")\n'
    catalogue, dropped = messages.read(
        write(tmp_path, {"torch/export/made_up.py": source})
    )
    assert catalogue == {}
    assert dropped["export"] == 1


@pytest.mark.parametrize(
    ("having", "expected"),
    [
        (["1", "2", "3"], {"since": "1", "until": None}),
        (["2"], {"since": "2", "until": "2"}),
        (["1", "3"], {"since": "1", "until": None, "not_in": ["2"]}),
    ],
)
def test_a_message_says_where_it_exists(having, expected):
    """The first and last release are named, and those in between without it."""
    assert expected == messages.span(having, ["1", "2", "3"])


def test_releases_are_merged(tmp_path):
    """A wording of two releases is one line, with the files of the newer one."""
    old = release(tmp_path, "2.6.0", 'raise ValueError("cannot export a set")')
    new = release(tmp_path, "2.7.1", 'raise TypeError("cannot export a set")')
    catalogue, _ = messages.collect({"2.6.0": old, "2.7.1": new})
    message = catalogue["export", "cannot export a set"]
    assert message.releases == ["2.6.0", "2.7.1"]
    assert {"TypeError"} == message.kinds


@pytest.mark.parametrize(
    ("path", "area"),
    [
        ("torch/export/_trace.py", "export"),
        ("torch/fx/experimental/symbolic_shapes.py", "symbolic shapes"),
        ("torch/fx/node.py", "fx"),
        ("torch/testing/_comparison.py", "torch"),
        ("torch/_dynamo/testing.py", None),
        ("torch/cuda/__init__.py", None),
    ],
)
def test_files_belong_to_areas(path, area):
    """A file has the first area that lists it; tests of torch have none."""
    assert area == messages.area_of(path)


@pytest.fixture
def repository(tmp_path):
    """Make a repository with two releases, whose sources are in one folder."""
    files = {
        "conf.py": 'torch_releases = ["2.6.0", "2.7.1"]\n',
        "requirements.txt": "torch==2.7.1\n",
        "_doc/messages/native.jsonl": "kept\n",
        "_doc/messages/gone.jsonl": "an area that is no more\n",
    }
    release(tmp_path / "sources", "2.6.0", 'raise ValueError("cannot export a set")')
    release(tmp_path / "sources", "2.7.1", 'raise ValueError("cannot export a list")')
    return write(tmp_path, files)


def test_two_runs_write_the_same(repository, capsys):
    """The files are the same byte by byte, and those kept by hand stay."""
    written = []
    for _ in range(2):
        counts = messages.update(repository, [repository / "sources"])
        files = sorted((repository / "_doc/messages").iterdir())
        written.append({file.name: file.read_bytes() for file in files})
    assert counts == {"export": 2}
    assert list(written[0]) == ["export.jsonl", "native.jsonl"]
    assert written[0]["native.jsonl"] == b"kept\n"
    assert written[0] == written[1]


def test_the_lines_are_sorted_and_dated(repository, capsys):
    """A line has the message, its kind, its releases and its files."""
    messages.update(repository, [repository / "sources"])
    text = (repository / "_doc/messages/export.jsonl").read_text("utf-8")
    newer, older = map(json.loads, text.splitlines())
    expected = {
        "area": "export",
        "text": "cannot export a list",
        "kind": "ValueError",
        "since": "2.7.1",
        "until": None,
        "files": ["torch/export/made_up.py"],
    }
    assert expected == newer
    assert (older["since"], older["until"]) == ("2.6.0", "2.6.0")


def test_a_release_that_cannot_be_downloaded_is_named(repository, monkeypatch):
    """The message says which release, what pip says, and what to do."""
    said = "ERROR: No matching distribution found for torch==2.7.1"
    failed = subprocess.CompletedProcess([], 1, "", f"Looking\n{said}\n")
    monkeypatch.setattr(messages.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(messages.MessagesError) as caught:
        messages.update(repository, [repository / "sources/2.6.0"])
    assert str(caught.value).startswith("torch==2.7.1 could not be downloaded")
    assert said in str(caught.value)
    assert "--source DIR" in str(caught.value)


def test_the_command_ends_with_the_message(repository, monkeypatch, capsys):
    """The command fails with the message and without a traceback."""
    failed = subprocess.CompletedProcess([], 1, "", "no network")
    monkeypatch.setattr(messages.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(messages, "ROOT", repository)
    assert messages.main([]) == 1
    assert "no network" in capsys.readouterr().out


def test_the_hash_seed_changes_nothing(repository):
    """Two processes with other hash seeds write the same bytes."""
    code = (
        "import sys; from pathlib import Path; from _ext.commands import messages;"
        "messages.update(Path(sys.argv[1]), [Path(sys.argv[1], 'sources')])"
    )
    written = []
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "_doc")}
        command = [sys.executable, "-c", code, str(repository)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        written.append((repository / "_doc/messages/export.jsonl").read_bytes())
    assert written[0] == written[1]


def test_the_committed_catalogue_is_well_formed():
    """Each line has its fields, once, and its file is that of its area."""
    keys = set()
    for file in sorted((ROOT / "_doc/messages").glob("*.jsonl")):
        for line in map(json.loads, file.read_text("utf-8").splitlines()):
            key = (file.name, line["area"], line["text"])
            assert key not in keys
            assert messages.fold(line["text"]) == line["text"]
            assert {"kind", "since", "until", "files"} <= line.keys()
            assert line["area"] in messages.AREAS or file.name in messages.BY_HAND
            keys.add(key)
    assert keys
