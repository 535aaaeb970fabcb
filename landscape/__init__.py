"""Loss landscapes and Hessians of neural networks in JAX.

>>> import landscape
>>> objective = landscape.Objective(loss, params, batches)        # doctest: +SKIP
>>> landscape.extremes(objective).lambda_max                      # doctest: +SKIP

Names are imported when they are first used, so that ``import landscape`` does not start JAX.
"""

import importlib

from landscape import xla_flags

xla_flags.append_needed_flag()  # before JAX starts its backend

_HOME = {
    "Objective": "landscape.objective",
    "Composite": "landscape.objective",
    "RequestError": "landscape.errors",
    "blocks": "landscape.parameters",
    **dict.fromkeys(
        (
            "extremes",
            "block_extremes",
            "power_iteration",
            "eigenpairs",
            "spectrum",
            "trace",
            "diagonal",
            "fisher",
            "data_error",
            "scan",
            "sam_sharpness",
            "critical_step",
        ),
        "landscape.curvature",
    ),
    "random_direction": "landscape.surface",
    "compute_surface": "landscape.surface",
    "empirical_ntk": "landscape.ntk",
    "condition_number": "landscape.ntk",
    "active_neurons": "landscape.inspection",
    "data_mesh": "landscape.devices",
}

__all__ = list(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'landscape' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
