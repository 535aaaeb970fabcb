"""The numbers of a run, taken from its files; each is None where it was not measured."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from landscape import captions, parameters
from landscape.accuracy import wilson
from landscape.ntk import ConditionNumber, of_stored
from landscape.plots import Activity, Sharpness
from landscape.report.run import Run, finite
from landscape.results import Stored

WHOLE = "whole"
_BLOCK = re.compile(r"(encoderblock|MixerBlock)_\d+")
_UNIT = re.compile(r"block\d+/unit\d+|layer\d+/\d+")
_JOINT = ("attention", "token_mlp", "mlp", "channel_mlp")  # of all layers together
UNCONVERGED, UNCONFIRMED = "*", "†"
MARKS = {
    UNCONVERGED: "not converged to the width that was asked for.",
    UNCONFIRMED: "not confirmed: the products along its vector, or their check by another program, "
    "give another value. The bounds span both; run `analysis_cli.py doctor`.",
}


@dataclass(frozen=True)
class Extreme:
    """An extreme eigenvalue of one block with its bounds, as stored.

    ``check`` is the quotient of its vector by another program, NaN where there is none;
    ``confirmed`` is False where that or the products along the vector contradict the estimate.
    """

    estimate: float
    lower: float
    upper: float
    residual: float
    products: float
    converged: bool
    check: float = math.nan
    confirmed: bool = True

    @property
    def mark(self) -> str:
        """What stands behind the estimate: nothing, or one of ``MARKS``."""
        return "" if self.converged else UNCONVERGED if self.confirmed else UNCONFIRMED


def targets(run: Run) -> list[str]:
    """The blocks of the Hessian that were asked for, finished or not."""
    hessian = run.results.get("hessian")
    return [] if hessian is None else [str(name) for name in hessian["targets"]]


def same_parameters(run: Run, one: str, other: str) -> bool:
    """Whether two results are of the same parameters, as far as their files say."""
    hashes = {run.results[name].attributes.get("parameters_hash") for name in (one, other)}
    return len(hashes - {None}) < 2


def matrices(runs: Iterable[Run]) -> str:
    """The curvature matrices whose eigenvalues the runs hold."""
    return captions.matrices(run.results["hessian"] for run in runs if "hessian" in run.results)


def whole_blocks(run: Run) -> list[str]:
    """Those targets that are whole blocks of the network, in network order.

    Of a ResNet its units; of a hybrid the blocks behind its ResNet.
    """
    return _blocks(name for name in targets(run) if name in of_table3(run))


def of_table3(run: Run) -> set[str]:
    """Those blocks of the Hessian that hold the parameters which Table 3 means by their names.

    A partition may give such a name to other parameters: the head of ``layers`` has no norm. A file
    names the parameters of its blocks. What Table 3 means follows from the names of all of them,
    which are known if the blocks cover the network, or if they are the blocks of Table 3.
    """
    hessian = run.results.get("hessian")
    stored = {} if hessian is None else hessian.attributes["request"].get("blocks", {})
    names = {leaf for leaves in stored.values() for leaf in leaves}
    if not names:
        return {WHOLE}
    meant = parameters.blocks(dict.fromkeys(names, 0.0), "table3")
    same = {name for name in stored if set(stored[name]) == set(meant.get(name, ()))}
    is_table3 = stored.keys() == meant.keys() == same and {"embedding", "head"} < same
    return {WHOLE} | (same if is_table3 or _cover(run, stored) else set())


def _cover(run: Run, stored: Mapping[str, Sequence[str]]) -> bool:
    """Whether some blocks without common parameters have as many as the whole."""
    sizes = dict(zip(targets(run), run.results["hessian"]["parameters"], strict=True))
    seen: set[str] = set()
    size = 0.0
    for name in sorted(stored, key=lambda name: len(stored[name])):  # unions of others come last
        if seen.isdisjoint(stored[name]):
            seen.update(stored[name])
            size += sizes.get(name, math.nan)
    return size == sizes.get(WHOLE)


def _blocks(names: Iterable[str]) -> list[str]:
    names = list(names)
    blocks = [name for name in names if _BLOCK.fullmatch(name)]
    return blocks or [name for name in names if _UNIT.fullmatch(name)]


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
    checks = hessian.data.get(f"lambda_{end}_check")
    confirmed = hessian.data.get(f"lambda_{end}_confirmed")
    return Extreme(
        **value,
        check=math.nan if checks is None else float(checks[place]),
        confirmed=confirmed is None or bool(confirmed[place] != 0),
        products=float(hessian["products"][place]),
        converged=bool(hessian[f"lambda_{end}_converged"][place] == 1),
    )


def power_iteration(run: Run) -> tuple[float, float] | None:
    """Estimate and residual of the power iteration on the whole Hessian."""
    hessian = run.results.get("hessian")
    if hessian is None or WHOLE not in targets(run) or "power_estimate" not in hessian.data:
        return None
    place = targets(run).index(WHOLE)
    residual = hessian.data.get("power_residual")
    found = float(hessian["power_estimate"][place]), math.nan
    if residual is not None:
        found = found[0], float(residual[place])
    return None if math.isnan(found[0]) else found


def parameter_count(run: Run) -> float | None:
    """Number of parameters of the whole network."""
    hessian = run.results.get("hessian")
    if hessian is not None and WHOLE in targets(run):
        return float(hessian["parameters"][targets(run).index(WHOLE)])
    return run.section("model").get("parameters")


def accuracy(run: Run) -> tuple[float, float, float] | None:
    """Test accuracy in [0, 1] between the ends of Wilson's 95 % interval.

    The interval is that of the accuracy over the population that the test images were drawn from;
    NaN where their number is unknown.
    """
    value = run.last.get("test_accuracy")
    if value is None:
        return None
    examples = run.section("data").get("test_examples")
    if not examples:
        return value, math.nan, math.nan
    return value, *wilson(round(value * examples) / examples, examples)


def training_loss(run: Run) -> float | None:
    """The loss at the checkpoint over the examples of the Hessian, else the last one logged.

    Without the L2 term, which the loss in the file contains.
    """
    hessian = run.results.get("hessian")
    if hessian is not None and not loss_is_logged(run):
        has = hessian.attributes
        l2 = float(has.get("l2", 0.0))
        return float(has["loss"]) - (l2 / 2 * float(has["norm"]) ** 2 if l2 else 0.0)
    logged = [line["train_loss"] for line in run.metrics if line.get("train_loss") is not None]
    return float(logged[-1]) if logged else None


def loss_is_logged(run: Run) -> bool:
    """Whether :func:`training_loss` is that of the log rather than of the checkpoint."""
    hessian = run.results.get("hessian")
    has = {} if hessian is None else hessian.attributes
    if "loss" not in has or (has.get("l2", 0.0) and "norm" not in has):
        return True
    data = has.get("data", {})
    return isinstance(data, str) or data.get("split", "train") != "train"


def kappa(run: Run, name: str) -> ConditionNumber | None:
    """The condition number in the result ``name``; None unless it is complete."""
    return None if run.status(name) else of_stored(run.results[name])


def sharpness(run: Run) -> Sharpness | None:
    """λmax of the whole and of its blocks for a picture.

    Without those that contain other ones, where these were measured: joint and whole blocks.
    """
    names = targets(run)
    parts = [name for name in names if not _contains_others(name, names)]
    found = {name: extreme(run, name) for name in parts}
    found = {name: value for name, value in found.items() if value is not None}
    if not found:
        return None
    column = {
        part: np.array([getattr(value, part) for value in found.values()])
        for part in ("estimate", "lower", "upper", "converged")
    }
    return Sharpness(list(found), **column)


def _contains_others(name: str, names: Sequence[str]) -> bool:
    if name == "input_layers":
        return "embedding" in names
    if name in _JOINT:
        return any(other.endswith(f"/{name}") for other in names)
    # Only whole blocks: another component may begin with the name of this one.
    return bool(_BLOCK.fullmatch(name)) and any(other.startswith(f"{name}/") for other in names)


def activity(run: Run) -> Activity | None:
    """Active fractions of the finished layers, for a picture."""
    neurons = run.results.get("neurons")
    if neurons is None or not neurons["done"].any():
        return None
    fraction = np.where(neurons["done"], finite(neurons["active_fraction"]), np.nan)
    return Activity([str(name) for name in neurons["layers"]], fraction,
                    finite(neurons["standard_error"]))  # fmt: skip


def activation_norms(run: Run) -> dict[str, float]:
    """Mean norm over all post-activations of every block: those of its last layer."""
    neurons = run.results.get("neurons")
    if neurons is None:
        return {}
    found = {}
    for layer, norm, done in zip(neurons["layers"], neurons["norm"], neurons["done"], strict=True):
        block = re.match(r"(encoderblock_\d+|MixerBlock_\d+)/", str(layer))
        found[block[1] if block else str(layer)] = float(norm) if done else math.nan
    return {name: found[name] for name in _blocks(found) or found}


def surface(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Coordinates and loss of the surface; None if it cannot be drawn: see :func:`no_surface`."""
    if no_surface(run):
        return None
    stored = run.results["surface"]
    return stored["xcoordinates"], stored["ycoordinates"], _heights(stored)


def no_surface(run: Run) -> str:
    """Why there is no surface to draw; empty if there is one."""
    stored = run.results.get("surface")
    if stored is None:
        return run.status("surface")
    if not captions.metric(stored):
        return "a surface without a loss"
    loss = _heights(stored)
    if loss.ndim < 2 or min(loss.shape) < 2:
        return "a line, not a plane"
    if np.isfinite(loss).any():
        return ""
    evaluated = int(stored["done"].sum())
    return (
        f"the loss is finite at none of {evaluated:,} points"
        if evaluated
        else run.status("surface")
    )


def _heights(stored: Stored) -> np.ndarray:
    return np.where(stored["done"], finite(stored[captions.metric(stored)]), np.nan)
