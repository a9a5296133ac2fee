"""
Prepare another recipe
======================

It patches a global that no comparison looks at.
"""

import builtins

builtins.left_by_before = True
