"""The objective: the mean of a per-example loss over a fixed data set, and its derivatives."""

from landscape.objective.derivatives import Matrix
from landscape.objective.objective import Composite, Objective

__all__ = ["Composite", "Matrix", "Objective"]
