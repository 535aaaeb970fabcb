"""From a checkpoint reference to parameters, whatever wrote them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from landscape.checkpoints import flat, native
from landscape.errors import RequestError
from landscape.parameters import check_finite, check_floating

_AT_STEP = re.compile(r"(?P<folder>.+)@(?P<step>\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """Parameters and where they came from.

    Attributes
    ----------
    params
        Nested dict of floating numpy arrays.
    step
        Training steps done, or None where the format does not say.
    config
        The ``config.json`` of the run, or None.
    reference
        What was asked for.
    """

    params: dict = field(repr=False)
    step: int | None
    config: dict | None = field(repr=False)
    reference: str


def located(reference: str) -> tuple[Path, int | None]:
    """The path of a reference, and the step where it names one (``FOLDER@STEP``)."""
    path, match = Path(reference), _AT_STEP.fullmatch(reference)
    if match and not path.exists():
        return Path(match["folder"]), int(match["step"])
    return path, None


def load(reference: str, *, finite: bool = True) -> Checkpoint:
    """Read the parameters of a checkpoint; nothing else of it is read.

    Parameters
    ----------
    reference
        A run folder (its newest complete step), ``FOLDER@STEP``, or an ``.npz`` whose arrays are
        named ``a/b/kernel``.
    finite
        Refuse values that are not finite.

    Raises
    ------
    RequestError
        If there is no such checkpoint, it is damaged, or its values are not all finite.
    """
    path, step = located(reference)
    if path.is_dir():
        step = native.existing_step(path, step)
        params, config = native.read_params(path, step), native.read_config(path)
    elif step is None and path.suffix == ".npz":
        params, config = flat.load_npz(path), None
    elif path.exists():
        raise RequestError(f"checkpoint: {path} is neither a run folder nor an .npz file")
    else:
        raise RequestError(f"checkpoint: there is no {path}")
    what = f"checkpoint {reference}"
    check_floating(params)
    if finite:
        check_finite(params, what)
    return Checkpoint(params, step, config, reference)
