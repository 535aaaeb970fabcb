"""The registry: models by their names in the field's notation, "ViT-B/16" or "ResNet-50x2".

The table itself is plain data, so that listing names loads neither jax nor flax.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from landscape.errors import RequestError

if TYPE_CHECKING:
    from landscape.models.model import Model

VIT = "Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv:2010.11929"
DEIT = "Touvron et al., Training data-efficient image transformers, arXiv:2012.12877"
AUGREG = "Steiner et al., How to train your ViT?, arXiv:2106.10270"
MIXER = "Tolstikhin et al., MLP-Mixer, arXiv:2105.01601"
BIT = "He et al., arXiv:1512.03385, with the norms of Kolesnikov et al., BiT, arXiv:1912.11370"
HE = "He et al., Deep residual learning, arXiv:1512.03385, Section 4.2"
CHEN = "Chen et al., When Vision Transformers Outperform ResNets, arXiv:2106.01548"
MINI = "this project: small enough to study scikit-learn's 8x8 digits on a laptop"

# Images this small keep their resolution: a ResNet's stem is then 3x3 with stride 1, no pool.
SMALL_IMAGE = 64


@dataclass(frozen=True)
class Entry:
    """A line of the table: the shape of the network and the defaults of its published recipe."""

    family: str
    shape: dict
    source: str
    image_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    activation: str = "gelu_tanh"
    dropout: float = 0.0
    stochastic_depth: float = 0.0


def _vit(patch, width, depth, heads, mlp, source, **defaults):
    shape = {"patch": patch, "width": width, "depth": depth, "heads": heads, "mlp": mlp}
    return Entry("vit", shape, source, **{"dropout": 0.1, **defaults})


def _mixer(patch, width, depth, token_mlp, channel_mlp, source, **defaults):
    shape = {
        "patch": patch,
        "width": width,
        "depth": depth,
        "token_mlp": token_mlp,
        "channel_mlp": channel_mlp,
    }
    return Entry("mixer", shape, source, **{"stochastic_depth": 0.1, **defaults})


def _resnet(units, width, source, groups=32, **defaults):
    shape = {"units": units, "width": width, "groups": groups}
    return Entry("resnet", shape, source, activation="relu", **defaults)


def _cifar_resnet(depth, shortcut):
    shape = {"units": (depth - 2) // 6, "shortcut": shortcut}
    return Entry("cifar_resnet", shape, HE, image_shape=(32, 32, 3), classes=10, activation="relu")


_DIGITS = {"image_shape": (8, 8, 1), "classes": 10}
_REGISTRY = {
    "ViT-Ti/16": _vit(16, 192, 12, 3, 768, DEIT),
    "ViT-Ti/32": _vit(32, 192, 12, 3, 768, DEIT),
    "ViT-S/8": _vit(8, 384, 12, 6, 1536, CHEN),
    "ViT-S/14": _vit(14, 384, 12, 6, 1536, CHEN),
    "ViT-S/16": _vit(16, 384, 12, 6, 1536, DEIT),
    "ViT-S/32": _vit(32, 384, 12, 6, 1536, AUGREG),
    "ViT-B/8": _vit(8, 768, 12, 12, 3072, AUGREG),
    "ViT-B/16": _vit(16, 768, 12, 12, 3072, VIT),
    "ViT-B/32": _vit(32, 768, 12, 12, 3072, VIT),
    "ViT-L/16": _vit(16, 1024, 24, 16, 4096, VIT),
    "ViT-L/32": _vit(32, 1024, 24, 16, 4096, VIT),
    "ViT-H/14": _vit(14, 1280, 32, 16, 5120, VIT),
    "ViT-Mini/2": _vit(2, 48, 3, 3, 96, MINI, dropout=0.0, **_DIGITS),
    **{
        f"Mixer-{size}/{patch}": _mixer(patch, *shape, CHEN if patch == 8 else MIXER)
        for size, shape in {
            "S": (512, 8, 256, 2048),
            "B": (768, 12, 384, 3072),
            "L": (1024, 24, 512, 4096),
        }.items()
        for patch in (8, 16, 32)
    },
    "Mixer-Mini/2": _mixer(2, 48, 3, 32, 96, MINI, stochastic_depth=0.0, **_DIGITS),
    **{
        f"ResNet-{depth}{'' if times == 1 else f'x{times}'}": _resnet(units, 64 * times, BIT)
        for times in (1, 2)
        for depth, units in {
            50: (3, 4, 6, 3),
            101: (3, 4, 23, 3),
            152: (3, 8, 36, 3),
        }.items()
    },
    **{
        f"CIFAR-ResNet-{depth}{suffix}": _cifar_resnet(depth, shortcut)
        for suffix, shortcut in (("", "pad"), ("-projection", "projection"), ("-noshort", "none"))
        for depth in (20, 32, 44, 56, 110)
    },
    "ResNet-Mini": _resnet((1, 1, 1), 8, MINI, groups=4, **_DIGITS),
}


def names() -> tuple[str, ...]:
    """Every name of the registry, by family and size."""
    return tuple(_REGISTRY)


def build(
    name,
    *,
    classes=None,
    image_shape=None,
    activation=None,
    dropout=None,
    stochastic_depth=None,
    head_init="zeros",
    classifier=None,
) -> Model:
    """Return the model of that name; equal requests give the identical object.

    Parameters
    ----------
    name : a name of the registry; case and punctuation do not matter (``vit_b16``).
    classes : number of logits. This and the following default to the registry's entry: for the
        papers' models 1000 classes at 224x224x3 and the recipe of Chen et al. (arXiv:2106.01548,
        Table 8); for the CIFAR ResNets 10 classes at 32x32x3; for the Mini models 10 classes at
        8x8x1 and no regularisation.
    image_shape : (height, width, channels). A ViT or Mixer needs multiples of its patch size; a
        ResNet gets a 3x3 stem without pooling for images of 64 pixels and less.
    activation : "gelu_tanh", "gelu_erf" or "relu". Google's checkpoints were made with the tanh
        form, PyTorch's with erf.
    dropout, stochastic_depth : rates in [0, 1), in force only where `Model.apply` is given a key;
        ViT and Mixer.
    head_init : "zeros", as published, or "lecun": with a zero head only the head has a gradient
        at initialisation, so that the neural tangent kernel sees nothing else.
    classifier : "token" (default) or "gap", the mean over tokens; ViT.

    Raises
    ------
    RequestError : unknown name, or a value that the model cannot take.
    """
    name = _find(name)
    entry = _REGISTRY[name]

    def given(value, default):
        return default if value is None else value

    return _build(
        name,
        given(classes, entry.classes),
        _image_shape(given(image_shape, entry.image_shape)),
        given(activation, entry.activation),
        float(given(dropout, entry.dropout)),
        float(given(stochastic_depth, entry.stochastic_depth)),
        head_init,
        given(classifier, "token"),
    )


@cache
def _build(
    name,
    classes,
    image_shape,
    activation,
    dropout,
    stochastic_depth,
    head_init,
    classifier,
):
    from landscape.models.cifar_resnet import CifarResNet
    from landscape.models.layers import ACTIVATIONS, HEAD_INITS
    from landscape.models.mixer import MlpMixer
    from landscape.models.model import Model
    from landscape.models.resnet import ResNet
    from landscape.models.vit import VisionTransformer

    entry = _REGISTRY[name]
    _one_of("activation", activation, ACTIVATIONS)
    _one_of("head_init", head_init, HEAD_INITS)
    _one_of("classifier", classifier, ("token", "gap"))
    if not isinstance(classes, int) or classes < 1:
        raise RequestError(f"classes: found {classes!r}; give a whole number from 1")
    for argument, rate in (("dropout", dropout), ("stochastic_depth", stochastic_depth)):
        if not 0 <= rate < 1:
            raise RequestError(f"{argument}: found {rate}; give a rate from 0 to below 1")
        if rate and entry.family in ("resnet", "cifar_resnet"):
            raise RequestError(f"{argument}: {name} has none; leave it out or give 0")
    if classifier == "gap" and entry.family != "vit":
        raise RequestError(f"classifier: {name} has no class token; leave it out")

    height, width, _ = image_shape
    options = dict(entry.shape, classes=classes, activation=activation, head_init=head_init)
    patch = tokens = None
    if entry.family == "cifar_resnet":
        module = CifarResNet(**options)
    elif entry.family == "resnet":
        options["stem"] = "small" if max(height, width) <= SMALL_IMAGE else "imagenet"
        module = ResNet(**options)
    else:
        patch = entry.shape["patch"]
        if height % patch or width % patch:
            raise RequestError(
                f"image_shape: {name} needs multiples of its patch, {patch} pixels, found "
                f"{height}x{width}; resize the images or take another patch size"
            )
        tokens = (height // patch) * (width // patch)
        options.update(dropout=dropout, stochastic_depth=stochastic_depth)
        if entry.family == "mixer":
            module = MlpMixer(**options)
        else:
            module = VisionTransformer(**options, classifier=classifier)
            tokens += classifier == "token"
    return Model(
        name=name,
        family=entry.family,
        module=module,
        image_shape=image_shape,
        classes=classes,
        source=entry.source,
        patch=patch,
        tokens=tokens,
    )


def _plain(name):
    """Lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _find(name):
    """Return the registry's spelling of a name."""
    by_plain = {_plain(known): known for known in _REGISTRY}
    plain = _plain(name)
    if plain in by_plain:
        return by_plain[plain]
    nearest = difflib.get_close_matches(plain, by_plain, n=3, cutoff=0.3)
    nearest = " (nearest: " + ", ".join(by_plain[near] for near in nearest) + ")" if nearest else ""
    raise RequestError(
        f"model {str(name)!r} is not in the registry{nearest}; "
        "list the names with `python analysis_cli.py models`"
    )


def _image_shape(shape):
    """Return a checked (height, width, channels) of plain ints."""
    try:
        checked = tuple(int(size) for size in shape)
    except (TypeError, ValueError):
        checked = ()
    if len(checked) != 3 or min(checked) < 1:
        raise RequestError(f"image_shape: found {shape!r}; give (height, width, channels)")
    return checked


def _one_of(argument, value, known):
    if value not in known:
        raise RequestError(f"{argument}: found {value!r}; give one of {', '.join(known)}")
