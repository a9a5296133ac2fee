"""What a recipe leaves behind is told from what its imports do."""

from __future__ import annotations

import pytest
from _ext.run import leaks

#: A package that registers a class and sets an option when it is loaded.
PACKAGE = """
import torch.fx

class Pair:
    pass

def register(cls):
    torch.fx._pytree.register_pytree_flatten_spec(cls, lambda *_: [])

register(Pair)
torch._dynamo.config.recompile_limit = 77
torch._inductor.config.pre_grad_custom_pass = Pair()
"""


#: The imports of a recipe that uses it.
IMPORTS = "import fractions\nimport torch\nimport package_of_others as p\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Install the package where nothing else is."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "package_of_others.py").write_text(PACKAGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="module")
def loaded(package):
    """Return what loading the package leaves."""
    return leaks.of_imports(IMPORTS)


def test_loading_a_package_is_no_leak(loaded):
    """What happens when it is loaded is named, as it would be of the recipe."""
    assert {leak.partition(" changed")[0].partition(" in ")[0] for leak in loaded} == {
        "leaves the configuration torch._dynamo.config.recompile_limit",
        "leaves the configuration torch._inductor.config.pre_grad_custom_pass",
        "registers package_of_others.Pair",
    }
    assert not any("0x" in leak for leak in loaded)


def test_calling_a_package_is_a_leak(loaded):
    """Only imports run: what the recipe does with the package is not excused."""
    assert leaks.of_imports(f"{IMPORTS}p.register(fractions.Fraction)") == loaded


@pytest.mark.usefixtures("package")
def test_a_package_may_be_loaded_late():
    """A class that its own module registers is no leak, whoever imports the module."""
    late = "registers package_of_others.Pair in torch.fx"
    called = "registers fractions.Fraction in torch.fx"
    found = leaks.of_imports("import torch", [f"{late} ...", f"{called} ..."])
    assert any(leak.startswith(late) for leak in found)
    assert not any(leak.startswith(called) for leak in found)


def test_imports_that_fail_excuse_nothing():
    """A recipe that could not be imported again keeps all of its leaks."""
    assert leaks.of_imports("import torch\nimport no_such_package") == set()
