"""Bring the catalogue of torch's messages up to date.

``make messages`` runs this module; a build never does. It reads the source of each
release of torch that ``conf.py`` names, without importing it, and of the packages that
people export with, at the versions of ``requirements.txt``. Each file
``_doc/messages/<area>.jsonl`` then has a line per message: its text with ``{}`` for
what varies, the kind (a class of exceptions, or what else prints it), the releases of
torch from which and to which it exists, and the files that have it. ``null`` is no
bound: the message is in the newest release, or its package has a release of its own.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _ext.commands import ROOT, Parser
from _ext.commands.message_source import Tree
from _ext.commands.message_texts import FEWEST_LETTERS, HOLE, letters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from _ext.commands.message_walk import Found


# An area is a list of folders and files; the first area that has a file owns it.
AREAS: dict[str, tuple[str, ...]] = {
    "symbolic shapes": (
        "torch/fx/experimental/_backward_state.py",
        "torch/fx/experimental/_dynamism.py",
        "torch/fx/experimental/_size_hinting.py",
        "torch/fx/experimental/recording.py",
        "torch/fx/experimental/sym_node.py",
        "torch/fx/experimental/symbolic_shapes.py",
        "torch/fx/experimental/validator.py",
        "torch/utils/_sympy/",
    ),
    "export": ("torch/export/", "torch/_export/"),
    "onnx": ("torch/onnx/",),
    "higher-order operators": ("torch/_higher_order_ops/",),
    "library": ("torch/_library/", "torch/library.py", "torch/_ops.py"),
    "pytree": (
        "torch/utils/_pytree.py",
        "torch/utils/_cxx_pytree.py",
        "torch/utils/pytree/",
    ),
    "dynamo": (
        "torch/_dynamo/",
        "torch/_guards.py",
        "torch/_logging/",
        "torch/compiler/",
    ),
    "functorch": ("torch/_functorch/",),
    "fake tensors": ("torch/_subclasses/",),
    "fx": ("torch/fx/",),
    "inductor": (
        "torch/_inductor/__init__.py",
        "torch/_inductor/codecache.py",
        "torch/_inductor/codegen/cpp_wrapper_",
        "torch/_inductor/compile_fx.py",
        "torch/_inductor/cpp_builder.py",
        "torch/_inductor/exc.py",
        "torch/_inductor/graph.py",
        "torch/_inductor/lowering.py",
        "torch/_inductor/output_code.py",
        "torch/_inductor/package/",
        "torch/_inductor/utils.py",
    ),
    "decompositions": (
        "torch/_decomp/",
        "torch/_meta_registrations.py",
        "torch/_prims/",
        "torch/_prims_common/",
        "torch/_refs/",
    ),
    "jit": ("torch/jit/",),
    "functional": ("torch/functional.py", "torch/nn/functional.py"),
    "torch": (
        "torch/__init__.py",
        "torch/_tensor.py",
        "torch/nn/modules/lazy.py",
        "torch/nn/modules/module.py",
        "torch/nn/parameter.py",
        "torch/nn/utils/stateless.py",
        "torch/serialization.py",
        "torch/testing/_comparison.py",
        "torch/utils/checkpoint.py",
    ),
    "onnxscript": ("onnxscript/",),
    "onnxruntime": ("onnxruntime/__init__.py", "onnxruntime/capi/"),
    "transformers": (
        "transformers/cache_utils.py",
        "transformers/exporters/",
        "transformers/integrations/executorch.py",
        "transformers/masking_utils.py",
    ),
}
# Areas of which only some kinds are wanted.
ONLY = {"jit": {"warning"}}
PACKAGES = ("onnxscript", "onnxruntime", "transformers")
# Wheels for this system are the smallest; what they have of Python is the same.
PLATFORM = ("--platform", "macosx_26_0_arm64", "--python-version", "3.11")
REGISTRY = "torch/_dynamo/graph_break_registry.json"
# Of C++; of earlier releases and other tools; functions in tracebacks.
BY_HAND = {"native.jsonl", "elsewhere.jsonl", "frames.jsonl"}
LONGEST = 1500  # characters of a text; a longer one ends with a hole

_SKIPPED = re.compile(
    r"(^|/)(tests?|testing|_testing|db/examples|opset\d+)/"
    r"|/(test_\w+|testing|_testing|bytecode_debugger|dynamo_profiler)\.py$"
)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_HOLES = re.compile(r"(\{\})+")
_FRAME = re.compile(r'File "?\{\}"?, line')  # how Python prints a frame
_SOURCE = re.compile(r"^(def \w+\(|from \S+ import |#include|\.section )", re.MULTILINE)
_KINDS_OF_LAST_RESORT = ("report", "exception", "log")


class MessagesError(Exception):
    """The command cannot go on; the message says what to do."""


@dataclass
class Message:
    """A message of one area, in all releases.

    Attributes
    ----------
    kinds
        The classes of exceptions, or what else prints it.
    releases
        The releases that have it; those of torch only.
    files
        The files that have it, in the newest of these releases.
    case, graph_break
        The example and the number of the graph break that it refers to.
    """

    kinds: set[str] = field(default_factory=set)
    releases: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    case: str = ""
    graph_break: str = ""


Catalogue = dict[tuple[str, str], Message]


def area_of(path: str) -> str | None:
    """Return the area of a file, or None if its messages are not wanted."""
    named = any(path in prefixes for prefixes in AREAS.values())
    if _SKIPPED.search(path) and not named:
        return None
    for area, prefixes in AREAS.items():
        if path.startswith(prefixes):
            return area
    return None


def fold(text: str) -> str:
    """Return a text as it is committed: with ``{}`` as holes, and single blanks.

    Lines keep their ends, but neither blanks around them nor empty lines in between.
    """
    text = _ESCAPE.sub("", text).replace(HOLE, "{}")
    lines = (" ".join(line.split()) for line in text.splitlines())
    text = _HOLES.sub("{}", "\n".join(filter(None, lines)))
    return text if len(text) <= LONGEST else _shortened(text)


def _shortened(text: str) -> str:
    return text[:LONGEST].rpartition(" ")[0] + " {}"


def says_something(text: str) -> bool:
    """Tell whether a text has fixed words, and is more than a name.

    A frame of a traceback, and source that is generated, say nothing.
    """
    has_words = letters(text) >= FEWEST_LETTERS and " " in text
    return has_words and not _FRAME.match(text) and not _SOURCE.search(text)


def sources(root: Path, package: str) -> Iterator[tuple[str, str]]:
    """Yield the area and the path of each file of a package that has an area."""
    for file in sorted((root / package).rglob("*.py")):
        path = file.relative_to(root).as_posix()
        area = area_of(path)
        if area:
            yield area, path


def read(root: Path, package: str = "torch") -> tuple[Catalogue, Counter[str]]:
    """Return the messages of a package, and by area how many say nothing.

    Parameters
    ----------
    root
        The folder that holds the package, as ``site-packages`` does.
    package
        Its name.
    """
    catalogue: Catalogue = {}
    dropped: Counter[str] = Counter()
    tree = Tree(root)
    numbers = graph_breaks(root)
    for area, path in sources(root, package):
        for found in tree.messages(path):
            text = fold(found.text)
            if found.kind not in ONLY.get(area, {found.kind}):
                continue
            if says_something(text):
                _add(catalogue, (area, text), found, path, numbers)
            else:
                dropped[area] += 1
    for message in catalogue.values():
        _drop_last_resorts(message.kinds)
    return catalogue, dropped


def _add(
    catalogue: Catalogue,
    key: tuple[str, str],
    found: Found,
    path: str,
    numbers: Mapping[str, str],
) -> None:
    message = catalogue.setdefault(key, Message())
    message.kinds.add(found.kind)
    message.files.add(path)
    message.case = message.case or found.case
    if found.kind == "graph break":
        message.graph_break = numbers.get(key[1].split("\n")[0], "")


def _drop_last_resorts(kinds: set[str]) -> None:
    """Drop kinds that say less than another one."""
    for kind in _KINDS_OF_LAST_RESORT:
        if len(kinds) > 1:
            kinds.discard(kind)


def graph_breaks(root: Path) -> dict[str, str]:
    """Return the number of each type of graph break, from the registry of a release."""
    file = root / REGISTRY
    registry = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return {
        fold(entry["Gb_type"]): number
        for number, entries in sorted(registry.items(), reverse=True)
        for entry in entries
    }


def merge(catalogues: Mapping[str, Catalogue]) -> Catalogue:
    """Return the messages of several releases as one catalogue.

    Parameters
    ----------
    catalogues
        The messages by release, the oldest first.
    """
    merged: Catalogue = {}
    for release, catalogue in catalogues.items():
        for key, message in catalogue.items():
            before = merged.get(key, Message())
            releases = [*before.releases, release]
            merged[key] = Message(
                message.kinds,
                releases,
                message.files,
                message.case or before.case,
                message.graph_break or before.graph_break,
            )
    return merged


def record(
    area: str, text: str, message: Message, releases: list[str]
) -> dict[str, Any]:
    """Return the line of a message.

    Parameters
    ----------
    area, text, message
        The message.
    releases
        All releases, the oldest first; none for a package that has its own.
    """
    line: dict[str, Any] = {"area": area, "text": text}
    line["kind"] = ", ".join(sorted(message.kinds))
    line |= span(message.releases, releases)
    line["files"] = sorted(message.files)
    optional = {"case": message.case, "graph_break": message.graph_break}
    return line | {key: value for key, value in optional.items() if value}


def span(having: list[str], releases: list[str]) -> dict[str, Any]:
    """Return the first and last release that have a message, and those between without.

    Parameters
    ----------
    having
        The releases that have it.
    releases
        All releases, the oldest first; none for a package that has its own.
    """
    if not releases:
        return {"since": None, "until": None}
    first, last = releases.index(having[0]), releases.index(having[-1])
    newest = last == len(releases) - 1
    found = {"since": having[0], "until": None if newest else having[-1]}
    gap = [name for name in releases[first:last] if name not in having]
    return found | ({"not_in": gap} if gap else {})


def file_of(line: dict[str, Any]) -> str:
    """Return the name of the file of a message: of its area, or of graph breaks."""
    apart = (line["area"], line["kind"]) == ("dynamo", "graph break")  # half of them
    return f"{line['area']}{' graph breaks' * apart}.jsonl".replace(" ", "-")


def write(folder: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write the files of the areas, sorted by the texts.

    Parameters
    ----------
    folder
        Where they lie; a file without messages is removed, but for the one that is
        kept by hand.
    lines
        The messages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[str]] = {}
    for line in sorted(lines, key=lambda line: (line["text"], line["area"])):
        text = json.dumps(line, ensure_ascii=False) + "\n"
        files.setdefault(file_of(line), []).append(text)
    for name, texts in files.items():
        (folder / name).write_text("".join(texts), "utf-8")
    for file in folder.glob("*.jsonl"):
        if file.name not in {*files, *BY_HAND}:
            file.unlink()


# -- Where the sources are --


def release_of(folder: Path) -> str | None:
    """Return the release of the torch that a folder holds, or None if it has none."""
    file = folder / "torch/version.py"
    text = file.read_text("utf-8") if file.is_file() else ""
    match = re.search(r"^__version__ = '([\d.]+)", text, re.MULTILINE)
    return match[1] if match else None


def find(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the folder of each release, and of each package besides torch.

    Parameters
    ----------
    folders
        Each holds packages, as ``site-packages`` does, or folders that do.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for candidate in (folder, *sorted(folder.glob("*/"))):
            release = release_of(candidate)
            names = [name for name in PACKAGES if (candidate / name).is_dir()]
            for name in [*names, *([release] if release else [])]:
                found.setdefault(name, candidate)
    return found


def pins(requirements: Path) -> dict[str, str]:
    """Return the versions that the site is built with, of all packages but torch."""
    pattern = re.compile(rf"^({'|'.join(PACKAGES)})==(\S+?)(?:;|$)", re.MULTILINE)
    found: dict[str, str] = {}
    for name, version in pattern.findall(requirements.read_text("utf-8")):
        found.setdefault(name, version)
    return found


def download(name: str, version: str, folder: Path) -> Path:
    """Unpack the Python files of a release that are read, and return their folder.

    Parameters
    ----------
    name, version
        The package.
    folder
        Where the sources of other releases are.

    Raises
    ------
    MessagesError
        If pip cannot download it.
    """
    target = folder / (version if name == "torch" else f"{name}-{version}")
    if target.is_dir():
        return target
    _say(f"{name} {version}: downloading its wheel for its source")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        _pip_download(f"{name}=={version}", Path(scratch))
        unpacked = Path(scratch, "unpacked")
        for wheel in sorted(Path(scratch).glob("*.whl")):
            _unpack(wheel, unpacked)
            wheel.unlink()
        unpacked.rename(target)
    return target


def _pip_download(requirement: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", *PLATFORM, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        lines = done.stderr.splitlines()
        said = "\n".join(line for line in lines if line.startswith("ERROR"))
        raise MessagesError(
            f"{requirement} could not be downloaded; pip says:\n"
            f"{said or done.stderr.strip()}\n"
            "If the network is not reachable, unpack its wheel elsewhere and name the "
            "folder: --source DIR, with DIR/torch/version.py or DIR/*/torch/version.py "
            "for torch. If a constraint excludes it, PIP_CONSTRAINT names another file."
        )


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            # Files without an area may have constants that messages are made from.
            if name == REGISTRY or name.endswith(".py"):
                archive.extract(name, folder)


# -- The command --


def collect(folders: Mapping[str, Path]) -> tuple[Catalogue, Counter[str]]:
    """Return the messages of releases of torch, merged, and how many say nothing.

    Parameters
    ----------
    folders
        Their sources, the oldest release first.
    """
    catalogues: dict[str, Catalogue] = {}
    dropped: Counter[str] = Counter()
    for release, folder in folders.items():
        catalogues[release], dropped = read(folder)
        _say(f"torch {release}: {len(catalogues[release])} messages")
    return merge(catalogues), dropped


def update(root: Path, given: Iterable[Path]) -> Counter[str]:
    """Write the catalogue anew, and return the number of messages by area.

    Parameters
    ----------
    root
        The repository.
    given
        Folders with sources; what they do not have is downloaded.
    """
    releases = runpy.run_path(str(root / "conf.py"))["torch_releases"]
    cache = root / "build/messages"
    known = find(given)
    torch = {
        release: known.get(release) or download("torch", release, cache)
        for release in releases
    }
    others = {
        name: known.get(name) or download(name, version, cache)
        for name, version in pins(root / "requirements.txt").items()
    }
    merged, dropped = collect(torch)
    lines = [record(*key, message, releases) for key, message in merged.items()]
    for name, folder in others.items():
        catalogue, dropped_ = read(folder, name)
        dropped += dropped_
        lines += [record(*key, message, []) for key, message in catalogue.items()]
    write(root / "_doc/messages", lines)
    _say(f"{dropped.total()} more of the newest have no fixed words: left out")
    return Counter(line["area"] for line in lines)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Write the catalogue anew; return the exit status."""
    parser = Parser("messages", __doc__)
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a folder with packages, or with folders of packages; may be repeated",
    )
    # torch's source has escapes that Python warns of.
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        counts = update(ROOT, parser.parse_args(arguments).source)
    except MessagesError as error:
        _say(str(error))
        return 1
    for area, count in [*sorted(counts.items()), ("all", counts.total())]:
        _say(f"{count:6} {area}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
