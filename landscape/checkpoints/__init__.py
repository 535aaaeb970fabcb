"""Checkpoints: reading parameters back, from this project's runs and other people's files.

Reading never runs code from a file.
"""

from landscape.checkpoints.fit import Fit, check_fit, check_known, check_whole, compare
from landscape.checkpoints.flat import save_npz
from landscape.checkpoints.reading import Checkpoint, described, load, located, request_as
from landscape.checkpoints.writing import write

__all__ = [
    "Checkpoint",
    "Fit",
    "check_fit",
    "check_known",
    "check_whole",
    "compare",
    "described",
    "load",
    "located",
    "request_as",
    "save_npz",
    "write",
]
