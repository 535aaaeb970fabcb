"""What the self-test looks at, what it is compared with, and what to do where the two differ."""

from collections.abc import Callable
from dataclasses import dataclass

from landscape import xla_flags
from landscape.doctor import programs
from landscape.doctor.programs import Found


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    what
        What is computed, in one line.
    against
        What it is compared with.
    run
        ``() -> (found, expected)``.
    remedy
        What to do where the two differ.
    least_allowed
        Relative error that is always allowed; rounding in the precision in use is allowed anyway.
    devices
        How many devices it takes.
    """

    what: str
    against: str
    run: Callable[[], Found]
    remedy: str
    least_allowed: float = 0.0
    devices: int = 1

    @property
    def allowed(self) -> float:
        return max(programs.allowed(), self.least_allowed)


_NUMPY = "NumPy in float64"
_REDUCTION = (
    f"XLA:CPU compiles reductions wrongly: start with XLA_FLAGS={xla_flags.FLAG}="
    f"{xla_flags.VALUE} (landscape appends it for versions it knows, unless XLA_FLAGS has it "
    f"already or {xla_flags.KEEP} is 1), or use jaxlib 0.10.1"
)
_BACKEND = "do not trust this backend: use another version of jaxlib, or JAX_PLATFORMS=cpu"
_PRECISION = "products are rounded to TF32 or bfloat16: unset NVIDIA_TF32_OVERRIDE and XLA_FLAGS"
_DEVICES = "devices add up wrongly: use --devices 1, and tell the authors"
_SECOND = (
    "second derivatives are wrong: do not use Hessian numbers of such networks on this backend; "
    "use another version of jaxlib, or JAX_PLATFORMS=cpu"
)
_DIFFERENCES = "differences of gradients in float64"


def _hessian(name: str, *arguments: str) -> Callable[[], Found]:
    def run() -> Found:
        from landscape.doctor import hessians  # flax takes a second

        return getattr(hessians, name)(*arguments)

    return run


def _network(family: str) -> Check:
    run = _hessian("network", family)
    return Check(f"Hessian of a small {family}", _DIFFERENCES, run, _SECOND, 1e-6)


# The last two may end the process.
CHECKS = {
    "rows": Check("sums of 40,000 rows, jax issue 39103", _NUMPY, programs.rows, _REDUCTION),
    "broadcast": Check(
        "product with a broadcast matrix, summed", _NUMPY, programs.broadcast, _REDUCTION
    ),
    "pool": Check("pool with holes, xla issue 48714", _NUMPY, programs.pool, _REDUCTION),
    "eager": Check("single operations, jax issue 40633", _NUMPY, programs.eager, _BACKEND),
    "concatenated": Check(
        "masked tokens put together, jax issue 40588", _NUMPY, programs.concatenated, _BACKEND
    ),
    "matrices": Check(
        'matrix product at precision "highest"', _NUMPY, programs.matrices, _PRECISION
    ),
    "softmax regression": Check(
        "Hessian of softmax regression, 40,000 examples",
        "the closed form in float64",
        _hessian("softmax_regression"),
        _SECOND,
    ),
    "all devices": Check(
        "the same over all devices", "one device", _hessian("all_devices"), _DEVICES, devices=2
    ),
    **{
        family: _network(family)
        for family in ("ViT", "MLP-Mixer", "GroupNorm ResNet", "BatchNorm ResNet")
    },
    "seven axes": Check(
        "product of seven axes, summed, jax issue 40412", _NUMPY, programs.seven_axes, _REDUCTION
    ),
    "eight axes": Check(
        "product of eight axes, summed, jax issue 39257", _NUMPY, programs.eight_axes, _REDUCTION
    ),
}
