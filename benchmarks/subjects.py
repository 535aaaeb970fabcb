"""What is measured on: images, micro-batches of them, and the options that choose them."""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from networks import CLASSES, SIDE, Pair
from PIL import Image

from landscape import Composite, Objective
from landscape.losses import softmax_cross_entropy

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the ResNet's


def add_options(parser: argparse.ArgumentParser, images: int) -> None:
    shared = Path(__file__).resolve().parents[1].parent / "shared"
    parser.add_argument(
        "--checkpoint", type=Path, default=shared / "checkpoints/resnet32-d509ac18.th",
        help="weights of the ResNet-32 (akamaster/pytorch_resnet_cifar10); random if absent",
    )  # fmt: skip
    parser.add_argument(
        "--cifar", type=Path, default=shared / "data/cifar10.zip",
        help="zip of cifar10/test/CLASS/N.jpg; Gaussian images if absent",
    )  # fmt: skip
    parser.add_argument("--images", type=int, default=images, help="size of the data set")
    parser.add_argument("--batch", type=int, default=64, help="size of a micro-batch")


def read_images(count: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """``count`` images (N, 32, 32, 3), normalised, and labels: CIFAR-10's, or random ones."""
    if not path.exists():
        rng = np.random.default_rng(0)
        images = rng.standard_normal((count, SIDE, SIDE, 3)).astype(np.float32)
        return images, rng.integers(0, CLASSES, count).astype(np.int32)
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if "/test/" in n and n.endswith(".jpg")]
        classes = sorted({name.split("/")[-2] for name in names})
        chosen = np.random.default_rng(0).choice(sorted(names), count, replace=False)
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in chosen]
    labels = np.array([classes.index(name.split("/")[-2]) for name in chosen], np.int32)
    images = (np.stack(pixels).astype(np.float32) / 255 - MEAN) / DEVIATION
    return images.astype(np.float32), labels


def objective(pair: Pair, images: np.ndarray, labels: np.ndarray, batch: int) -> Objective:
    """Our side: mean softmax cross-entropy over the images."""
    loss = Composite(
        lambda params, data: pair.apply(params, data["image"]),
        lambda logits, data: softmax_cross_entropy(logits, data["label"]),
    )
    batches = [
        {"image": images[i : i + batch], "label": labels[i : i + batch]}
        for i in range(0, len(images), batch)
    ]
    return Objective(loss, pair.params, batches)


def torch_batches(
    images: np.ndarray, labels: np.ndarray, batch: int, dtype: torch.dtype = torch.float32
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The peers' side: the same micro-batches, channels first."""
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(dtype)
    return list(zip(x.split(batch), torch.from_numpy(labels).long().split(batch), strict=True))
