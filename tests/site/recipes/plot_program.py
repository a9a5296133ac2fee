"""
Need a program
==============

It prints something else where the program is missing.
"""

# sphinx_gallery_needs_program = "program-of-the-cookbook"

import shutil

print(bool(shutil.which("program-of-the-cookbook")))
