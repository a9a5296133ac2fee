"""What is decided of torch's messages has to fit the catalogue and the recipes."""

from __future__ import annotations

import json

import pytest
from _ext.find import catalogue, messages
from conftest import RECIPES, ROOT
from sphinx.errors import ConfigError

TEXTS = (
    "No translation for {}",
    "the size {} is {}",
    "Internal: {}",
    "expected a tensor",
)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a catalogue of one area."""
    lines = [
        {"area": "onnx", "text": text, "kind": "log", "since": "2.6.0", "until": None}
        | {"files": [f"torch/onnx/{number}.py"]}
        for number, text in enumerate(TEXTS)
    ]
    (tmp_path / "onnx.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    (tmp_path / "answers").mkdir()
    return tmp_path


def decide(folder, text, name="onnx"):
    """Decide, and return the catalogue."""
    (folder / f"answers/{name}.toml").write_text(text, "utf-8")
    return catalogue.load(folder, ["plot_a", "plot_b"])


ANSWER = '[[answer]]\nrecipe = "plot_a"\ntexts = ["the size {} is {}"]\n'


def test_decisions_are_counted_by_area(folder):
    """Texts are decided by name first, then by patterns and files; the rest is not."""
    found = decide(
        folder,
        f'{ANSWER}[[internal]]\nwhy = "checks"\nmatch = ["^Internal", "size"]\n'
        '[[open]]\nwhy = "none"\nfiles = ["torch/onnx/3.py"]\n',
    )
    counts = {"answer": 1, "internal": 1, "open": 1, "undecided": 1}
    assert found.counts == {"onnx": counts}
    assert [d.role for d in found.decisions] == ["answer", "internal", "open"]


WRONG = {
    "plot_x": '[[answer]]\nrecipe = "plot_x"\ntexts = ["the size {} is {}"]',
    "also": f'{ANSWER}also = ["plot_x"]',
    "not in the catalogue": '[[answer]]\nrecipe = "plot_a"\ntexts = ["the size is"]',
    "decided twice": f"{ANSWER}{ANSWER}",
    "is no pattern": f'{ANSWER}when = [{{ hole = 1, is = "(", recipe = "plot_b" }}]',
    "a browser": f'{ANSWER}when = [{{ hole = 1, is = "(?i)a", recipe = "plot_b" }}]',
    "a hole 3": f'{ANSWER}when = [{{ hole = 3, is = "a", recipe = "plot_b" }}]',
    "a rule has": f'{ANSWER}when = [{{ is = "a", recipe = "plot_b" }}]',
    "unknown key": f"{ANSWER}because = 1",
    "names no recipe": '[[answer]]\ntexts = ["the size {} is {}"]',
    "is none of": "[[answers]]",
    "onnx.toml: ": "[[answer",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_decision_is_named(folder, wrong):
    """The message names the file, and the text or what is wrong with it."""
    expected = {"also": "plot_x"}.get(wrong, wrong)
    with pytest.raises(ConfigError, match=r"onnx\.toml") as error:
        decide(folder, WRONG[wrong])
    assert expected in str(error.value)


def test_decisions_without_a_catalogue_are_named(folder):
    """The name of the file is that of the area."""
    with pytest.raises(ConfigError, match="no catalogue onx"):
        decide(folder, ANSWER, "onx")


def test_the_index_says_what_is_decided(folder):
    """What no recipe answers is there to be known, without the reason."""
    found = decide(folder, f'{ANSWER}[[open]]\nwhy = "none"\nmatch = ["^Internal"]\n')
    assert messages.templates(found) == [
        {
            "role": "answer",
            "recipe": "plot_a",
            "texts": [["the size {} is {}", "log", "2.6", None]],
        },
        {"role": "none", "texts": [["Internal: {}", "log", "2.6", None]]},
    ]


def test_the_decisions_of_the_site_fit():
    """The catalogue and the decisions of this repository."""
    found = catalogue.load(ROOT / "_doc/messages", [path.stem for path in RECIPES])
    assert sum(count["answer"] for count in found.counts.values()) > 1000
