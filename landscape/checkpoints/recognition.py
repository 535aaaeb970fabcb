"""Which network do parameters belong to? Told by names and shapes alone."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from landscape.models.registry import SMALL_IMAGE, pixels_of_a_token
from landscape.models.table import ENTRIES, Entry

Shapes = Mapping[str, tuple[int, ...]]
_USUAL_SIZE = 224
_OPTIONS = ("classifier", "position_embedding", "representation")


@dataclass(frozen=True)
class Recognised:
    """A network that has such parameters.

    Attributes
    ----------
    name
        The registered network that comes nearest.
    differences
        Its sizes that are different: ``{"depth": 6}``; empty if it is registered.
    options
        The other arguments with which `landscape.models.registry.build` makes this network.
    any_size
        Whether it takes images of any size, so that ``options["image_shape"]`` is the usual one.
    """

    name: str
    differences: dict[str, Any]
    options: dict[str, Any] = field(repr=False)
    any_size: bool = False

    @property
    def request(self) -> dict[str, Any]:
        """All arguments of `landscape.models.registry.build` but the name."""
        return {**self.options, **({"shape": self.differences} if self.differences else {})}


def recognised(shapes: Shapes) -> Recognised | None:
    """The network whose parameters are named and shaped like this; None if it is none of ours.

    Parameters
    ----------
    shapes
        Shape by name, ``head/kernel``. Complete or not: see `landscape.checkpoints.check_fit`.
    """
    try:
        if "Transformer/encoder_norm/scale" in shapes:
            found = _vit(shapes)
        elif "MixerBlock_0/token_mixing/Dense_0/kernel" in shapes:
            found = _mixer(shapes)
        elif "conv_root/kernel" in shapes:
            found = _resnet(shapes)
        elif "conv1/kernel" in shapes:
            found = _batchnorm_resnet(shapes)
        else:
            return None
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        return None  # a part is missing, or has another rank
    family, sizes, options, any_size = found
    known = {name: value for name, value in options.items() if value is not None}
    return _nearest(family, sizes, known, any_size)


def _vit(shapes: Shapes):
    *kernel, width = _ranked(shapes["embedding/kernel"], 4)
    block = "Transformer/encoderblock_0"
    attention = f"{block}/MultiHeadDotProductAttention_0"
    sizes = {
        "patch": kernel[0],
        "width": width,
        "depth": _count(shapes, r"Transformer/encoderblock_(\d+)/"),
        "heads": _ranked(shapes[f"{attention}/query/kernel"], 3)[1],
        "mlp": _ranked(shapes[f"{block}/MlpBlock_0/Dense_0/kernel"], 2)[1],
    }
    if f"{attention}/query_ln/scale" in shapes:
        sizes["block"] = "parallel"
    channels = kernel[2]
    if "conv_root/kernel" in shapes:
        sizes["resnet"] = _units(shapes)
        channels = shapes["conv_root/kernel"][2]
    layers = _count(shapes, r"stem/conv(\d+)/")
    if layers:
        channels = shapes["stem/conv0/kernel"][2]
        outputs = [_ranked(shapes[f"stem/conv{i}/kernel"], 4)[3] for i in range(layers)]
        sizes["convolutions"] = _with_strides(outputs)
    token = "cls" in shapes
    positions = shapes.get("Transformer/posembed_input/pos_embedding")
    pixels = pixels_of_a_token(sizes)
    if positions is None:
        image_shape = _usual_image(pixels, channels)
    else:
        image_shape = _square(_ranked(positions, 3)[1] - token, pixels, channels)
    masked = "mask" in shapes
    return "vit", sizes, {
        "classes": _classes(shapes),
        "image_shape": image_shape,
        "classifier": "token" if token else "map" if "MAPHead_0/probe" in shapes else "gap",
        "position_embedding": "sincos2d" if positions is None else "learned",
        "representation": shapes["pre_logits/kernel"][1] if "pre_logits/kernel" in shapes else 0,
        "head": "masked_patches" if masked else None,
    }, positions is None  # fmt: skip


def _mixer(shapes: Shapes):
    patch, _, channels, width = _ranked(shapes["stem/kernel"], 4)
    tokens, token_mlp = _ranked(shapes["MixerBlock_0/token_mixing/Dense_0/kernel"], 2)
    sizes = {
        "patch": patch,
        "width": width,
        "depth": _count(shapes, r"MixerBlock_(\d+)/"),
        "token_mlp": token_mlp,
        "channel_mlp": _ranked(shapes["MixerBlock_0/channel_mixing/Dense_0/kernel"], 2)[1],
    }
    return "mixer", sizes, {
        "classes": _classes(shapes),
        "image_shape": _square(tokens, patch, channels),
    }, False  # fmt: skip


def _resnet(shapes: Shapes):
    size, _, channels, width = _ranked(shapes["conv_root/kernel"], 4)
    sizes = {"units": _units(shapes), "width": width}
    small = SMALL_IMAGE // 2  # of the usual sizes, one that has this stem
    image_shape = (small, small, channels) if size == 3 else _usual_image(1, channels)
    return "resnet", sizes, {"classes": _classes(shapes), "image_shape": image_shape}, True


def _batchnorm_resnet(shapes: Shapes):
    _, _, channels, width = _ranked(shapes["conv1/kernel"], 4)
    cifar = "linear/kernel" in shapes or any("/shortcut/" in name for name in shapes)
    style, shortcut = ("cifar", "shortcut") if cifar else ("torchvision", "downsample")
    projected = any(f"/{shortcut}/0/" in name for name in shapes)
    sizes = {
        "units": tuple(
            _count(shapes, rf"layer{stage + 1}/(\d+)/")
            for stage in range(_count(shapes, r"layer(\d+)/", first=1))
        ),
        "width": width,
        "bottleneck": "layer1/0/conv3/kernel" in shapes,
        # A file of a network without any shortcuts looks like one with parameter-free ones.
        "shortcut": "projection" if projected else "pad",
        "style": style,
    }
    return "batchnorm_resnet", sizes, {
        "classes": _classes(shapes, "linear/kernel" if cifar else "fc/kernel"),
        "image_shape": (32, 32, channels) if cifar else _usual_image(1, channels),
    }, True  # fmt: skip


def _classes(shapes: Shapes, head: str = "head/kernel") -> int | None:
    """Number of logits; None without a head."""
    return _ranked(shapes[head], 2)[1] if head in shapes else None


def _ranked(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    if len(shape) != rank or 0 in shape:
        raise ValueError("another rank than this parameter has")
    return shape


def _count(shapes: Shapes, pattern: str, first: int = 0) -> int:
    """How many of the numbers ``first``, ``first`` + 1, ... the pattern finds, up to a gap."""
    numbers = {int(match[1][:7]) for match in map(re.compile(pattern).match, shapes) if match}
    count = 0
    while first + count in numbers:
        count += 1
    return count


def _units(shapes: Shapes) -> tuple[int, ...]:
    stages = _count(shapes, r"block(\d+)/", first=1)
    return tuple(
        _count(shapes, rf"block{stage + 1}/unit(\d+)/", first=1) for stage in range(stages)
    )


def _with_strides(outputs: list[int]) -> tuple[tuple[int, int], ...]:
    """Strides, which shapes do not tell, from the table; else all of 2."""
    for entry in ENTRIES.values():
        known = entry.shape.get("convolutions", ())
        if [channels for channels, _ in known] == outputs:
            return known
    return tuple((channels, 2) for channels in outputs)


def _square(tokens: int, pixels: int, channels: int) -> tuple[int, int, int] | None:
    side = math.isqrt(max(tokens, 0))
    return (side * pixels, side * pixels, channels) if side and side**2 == tokens else None


def _usual_image(pixels: int, channels: int) -> tuple[int, int, int]:
    """ImageNet's 224, or the multiple of a token's pixels next below it."""
    side = max(_USUAL_SIZE // pixels, 1) * pixels
    return side, side, channels


def _nearest(
    family: str, sizes: dict[str, Any], options: dict[str, Any], any_size: bool
) -> Recognised:
    """The entry with the fewest and smallest differences; the table's order decides ties."""

    def distance(entry: Entry) -> tuple[int, float, int, bool]:
        unlike = [name for name in sizes | dict(entry.shape) if _differs(name, sizes, entry)]
        alien = sum(name not in sizes or name not in entry.shape for name in unlike)
        far = sum(
            abs(math.log(sizes[name] / entry.shape[name]))
            for name in unlike
            if type(sizes.get(name)) is int and type(entry.shape.get(name)) is int
        )
        kind = sum(type(entry.shape.get(name)) is not int for name in unlike)
        other = sum(options.get(name) != entry.options.get(name, _usual(name)) for name in _OPTIONS)
        classes = options.get("classes") != entry.classes
        return alien + kind + other_stem(entry), far, other, classes

    def other_stem(entry: Entry) -> bool:
        """Shapes do not tell a ResNet's groups: those of small networks are not for large ones."""
        if family != "resnet":
            return False
        small = {max(shape) <= SMALL_IMAGE for shape in (options["image_shape"], entry.image_shape)}
        return len(small) == 2

    candidates = {name: entry for name, entry in ENTRIES.items() if entry.family == family}
    name = min(candidates, key=lambda name: distance(candidates[name]))
    entry = candidates[name]
    differences = {size: value for size, value in sizes.items() if _differs(size, sizes, entry)}
    return Recognised(name, differences, options, any_size)


def _differs(name: str, sizes: dict[str, Any], entry: Entry) -> bool:
    if name == "groups":  # of GroupNorm: shapes do not tell
        return False
    return sizes.get(name) != entry.shape.get(name)


def _usual(option: str) -> Any:
    return {"classifier": "token", "position_embedding": "learned", "representation": 0}[option]
