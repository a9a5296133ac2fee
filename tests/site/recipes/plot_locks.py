"""
Lock
====

It uses a library that keeps a lock for all processes, as progress bars do.
"""

import multiprocessing

multiprocessing.kept = multiprocessing.Lock()
print(type(multiprocessing.kept).__name__)
