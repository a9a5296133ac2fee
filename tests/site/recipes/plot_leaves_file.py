"""
Leave a file
============

It writes into the working folder.
"""

from pathlib import Path

Path("left.txt").write_text("left")
