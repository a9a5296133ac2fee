"""The extensions of this site, in rooms that follow what happens to a recipe.

``recipe`` says what a recipe is. Then come the rooms ``run``, ``releases``, ``show``,
``find``, ``take`` and ``commands``; each imports from those before it and from the
small shared modules that lie beside them, never from those after it.
"""
