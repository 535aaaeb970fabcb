"""From images to network inputs, by name: what is resized and cropped, and the range of values.

The name belongs to a checkpoint and is written into its configuration; what is cropped also depends
on the size of the images that the network takes, as its publisher does it. A wrong preprocessing
costs points of accuracy without any error.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

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
    larger
        ``(size, geometry)``: from this size in pixels on, the publisher's other geometry; None if
        there is but one.
    untold
        Which files look the same and are evaluated otherwise; empty if none is known.
    """

    name: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    geometry: Geometry
    source: str
    larger: tuple[int, Geometry] | None = None
    untold: str = ""

    def geometry_for(self, image_size: int | None) -> Geometry:
        """How images become squares of ``image_size`` pixels; None: the usual, below `larger`."""
        if image_size is None or self.larger is None or image_size < self.larger[0]:
            return self.geometry
        return self.larger[1]

    def geometry_of_run(self, recorded: Any) -> Geometry:
        """That with which a run was trained, from its ``config.json``.

        Where it is not recorded, that of before it depended on the image size.

        Raises
        ------
        RequestError
            If what is recorded is none.
        """
        if recorded is None:
            return self.geometry
        try:
            return Geometry(**recorded)
        except (TypeError, RequestError) as error:
            raise RequestError(
                f"checkpoint: config.json has {recorded!r:.60} as its geometry; restore it"
            ) from error

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

    def described(self, image_size: int | None = None) -> dict[str, str | float]:
        """What it does, for people: the values, and each part of `geometry_for` that size."""
        if len(self.mean) == 1:
            mean, deviation = self.mean[0], self.deviation[0]
            values = f"[{(0 - mean) / deviation:g}, {(1 - mean) / deviation:g}]"
        else:
            mean, deviation = (", ".join(map(str, c)) for c in (self.mean, self.deviation))
            values = f"mean {mean}; standard deviation {deviation}"
        return {"values": values, **dataclasses.asdict(self.geometry_for(image_size))}


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SYMMETRIC = (0.5,), (0.5,)
_SQUASHED = Geometry("squash", 1.0, "bilinear_without_antialias")
_WHOLE_BICUBIC = Geometry("shorter_side", 1.0, "bicubic")

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
            "ViT, MLP-Mixer and BiT of google-research: resize_small(256)|central_crop(224) in "
            "big_vision; fine-tuned at 384 and more, resize(384) (bit_paper in its "
            "load_and_eval.py) and the same in vision_transformer",
            larger=(384, _SQUASHED),
            untold="files fine-tuned at 224 pixels in google-research/vision_transformer were "
            "evaluated on whole images (--preprocessing vision_transformer)",
        ),
        Preprocessing(
            "vision_transformer",
            *_SYMMETRIC,
            _SQUASHED,
            "evaluation after fine-tuning in google-research/vision_transformer, "
            "vit_jax/input_pipeline.py, at every size",
        ),
        Preprocessing(
            "timm_vit",
            *_SYMMETRIC,
            Geometry("shorter_side", 0.9, "bicubic"),
            "timm's vit_*.augreg_*, vit_*.sam_in1k and hybrids: crop_pct 0.9 at 224, 1.0 at 384",
            larger=(384, _WHOLE_BICUBIC),
            untold="DeiT and MAE have the same names and ImageNet's mean and deviation "
            "(--preprocessing deit)",
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
            "facebookresearch/deit and mae: Resize(256, bicubic), CenterCrop(224); above 224 the "
            "whole image, as mae and timm's deit_*_384 (deit's own code: its --eval-crop-ratio)",
            larger=(225, _WHOLE_BICUBIC),
        ),
        Preprocessing(
            "torchvision",
            *_IMAGENET,
            Geometry("shorter_side", 0.875, "bilinear"),
            "torchvision's IMAGENET1K_V1 weights: Resize(256), CenterCrop(224); from 384 its "
            "ViT's IMAGENET1K_SWAG_E2E_V1: Resize(384, bicubic), CenterCrop(384)",
            larger=(384, _WHOLE_BICUBIC),
            untold="torchvision's IMAGENET1K_V2 weights take Resize(232) (--preprocessing "
            "torchvision_v2)",
        ),
        Preprocessing(
            "torchvision_v2",
            *_IMAGENET,
            Geometry("shorter_side", 224 / 232, "bilinear"),
            "torchvision's IMAGENET1K_V2 weights of ResNets: Resize(232), CenterCrop(224)",
        ),
        Preprocessing(
            "timm_resnet",
            *_IMAGENET,
            Geometry("shorter_side", 0.95, "bicubic"),
            "timm's resnet*.a1_in1k and its kin: crop_pct 0.95 at 224, test_crop_pct 1.0 at 288",
            larger=(288, _WHOLE_BICUBIC),
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
