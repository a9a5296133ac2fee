"""The site has all that a reader looks for, and nothing of the machine it came from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from _ext.releases.transcripts import PACKAGES, excuse
from _ext.run import outcome
from conftest import RECIPES, ROOT, soup, sphinx

NAMES = [path.stem for path in RECIPES]
#: What lies beside the recipes in each zip.
BESIDE = {"README.md", "requirements.txt"}
#: Functions that readers look for, as they write them.
NAMED = [
    "torch._check",
    "torch.cond",
    "torch.export.Dim",
    "torch.export.draft_export",
    "torch.export.save",
    "torch.library.custom_op",
    "torch.onnx.export",
    "torch.while_loop",
]
EXPORT = (
    "https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/export/"
    "api_reference.html#torch.export.export"
)


@pytest.fixture(scope="module", params=NAMES)
def recipe(request, html):
    """Return the name of a recipe and its page."""
    return request.param, soup(html / "auto_recipes" / f"{request.param}.html")


def test_title_and_label(recipe):
    """The page has the title of the recipe, and its label is an anchor."""
    name, page = recipe
    text = (ROOT / "recipes" / f"{name}.py").read_text("utf-8")
    label, title = re.match(r'"""\n\.\. _(\S+):\n\n(.+)\n===', text).groups()
    shown = page.h1.text.removesuffix("¶")
    straight = re.sub("[“”]", '"', re.sub("[‘’]", "'", shown)).replace("…", "...")
    assert straight == title
    assert page.find(id=label.lower().replace("_", "-")) is not None


def test_way_to_the_end(recipe):
    """A link at the top leads to the downloads."""
    _, page = recipe
    link = page.find("a", string="Go to the end")
    target = page.find(id=link.get("href", "").removeprefix("#")) if link else None
    assert target is not None


def test_code_is_that_of_the_script(recipe):
    """The code stands as it is in the script, in order, without numbers of lines."""
    name, page = recipe
    text = (ROOT / "recipes" / f"{name}.py").read_text("utf-8")
    lines, last = [line.rstrip() for line in text.splitlines()], 0
    shown = page.select("div.highlight-Python pre")
    assert shown
    for block in shown:
        for line in filter(None, block.text.splitlines()):
            last = lines.index(line.rstrip(), last) + 1


def test_outputs_are_those_of_the_transcript(recipe):
    """Under the cells stands what the transcript says, in order.

    Under another Python a recipe may print something else; that stands there then.
    """
    name, page = recipe
    path = ROOT / f"_doc/transcripts/{pinned()}/{name}.json"
    cells = json.loads(path.read_text("utf-8"))["cells"]
    script = (ROOT / f"recipes/{name}.py").read_text("utf-8")
    if excuse(script, path.with_name(PACKAGES)):
        cells = outcome.read(ROOT / f"_doc/auto_recipes/{name}.py").cells
    shown = [block.pre.text for block in page.select("div.sphx-glr-script-out")]
    expected = ["\n".join(cell["output"]) for cell in cells if cell["output"]]
    stripped = [
        "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        for text in shown
    ]
    assert stripped == expected


def pinned() -> str:
    """Return the pinned release of torch."""
    text = (ROOT / "requirements.txt").read_text("utf-8")
    return re.search(r"^torch==(\S+)$", text, re.MULTILINE)[1]


def test_page_ends_with_what_helps(recipe):
    """Running times have a page of their own; readers need no imprint."""
    _, page = recipe
    assert page.select(".sphx-glr-timing, .sphx-glr-signature") == []


def test_downloads(recipe, html):
    """Script, notebook and zip can be downloaded and hold the recipe."""
    name, page = recipe
    files = {}
    for link in page.select("a.download"):
        path = (html / "auto_recipes" / unquote(link["href"])).resolve()
        files[path.name] = path
    assert set(files) == {f"{name}.{kind}" for kind in ("py", "ipynb", "zip")}
    script = (ROOT / "recipes" / f"{name}.py").read_text("utf-8")
    assert files[f"{name}.py"].read_text("utf-8") == script
    cells = json.loads(files[f"{name}.ipynb"].read_text("utf-8"))["cells"]
    assert {cell["cell_type"] for cell in cells} == {"code", "markdown"}
    with zipfile.ZipFile(files[f"{name}.zip"]) as archive:
        assert set(archive.namelist()) == {f"{name}.py", f"{name}.ipynb", *BESIDE}
        assert archive.read(f"{name}.py").decode() == script


def test_related_recipes(recipe):
    """The page ends with the titles of related recipes."""
    name, page = recipe
    related = [link["href"] for link in page.select("ul.related-recipes a.internal")]
    assert related
    assert len({*related, f"{name}.html"}) == len(related) + 1
    assert page.select(".sphx-glr-thumbnails") == []


def test_links_to_the_api(recipe):
    """A name in the code leads to torch's documentation."""
    name, page = recipe
    address = f'="{EXPORT}"' if exports(name) else '^="https://docs.pytorch.org/"'
    assert page.select_one(f"div.highlight-Python a[href{address}]")


def _text(name):
    return (ROOT / "recipes" / f"{name}.py").read_text("utf-8")


def exports(name):
    """Tell whether a recipe calls the exporter itself."""
    return re.search(r"^[^#\n]*torch\.export\.export\(", _text(name), re.MULTILINE)


def test_links_to_the_api_in_prose(html):
    """So does a name in the prose."""
    page = soup(html / "auto_recipes/plot_exporter_onnx_validate.html")
    assert page.select_one(f'p a[href="{EXPORT}"]')


def test_printed_programs_name_the_script_alone(html):
    """What torch prints about a source line is the name of the script and the line."""
    page = soup(html / "auto_recipes/plot_exporter_exporter_inputs.html")
    assert re.search(
        r"File: plot_exporter_exporter_inputs\.py:\d+ in forward", page.text
    )


def test_gallery(html):
    """The gallery shows each recipe and offers all of them at once."""
    page = soup(html / "auto_recipes/index.html")
    links = {link["href"] for link in page.select("a.reference.internal")}
    assert {f"{name}.html" for name in NAMES} <= {urldefrag(link)[0] for link in links}
    archives = {
        Path(link["href"]).name: link["href"] for link in page.select("a.download")
    }
    assert set(archives) == {"auto_recipes_python.zip", "auto_recipes_jupyter.zip"}
    for (name, link), kind in zip(
        sorted(archives.items(), reverse=True), ("py", "ipynb"), strict=True
    ):
        with zipfile.ZipFile(html / "auto_recipes" / link) as archive:
            assert set(archive.namelist()) == {f"{n}.{kind}" for n in NAMES} | BESIDE, (
                name
            )


def test_execution_times(html):
    """The page of running times lists each recipe."""
    text = soup(html / "sg_execution_times.html").text
    for name in NAMES:
        assert f"{name}.py" in text


def test_recipes_by_function(html):
    """A function stands under the name that users write, with its recipes."""
    page = soup(html / "functions.html")
    section = page.find(id="torch-export-export")
    assert section.select_one(f'a[href="{EXPORT}"]')
    for name in NAMED:
        section = page.find(id=re.sub(r"[._]+", "-", name).lower())
        assert section and section.select("a[href^=auto_recipes]"), name
    names = {heading.text.removesuffix("¶") for heading in page.select("h3")}
    assert "torch.export.ShapesCollection" in names
    assert "torch.export.dynamic_shapes.ShapesCollection" not in names


def test_recipe_is_listed_under_its_functions(html):
    """A recipe that writes a function is listed under it."""
    page = soup(html / "functions.html")
    for name in ("torch.cond", "torch.library.custom_op", "torch.onnx.export"):
        section = page.find(id=re.sub(r"[._]+", "-", name))
        listed = {Path(link["href"]).stem for link in section.select("li a.internal")}
        call = re.compile(rf"^[^#\n]*\b{re.escape(name)}\(", re.MULTILINE)
        assert {n for n in NAMES if call.search(_text(n))} <= listed, name


def test_pattern_without_a_function(copy_pair):
    """A line that fits no function of a recipe is an error that names it."""
    site = copy_pair()
    page = site.folder / "_doc/functions.rst"
    page.write_text(f"{page.read_text('utf-8')}   torch.nowhere\n", "utf-8")
    site.build()
    assert "No recipe uses torch.nowhere: correct or remove the line." in site.log


class Links(HTMLParser):
    """What a page links to, and what in it can be linked to.

    A tree of each page takes four times as long.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses and the anchor of an element."""
        found = dict(attrs)
        if "id" in found:
            self.anchors.add(found["id"])
        name = {"a": "href", "link": "href", "script": "src", "img": "src"}.get(tag)
        if name in found:
            self.addresses.append(found[name])


def test_links_within_the_site_resolve(html):
    """Each link leads to a file, and to an anchor of it."""
    pages = {path: Links(path) for path in html.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for address in page.addresses:
            if re.match(r"[a-z]+:", address) or address == "#":
                continue
            place, anchor = urldefrag(address.partition("?")[0])
            folder = html if place.startswith("/") else path.parent
            place = unquote(place.removeprefix("/"))
            target = (folder / place).resolve() if place else path
            if not target.is_file() or (
                anchor and target in pages and anchor not in pages[target].anchors
            ):
                broken.append((path.relative_to(html).as_posix(), address))
    assert broken == []


def test_no_path_of_the_machine(html):
    """No file of the site has a path of the machine that built it."""
    places = [ROOT, Path(sys.prefix), Path(tempfile.gettempdir()) / "recipe-"]
    found = [
        (path.relative_to(html).as_posix(), str(place))
        for path in html.rglob("*")
        if path.is_file()
        for place in places
        if str(place).encode() in path.read_bytes()
    ]
    assert found == []


def test_second_build_runs_nothing(html):
    """Where nothing changed no recipe is run."""
    done = sphinx(ROOT / "_doc", html)
    assert done.returncode == 0, done.stderr
    assert "successfully executed 0 out of 0 files" in done.stdout


def test_configuration_does_not_import_torch():
    """Reading conf.py and its extensions takes no torch."""
    code = (
        "import runpy, sys; conf = runpy.run_path('conf.py'); "
        "[__import__(name) for name in conf['extensions']]; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("page", ["index", "topics/inputs"])
def test_answers_elsewhere(html, page):
    """The front page and those of topics say in a line where else the answers are."""
    (line,) = soup(html / f"{page}.html").select("p.elsewhere")
    link = (html / page).parent / line.a["href"]
    found = soup(link.resolve())
    for name in ("explain.py", "skill.zip", "llms.txt", "errors.schema.json"):
        assert found.select_one(f'article a[href="{name}"]'), name
    assert "SITE/" not in found.text
