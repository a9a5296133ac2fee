"""
Need another release
====================

It needs a release of torch that does not exist yet.
"""

# sphinx_gallery_needs_torch = "99.0"

raise RuntimeError("this must not run")
