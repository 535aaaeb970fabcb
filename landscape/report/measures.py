"""The numbers of a run, taken from its files; each is None where it was not measured."""

import math
import re
from dataclasses import dataclass

import numpy as np

from landscape.plots import Activity, Sharpness
from landscape.report.run import Run, finite
from landscape.results import Stored

WHOLE = "whole"
_BLOCK = re.compile(r"(encoderblock_\d+|MixerBlock_\d+|block\d+/unit\d+)$")


@dataclass(frozen=True)
class Extreme:
    """An extreme eigenvalue of one block with its bounds, as stored."""

    estimate: float
    lower: float
    upper: float
    residual: float
    products: int
    converged: bool


def targets(run: Run) -> list[str]:
    """The blocks of the Hessian that were asked for, finished or not."""
    hessian = run.results.get("hessian")
    return [] if hessian is None else [str(name) for name in hessian["targets"]]


def whole_blocks(run: Run) -> list[str]:
    """Those targets that are whole blocks of the network, in network order."""
    return [name for name in targets(run) if _BLOCK.match(name)]


def extreme(run: Run, target: str, end: str = "max") -> Extreme | None:
    """λmax (``end="max"``) or λmin of a target; None unless it is finished."""
    hessian = run.results.get("hessian")
    if hessian is None or target not in targets(run):
        return None
    place = targets(run).index(target)
    if not hessian["done"][place]:
        return None
    value = {part: float(hessian[f"lambda_{end}_{part}"][place])
             for part in ("estimate", "lower", "upper", "residual")}  # fmt: skip
    if math.isnan(value["estimate"]):
        return None
    products = hessian["products"][place]
    return Extreme(
        **value,
        products=int(products) if np.isfinite(products) else 0,
        converged=bool(hessian[f"lambda_{end}_converged"][place] == 1),
    )


def power_iteration(run: Run) -> tuple[float, float] | None:
    """Estimate and residual of the power iteration on the whole Hessian."""
    hessian = run.results.get("hessian")
    if hessian is None or WHOLE not in targets(run) or "power_estimate" not in hessian.data:
        return None
    place = targets(run).index(WHOLE)
    found = float(hessian["power_estimate"][place]), float(hessian["power_residual"][place])
    return None if math.isnan(found[0]) else found


def parameter_count(run: Run) -> int | None:
    """Number of parameters of the whole network."""
    hessian = run.results.get("hessian")
    if hessian is not None and WHOLE in targets(run):
        return int(hessian["parameters"][targets(run).index(WHOLE)])
    stored = run.section("model").get("parameters")
    return int(stored) if stored else None


def accuracy(run: Run) -> tuple[float, float | None] | None:
    """Test accuracy in [0, 1] and its binomial standard error, None where the size is unknown."""
    value = run.last.get("test_accuracy")
    if value is None:
        return None
    examples = run.section("data").get("test_examples")
    return float(value), math.sqrt(value * (1 - value) / examples) if examples else None


def training_loss(run: Run) -> float | None:
    """The loss at the checkpoint over the examples of the Hessian, else the last one logged."""
    hessian = run.results.get("hessian")
    if hessian is not None and "loss" in hessian.attributes:
        return float(hessian.attributes["loss"])
    value = run.last.get("train_loss")
    return None if value is None else float(value)


def loss_is_logged(run: Run) -> bool:
    """Whether :func:`training_loss` is that of the log rather than of the checkpoint."""
    hessian = run.results.get("hessian")
    return hessian is None or "loss" not in hessian.attributes


def kappa(stored: Stored) -> tuple[float, float | None]:
    """Mean condition number over batches and its standard error."""
    values = np.asarray(stored["kappa"], np.float64)
    mean = float(stored.attributes.get("kappa_mean", values.mean()))
    if "kappa_standard_error" in stored.attributes:
        return mean, float(stored.attributes["kappa_standard_error"])
    return mean, float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else None


def sharpness(run: Run) -> Sharpness | None:
    """λmax of the components for a picture, without the whole blocks that contain others."""
    names = targets(run)
    parts = [name for name in names
             if not any(other.startswith(name + "/") for other in names)]  # fmt: skip
    found = {name: extreme(run, name) for name in parts}
    found = {name: value for name, value in found.items() if value is not None}
    if not found:
        return None
    column = {
        part: np.array([getattr(value, part) for value in found.values()])
        for part in ("estimate", "lower", "upper", "converged")
    }
    return Sharpness(list(found), **column)


def activity(run: Run) -> Activity | None:
    """Active fractions of the finished layers, for a picture."""
    neurons = run.results.get("neurons")
    if neurons is None or not neurons["done"].any():
        return None
    done = neurons["done"].astype(bool)
    fraction = np.where(done, finite(neurons["active_fraction"]), np.nan)
    return Activity([str(name) for name in neurons["layers"]], fraction,
                    finite(neurons["standard_error"]))  # fmt: skip


def activation_norms(run: Run) -> dict[str, float]:
    """Mean norm of the post-activations after every block: that of the block's last layer."""
    neurons = run.results.get("neurons")
    if neurons is None:
        return {}
    found = {}
    for layer, norm, done in zip(neurons["layers"], neurons["norm"], neurons["done"], strict=True):
        block = re.match(r"(encoderblock_\d+|MixerBlock_\d+)/", str(layer))
        found[block[1] if block else str(layer)] = float(norm) if done else math.nan
    return found


def surface(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Coordinates and training loss of the surface; None if no point of it is finite."""
    stored = run.results.get("surface")
    if stored is None or "train_loss" not in stored.data:
        return None
    loss = np.where(stored["done"].astype(bool), finite(stored["train_loss"]), np.nan)
    if loss.ndim < 2 or min(loss.shape) < 2 or not np.isfinite(loss).any():
        return None
    return stored["xcoordinates"], stored["ycoordinates"], loss
