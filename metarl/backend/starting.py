"""A script imports this before anything else: torch takes seconds to load, and a signal may arrive in the meantime.

Processes that a script starts import its main module, too; those are ended by the script.
"""

import multiprocessing
import sys

from metarl.backend.signals import leave_at_once

if multiprocessing.parent_process() is None and hasattr(sys.modules["__main__"], "__file__"):
    leave_at_once()
