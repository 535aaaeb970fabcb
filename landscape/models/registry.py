"""The registry: models by their names in the field's notation, "ViT-B/16" or "ResNet-50x2"."""

from __future__ import annotations

import difflib
import math
import operator
import re
import reprlib
from collections.abc import Mapping
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, Any

from landscape.errors import RequestError
from landscape.models.table import ENTRIES

if TYPE_CHECKING:
    from landscape.models.model import Model

# Images this small keep their resolution: a ResNet's stem is then 3x3 with stride 1, no pool.
SMALL_IMAGE = 64
MOST_CHANNELS = 10  # whose colours at 3 bits a channel are int32

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
        form, PyTorch's with erf. The ResNet of a hybrid and the stem of ViT_C keep ReLU.
    dropout, stochastic_depth : rates in [0, 1), in force only where `Model.apply` is given a key;
        ViT and Mixer.
    classifier : "token", "gap" (mean of the tokens) or "map" (attention pooling); ViT.
    position_embedding : "learned" or "sincos2d"; ViT.
    representation : width of a tanh layer in front of the head, 0 for none; ViT.
    head : "classes", or "masked_patches", which predicts the colour of every patch (8 levels to
        the power of the channels are then the default of `classes`); ViT.
    head_init : "zeros", as published for Google's networks, or "lecun": with a zero head only the
        head has a gradient at initialisation, so that the neural tangent kernel sees nothing else.
        ResNets with BatchNorm start from random heads elsewhere: take "lecun".
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
    asked = {option: _option(option, value) for option, value in asked.items() if value is not None}
    for option in asked.keys() - _TAKEN[entry.family]:
        if asked.pop(option) != 0 or option not in _RATES:
            raise RequestError(f"{option}: {name} has none; leave it out")
    options = {**entry.options, **asked}
    image_shape = _image_shape(entry.image_shape if image_shape is None else image_shape)
    masked = options.get("head") == "masked_patches"
    if masked and image_shape[2] > MOST_CHANNELS:
        raise RequestError(
            f"head: masked_patches numbers the colours of up to {MOST_CHANNELS} channels, found "
            f"{image_shape[2]}; take another head"
        )
    if classes is None:
        classes = 8 ** image_shape[2] if masked else entry.classes
    whole = _whole(classes)
    if whole is None:
        raise RequestError(f"classes: found {_shown(classes)}; give a whole number from 1")
    if not isinstance(remat, bool):
        raise RequestError(f"remat: found {_shown(remat)}; give True or False")
    sizes = {**entry.shape, **_sizes(name, {} if shape is None else shape)}  # in the entry's order
    width = sizes.get("width", 0)
    if options.get("position_embedding") == "sincos2d" and (width % 4 or width < 8):
        raise RequestError(
            f"shape: sincos2d takes widths that are multiples of 4 from 8, found {width}; "
            "take another width or learned positions"
        )
    return _build(
        name,
        whole,
        image_shape,
        tuple(sizes.items()),
        tuple(sorted(options.items())),
        _option("head_init", head_init),
        dtype if dtype is None else _option("dtype", dtype),
        remat,
    )


_ARGUMENTS = {"name", *build.__kwdefaults__}


def checked_request(request: Any) -> dict[str, Any]:
    """Arguments of `build` that came from a file, with the registry's spelling of the name.

    The values of the others are `build`'s to check.

    Raises
    ------
    RequestError : no mapping, no name of the registry, or other arguments than `build` has.
    """
    if not isinstance(request, Mapping):
        raise RequestError(f"model: found {_shown(request)}; give a name and its arguments")
    if not isinstance(request.get("name"), str):
        raise RequestError(f"model: its name is {_shown(request.get('name'))}; give a string")
    if others := [argument for argument in request if argument not in _ARGUMENTS]:
        raise RequestError(f"model: {_shown(others[0])} is no argument of a network; leave it out")
    return {**request, "name": find(request["name"])}


@cache
def _build(name, classes, image_shape, sizes, options, head_init, dtype, remat):
    from landscape.models.batchnorm_resnet import BatchNormResNet
    from landscape.models.mixer import MlpMixer
    from landscape.models.model import Model
    from landscape.models.resnet import ResNet
    from landscape.models.vit import VisionTransformer

    entry, sizes, options = ENTRIES[name], dict(sizes), dict(options)
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
            module = VisionTransformer(**arguments)
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
    plain = _plain(name) if isinstance(name, str) else ""
    if plain in by_plain:
        return by_plain[plain]
    nearest = difflib.get_close_matches(plain, by_plain, n=3, cutoff=0.3)
    nearest = " (nearest: " + ", ".join(by_plain[near] for near in nearest) + ")" if nearest else ""
    raise RequestError(
        f"model {_shown(name)} is not in the registry{nearest}; "
        "list the names with `python analysis_cli.py models`"
    )


def _plain(name):
    """Lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _named() -> dict[str, Any]:
    """The options and sizes that are names, and the names they can take."""
    from landscape.models import batchnorm_resnet, layers, vit

    return {
        "activation": layers.ACTIVATIONS,
        "head_init": layers.HEAD_INITS,
        "classifier": vit.CLASSIFIERS,
        "position_embedding": vit.POSITION_EMBEDDINGS,
        "head": vit.HEADS,
        "dtype": ("bfloat16",),
        "block": vit.BLOCKS,
        "shortcut": batchnorm_resnet.SHORTCUTS,
        "style": batchnorm_resnet.STYLES,
    }


def _option(option, value):
    """A checked option as a plain value."""
    if option in _RATES:
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < 1:
            raise RequestError(f"{option}: found {_shown(value)}; give a rate from 0 to below 1")
        return float(value)
    if option == "representation":
        width = _whole(value, least=0)
        if width is None:
            raise RequestError(f"{option}: found {_shown(value)}; give a width, 0 for none")
        return width
    return _one_of(option, value)


def _one_of(option, value):
    known = _named()[option]
    if not isinstance(value, str) or value not in known:
        raise RequestError(f"{option}: found {_shown(value)}; give one of {', '.join(known)}")
    return value


_MOST_LAYERS = 1000  # each is traced by itself


def _sizes(name, changed):
    """Checked sizes that differ from the entry's, hashable."""
    known = ENTRIES[name].shape
    if not isinstance(changed, Mapping):
        raise RequestError(f"shape: found {_shown(changed)}; give sizes by their names")
    for size in changed:
        if size not in known:
            raise RequestError(
                f"shape: {name} has no size {_shown(size)}; its sizes: {', '.join(known)}"
            )
    checked = {size: _size(size, value, known[size]) for size, value in changed.items()}
    for row in ("depth", "units", "resnet"):
        found = checked.get(row, 0)
        if (found if isinstance(found, int) else sum(found)) > _MOST_LAYERS:
            raise RequestError(f"shape: {row} is {_shown(found)}; give at most {_MOST_LAYERS:,}")
    heads, width = ({**known, **checked}.get(size, 1) for size in ("heads", "width"))
    if width % heads:
        raise RequestError(f"shape: {width} channels cannot be divided among {heads} heads")
    return checked


def _size(size, value, default):
    """A checked size of the kind that the table has."""
    if isinstance(default, str):
        return _one_of(size, value)
    if isinstance(default, bool):
        found, kind = value if isinstance(value, bool) else None, "True or False"
    elif isinstance(default, int):
        found, kind = _whole(value), "a whole number from 1"
    elif size == "convolutions":
        found, kind = _each(value, _pair), "(channels, stride) of each"
    else:
        found, kind = _each(value, _whole), "whole numbers from 1"
    if found is None or (found == () and size != "resnet"):
        raise RequestError(f"shape: {size} is {_shown(value)}; give {kind}")
    return found


def _whole(value, least=1):
    """A plain int of at least ``least``; None for anything else."""
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return None if isinstance(value, bool) or number < least else number


def _pair(value):
    pair = _each(value, _whole)
    return pair if pair is not None and len(pair) == 2 else None


def _each(values, check):
    """A tuple of checked values; None if one fails or they are no list."""
    if not isinstance(values, list | tuple):
        return None
    checked = tuple(map(check, values))
    return None if None in checked else checked


def _image_shape(shape):
    """Return a checked (height, width, channels) of plain ints."""
    try:
        checked = tuple(map(_whole, shape))
    except TypeError:
        checked = ()
    if len(checked) != 3 or None in checked:
        raise RequestError(f"image_shape: found {_shown(shape)}; give (height, width, channels)")
    return checked


def _shown(value):
    """A short repr in one line, of anything."""
    return " ".join(reprlib.repr(value).split())
