"""The registry: models by their names in the field's notation, "ViT-B/16" or "ResNet-50x2"."""

from __future__ import annotations

import difflib
import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from landscape.errors import RequestError
from landscape.models.table import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from landscape.models.model import Model

# Images this small keep their resolution: a ResNet's stem is then 3x3 with stride 1, no pool.
SMALL_IMAGE = 64

_RATES = ("dropout", "stochastic_depth")
_TOKENS = ("classifier", "position_embedding", "representation", "head")
_TAKEN = {  # what a family can be asked for
    "vit": {"activation", *_RATES, *_TOKENS},
    "mixer": {"activation", *_RATES},
    "resnet": {"activation"},
    "batchnorm_resnet": {"activation"},
}


def names() -> tuple[str, ...]:
    """Every name of the registry, by family and size."""
    return tuple(ENTRIES)


def build(
    name,
    *,
    classes: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    shape: Mapping[str, Any] | None = None,
    activation: str | None = None,
    dropout: float | None = None,
    stochastic_depth: float | None = None,
    classifier: str | None = None,
    position_embedding: str | None = None,
    representation: int | None = None,
    head: str | None = None,
    head_init: str = "zeros",
    dtype: str | None = None,
    remat: bool = False,
) -> Model:
    """Return the model of that name; equal requests give the identical object.

    What is None defaults to the registry's entry: for the papers' models 1000 classes at
    224x224x3 and the recipe of Chen et al. (arXiv:2106.01548, Table 8); for the CIFAR ResNets 10
    classes at 32x32x3; for the Mini models 10 classes at 8x8x1 and no regularisation.

    Parameters
    ----------
    name : a name of the registry; case and punctuation do not matter (``vit_b16``).
    classes : number of logits.
    image_shape : (height, width, channels). A ViT or Mixer needs multiples of what becomes a
        token; a ResNet with GroupNorm gets a 3x3 stem without pooling for images of 64 pixels
        and less.
    shape : sizes that differ from the entry's: ``{"depth": 6}``. They are named as in
        `landscape.models.table`.
    activation : "gelu_tanh", "gelu_erf" or "relu". Google's checkpoints were made with the tanh
        form, PyTorch's with erf.
    dropout, stochastic_depth : rates in [0, 1), in force only where `Model.apply` is given a key;
        ViT and Mixer.
    classifier : "token", "gap" (mean of the tokens) or "map" (attention pooling); ViT.
    position_embedding : "learned" or "sincos2d"; ViT.
    representation : width of a tanh layer in front of the head, 0 for none; ViT.
    head : "classes", or "masked_patches", which predicts the colour of every patch (8 levels to
        the power of the channels are then the default of `classes`); ViT.
    head_init : "zeros", as published, or "lecun": with a zero head only the head has a gradient
        at initialisation, so that the neural tangent kernel sees nothing else.
    dtype : "bfloat16" computes the forward pass in it; parameters and logits stay as they are.
    remat : forget what is inside each block, unit or mixer layer, and compute it again for
        derivatives: less memory, one forward pass more. On a CPU XLA undoes it: nothing is saved.

    Raises
    ------
    RequestError : unknown name, or a value that the model cannot take.
    """
    name = find(name)
    entry = ENTRIES[name]
    asked = {
        "activation": activation,
        "dropout": dropout,
        "stochastic_depth": stochastic_depth,
        "classifier": classifier,
        "position_embedding": position_embedding,
        "representation": representation,
        "head": head,
    }
    asked = {option: value for option, value in asked.items() if value is not None}
    for option in asked.keys() - _TAKEN[entry.family]:
        if asked.pop(option) != 0 or option not in _RATES:
            raise RequestError(f"{option}: {name} has none; leave it out")
    options = {**entry.options, **asked}
    image_shape = _image_shape(entry.image_shape if image_shape is None else image_shape)
    if classes is None:
        masked = options.get("head") == "masked_patches"
        classes = 8 ** image_shape[2] if masked else entry.classes
    sizes = {**entry.shape, **_sizes(name, shape or {})}  # in the entry's order
    return _build(
        name,
        classes,
        image_shape,
        tuple(sizes.items()),
        tuple(sorted(options.items())),
        head_init,
        dtype,
        bool(remat),
    )


@cache
def _build(name, classes, image_shape, sizes, options, head_init, dtype, remat):
    from landscape.models import vit
    from landscape.models.batchnorm_resnet import BatchNormResNet
    from landscape.models.layers import ACTIVATIONS, HEAD_INITS
    from landscape.models.mixer import MlpMixer
    from landscape.models.model import Model
    from landscape.models.resnet import ResNet

    entry, sizes, options = ENTRIES[name], dict(sizes), dict(options)
    known = {
        "activation": ACTIVATIONS,
        "head_init": HEAD_INITS,
        "classifier": vit.CLASSIFIERS,
        "position_embedding": vit.POSITION_EMBEDDINGS,
        "head": vit.HEADS,
        "dtype": (None, "bfloat16"),
    }
    for option, value in {**options, "head_init": head_init, "dtype": dtype}.items():
        if option in known:
            _one_of(option, value, known[option])
        elif option in _RATES and not 0 <= value < 1:
            raise RequestError(f"{option}: found {value}; give a rate from 0 to below 1")
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
        raise RequestError(f"classes: found {classes!r}; give a whole number from 1")
    representation = options.get("representation", 0)
    if type(representation) is not int or representation < 0:
        raise RequestError(f"representation: found {representation!r}; give a width, 0 for none")

    height, width, _ = image_shape
    patch = tokens = None
    arguments = {**sizes, **options, "classes": classes, "head_init": head_init, "remat": remat}
    if entry.family == "resnet":
        arguments["stem"] = "small" if max(height, width) <= SMALL_IMAGE else "imagenet"
        module = ResNet(**arguments)
    elif entry.family == "batchnorm_resnet":
        module = BatchNormResNet(**arguments)
    else:
        patch = pixels_of_a_token(sizes)
        if height % patch or width % patch:
            raise RequestError(
                f"image_shape: {name} needs multiples of its patch, {patch} pixels, found "
                f"{height}x{width}; resize the images or take another patch size"
            )
        tokens = (height // patch) * (width // patch)
        if entry.family == "mixer":
            module = MlpMixer(**arguments)
        else:
            module = vit.VisionTransformer(**arguments)
            tokens += module.classifier == "token"
    return Model(
        name=name,
        family=entry.family,
        module=module,
        image_shape=image_shape,
        classes=classes,
        source=entry.source,
        patch=patch,
        tokens=tokens,
        dtype=dtype,
        request=_request(entry, name, sizes, image_shape, classes, options),
    )


def _request(entry, name, sizes, image_shape, classes, options):
    """What distinguishes the network, as it is kept with a checkpoint."""
    differences = {size: value for size, value in sizes.items() if value != entry.shape[size]}
    return {
        "name": name,
        "classes": classes,
        "image_shape": list(image_shape),
        **options,
        **({"shape": differences} if differences else {}),
    }


def pixels_of_a_token(sizes: Mapping[str, Any]) -> int:
    """Pixels on the side of what becomes a token: the patch times the strides in front of it."""
    stages, layers = sizes.get("resnet"), sizes.get("convolutions", ())
    in_front = math.prod(stride for _, stride in layers)
    if stages is not None:
        in_front *= 4 * 2 ** max(len(stages) - 1, 0)
    return sizes["patch"] * in_front


def find(name: str) -> str:
    """Return the registry's spelling of a name.

    Raises
    ------
    RequestError : unknown name; the nearest ones are in the message.
    """
    by_plain = {_plain(known): known for known in ENTRIES}
    plain = _plain(name)
    if plain in by_plain:
        return by_plain[plain]
    nearest = difflib.get_close_matches(plain, by_plain, n=3, cutoff=0.3)
    nearest = " (nearest: " + ", ".join(by_plain[near] for near in nearest) + ")" if nearest else ""
    raise RequestError(
        f"model {str(name)!r} is not in the registry{nearest}; "
        "list the names with `python analysis_cli.py models`"
    )


def _plain(name):
    """Lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _sizes(name, changed):
    """Checked sizes that differ from the entry's, hashable."""
    known = ENTRIES[name].shape
    for size, value in changed.items():
        if size not in known:
            raise RequestError(f"shape: {name} has no size {size!r}; its sizes: {', '.join(known)}")
        if type(known[size]) is int and (type(value) is not int or value < 1):
            raise RequestError(f"shape: {size} is {value!r}; give a whole number from 1")
    heads, width = ({**known, **changed}.get(size, 1) for size in ("heads", "width"))
    if width % heads:
        raise RequestError(f"shape: {width} channels cannot be divided among {heads} heads")
    return {size: _hashable(value) for size, value in changed.items()}


def _hashable(value):
    return tuple(_hashable(part) for part in value) if isinstance(value, (list, tuple)) else value


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
        listed = ", ".join(str(name) for name in known if name is not None)
        raise RequestError(f"{argument}: found {value!r}; give one of {listed}")
