"""
Be killed
=========

As by the kernel, when memory is short.
"""

import os
import signal

os.kill(os.getpid(), signal.SIGKILL)
