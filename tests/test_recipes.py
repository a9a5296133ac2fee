"""Each recipe runs out of its zip, as a script and as a notebook.

Both run in an empty folder and leave nothing there, in a process that has torch
already; the script in an environment that has what its ``requirements.txt`` names, and
no more.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import kernel
import nbformat
import pytest
import scripts
from _ext.files import digest
from _ext.recipe import applies, missing_program, time_limit
from _ext.run import cache
from conftest import PRELOAD, RECIPES, ROOT
from ipykernel.compiler import get_file_name
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from jupyter_client import BlockingKernelClient

#: The recipes that register a class as a pytree node.
REGISTERING = [
    path
    for path in RECIPES
    if re.search("register_(pytree_node|dataclass)", path.read_text("utf-8"))
]

#: Those that run with the pinned torch. What needs a newer one is run by recording it.
APPLYING = [path for path in RECIPES if applies(path.read_text("utf-8"))]

each_recipe = pytest.mark.parametrize("path", APPLYING, ids=lambda path: path.stem)

#: What torch 2.13 prints on stderr and a recipe cannot help. Look again with a new pin.
EXPECTED_ON_STDERR = {
    "its log, which a failing export writes": r"[EW]\d{4} \d\d:\d\d:\d\d\.\d+ .*",
    "its own use of LeafSpec, when it copies a program": (
        r".*copyreg.py:\d+: FutureWarning: `isinstance\(treespec, LeafSpec\)` .*"
        r"|  return cls.__new__\(cls, \*args\)"
    ),
    "its use of its own functions that will be removed": (
        r"(.*site-packages/torch/\S+\.py|<eval_with_key>\.\d+):\d+: FutureWarning: "
    ),
    "its advice on a builtin that strict mode does not know": (
        r".*: UserWarning: Dynamo does not know how to trace the builtin "
        r"|If it is a (Python builtin|third-party C/C\+\+ Python extension), please "
    ),
    "its advice on the mode, on axes and on the old exporter of ONNX": (
        r".*: UserWarning: (Exporting a model while it is in training mode|# )"
        r"|.*: (DeprecationWarning: You are using the legacy|TracerWarning: )"
    ),
    "the graph of an export that failed": r"class GraphModule\(|def forward\(| +\S",
    "a traceback that it, or onnxscript, logs": (
        r"--- Logging error ---|Traceback |During handling |Call stack:|Message: |\t"
        r"|Arguments: |[\w.]+Error: |Check the documentation of torch.load"
    ),
    "onnxscript's, where an opset cannot be converted": (
        r"The model version conversion is not "
        r"|Failed to convert the model to the target"
    ),
    "onnxruntime's, of a run that fails": r"\x1b\[(1;31m.*\[E:onnxruntime|m$)",
    "AOTInductor's, of an input that a package rejects": r"Error: input_handles\[",
    "its own, about the list in which an LSTM keeps its weights": (
        r".*UserWarning: The tensor attributes self\.layer\._flat_weights"
    ),
    "its advice on a cache that strict mode leaves out": (
        r".*: UserWarning: Dynamo detected a call to a `functools\.lru_cache`"
        r"|This call originates from:$"
    ),
    "its advice to compile flex_attention": (
        r".*: UserWarning: flex_attention called without torch\.compile\(\)"
        r"|SOLUTION: Use torch\.compile|If you want to debug your score_mod"
        r"|torch\.nn\.attention\.flex_attention\._FLEX|This will allow you to use print"
    ),
    "its hint at a fake tensor that a failing export keeps": (
        r".*: UserWarning: A model attribute `energy\.lifted_tensor_0` requires"
    ),
    "transformers', of axes that its exporter chooses": r"`dynamic=True` with no expl",
    "its profiler's": r"USDT:.* profiler_st",
    "its profiler's, of a build with CUDA where there is no GPU": (
        r"ERROR:.* DeviceProperties\.cpp:\d+\] gpuGetDeviceCount failed"
    ),
    "its own, about Python 3.13.0 alone": (
        r".*RuntimeWarning: Guards may run slower on Python 3\.13\.0\."
        r"|  warnings\.warn\($"
    ),
}


#: What a page does not show: where packages and the recipe lie, and colors.
LEFT_OUT = re.compile(
    r"[^\s\"'(]*/site-packages/|(?<=\()(?:[\w.-]+/)+(?=plot_\w+\.py:)|\x1b\[\d*m"
)


def unexpected(stderr: str) -> list[str]:
    """Return the lines that no entry above allows."""
    allowed = re.compile("|".join(EXPECTED_ON_STDERR.values()))
    return [
        line for line in stderr.splitlines() if line.strip() and not allowed.match(line)
    ]


def lines(text: str) -> list[str]:
    """Return the lines of a text, without what a page does not keep: outer spaces."""
    return [line.strip() for line in text.expandtabs().splitlines() if line.strip()]


def unframed(text: str) -> list[str]:
    """Return the lines of a text without frames of a report of draft_export.

    torch writes the name of a file once in a process, so that a kernel has fewer.
    """
    return [line for line in lines(text) if not re.match(r"File \S+, lineno ", line)]


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Return a function that gives a Python with the required distributions alone.

    They are links to those that are installed, so no network is needed.
    """
    folder = tmp_path_factory.mktemp("environments")

    @functools.cache
    def make(requirements: str) -> Path:
        place = folder / digest(requirements)
        venv.create(place, symlinks=True)
        (site,) = place.glob("lib/python*/site-packages")
        names = [Requirement(line).name for line in requirements.splitlines()]
        for name in cache._versions(tuple(names)):
            distribution = metadata.distribution(name)
            tops = {file.parts[0] for file in distribution.files}
            for top in tops - {"..", "__pycache__"}:
                if not (site / top).exists():
                    (site / top).symlink_to(distribution.locate_file(top))
        return place / "bin/python"

    return make


@pytest.fixture(scope="session")
def optree() -> str:
    """Return the folder with optree, which the environment does not have."""
    return beside("optree")


@pytest.fixture(scope="session")
def executorch() -> str:
    """Return the folder with executorch, which the environment does not have."""
    return beside("executorch")


def beside(name: str) -> str:
    """Return the folder with a package that is kept beside the environment."""
    folder = Path(sys.prefix, name)
    if not (folder / "made").exists():
        pytest.skip(f"{name} is not in {folder}: 'make test' installs it there.")
    return str(folder)


@dataclass
class Taken:
    """What a reader has downloaded and unpacked.

    Attributes
    ----------
    name
        The recipe.
    folder
        Where its script, or its notebook, lies alone.
    requirements
        What is to be installed.
    notebook
        The notebook as a reader sees it.
    limit
        The seconds that it may take.
    """

    name: str
    folder: Path
    requirements: str
    notebook: nbformat.NotebookNode
    limit: float

    def files(self) -> list[str]:
        """Return the names of the files in its folder."""
        return [path.name for path in self.folder.iterdir()]


@pytest.fixture
def take(html, tmp_path):
    """Return a function that unpacks the script or the notebook of a recipe."""

    def take(path: Path, kind: str) -> Taken:
        text = path.read_text("utf-8")
        if program := missing_program(text):
            pytest.skip(f"{program} is not installed; the page shows what it gives.")
        folder = tmp_path / kind
        (archive,) = html.glob(f"_downloads/*/{path.stem}.zip")
        with zipfile.ZipFile(archive) as contents:
            contents.extract(f"{path.stem}.{kind}", folder)
            requirements = contents.read("requirements.txt").decode()
            notebook = contents.read(f"{path.stem}.ipynb").decode()
        shown = nbformat.reads(notebook, nbformat.NO_CONVERT)
        return Taken(path.stem, folder, requirements, shown, time_limit(text, 300))

    return take


def clean_environment() -> dict[str, str]:
    """Return the variables of the environment without those of this Python."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in ours}


@pytest.fixture(scope="session")
def run_script(environment):
    """Return a function that runs a script, with variables in its environment."""
    servers = {}

    def run(taken: Taken, **variables: str) -> subprocess.CompletedProcess:
        key = (taken.requirements, *variables.items())
        if key not in servers:
            python = environment(taken.requirements)
            variables = clean_environment() | variables
            servers[key] = scripts.Server(python, variables, PRELOAD)
        return servers[key].run(taken.folder / f"{taken.name}.py", taken.limit)

    yield run
    for server in servers.values():
        server.close()


def execute(taken: Taken, own: Path) -> list[str]:
    """Execute a notebook in a kernel, and return what each cell printed.

    The cell that calls pip is left out. It has a test of its own: all is there
    already, and pip takes seconds to say so.
    """
    with kernel.started(taken.folder, own) as client:
        return [
            execute_cell(client, cell.source, taken.limit)
            for cell in code(taken.notebook)
        ]


def execute_cell(client: BlockingKernelClient, source: str, limit: float) -> str:
    """Execute a cell, which may not raise, and return what it has on stdout."""
    outputs = []
    reply = client.execute_interactive(
        source,
        allow_stdin=False,
        output_hook=lambda message: outputs.append(message["content"]),
        timeout=limit,
    )["content"]
    assert reply["status"] == "ok", "\n".join([source, *reply["traceback"]])
    return "".join(out["text"] for out in outputs if out.get("name") == "stdout")


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the cells of code that are the recipe's."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and not cell.source.startswith("# %pip")
    ]


def printed_by(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what each cell has on stdout."""
    return [
        "".join(
            output.text for output in cell.outputs if output.get("name") == "stdout"
        )
        for cell in code(notebook)
    ]


@pytest.mark.rerun
@each_recipe
def test_recipe_runs_as_a_script(path, take, run_script):
    """It prints what its page shows, is silent on stderr, and leaves no file."""
    taken = take(path, "py")
    done = run_script(taken)
    assert done.returncode == 0, done.stderr
    printed = LEFT_OUT.sub("", done.stdout.replace(f"{taken.folder}/", ""))
    assert lines(printed) == lines("\n".join(printed_by(taken.notebook)))
    assert unexpected(done.stderr) == []
    assert taken.files() == [path.name]


#: Prints which modules ``import torch`` leaves, and those that torch gives when asked.
MODULES = """
import json, sys, torch
alone = {*sys.modules}
lazy = torch._dynamo, torch._export, torch._inductor, torch.onnx
starts = tuple(module.__name__ for module in lazy)
asked = {name for name in sys.modules if name.startswith(starts)}
print(json.dumps([*alone | asked]))
"""


@pytest.fixture(scope="session")
def there(once) -> set[str]:
    """Return the names of the modules that a script has after ``import torch``."""
    command = [sys.executable, "-c", MODULES]
    return set(once("there", lambda _: json.loads(subprocess.check_output(command))))


@each_recipe
def test_script_imports_the_modules_that_it_names(path, there):
    """The processes that the scripts are forked from give no module away."""
    tree = [*ast.walk(ast.parse(path.read_text("utf-8")))]
    imported = {alias.name for node in tree for alias in getattr(node, "names", ())}
    named = {ast.unparse(node) for node in tree if isinstance(node, ast.Attribute)}
    missing = {name for name in named if is_module(name)} - there - imported
    assert missing == set(), f"{path.name} has to import {', '.join(sorted(missing))}"


def is_module(name: str) -> bool:
    """Tell whether a name is that of a module of torch; nothing is imported."""
    (folder,) = importlib.util.find_spec("torch").submodule_search_locations
    place = Path(folder).parent / name.replace(".", "/")
    is_there = place.is_dir() or place.with_suffix(".py").exists()
    return is_there and re.fullmatch(r"torch(\.\w+)+", name) is not None


@pytest.mark.rerun
@each_recipe
def test_recipe_runs_as_a_notebook(path, take, forkserver, tmp_path):
    """Each cell prints what the notebook shows, and neither file nor kernel is left."""
    taken = take(path, "ipynb")
    places = Places(taken.name, taken.notebook)
    found = execute(taken, tmp_path / "jupyter")
    printed = [LEFT_OUT.sub("", places.in_script(text)) for text in found]
    shown = printed_by(taken.notebook)
    assert [*map(unframed, printed)] == [*map(unframed, shown)]
    assert taken.files() == [f"{path.stem}.ipynb"]


@pytest.mark.rerun
@pytest.mark.parametrize("path", REGISTERING, ids=lambda path: path.stem)
def test_recipe_runs_beside_optree(path, take, run_script, optree):
    """A recipe that registers a class can do so where torch tells optree of it."""
    taken = take(path, "py")
    done = run_script(taken, PYTHONPATH=optree)
    assert done.returncode == 0, done.stderr


@pytest.mark.rerun
def test_recipe_runs_beside_executorch(take, run_script, executorch):
    """ExecuTorch lowers and runs the program; the page says how to get it."""
    taken = take(ROOT / "recipes/plot_exporter_after_lower.py", "py")
    assert any("executorch==" in text for text in printed_by(taken.notebook))
    done = run_script(taken, PYTHONPATH=executorch)
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout)[-5:] == [
        *["right without the pass: False"] * 3,
        "method->set_inputs() for method 'forward' failed with error 0x10",
        "ExecuTorch with the pass: equal to eager",
    ]


class Places:
    """Where the cells of a notebook are in the script.

    A kernel compiles each cell as a file of its own, ``/tmp/ipykernel_<process>/<hash
    of the cell>.py``. Torch prints places in the source. Each is translated, so a place
    that is not the same cell and line is a difference. One recipe prints such places
    itself, as ``line 48: <its code>``, from which the cell can be told.
    """

    def __init__(self, name: str, notebook: nbformat.NotebookNode) -> None:
        script = (ROOT / f"recipes/{name}.py").read_text("utf-8").splitlines()
        self.name = name
        self.lines, self.cells, last = {}, [], 0
        for cell in code(notebook):
            numbers = self.lines[Path(get_file_name(cell.source)).name] = []
            self.cells.append((cell.source.splitlines(), numbers))
            for line in cell.source.splitlines():
                last = script.index(line, last) + 1
                numbers.append(last)

    def in_script(self, text: str) -> str:
        """Return a text with places in the script instead of those in cells."""
        pattern = r"[^\s\"(]*/ipykernel_\d+/(\d+\.py)(:|\", line )(\d+)"
        text = re.sub(pattern, self._translated, text)
        return re.sub(r"^line (\d+): (.+)$", self._told, text, flags=re.MULTILINE)

    def _told(self, match: re.Match) -> str:
        number, code = int(match[1]), match[2]
        fitting = [
            numbers[number - 1]
            for lines, numbers in self.cells
            if number <= len(lines) and lines[number - 1].strip() == code
        ]
        return f"line {fitting[0]}: {code}" if len(fitting) == 1 else match[0]

    def _translated(self, match: re.Match) -> str:
        number = self.lines[match[1]][int(match[3]) - 1]
        return f"{self.name}.py{match[2]}{number}"


def test_environment_has_nothing_else(environment):
    """What the requirements do not name cannot be imported, what they ask for can."""
    python = environment("packaging==1\n")
    for code, status in {
        "import packaging": 0,
        "import torch": 1,
        "import pip": 1,
    }.items():
        done = subprocess.run(
            [python, "-c", code],
            capture_output=True,
            check=False,
            env=clean_environment(),
            text=True,
        )
        assert done.returncode == status, done.stderr
        assert ("ModuleNotFoundError" in done.stderr) == bool(status)


def test_there_are_recipes():
    """The two recipes that everything began with keep their addresses."""
    assert {
        "plot_exporter_exporter_inputs",
        "plot_exporter_exporter_with_dynamic_cache",
    } <= {path.stem for path in RECIPES}
