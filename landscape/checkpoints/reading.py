"""From a checkpoint reference to parameters, whatever wrote them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from landscape.checkpoints import cifar_resnet, flat, native, torch_pickle
from landscape.checkpoints.cifar_resnet import SourceTensor
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
    state
        Running statistics (BatchNorm), or None.
    model, preprocessing
        The registry's name of the network and its preprocessing, where the file's content tells.
    layout
        Order and layout of the parameters in the file of another framework, or None.
    """

    params: dict = field(repr=False)
    step: int | None
    config: dict | None = field(repr=False)
    reference: str
    state: dict | None = field(default=None, repr=False)
    model: str | None = None
    preprocessing: str | None = None
    layout: tuple[SourceTensor, ...] | None = field(default=None, repr=False)


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
        A run folder (its newest complete step), ``FOLDER@STEP``, an ``.npz`` whose arrays are
        named ``a/b/kernel``, or a PyTorch file with the state dict of a CIFAR ResNet.
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
        found = Checkpoint(params, step, config, reference)
    elif step is None and path.is_file() and torch_pickle.is_torch_file(path):
        found = Checkpoint(
            step=None, config=None, reference=reference, **vars(_from_state_dict(path))
        )
    elif step is None and path.suffix == ".npz":
        found = Checkpoint(flat.load_npz(path), None, None, reference)
    elif path.exists():
        raise RequestError(
            f"checkpoint: {path} is no run folder, .npz or PyTorch file; see `formats`"
        )
    else:
        raise RequestError(f"checkpoint: there is no {path}")
    check_floating(found.params)
    if finite:
        check_finite(found.params, f"checkpoint {reference}")
        if found.state is not None:
            check_finite(found.state, f"running statistics of {reference}")
    return found


def _from_state_dict(path: Path) -> cifar_resnet.Converted:
    tensors = torch_pickle.load_state_dict(path)
    model = cifar_resnet.recognised(tensors)
    if model is None:
        names = ", ".join(list(tensors)[:3])
        raise RequestError(
            f"checkpoint: {path} holds {len(tensors)} tensors ({names}, ...) of a network that is "
            "not known; so far PyTorch files of CIFAR ResNets are read"
        )
    return cifar_resnet.converted(tensors, model)
