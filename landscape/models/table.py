"""The table of networks, as plain data: listing names loads neither jax nor flax."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

VIT = "Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv:2010.11929"
DEIT = "Touvron et al., Training data-efficient image transformers, arXiv:2012.12877"
AUGREG = "Steiner et al., How to train your ViT?, arXiv:2106.10270"
SCALING = "this project: a ViT of arXiv:2010.11929 or 2012.12877 at another patch size"
PLAIN = "Beyer et al., Better plain ViT baselines for ImageNet-1k, arXiv:2205.01580"
PLAIN_SIZES = "this project: the baseline of Beyer et al. (arXiv:2205.01580) at a ViT's size"
VIT22B = "Dehghani et al., Scaling Vision Transformers to 22 Billion Parameters, arXiv:2302.05442"
VIT22B_SMALL = "this project: the block of ViT-22B (arXiv:2302.05442) at a ViT's size"
EARLY = "Xiao et al., Early Convolutions Help Transformers See Better, arXiv:2106.14881"
GOOGLE_HYBRID = "google-research/vision_transformer: a hybrid of arXiv:2010.11929's kind"
HYBRID = "this project: a hybrid of arXiv:2010.11929 or 2106.10270 of another size"
MIXER = "Tolstikhin et al., MLP-Mixer, arXiv:2105.01601"
MIXER_SIZES = "this project: an MLP-Mixer of arXiv:2105.01601 at another patch size"
BIT = "He et al., arXiv:1512.03385, with the norms of Kolesnikov et al., BiT, arXiv:1912.11370"
HE = "He et al., Deep residual learning, arXiv:1512.03385"
TORCHVISION = f"{HE}, as in torchvision"
CIFAR = f"{HE}, Section 4.2"
CHEN = "Chen et al., When Vision Transformers Outperform ResNets, arXiv:2106.01548"
MINI = "this project: small enough to study scikit-learn's 8x8 digits on a laptop"


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes
    ----------
    family
        "vit", "mixer", "resnet" or "batchnorm_resnet".
    shape
        Sizes of the network: arguments of its module.
    source
        The paper it comes from.
    image_shape, classes
        What it was published for.
    options
        Arguments of its module that do not change its sizes, such as the published recipe's
        rates.
    """

    family: str
    shape: MappingProxyType[str, Any]
    source: str
    image_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    options: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def _entry(family, source, shape, options, **published):
    return Entry(family, MappingProxyType(shape), source, **published,
                 options=MappingProxyType(options))  # fmt: skip


_GOOGLE = {"activation": "gelu_tanh"}
_DIGITS = {"image_shape": (8, 8, 1), "classes": 10}

# Width, depth, heads and MLP of a ViT.
_VIT_SIZES = {
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "H": (1280, 32, 16, 5120),
}
_VIT_SOURCES = {
    **dict.fromkeys(("Ti/16", "S/16"), DEIT),
    **dict.fromkeys(("S/32", "B/8"), AUGREG),
    **dict.fromkeys(("S/8", "S/14"), CHEN),
    **dict.fromkeys(("B/16", "B/32", "L/16", "L/32", "H/14"), VIT),
}


def _vit(patch, size, source, *, dropout=0.0, published=None, more=None, **options):
    names = ("width", "depth", "heads", "mlp")
    shape = {"patch": patch, **dict(zip(names, size, strict=True)), **(more or {})}
    options = {**_GOOGLE, "dropout": dropout, **options}
    return _entry("vit", source, shape, options, **(published or {}))


def _vits():
    for size, sizes in _VIT_SIZES.items():
        for patch in (8, 14, 16, 32):
            source = _VIT_SOURCES.get(f"{size}/{patch}", SCALING)
            yield f"ViT-{size}/{patch}", _vit(patch, sizes, source, dropout=0.1)
    yield "ViT-Mini/2", _vit(2, (48, 3, 3, 96), MINI, published=_DIGITS)


def _plain_vits():
    for size in ("Ti", "S", "B", "L"):
        yield (
            f"PlainViT-{size}/16",
            _vit(
                16,
                _VIT_SIZES[size],
                PLAIN if size == "S" else PLAIN_SIZES,
                classifier="gap",
                position_embedding="sincos2d",
                representation=_VIT_SIZES[size][0],
            ),
        )


def _vits_of_22b():
    more = {"block": "parallel"}
    for size in ("Ti", "S", "B", "L"):
        sizes = _VIT_SIZES[size]
        yield f"ViT22B-{size}/16", _vit(16, sizes, VIT22B_SMALL, more=more, classifier="map")
    yield "ViT-22B/14", _vit(14, (6144, 48, 48, 24576), VIT22B, more=more, classifier="map")


# Depth and sizes of ViT_P (with one block more than ViT_C), channels and strides of ViT_C's stem.
_EARLY = {
    1: ((192, 12, 3, 576), (24, 48, 96, 192), (2, 2, 2, 2)),
    4: ((384, 12, 6, 1152), (48, 96, 192, 384), (2, 2, 2, 2)),
    18: ((768, 12, 12, 3072), (64, 128, 128, 256, 256, 512), (2, 2, 1, 2, 1, 2)),
    36: ((1024, 14, 16, 4096), (64, 128, 128, 256, 256, 512), (2, 2, 1, 2, 1, 2)),
}


def _early_convolutions():
    erf = {"activation": "gelu_erf"}
    for flops, (size, channels, strides) in _EARLY.items():
        width, depth, heads, mlp = size
        stem = {"convolutions": tuple(zip(channels, strides, strict=True))}
        smaller = (width, depth - 1, heads, mlp)
        yield f"ViT_C-{flops}GF", _vit(1, smaller, EARLY, more=stem, **erf)
        yield f"ViT_P-{flops}GF", _vit(16, size, EARLY, **erf)


# Stages of the ResNet by its depth and the pixels of a token: at 16 the units of the fourth stage
# are part of the third.
_HYBRID_STAGES = {
    (26, 32): (2, 2, 2, 2),
    (26, 16): (2, 2, 4),
    (50, 32): (3, 4, 6, 3),
    (50, 16): (3, 4, 9),
}
_HYBRID_SOURCES = {
    "R50+ViT-B/16": VIT,
    "R50+ViT-B/32": VIT,
    "R50+ViT-L/32": VIT,
    "R26+ViT-S/32": AUGREG,
    "R26+ViT-B/32": GOOGLE_HYBRID,
}


def _hybrids():
    # Dropout as in vit_jax/configs/models.py.
    yield "R+ViT-Ti/16", _vit(8, _VIT_SIZES["Ti"], AUGREG, more={"resnet": ()})
    for size, pixels in (("S", 32), ("B", 16), ("B", 32), ("L", 32)):
        for depth in (26, 50):
            name = f"R{depth}+ViT-{size}/{pixels}"
            more = {"resnet": _HYBRID_STAGES[depth, pixels]}
            source = _HYBRID_SOURCES.get(name, HYBRID)
            dropout = 0.1 if depth == 50 else 0.0
            yield name, _vit(1, _VIT_SIZES[size], source, dropout=dropout, more=more)


_MIXER_SOURCES = {"S/8": CHEN, "B/8": CHEN, "L/8": MIXER_SIZES}


def _mixers():
    names = ("patch", "width", "depth", "token_mlp", "channel_mlp")
    for size, sizes in {
        "S": (512, 8, 256, 2048),
        "B": (768, 12, 384, 3072),
        "L": (1024, 24, 512, 4096),
    }.items():
        for patch in (8, 16, 32):
            shape = dict(zip(names, (patch, *sizes), strict=True))
            options = {**_GOOGLE, "stochastic_depth": 0.1}
            source = _MIXER_SOURCES.get(f"{size}/{patch}", MIXER)
            yield f"Mixer-{size}/{patch}", _entry("mixer", source, shape, options)
    shape = dict(zip(names, (2, 48, 3, 32, 96), strict=True))
    yield "Mixer-Mini/2", _entry("mixer", MINI, shape, _GOOGLE, **_DIGITS)


_STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_RELU = {"activation": "relu"}


def _resnets():
    for times in (1, 2):
        for depth in (50, 101, 152):
            shape = {"units": _STAGES[depth], "width": 64 * times, "groups": 32}
            name = f"ResNet-{depth}{'' if times == 1 else f'x{times}'}"
            yield name, _entry("resnet", BIT, shape, _RELU)
    shape = {"units": (1, 1, 1), "width": 8, "groups": 4}
    yield "ResNet-Mini", _entry("resnet", MINI, shape, _RELU, **_DIGITS)


def _batchnorm_resnets():
    for depth, units in _STAGES.items():
        shape = {
            "units": units,
            "width": 64,
            "bottleneck": depth >= 50,
            "shortcut": "projection",
            "style": "torchvision",
        }
        name = f"ResNet-{depth}-BatchNorm"
        yield name, _entry("batchnorm_resnet", TORCHVISION, shape, _RELU)
    for suffix, shortcut in (("", "pad"), ("-projection", "projection"), ("-noshort", "none")):
        for depth in (20, 32, 44, 56, 110):
            shape = {
                "units": ((depth - 2) // 6,) * 3,
                "width": 16,
                "bottleneck": False,
                "shortcut": shortcut,
                "style": "cifar",
            }
            yield (
                f"CIFAR-ResNet-{depth}{suffix}",
                _entry(
                    "batchnorm_resnet", CIFAR, shape, _RELU, image_shape=(32, 32, 3), classes=10
                ),
            )


ENTRIES: MappingProxyType[str, Entry] = MappingProxyType(
    {
        **dict(_vits()),
        **dict(_plain_vits()),
        **dict(_vits_of_22b()),
        **dict(_early_convolutions()),
        **dict(_hybrids()),
        **dict(_mixers()),
        **dict(_resnets()),
        **dict(_batchnorm_resnets()),
    }
)
