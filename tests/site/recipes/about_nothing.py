"""
Not executed
============

Its name does not begin with plot, so it is shown and not run.
"""

raise RuntimeError("this must not run")
