"""From images to network inputs, by name: what is resized and cropped, and the range of values.

The name belongs to a checkpoint and is written into its configuration. A wrong one costs points
of accuracy without any error.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from landscape.data.resizing import CENTRAL_SQUARE, Geometry
from landscape.errors import RequestError


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """A complete description of what happens between an image and the network.

    Parameters
    ----------
    name
        Its name in `PREPROCESSING`.
    mean, deviation
        Of each channel, for pixels in [0, 1]; of length 1 for every channel.
    geometry
        How images become squares, see `landscape.data.resizing`.
    source
        Where it is used, and who says so.
    """

    name: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    geometry: Geometry
    source: str

    def values(self, images: jax.Array, dtype=jnp.float32) -> jax.Array:
        """Network inputs ``(pixel / 255 - mean) / deviation``; it can be jitted.

        Parameters
        ----------
        images
            uint8, shape (..., C), already square.
        dtype
            Floating dtype in which it computes and of what it returns.

        Raises
        ------
        RequestError
            If the images have other channels.
        """
        x = jnp.asarray(images).astype(dtype)
        if len(self.mean) not in (1, x.shape[-1]):
            raise RequestError(
                f"preprocessing: {self.name} is for {len(self.mean)} channels, the images have "
                f"{x.shape[-1]}; use {DEFAULT}"
            )
        constants = (1,) * (x.ndim - 1) + (-1,)
        mean = jnp.array(self.mean, dtype).reshape(constants)
        return (x / 255.0 - mean) / jnp.array(self.deviation, dtype).reshape(constants)

    def described(self) -> dict[str, str | float]:
        """What it does, for people: the values, and each part of the geometry."""
        if len(self.mean) == 1:
            mean, deviation = self.mean[0], self.deviation[0]
            values = f"[{(0 - mean) / deviation:g}, {(1 - mean) / deviation:g}]"
        else:
            mean, deviation = (", ".join(map(str, c)) for c in (self.mean, self.deviation))
            values = f"mean {mean}; standard deviation {deviation}"
        return {"values": values, **dataclasses.asdict(self.geometry)}


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SYMMETRIC = (0.5,), (0.5,)

PREPROCESSING: dict[str, Preprocessing] = {
    each.name: each
    for each in (
        Preprocessing(
            "minus_one_to_one",
            *_SYMMETRIC,
            CENTRAL_SQUARE,
            "training here: the values of the Google ViT, MLP-Mixer and BiT checkpoints",
        ),
        Preprocessing("zero_to_one", (0.0,), (1.0,), CENTRAL_SQUARE, "pixels as they are"),
        Preprocessing(
            "imagenet",
            *_IMAGENET,
            CENTRAL_SQUARE,
            "mean and standard deviation of ImageNet's channels, torchvision's constants",
        ),
        Preprocessing(
            "big_vision",
            *_SYMMETRIC,
            Geometry("shorter_side", 0.875, "area"),
            "evaluation of ViT, MLP-Mixer and BiT in google-research/big_vision: "
            "resize_small(256)|central_crop(224)|value_range(-1, 1)",
        ),
        Preprocessing(
            "vision_transformer",
            *_SYMMETRIC,
            Geometry("squash", 1.0, "bilinear_without_antialias"),
            "evaluation after fine-tuning in google-research/vision_transformer, "
            "vit_jax/input_pipeline.py",
        ),
        Preprocessing(
            "timm_vit",
            *_SYMMETRIC,
            Geometry("shorter_side", 0.9, "bicubic"),
            "timm's vit_*.augreg_* and vit_*.sam_in1k",
        ),
        Preprocessing(
            "timm_mixer",
            *_SYMMETRIC,
            Geometry("shorter_side", 0.875, "bicubic"),
            "timm's mixer_*.goog_*",
        ),
        Preprocessing(
            "deit",
            *_IMAGENET,
            Geometry("shorter_side", 0.875, "bicubic"),
            "facebookresearch/deit and mae: Resize(256, bicubic), CenterCrop(224)",
        ),
        Preprocessing(
            "torchvision",
            *_IMAGENET,
            Geometry("shorter_side", 0.875, "bilinear"),
            "torchvision's IMAGENET1K_V1 weights: Resize(256), CenterCrop(224)",
        ),
        Preprocessing(
            "timm_resnet",
            *_IMAGENET,
            Geometry("shorter_side", 0.95, "bicubic"),
            "timm's resnet*.a1_in1k and its kin",
        ),
    )
}
DEFAULT = next(iter(PREPROCESSING))


def get_preprocessing(name: str) -> Preprocessing:
    """The preprocessing called ``name``.

    Raises
    ------
    RequestError
        For an unknown name.
    """
    if name not in PREPROCESSING:
        raise RequestError(f"preprocessing: {name!r} is none of {', '.join(PREPROCESSING)}")
    return PREPROCESSING[name]


def preprocess(name: str = DEFAULT, dtype=jnp.float32) -> Callable[[jax.Array], jax.Array]:
    """The function ``images (uint8) -> inputs`` called ``name``; it can be jitted.

    Parameters
    ----------
    name
        One of `PREPROCESSING`.
    dtype
        Floating dtype in which it computes and of what it returns.

    Raises
    ------
    RequestError
        For an unknown name.

    Examples
    --------
    >>> preprocess("minus_one_to_one")(jnp.array([0, 255], jnp.uint8)).tolist()
    [-1.0, 1.0]
    """
    found = get_preprocessing(name)
    return lambda images: found.values(images, dtype)
