"""
.. _l-plot-answers:

Divide by a size
================

.. answer::
   :cost: Nothing at run time, see ``int``.

   The size, 4, is hard-coded.

   .. code-block:: diff

      -size = int("four")
      +size = int("4")

   Not your case?

   * ``five``: see :ref:`l-plot-answers`.

.. meta::
   :keywords: sizes, numbers, words
"""

# %%
# The problem
# +++++++++++

# sphinx_gallery_tags = ["inputs", "run fails"]

try:
    size = int("four")
except ValueError as error:
    print(error)

# %%
# The fix
# +++++++

size = int("4")
# sphinx_gallery_start_ignore
assert size == 4
# sphinx_gallery_end_ignore
print(size)

# %%
# Why it happens
# ++++++++++++++
#
# The word is no number.
