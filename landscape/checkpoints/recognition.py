"""Which network do parameters belong to? Told by names and shapes alone."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from landscape.models.registry import SMALL_IMAGE, pixels_of_a_token
from landscape.models.table import ENTRIES, Entry

Shapes = Mapping[str, tuple[int, ...]]
Inside = Mapping[str, set[str]]
_USUAL_SIZE = 224
_MOST = 1000  # layers in a row, and pixels on the side of a token
_RESNET = {"conv_root", "gn_root", "block1"}
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
    inside = _inside(shapes)
    top = inside[""]
    try:
        if "Transformer" in top:
            found = _vit(shapes, inside)
        elif "MixerBlock_0" in top:
            found = _mixer(shapes, inside)
        elif not top.isdisjoint(_RESNET):
            found = _resnet(shapes, inside)
        elif not top.isdisjoint({"conv1", "bn1", "layer1"}):
            found = _batchnorm_resnet(shapes, inside)
        else:
            return None
    except ValueError:
        return None  # a part has another rank, or there are too many
    family, sizes, options, any_size = found
    sizes, options = _known(sizes), _known(options)
    rows = (sizes.get("depth"), *sizes.get("units", ()), *sizes.get("resnet", ()))
    if "width" not in sizes or 0 in rows or sizes.get("units") == ():
        return None
    return _nearest(family, sizes, options, any_size)


def _vit(shapes: Shapes, inside: Inside):
    depth = _count(inside["Transformer"], "encoderblock_")
    blocks = [f"Transformer/encoderblock_{i}/" for i in range(depth)]
    attention = [f"{block}MultiHeadDotProductAttention_0/" for block in blocks]
    projections = ("query/kernel", "key/kernel", "value/kernel")
    sizes = {
        "patch": _size(shapes, [""], {"embedding/kernel": (4, 0)}),
        "width": _size(shapes, ["", *blocks], {
            "embedding/kernel": (4, 3),
            "Transformer/encoder_norm/scale": (1, 0),
            "LayerNorm_0/scale": (1, 0),
        }),
        "depth": depth,
        "heads": _size(shapes, attention, dict.fromkeys(projections, (3, 1))),
        "mlp": _size(shapes, blocks, {
            "MlpBlock_0/Dense_0/kernel": (2, 1), "MlpBlock_0/Dense_1/kernel": (2, 0)
        }),
    }  # fmt: skip
    if any(
        f"{part}{norm}/scale" in shapes for part in attention for norm in ("query_ln", "key_ln")
    ):
        sizes["block"] = "parallel"
    first = "embedding/kernel"
    if not inside[""].isdisjoint(_RESNET):
        first = "conv_root/kernel"
        sizes["resnet"] = _units(inside)
    layers = max(_count(inside["stem"], part) for part in ("conv", "bn"))
    if layers:
        first = "stem/conv0/kernel"
        outputs = [
            _size(shapes, ["stem/"], {f"conv{i}/kernel": (4, 3), f"bn{i}/scale": (1, 0)})
            for i in range(layers)
        ]
        sizes["convolutions"] = _with_strides(outputs)
    channels = _size(shapes, [""], {first: (4, 2)})
    pixels = sizes["patch"] and pixels_of_a_token(sizes)
    if (pixels or 0) > _MOST:
        raise ValueError("no image has such patches")
    token = "cls" in shapes
    tokens = _size(shapes, [""], {"Transformer/posembed_input/pos_embedding": (3, 1)})
    if tokens is None:
        image_shape = _usual_image(pixels, channels)
    else:
        image_shape = _square(tokens - token, pixels, channels)
    return "vit", sizes, {
        "classes": _classes(shapes),
        "image_shape": image_shape,
        "classifier": "token" if token else "map" if "MAPHead_0" in inside[""] else "gap",
        "position_embedding": "sincos2d" if tokens is None else "learned",
        "representation": _size(shapes, [""], {"pre_logits/kernel": (2, 1)}) or 0,
        "head": "masked_patches" if "mask" in shapes else None,
    }, tokens is None  # fmt: skip


def _mixer(shapes: Shapes, inside: Inside):
    depth = _count(inside[""], "MixerBlock_")
    blocks = [f"MixerBlock_{i}/" for i in range(depth)]

    def hidden(part: str) -> int | None:
        axes = {f"{part}/Dense_0/kernel": (2, 1), f"{part}/Dense_1/kernel": (2, 0)}
        return _size(shapes, blocks, axes)

    sizes = {
        "patch": _size(shapes, [""], {"stem/kernel": (4, 0)}),
        "width": _size(shapes, ["", *blocks], {"stem/kernel": (4, 3), "LayerNorm_0/scale": (1, 0)}),
        "depth": depth,
        "token_mlp": hidden("token_mixing"),
        "channel_mlp": hidden("channel_mixing"),
    }
    tokens = _size(shapes, blocks, {
        "token_mixing/Dense_0/kernel": (2, 0), "token_mixing/Dense_1/kernel": (2, 1)
    })  # fmt: skip
    channels = _size(shapes, [""], {"stem/kernel": (4, 2)})
    return "mixer", sizes, {
        "classes": _classes(shapes),
        "image_shape": _square(tokens, sizes["patch"], channels),
    }, False  # fmt: skip


def _resnet(shapes: Shapes, inside: Inside):
    width = _size(shapes, [""], {"conv_root/kernel": (4, 3), "gn_root/scale": (1, 0)})
    sizes = {"units": _units(inside), "width": width}
    size, channels = (_size(shapes, [""], {"conv_root/kernel": (4, axis)}) for axis in (0, 2))
    small = SMALL_IMAGE // 2  # of the usual sizes, one that has this stem
    image_shape = (small, small, channels) if size == 3 else _usual_image(1, channels)
    return "resnet", sizes, {"classes": _classes(shapes), "image_shape": image_shape}, True


def _batchnorm_resnet(shapes: Shapes, inside: Inside):
    channels = _size(shapes, [""], {"conv1/kernel": (4, 2)})
    cifar = "linear" in inside[""] or any("/shortcut/" in name for name in shapes)
    style, shortcut = ("cifar", "shortcut") if cifar else ("torchvision", "downsample")
    projected = any(f"/{shortcut}/0/" in name for name in shapes)
    stages = _count(inside[""], "layer", first=1)
    sizes = {
        "units": tuple(_count(inside[f"layer{stage + 1}"], "") for stage in range(stages)),
        "width": _size(shapes, [""], {"conv1/kernel": (4, 3), "bn1/scale": (1, 0)}),
        "bottleneck": any("/conv3/" in name for name in shapes),
        # A file of a network without any shortcuts looks like one with parameter-free ones.
        "shortcut": "projection" if projected else "pad",
        "style": style,
    }
    image_shape = (32, 32, channels) if cifar and channels else _usual_image(1, channels)
    return "batchnorm_resnet", sizes, {
        "classes": _classes(shapes, "linear" if cifar else "fc"),
        "image_shape": image_shape,
    }, True  # fmt: skip


def _inside(shapes: Shapes) -> Inside:
    """What is in each folder of the first level, and ("") on that level."""
    inside = defaultdict(set)
    for name in shapes:
        first, *second = name.split("/", 2)[:2]
        inside[""].add(first)
        inside[first].update(second)
    return inside


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _size(
    shapes: Shapes, folders: Iterable[str], axes: Mapping[str, tuple[int, int]]
) -> int | None:
    """A size, from the first parameter there is in these folders: rank and axis by its name."""
    for folder in folders:
        for name, (rank, axis) in axes.items():
            if folder + name in shapes:
                return _ranked(shapes[folder + name], rank)[axis]
    return None


def _classes(shapes: Shapes, head: str = "head") -> int | None:
    """Number of logits; None without a head."""
    return _size(shapes, [f"{head}/"], {"kernel": (2, 1), "bias": (1, 0)})


def _ranked(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    if len(shape) != rank or 0 in shape:
        raise ValueError("another rank than this parameter has")
    return shape


def _count(names: set[str], prefix: str, first: int = 0) -> int:
    """How many of the numbers ``first``, ``first`` + 1, ... follow the prefix, up to a gap."""
    count = 0
    while f"{prefix}{first + count}" in names:
        count += 1
    if count > _MOST:
        raise ValueError("no network has as many layers")
    return count


def _units(inside: Inside) -> tuple[int, ...]:
    stages = _count(inside[""], "block", first=1)
    return tuple(_count(inside[f"block{stage + 1}"], "unit", first=1) for stage in range(stages))


def _with_strides(outputs: list[int | None]) -> tuple[tuple[int, int], ...]:
    """Strides, which shapes do not tell, from the table; else all of 2."""
    if None in outputs:
        raise ValueError("a layer without weights")
    for entry in ENTRIES.values():
        known = entry.shape.get("convolutions", ())
        if [channels for channels, _ in known] == outputs:
            return known
    return tuple((channels, 2) for channels in outputs)


def _square(
    tokens: int | None, pixels: int | None, channels: int | None
) -> tuple[int, int, int] | None:
    if tokens is None or pixels is None or channels is None:
        return None
    side = math.isqrt(max(tokens, 0))
    return (side * pixels, side * pixels, channels) if side and side**2 == tokens else None


def _usual_image(pixels: int | None, channels: int | None) -> tuple[int, int, int] | None:
    """ImageNet's 224, or the multiple of a token's pixels next below it."""
    if pixels is None or channels is None:
        return None
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
        if family != "resnet" or "image_shape" not in options:
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
