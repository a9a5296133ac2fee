"""
Wait for a process
==================

The process that it starts has a lock on a file for as long as it lives.
"""

import fcntl
import os
import subprocess

held = open(os.environ["HELD_BY_A_RECIPE"], "w")
fcntl.flock(held, fcntl.LOCK_EX)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
child = subprocess.Popen(["sleep", "1000"], pass_fds=[held.fileno()], **quiet)
child.wait()
