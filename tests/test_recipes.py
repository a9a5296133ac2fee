"""Each recipe runs out of its zip, as a script and as a notebook.

Both run in an empty folder and leave nothing there; the script in an environment that
has what its ``requirements.txt`` names, and no more.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from _ext.files import digest
from _ext.recipe import missing_program, time_limit
from _ext.run import cache
from conftest import RECIPES, ROOT
from ipykernel.compiler import get_file_name
from packaging.requirements import Requirement

#: What torch 2.13 prints on stderr and a recipe cannot help. Look again with a new pin.
EXPECTED_ON_STDERR = {
    "its log, which a failing export writes": r"[EW]\d{4} \d\d:\d\d:\d\d\.\d+ .*",
    "its own use of LeafSpec, when it copies a program": (
        r".*copyreg.py:\d+: FutureWarning: `isinstance\(treespec, LeafSpec\)` .*"
        r"|  return cls.__new__\(cls, \*args\)"
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
    "AOTInductor's, of an input that a package refuses": r"Error: input_handles\[",
    "its own, about the list in which an LSTM keeps its weights": (
        r".*UserWarning: The tensor attributes self\.layer\._flat_weights"
    ),
    "its profiler's": r"USDT:.* profiler_st",
    "its profiler's, of a build with CUDA where there is no GPU": (
        r"ERROR:.* DeviceProperties\.cpp:\d+\] gpuGetDeviceCount failed"
    ),
    "its own, about Python 3.13.0 alone": (
        r".*RuntimeWarning: Guards may run slower on Python 3\.13\.0\."
        r"|  warnings\.warn\($"
    ),
}


def unexpected(stderr: str) -> list[str]:
    """Return the lines that no entry above allows."""
    allowed = re.compile("|".join(EXPECTED_ON_STDERR.values()))
    return [
        line for line in stderr.splitlines() if line.strip() and not allowed.match(line)
    ]


def lines(text: str) -> list[str]:
    """Return the lines of a text, without what a page does not keep: outer spaces."""
    return [line.strip() for line in text.expandtabs().splitlines() if line.strip()]


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


@dataclass
class Run:
    """What the script and the notebook of a recipe did, each in an empty folder.

    Attributes
    ----------
    name
        The recipe.
    folder
        Where the two ran: ``script``, ``notebook``, and what Jupyter keeps.
    script, jupyter
        How the processes ended, and what they printed.
    shown
        The notebook as a reader downloads it.
    """

    name: str
    folder: Path
    script: subprocess.CompletedProcess
    jupyter: subprocess.CompletedProcess
    shown: nbformat.NotebookNode

    def left(self, folder: str) -> list[str]:
        """Return the names of the files in a folder."""
        return [path.name for path in (self.folder / folder).iterdir()]

    def executed(self) -> nbformat.NotebookNode:
        """Return the notebook after it ran."""
        path = self.folder / f"notebook/{self.name}.ipynb"
        return nbformat.read(path, nbformat.NO_CONVERT)


@pytest.fixture(scope="module", params=RECIPES, ids=lambda path: path.stem)
def run(request, html, environment, tmp_path_factory):
    """Run a recipe as a script and as a notebook, side by side."""
    path = request.param
    if program := missing_program(path.read_text("utf-8")):
        pytest.skip(f"{program} is not installed; the page shows what it gives.")
    folder = tmp_path_factory.mktemp("run")
    (archive,) = html.glob(f"_downloads/*/{path.stem}.zip")
    with zipfile.ZipFile(archive) as contents:
        contents.extract(path.name, folder / "script")
        contents.extract(f"{path.stem}.ipynb", folder / "notebook")
        python = environment(contents.read("requirements.txt").decode())
    shown = folder / f"notebook/{path.stem}.ipynb"
    notebook = nbformat.read(shown, nbformat.NO_CONVERT)
    skip_installation(shown)
    limit = time_limit(path, 120)
    with start_jupyter(shown, folder / "jupyter", limit) as jupyter:
        script = subprocess.run(
            [python, path.name],
            capture_output=True,
            check=False,
            cwd=folder / "script",
            env=clean_environment(),
            text=True,
            timeout=limit,
        )
        printed = jupyter.communicate(timeout=2 * limit)
    ended = subprocess.CompletedProcess(jupyter.args, jupyter.returncode, *printed)
    return Run(path.stem, folder, script, ended, notebook)


def clean_environment() -> dict[str, str]:
    """Return the variables of the environment without those of this Python."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def skip_installation(path: Path) -> None:
    """Mark the cell that calls pip, so that Jupyter leaves it out.

    It has a test of its own: all is there already, and pip takes seconds to say so.
    """
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    (cell,) = [cell for cell in notebook.cells if cell.source.startswith("%pip")]
    cell.metadata["tags"] = ["skip-execution"]
    nbformat.write(notebook, path)


def start_jupyter(path: Path, folder: Path, limit: float) -> subprocess.Popen:
    """Start what executes a notebook; all that it keeps is in a folder.

    The file by which a kernel is reached is there too, as long as the kernel runs.
    """
    folder.mkdir()
    code = "from nbclient.cli import main; main()"
    command = [sys.executable, "-c", code, "--inplace", f"--timeout={limit:g}"]
    places = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    own = dict.fromkeys((*places, "JUPYTER_RUNTIME_DIR", "TMPDIR"), str(folder))
    return subprocess.Popen(
        [*command, path.name],
        cwd=path.parent,
        env={**clean_environment(), **own},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_recipe_runs_as_a_script(run):
    """The script prints what its page shows, is silent on stderr, and leaves no file.

    It runs in a process that has torch from nothing, and so shows that the process
    from which the site's recipes are forked gives nothing away.
    """
    assert run.script.returncode == 0, run.script.stderr
    printed = run.script.stdout.replace(f"{run.folder}/script/", "")
    assert lines(printed) == lines("\n".join(printed_by(run.shown)))
    assert unexpected(run.script.stderr) == []
    assert run.left("script") == [f"{run.name}.py"]


def test_recipe_runs_as_a_notebook(run):
    """Each cell prints what the notebook shows, and neither file nor kernel is left."""
    assert run.jupyter.returncode == 0, run.jupyter.stderr
    places = Places(run.name, run.shown)
    printed = [places.in_script(text) for text in printed_by(run.executed())]
    assert [*map(lines, printed)] == [*map(lines, printed_by(run.shown))]
    assert run.left("notebook") == [f"{run.name}.ipynb"]
    assert not list((run.folder / "jupyter").glob("*.json"))


def printed_by(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what each cell of code has on stdout."""
    return [
        "".join(
            output.text for output in cell.outputs if output.get("name") == "stdout"
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
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
        for cell in notebook.cells:
            if cell.cell_type != "code" or cell.source.startswith("%"):
                continue
            numbers = self.lines[Path(get_file_name(cell.source)).name] = []
            self.cells.append((cell.source.splitlines(), numbers))
            for line in cell.source.splitlines():
                last = script.index(line, last) + 1
                numbers.append(last)

    def in_script(self, text: str) -> str:
        """Return a text with places in the script instead of those in cells."""
        pattern = r"[^\s\"]*/ipykernel_\d+/(\d+\.py)(:|\", line )(\d+)"
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
