"""The matching of texts: pure functions, in a page of a browser that is blank."""

from __future__ import annotations

import re

import pytest
from _ext.find import catalogue, messages
from _ext.recipe import read
from conftest import RECIPES, ROOT, needs_chromium
from pasting import FRAMES, LOG, pasted, real_errors

pytestmark = needs_chromium

SCRIPT = (ROOT / "_doc/_static/errors-match.js").read_text("utf-8")
SPECIALIZED = (
    "torch._dynamo.exc.UserError: Constraints violated (batch)! For more information, "
    'run with TORCH_LOGS="+dynamic".\n'
    "  - Not all values of batch = L['x'].size()[0] in the specified range are valid "
    "because batch was inferred to be a constant (4)."
)


def recipe(name, **more):
    """Return a recipe as the index has it."""
    known = {
        "name": name,
        "page": f"{name}.html",
        "title": name,
        "symptom": "",
        "keywords": [],
        "wordings": [],
        "messages": [],
    }
    return known | more


def index(*templates, recipes=("a", "b", "c"), **more):
    """Return an index of templates; each is a dictionary as ``errors.json`` has it."""
    known = [recipe(each) if isinstance(each, str) else each for each in recipes]
    releases = ["2.6", "2.7", "2.8", "2.9"]
    return {"releases": releases, "recipes": known, "templates": templates, **more}


def template(text, answer="a", *, role="answer", **more):
    """Return a template that a recipe answers; the rest of its keys may be given."""
    about = [more.pop(key, None) for key in ("kind", "since", "until")]
    texts = [[text, about[0] or "", *about[1:]]]
    return {"role": role, "recipe": answer, "texts": texts, **more}


@pytest.fixture(scope="module")
def blank(browser):
    """Open a page that has nothing but the functions."""
    page = browser.new_context().new_page()
    page.add_script_tag(content=SCRIPT)
    return page


@pytest.fixture
def ask(blank):
    """Return a function that asks an index: whether it is certain, and the recipes."""

    def ask(known, text, release=""):
        certain, names = blank.evaluate(
            """([known, text, release]) => {
              const index = cookbookMatch.prepare(known);
              const found = cookbookMatch.answer(index, text, release);
              const certain = found.answers[0]?.usual ? "usual" : "certain";
              const names = found.answers.map(({ recipe }) => recipe.name);
              return [found.certain ? certain : "", names];
            }""",
            [known, text, release],
        )
        return (certain, *names)

    return ask


@pytest.fixture(scope="module")
def site(blank):
    """Put the templates of the site into the page; return a function that asks them."""
    found = catalogue.load(ROOT / "_doc/messages", [path.stem for path in RECIPES])
    about = [(path.stem, read(path)) for path in RECIPES]
    known = index(
        *messages.templates(found),
        recipes=[
            recipe(name, title=front.title, wordings=list(front.wordings))
            for name, front in about
        ],
    )
    blank.evaluate("known => { globalThis.site = cookbookMatch.prepare(known) }", known)

    def first(texts):
        """Return the certain first answer to each text, or nothing."""
        return blank.evaluate(
            """texts => texts.map((text) => {
              const { certain, answers } = cookbookMatch.answer(site, text);
              return certain ? answers[0].recipe.name : "";
            })""",
            texts,
        )

    return first


# -- Templates --


def test_a_message_with_anything_in_the_holes_is_an_instance(ask):
    """The fixed parts in their order are enough, however the text is wrapped."""
    known = index(template("No translation found for {} in opset {}."))
    assert ask(known, "No translation found for my.op in opset 18.") == ("certain", "a")
    assert ask(known, "No translation\n   found for my.op in\n  opset 18.")[0]
    assert not ask(known, "In opset 18 no translation was found for my.op")[0]


def test_the_most_specific_template_wins(ask):
    """A template with more fixed words is nearer, whatever the order."""
    general = template("Could not convert the program: {}", "a")
    special = template("Could not convert the program: {} has no translation", "b")
    text = "Could not convert the program: my.op has no translation"
    assert ask(index(general, special), text)[:2] == ("certain", "b")
    assert ask(index(special, general), text)[:2] == ("certain", "b")


def test_a_general_template_is_never_certain(ask):
    """A few short words, or two long ones, may stand in any text."""
    for text in ("{} not found", "it is not on {}", "Unsupported architecture {}"):
        known = index(template(text))
        assert not ask(known, f"ValueError: {text.replace('{}', 'x')}")[0]


def test_a_short_template_of_an_own_class_is_certain_alone(ask):
    """No other program raises the class; but other messages have the words."""
    known = index(template("{} not in range [{}, {}]", kind="ConstraintViolationError"))
    text = "6 not in range [8, 9]"
    assert ask(known, f"symbolic_shapes.ConstraintViolationError: {text}")[0]
    assert not ask(known, f"ValueError: {text}")[0]
    assert not ask(known, f"RuntimeError: {text}")[0]


def test_a_template_begins_and_ends_at_words(ask):
    """What is glued to a word or a number is another message."""
    known = index(template("operators of the kind {} are not supported in this model"))
    text = "operators of the kind x are not supported in this model"
    assert ask(known, f"ValueError: {text}")[0]
    assert not ask(known, f"ValueError: my{text}")[0]
    assert not ask(known, f"ValueError: 7{text}")[0]
    assert not ask(known, f"ValueError: {text}ler")[0]


def test_a_message_that_is_cut_is_an_instance(ask):
    """The first line of a long message is what people put into a title."""
    text = "The model changes its input {} in place, which is lost. Do this.\nSee {}."
    known = index(template(text))
    assert ask(known, "The model changes its input x in place, which is lost.")[0]
    assert not ask(known, "The model changes its mind.")[0]


def test_what_no_recipe_answers_is_not_certain(ask):
    """A text that is known and open hides a general one around it."""
    known = index(
        template("Could not convert the program: {}", "a"),
        template("the kernel {} was compiled for another device", role="none"),
    )
    text = "Could not convert the program: the kernel k was compiled for another device"
    assert ask(known, text)[0] == "certain"  # it says what happened
    assert not ask(known, "the kernel k was compiled for another device")[0]


# -- Rules --


def test_what_stands_inside_comes_first(ask):
    """However deep, and in any browser: its way of sorting decides nothing."""
    known = index(
        template("The first converter went wrong because of another one: {}", "a"),
        template("The second converter\nwas stopped for a longer reason: {}", "b"),
        template("The third was not able to read {} at all, nor anything", "c"),
    )
    text = (
        "The first converter went wrong because of another one: The second converter\n"
        "was stopped for a longer reason: The third was not able to read x at all, "
        "nor anything"
    )
    assert ask(known, text) == ("certain", "c", "b", "a")


def test_a_hole_decides(ask):
    """The first rule that fits wins; the recipe of the template is for the rest."""
    rules = [
        {"hole": 2, "is": "[01]", "recipe": "b"},
        {"hole": 2, "is": r"9\d+", "recipe": "c"},
    ]
    known = index(template("size {} was inferred to be a constant ({})", when=rules))
    text = "size batch was inferred to be a constant ({})"
    found = {hole: ask(known, text.format(hole))[1] for hole in ("1", "4", "99")}
    assert found == {"1": "b", "4": "a", "99": "c"}


def test_a_message_with_several_causes_says_so(ask):
    """Its recipe is the usual one, unless a rule on a hole decides."""
    rules = [{"hole": 1, "is": "[01]", "recipe": "b"}]
    text = "this dimension was inferred to be a constant ({})"
    known = index(template(text, when=rules, also=["b", "c"]))
    assert ask(known, text.format(4)) == ("usual", "a", "b", "c")
    assert ask(known, text.format(1)) == ("certain", "b", "c")


def test_a_hole_may_say_that_no_recipe_is_certain(ask):
    """A rule without a recipe."""
    rules = [{"hole": 1, "is": "aten::.*", "recipe": ""}]
    known = index(template("{}: there is no kernel for meta tensors", when=rules))
    assert not ask(known, "aten::add: there is no kernel for meta tensors")[0]
    assert ask(known, "my::add: there is no kernel for meta tensors")[0]


def test_the_whole_text_decides(ask):
    """What a rule on hole 0 names may stand in another part, or in a frame."""
    rules = [{"hole": 0, "is": r"ops/boxes|\bnms\b", "recipe": "b"}]
    known = index(
        template("the branch depends on the value {} of a tensor", when=rules)
    )
    text = "ValueError: the branch depends on the value u0 of a tensor"
    frame = '  File "/x/torchvision/ops/boxes.py", line 3, in f\n    g(x)\n'
    assert ask(known, text)[1] == "a"
    assert ask(known, f"Traceback (most recent call last):\n{frame}{text}")[1] == "b"
    assert ask(known, f"Export of nms\n\n{text}")[1] == "b"
    assert ask(known, f"{LOG}{text} of nms\n{LOG}")[1] == "b"


def test_without_a_usual_cause_only_a_rule_is_certain(ask):
    """The causes come first, and nothing is called exact."""
    rules = [{"hole": 1, "is": "[01]", "recipe": "b"}]
    text = "this dimension was inferred to be a constant ({})"
    known = index(template(text, when=rules, also=["c"], certain=False))
    assert ask(known, text.format(4)) == ("", "a", "c")
    assert ask(known, text.format(1))[:2] == ("certain", "b")


# -- What a text is made of --


def test_a_wrapper_is_never_certain(ask):
    """The cause may stand in its hole, below it, or be another exception."""
    known = index(
        template("Failed to export the model with the exporter. {}", role="wrapper"),
        template("the branch depends on the value {} of a tensor", "b"),
    )
    outer, inner = (
        "Failed to export the model with the exporter.",
        ("the branch depends on the value u0 of a tensor"),
    )
    assert ask(known, outer)[:2] == ("", "a")
    assert ask(known, f"{outer} {inner}")[:2] == ("certain", "b")
    assert ask(known, f"ValueError: {outer}\n\n<class 'ValueError'>: {inner}")[1] == "b"
    chained = "The above exception was the direct cause of the following exception:"
    assert ask(known, f"ValueError: {inner}\n\n{chained}\n\nOSError: {outer}")[1] == "b"


def test_an_exception_outranks_a_warning(ask):
    """Whatever comes first; and a warning is no answer to an unknown exception."""
    known = index(
        template("the argument {} will be removed in the next release", "a"),
        template("the branch depends on the value {} of a tensor", "b"),
    )
    warning = "m.py:3: UserWarning: the argument x will be removed in the next release"
    error = "RuntimeError: the branch depends on the value u0 of a tensor"
    assert ask(known, f"{warning}\n{error}")[:2] == ("certain", "b")
    assert ask(known, f"{error}\n{warning}")[:2] == ("certain", "b")
    assert ask(known, warning)[:2] == ("certain", "a")
    assert not ask(known, f"{warning}\nKeyError: 'x'")[0]


def test_a_warning_that_is_not_marked_as_one(ask):
    """What torch only warns of is no answer to an unknown exception, wherever it is."""
    text = "the argument {} will be removed in the next release"
    said, raised = text.format("x"), "KeyError: 'x'"
    for kind, expected in (("warning", ""), ("log", ""), ("RuntimeError", "certain")):
        known = index(template(text, "a", kind=kind))
        assert ask(known, f"{said}\n{raised}")[0] == expected
        assert ask(known, f"{raised} and no more\n{said}")[0] == expected
        assert ask(known, said)[0] == "certain"


def test_the_cause_outranks_what_it_caused(ask):
    """The first of a chain of causes; the last of exceptions that are not one."""
    known = index(
        template("the branch depends on the value {} of a tensor", "a"),
        template("the operator {} could not be traced at all", "b"),
    )
    first = "ValueError: the branch depends on the value u0 of a tensor"
    second = "OSError: the operator f could not be traced at all"
    caused = "The above exception was the direct cause of the following exception:"
    during = "During handling of the above exception, another exception occurred:"
    assert ask(known, f"{first}\n\n{caused}\n\n{second}")[1] == "a"
    assert ask(known, f"{first}\n\n{during}\n\n{second}")[1] == "b"


FRAMED = {
    "script": '  File "/x/lib/torch/some/masks.py", line 3, in make\n    f(x)',
    "windows": '  File "C:\\x\\torch\\some\\masks.py", line 3, in make\n    f(x)',
    "notebook": "File /x/torch/some/masks.py:3, in make(x)\n  1 a = x\n----> 3 f(x)",
    "colab": "[/x/torch/some/masks.py](https://host/#) in make(x)\n----> 3 f(x)",
    "pytest": "/x/torch/some/masks.py:3: in make\n    f(x)",
    "cut": 'torch/some/masks.py", line 3, in make',
}


@pytest.mark.parametrize("how", FRAMED)
def test_frames_hint_at_a_recipe(ask, how):
    """If the message leads nowhere, the functions may; a function is no message."""
    known = index(
        template("torch/some/masks.py: make", "b", kind="frames"),
        template("torch/some/masks.py: {}", "c", kind="frames"),
        template("the branch depends on the value {} of a tensor", "a"),
    )
    assert ask(known, f"{FRAMED[how]}\nKeyError: 'x'") == ("", "b")
    assert ask(known, FRAMED[how].replace("make", "other")) == ("", "c")
    text = "ValueError: the branch depends on the value u0 of a tensor"
    assert ask(known, f"{FRAMED[how]}\n{text}") == ("certain", "a", "b")
    assert ask(known, "torch/some/masks.py: make") == ("",)


def test_the_deepest_frame_comes_first(ask):
    """It is nearest to the cause."""
    known = index(
        template("torch/first/outer.py: {}", "a", kind="frames"),
        template("torch/second/inner.py: {}", "b", kind="frames"),
    )
    frame = '  File "/x/torch/{}.py", line 3, in f\n    g(x)\n'
    text = frame.format("first/outer") + frame.format("second/inner")
    assert ask(known, f"{text}KeyError: 'x'") == ("", "b", "a")


def test_source_lines_are_no_messages(ask):
    """A frame shows the line that raises, with the text of the message."""
    known = index(template("the branch depends on the value {} of a tensor"))
    frame = (
        "Traceback (most recent call last):\n"
        '  File "a.py", line 3, in f\n'
        '    check(b, "the branch depends on the value {} of a tensor")'
    )
    line = '    raise E("the branch depends on the value {} of a tensor")'
    for text in (frame, line):
        assert not ask(known, f"{text}\nKeyError: 'x'")[0]


def test_a_compiler_is_no_export(ask):
    """Dynamo says the same to those who compile: that is not certain."""
    known = index(template("the call of a function that Dynamo cannot trace: {}"))
    text = "Unsupported: the call of a function that Dynamo cannot trace: f"
    assert ask(known, text)[0]
    assert not ask(known, f"test of torch.compile\n{text}")[0]
    assert ask(known, f"torch.compile, torch.export\n{text}")[0]


# -- Releases, links --


def test_with_a_release_its_wording_is_preferred(ask):
    """On a tie; without a release the order of the catalogue counts."""
    text = "the dimension {} cannot be made dynamic"
    old = template(text, "a", until="2.7")
    new = template(text, "b", since="2.8")
    instance = "the dimension batch cannot be made dynamic"
    for known in (index(old, new), index(new, old)):
        assert ask(known, instance, "2.6")[1] == "a"
        assert ask(known, instance, "2.9")[1] == "b"


def test_a_link_keeps_what_matched(blank):
    """However much stands around it."""
    known = index(template("the branch depends on the value {} of a tensor"))
    error = "RuntimeError: the branch depends on the value u0 of a tensor"
    link = blank.evaluate(
        """([known, text]) =>
          cookbookMatch.answer(cookbookMatch.prepare(known), text).link""",
        [known, f"{LOG}{error}\n{LOG}"],
    )
    assert "depends on the value u0 of a tensor" in link
    assert len(link) <= 3000


# -- The site --


@pytest.mark.parametrize("how", pasted(SPECIALIZED))
def test_the_way_of_pasting_changes_no_answer(site, how):
    """The certain answer to real errors is the same with anything around them."""
    texts = [SPECIALIZED, *real_errors("real_errors")]
    plain = site(texts)
    wrapped = site([pasted(text)[how] for text in texts])
    assert plain[0] == "plot_exporter_shapes_specialized"
    changed = {
        text[-200:]: (before, after)
        for text, before, after in zip(texts, plain, wrapped, strict=True)
        if before and before != after
    }
    assert changed == {}


UNRELATED = {
    "out of memory": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 "
        "has a total capacity of 23.69 GiB of which 1.12 GiB is free."
    ),
    "pip": (
        "ERROR: Could not find a version that satisfies the requirement torch==9.9 "
        "(from versions: 2.5.1, 2.6.0)\nERROR: No matching distribution found for torch"
    ),
    "key": f"Traceback (most recent call last):\n{FRAMES}\nKeyError: 'x'",
    "tensorflow": (
        "tensorflow.python.framework.errors_impl.InvalidArgumentError: Graph execution "
        "error:\nIncompatible shapes: [32,10] vs. [32,1]\n"
        "\t [[{{node gradient_tape/mean_squared_error/BroadcastGradientArgs}}]]"
    ),
    "java": (
        'Exception in thread "main" java.lang.NullPointerException: Cannot invoke '
        '"String.length()" because "s" is null\n\tat com.example.Main.main(Main.java:5)'
    ),
}


@pytest.mark.parametrize("name", UNRELATED)
def test_nothing_is_certain_of_something_else(site, name):
    """Plain, and in all the ways in which people paste it."""
    ways = pasted(UNRELATED[name])
    found = site([UNRELATED[name], *ways.values()])
    assert dict(zip(["plain", *ways], found, strict=True)) == dict.fromkeys(
        ["plain", *ways], ""
    )


def test_the_decisions_fit_each_other(site):
    """A message that is decided without rules is answered by what is decided."""
    found = catalogue.load(ROOT / "_doc/messages", [path.stem for path in RECIPES])
    sure = [
        (message["text"], decision.recipe)
        for decision in found.decisions
        if decision.role == "answer" and not decision.when
        for message in decision.messages
        if len(re.sub(r"\{\}|\W", "", message["text"])) > 60
    ]
    answers = site([text.replace("{}", "something") for text, _ in sure])
    other = [
        (text, wanted, answer)
        for (text, wanted), answer in zip(sure, answers, strict=True)
        if answer not in {wanted, ""}
    ]
    assert len(other) / len(sure) < 0.05, other
