"""``formats``: what can be read."""

import dataclasses
from typing import Any

from landscape.cli import common

CHECKPOINTS = {
    "run folder": "a folder made by `train`; its newest complete step",
    "FOLDER@STEP": "a chosen step of a run folder",
    "FILE.npz": "arrays named by their path, a/b/kernel; needs --model and --data",
    "PyTorch file": "state dict of a CIFAR ResNet (akamaster/pytorch_resnet_cifar10); needs --data",
}
DATA = {
    "digits": "1,797 scanned digits, 8x8, from scikit-learn; one fifth of each class for testing",
    "FOLDER": "a folder of class folders of images, or with train/ and test/ (or val/) of those",
    "FILE.npz": "images (uint8, N,H,W,C) and labels; optionally test_images and test_labels",
    "MODULE:FUNCTION": "a function returning (images, labels) or a landscape.data.Data",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common):
    pass


def execute(options: Options) -> common.Outcome:
    """List the formats."""

    def show(console: Any) -> None:
        for title, formats in (("--checkpoint", CHECKPOINTS), ("--data", DATA)):
            rows = [[name, text] for name, text in formats.items()]
            table = common.grid(title, ("reference", "what it is"), rows)
            table.columns[1].justify = "left"
            console.print(table)

    return common.Outcome({"checkpoints": CHECKPOINTS, "data": DATA}, show)
