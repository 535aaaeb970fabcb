"""State dicts of CIFAR ResNets (akamaster/pytorch_resnet_cifar10) as parameters and state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.checkpoints.flat import nested

_UNIT = re.compile(r"layer(\d+)\.(\d+)\.")
_NARROWEST = 16  # channels of the first convolution
_CONVOLUTION, _DENSE = (3, 2, 0, 1), (1, 0)  # from Flax's layout to PyTorch's
_STATISTICS = {"running_mean": "mean", "running_var": "var"}


@dataclass(frozen=True)
class SourceTensor:
    """A trainable tensor of a file in another framework's layout.

    Attributes
    ----------
    name
        What the file calls it.
    leaf
        Our parameter: ``layer1/0/conv1/kernel``.
    axes
        ``np.transpose(leaf, axes)`` has the file's layout.
    """

    name: str
    leaf: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Converted:
    """A state dict in this project's terms; ``layout`` keeps the file's order."""

    model: str
    preprocessing: str
    params: dict
    state: dict
    layout: tuple[SourceTensor, ...]


def recognised(tensors: Mapping[str, np.ndarray]) -> str | None:
    """The registry's name of the CIFAR ResNet these tensors are of; None if they are of another."""
    units = {(int(m[1]), int(m[2])) for m in map(_UNIT.match, tensors) if m}
    ends = ("conv1.weight", "linear.weight", "linear.bias")
    if not units or any(name not in tensors for name in ends):
        return None
    if tensors["conv1.weight"].shape[:1] != (_NARROWEST,) or tensors["linear.weight"].ndim != 2:
        return None
    count = max(unit for _, unit in units) + 1
    if units != {(stage, unit) for stage in (1, 2, 3) for unit in range(count)}:
        return None
    # A file of a network without any shortcuts looks like one with parameter-free ones.
    projected = any(".shortcut.0." in name for name in tensors)
    return f"CIFAR-ResNet-{6 * count + 2}" + ("-projection" if projected else "")


def converted(tensors: Mapping[str, np.ndarray], model: str) -> Converted:
    """The parameters, running statistics and layout of a recognised state dict.

    float16 and float64 tensors become float32.
    """
    params: dict[str, np.ndarray] = {}
    state: dict[str, np.ndarray] = {}
    layout = []
    for name, tensor in tensors.items():
        *folders, last = name.split(".")
        if last == "num_batches_tracked":
            continue
        tensor = np.asarray(tensor, np.float32)
        if last in _STATISTICS:
            state["/".join([*folders, _STATISTICS[last]])] = tensor
            continue
        axes = {4: _CONVOLUTION, 2: _DENSE}.get(tensor.ndim, tuple(range(tensor.ndim)))
        if last == "weight":
            last = "scale" if tensor.ndim == 1 else "kernel"
        leaf = "/".join([*folders, last])
        params[leaf] = np.ascontiguousarray(np.transpose(tensor, np.argsort(axes)))
        layout.append(SourceTensor(name, leaf, axes))
    what: Any = "state dict"
    return Converted(model, "imagenet", nested(params, what), nested(state, what), tuple(layout))
