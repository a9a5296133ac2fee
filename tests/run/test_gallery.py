"""What is known of the files that Sphinx-Gallery makes."""

from __future__ import annotations

import pytest
from _ext import gallery

#: What is made of a recipe, besides its copy.
MADE = (
    "{}.rst",
    "{}.ipynb",
    "{}.py.md5",
    "{}.run.json",
    "images/sphx_glr_{}_001.svg",
    "images/sphx_glr_{}_1000.png",
    "images/thumb/sphx_glr_{}_thumb.svg",
)


def make(folder, name):
    """Make the files of a recipe; return their paths."""
    paths = [folder / made.format(name) for made in ("{}.py", *MADE)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


@pytest.mark.parametrize("longer", ["plot_x_1", "plot_x_001", "plot_x_thumb"])
def test_recipe_whose_name_begins_like_another(tmp_path, longer):
    """Neither are its pictures the other's, nor does it go with the other."""
    files, others = make(tmp_path, "plot_x"), make(tmp_path, longer)
    assert gallery.pictures(files[0]) == files[-3:-1]
    assert gallery.thumbnails(files[0]) == files[-1:]
    gallery.forget(files[0])
    assert not any(path.exists() for path in files)
    assert all(path.exists() for path in others)
