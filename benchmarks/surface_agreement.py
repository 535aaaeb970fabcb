"""Are our surfaces of published CIFAR-10 ResNets those of their authors' PyTorch code?

    python benchmarks/surface_agreement.py FILE.th [FILE.th ...] [--authors-code resnet.py]

For every checkpoint: filter-normalised directions made here are written as Li et al.'s code reads
them, read back with h5py, and added to the weights of the PyTorch network in the order of its
``parameters()``; losses and accuracies at the same points must agree to 1e-4. Filter norms are
compared in PyTorch's layout. Exit status 1 if anything differs.

``--authors-code`` is ``resnet.py`` of akamaster/pytorch_resnet_cifar10; without it the network of
networks.py is used, which is the same written anew.
"""

import argparse
import importlib.util
import re
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import subjects
import torch
from torch import nn

from landscape import checkpoints, parameters
from landscape.losses import softmax_cross_entropy
from landscape.models import registry
from landscape.objective import Composite, Objective
from landscape.surface import (
    compute_surface,
    coordinates,
    cosine,
    random_direction,
    write_li_directions,
)

# Norms of all tensors with two or more dimensions, computed with PyTorch in float64.
NORMS = {
    "resnet20-12fca82f.th": 50.149411,
    "resnet32-d509ac18.th": 51.572212,
    "resnet44-014dd654.th": 52.685328,
    "resnet56-4bfd9763.th": 53.377899,
}
TOLERANCE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subjects.add_options(parser, images=256)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--authors-code", type=Path)
    parser.add_argument("--grid", default="5x3", help="points")
    parser.add_argument("--range", type=float, default=0.5)
    options = parser.parse_args()
    agree = [check(path, options) for path in options.files]
    print("all agree" if all(agree) else "something differs")
    sys.exit(not all(agree))


def check(path: Path, options: argparse.Namespace) -> bool:
    images, labels = subjects.read_images(options.images, options.cifar)
    found = checkpoints.load(str(path))
    model = registry.build(found.model)
    objective = Objective(
        Composite(
            lambda params, state, batch: model.apply(params, batch["image"], state=state),
            lambda logits, batch: softmax_cross_entropy(logits, batch["label"]),
        ),
        found.params,
        [
            {"image": images[i : i + options.batch], "label": labels[i : i + options.batch]}
            for i in range(0, len(images), options.batch)
        ],
        state=found.state,
        metrics=lambda params, state, batch: {
            "accuracy": (
                model.apply(params, batch["image"], state=state).argmax(-1) == batch["label"]
            ).astype("float32")
        },
    )
    directions = [random_direction(objective.params, seed) for seed in (0, 1)]
    columns, rows = map(int, options.grid.split("x"))
    x = coordinates(-options.range, options.range, columns)
    y = coordinates(-options.range, options.range, rows)
    ours = compute_surface(objective, directions, x, y)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "directions.h5"
        write_li_directions(file, directions, found.layout)
        exported = read_exported(file)
    net = torch_network(path, options.authors_code)
    weights = [p.detach().clone() for p in net.parameters()]
    theirs = np.array([[evaluate(net, weights, exported, (a, b), images, labels, options.batch)
                        for a in x] for b in y])  # fmt: skip

    norm = np.sqrt(sum(float((w.double() ** 2).sum()) for w in weights if w.ndim > 1))
    wanted = NORMS.get(path.name, norm)
    lengths = [float(parameters.norm(d)) for d in directions]
    filters = max(filter_error(d, weights) for d in exported)
    loss = np.max(np.abs(ours.loss - theirs[..., 0]) / np.maximum(theirs[..., 0], 1e-3))
    accuracy = np.max(np.abs(ours.metrics["train_acc"] - theirs[..., 1]))
    one_image = 100 / len(images)
    told = ", ".join(f"{length:.6f}" for length in lengths)
    print(f"{path.name}: norm of the weights {norm:.6f} (tabled {wanted:.6f}), of the directions "
          f"{told}, cosine {cosine(*directions):.4f}")  # fmt: skip
    print(f"  filters: largest relative error of a norm {filters:.1e}")
    print(f"  {columns} x {rows} points, losses {ours.loss.min():.4f} to {ours.loss.max():.4f}: "
          f"largest relative difference {loss:.1e}, of the accuracy {accuracy:.3f} points "
          f"(one image is {one_image:.3f})", flush=True)  # fmt: skip
    near = np.allclose([norm, *lengths], wanted, rtol=2e-6)
    return bool(near and filters < 1e-4 and loss < TOLERANCE and accuracy <= 1.01 * one_image)


def read_exported(path: Path) -> list[list[torch.Tensor]]:
    """As Li et al.'s code reads a direction file."""
    with h5py.File(path) as file:
        return [
            [torch.from_numpy(file[group][str(i)][...]) for i in range(len(file[group]))]
            for group in ("xdirection", "ydirection")
        ]


def filter_error(direction: list[torch.Tensor], weights: list[torch.Tensor]) -> float:
    """Largest relative difference between the norms of a direction's filters and the weights'."""
    worst = 0.0
    for d, w in zip(direction, weights, strict=True):
        if w.ndim <= 1:
            worst = max(worst, float(d.abs().max()))  # biases and BatchNorm stay
            continue
        ours, theirs = d.double().flatten(1).norm(dim=1), w.double().flatten(1).norm(dim=1)
        worst = max(worst, float(((ours - theirs).abs() / theirs).max()))
    return worst


def torch_network(path: Path, code: Path | None) -> nn.Module:
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    depth = int(re.match(r"resnet(\d+)", path.name)[1])
    if code is None:
        import networks

        networks.UNITS = (depth - 2) // 6
        net = networks.TorchResNet()
    else:
        spec = importlib.util.spec_from_file_location("authors_resnet", code)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        net = getattr(module, f"resnet{depth}")()
    net.load_state_dict(state)
    return net.eval()


@torch.no_grad()
def evaluate(net, weights, directions, where, images, labels, batch) -> tuple[float, float]:
    for p, w, u, v in zip(net.parameters(), weights, *directions, strict=True):
        p.data = w + where[0] * u + where[1] * v
    total, right = 0.0, 0
    for inputs, targets in subjects.torch_batches(images, labels, batch):
        logits = net(inputs)
        total += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
        right += int((logits.argmax(1) == targets).sum())
    return total / len(images), 100 * right / len(images)


if __name__ == "__main__":
    main()
