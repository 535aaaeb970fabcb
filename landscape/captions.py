"""What a result was computed of, in words: told from its file, never from what is usual."""

from collections.abc import Iterable
from typing import Any

from landscape.numbers import MATRICES, count, number
from landscape.printable import printable
from landscape.results import Stored

_LONGEST = 40  # characters of what a user says
_USUAL = {
    "loss_name": "softmax_cross_entropy",
    "dtype": "the parameters'",
    "second_derivative": "exact",
    "batchnorm": "frozen",
}


def matrices(results: Iterable[Stored]) -> str:
    """Those whose eigenvalues are shown together."""
    return each(map(matrix, results)) or MATRICES["hessian"]


def matrix(stored: Stored) -> str:
    """The curvature matrix whose eigenvalues a result holds."""
    name = str(stored.attributes.get("matrix", "hessian"))
    return MATRICES.get(name, printable(name, _LONGEST))


def power_iteration(estimate: float) -> str:
    """Its estimate: of the eigenvalue largest in magnitude, which may be the smallest one."""
    return number(estimate) + (" (λmin)" if estimate < 0 else "")


def images(stored: Stored) -> str:
    """The images that the loss is a mean over: "360 training images".

    Of a user's own objective, whose data may be described by a name: "360 images (noise)".
    """
    data = _part(stored.attributes, "data")
    number_of, split = stored.attributes.get("examples", data.get("examples")), data.get("split")
    split = "training" if split == "train" else split and printable(split, _LONGEST)
    known = None if number_of is None else count(number_of)
    name = stored.attributes.get("data")
    own = f"({printable(name, _LONGEST)})" if isinstance(name, str) else None
    return " ".join(filter(None, (known, split, "images", own)))


def loss(stored: Stored) -> str:
    """The loss, with its L2 term and what it is a mean over."""
    l2 = float(stored.attributes.get("l2", 0.0))
    term = f" plus {l2:g}/2 ‖w‖²" if l2 else ""
    return f"the mean loss{term} over {images(stored)}"


def curvature(stored: Stored) -> str:
    """What its eigenvalues are of: the matrix of the loss, with what else is unusual."""
    told = f"{matrix(stored)} of {loss(stored)}"
    return ", ".join([told, *(d for d in departures(stored, step(stored)) if d not in told)])


def height(stored: Stored) -> str:
    """What a surface's heights are."""
    name = printable(metric(stored), _LONGEST)
    return {"train_loss": "training loss"}.get(name, name.replace("_", " "))


def metric(stored: Stored) -> str:
    """Which of a surface's metrics its heights are: the loss over the images it was asked for.

    Of several splits the first one is that which the attributes describe; empty where there is no
    loss.
    """
    names = stored.attributes.get("metrics", stored.data)
    return next((name for name in names if name.endswith("_loss") and name in stored.data), "")


def directions(stored: Stored) -> str:
    """Those of a surface: "random and random", "eigenvector:1 and gradient"."""
    found = _part(stored.attributes, "directions")
    named = [printable(found[axis], _LONGEST) for axis in ("x", "y") if found.get(axis)]
    return " and ".join(named) or "unknown"


def interpolated(stored: Stored) -> int:
    """How many points of a surface are interpolated."""
    marks = stored.data.get("interpolated")
    return 0 if marks is None else int((marks == 1).sum())


def step(stored: Stored) -> int | None:
    """The training step of the checkpoint; None where it is not known."""
    found = stored.attributes.get("checkpoint_step")
    return found if isinstance(found, int) and found >= 0 else None


def departures(stored: Stored, last_step: int | None = None) -> list[str]:
    """What sets a result apart from the usual one, for a place with little room.

    The usual one is of the Hessian of the mean training cross-entropy, in the precision of the
    parameters, on two random directions, at the last step of the training if that is known, of data
    that the network was trained on with labels matched by their names.
    """
    attributes, told = stored.attributes, []
    for name, usual in _USUAL.items():
        if attributes.get(name, usual) != usual:
            found = printable(attributes[name], _LONGEST)
            told.append(f"{name.removesuffix('_name').replace('_', ' ')} {found}")
    if stored.kind == "hessian" and matrix(stored) != MATRICES["hessian"]:
        told.append(matrix(stored))
    data = _part(attributes, "data")
    if isinstance(attributes.get("data"), str) or data.get("split", "train") != "train":
        told.append(images(stored))
    if data.get("labels") == "by position":
        told.append("labels by position")
    if data.get("changed_since_training"):
        told.append("data changed since the training")
    if float(attributes.get("l2", 0.0)):
        told.append(f"L2 {float(attributes['l2']):g}")
    if stored.kind == "surface":
        if directions(stored) not in ("random and random", "unknown"):
            told.append(f"directions {directions(stored)}")
        if interpolated(stored):
            told.append(f"{count(interpolated(stored))} points interpolated")
    if step(stored) not in (None, last_step):
        told.append(f"step {count(step(stored))}")
    elif last_step is not None and attributes.get("checkpoint_step") == -1:
        told.append("a checkpoint of unknown step")
    return told


def each(texts: Iterable[str]) -> str:
    """Different ones, joined by "or"."""
    return " or ".join(sorted(set(texts)))


def _part(attributes: dict[str, Any], name: str) -> dict[str, Any]:
    found = attributes.get(name)
    return found if isinstance(found, dict) else {}
