"""``formats``: what can be read."""

import dataclasses
from typing import Any

from landscape.cli import common

CHECKPOINTS = {
    "run folder": "a folder made by `train` or `convert`; its newest complete step",
    "FOLDER@STEP": "a chosen step of a run folder, or of an Orbax CheckpointManager",
    ".npz": "big_vision and vision_transformer (ViT, Mixer, hybrid; SAM, GSAM, AugReg)",
    ".safetensors": "state dicts of timm (ViT, DeiT, Mixer, hybrid, ResNet) and torchvision",
    "PyTorch file": "such state dicts and pytorch_resnet_cifar10's, zip or older; no code is run",
    "Flax msgpack": "flax.serialization, train states too; vision_transformer's, Scenic's names",
    "Orbax folder": "of either interface, with the names of .npz files",
    "Keras file": "not read; it is told how to write the weights as .npz",
}
WRITTEN = {
    "FILE.npz": "names of google-research/vision_transformer",
    "FILE.safetensors": "names of timm, or of torchvision (`convert --names torchvision`)",
    "FOLDER": "a run folder, from which every command here goes on",
}
DATA = {
    "digits": "1,797 scanned digits, 8x8, from scikit-learn; one fifth of each class for testing",
    "FOLDER": "class folders of images, or train/ and test/ (or val/) with those; labels by name",
    "FILE.npz": "images (uint8, N,H,W,C) and labels; optionally test_images and test_labels",
    "MODULE:FUNCTION": "a function returning (images, labels) or a landscape.data.Data",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common):
    pass


def execute(options: Options) -> common.Outcome:
    """List the formats, and how pixels can become inputs."""
    from landscape.data.preprocessing import PREPROCESSING

    prepared = {
        name: {**each.described(), "larger": _larger(each), "source": each.source}
        for name, each in PREPROCESSING.items()
    }

    def show(console: Any) -> None:
        told = {
            "--checkpoint (told by its content)": CHECKPOINTS,
            "written by `convert`": WRITTEN,
            "--data": DATA,
            "--preprocessing": {name: _sentence(each) for name, each in prepared.items()},
        }
        for title, formats in told.items():
            rows = [[name, text] for name, text in formats.items()]
            console.print(common.grid(title, ("reference", "what it is"), rows, text=(0, 1)))

    return common.Outcome(
        {
            "checkpoints": CHECKPOINTS,
            "written": WRITTEN,
            "data": DATA,
            "preprocessing": prepared,
        },
        show,
        brief=True,
    )


def _larger(each: Any) -> dict[str, Any] | None:
    """What is done instead from some size on."""
    if each.larger is None:
        return None
    size, geometry = each.larger
    return {"image_size": size, **dataclasses.asdict(geometry)}


def _sentence(each: dict[str, Any]) -> str:
    told = f"{each['values']}; {_geometry(each)}"
    if larger := each["larger"]:
        told += f"; from {larger['image_size']} pixels {_geometry(larger)}"
    return f"{told}. {each['source']}"


def _geometry(each: dict[str, Any]) -> str:
    resize, interpolation = (each[key].replace("_", " ") for key in ("resize", "interpolation"))
    return f"{resize}, crop {each['crop']:.3g}, {interpolation}"
