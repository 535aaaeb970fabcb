"""Trees of networks that are not known here: every name as it is."""

from collections.abc import Mapping

from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.namings.layouts import SAME
from landscape.checkpoints.namings.naming import PARAMS, STATE, Reading, Tensor

NAME = "its own"


def read(arrays: Mapping[str, Described]) -> Reading:
    """All arrays, or those below ``params/`` and ``batch_stats/`` where there are such.

    Dots, which PyTorch puts between names, become slashes. Counters beside floating arrays are left
    out.
    """
    floating = {name: array for name, array in arrays.items() if array.dtype.kind in "fV"}
    arrays = floating or arrays
    inside = any(name.startswith(PARAMS) for name in arrays)
    tensors = [
        Tensor(name, ((name if inside else PARAMS + name.replace(".", "/")),), SAME)
        for name in arrays
        if not inside or name.startswith((PARAMS, STATE))
    ]
    return Reading(NAME, tuple(tensors))
