"""Seconds per point of a loss surface beside the peers and the bare forward pass, in one run.

    python benchmarks/surface.py [--network resnet] [--json]

Every library evaluates the same plane grid of the same network on the same images, loss and
accuracy (loss-landscapes: loss only). Ratios are medians over --repeats of timings that alternate.
"bare" is the forward pass alone: one compiled program for loss and accuracy per micro-batch, at
fixed parameters, read at the end of every point. What happens once per surface (directions, the
checkpoint itself, making the file) is told apart: a surface has some 2,500 points, this grid has
few. It reports and asserts nothing: a missed target is marked.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import loss_landscapes
import loss_landscapes.metrics
import numpy as np
import subjects
import torch
from curvature import NETWORKS, environment
from networks import Pair
from torch import nn

from landscape import Objective
from landscape.losses import softmax_cross_entropy
from landscape.surface import compute_surface, coordinates, random_direction

LARGEST_OVERHEAD = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subjects.add_options(parser, images=128)
    parser.add_argument("--network", choices=NETWORKS, help="only this network")
    parser.add_argument("--grid", type=int, default=9, help="points per axis")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    options = parser.parse_args()
    if not options.checkpoint.exists():
        options.checkpoint = None
    setting = environment(options) | {"grid": f"{options.grid} x {options.grid}"}
    if not options.json:
        print("  ".join(f"{name}: {value}" for name, value in setting.items()))
    found = {}
    for network in [options.network] if options.network else NETWORKS:
        found[network] = measure(NETWORKS[network](options.checkpoint), options)
        if not options.json:
            report(network, found[network])
    if options.json:
        print(json.dumps({"environment": setting, "seconds_per_point": found}))


def measure(pair: Pair, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds per point of every contender."""
    images, labels = subjects.read_images(options.images, options.cifar)
    batches = subjects.torch_batches(images, labels, options.batch)
    contenders = {
        "bare": bare(pair, images, labels, options),
        "ours": ours(pair, images, labels, options),
        "loss-landscape": li_loop(pair, batches, options),
        "loss-landscapes": loss_landscapes_plane(pair, batches, options),
        "bare PyTorch": bare_torch(pair, batches, options),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*contenders, "once")}
    for run in contenders.values():
        run(lambda: None)  # compile, and warm the caches
    for _ in range(options.repeats):
        for name, run in contenders.items():
            finished = [time.perf_counter()]
            run(lambda finished=finished: finished.append(time.perf_counter()))
            each = (finished[-1] - finished[1]) / (len(finished) - 2)
            seconds[name].append(each)
            if name == "ours":
                seconds["once"].append(finished[1] - finished[0] - each)
    return {name: statistics.median(times) for name, times in seconds.items()}


def report(network: str, found: dict[str, float]) -> None:
    overhead = found["ours"] / found["bare"] - 1
    verdict = "met" if overhead < LARGEST_OVERHEAD else "missed"
    print(f"{network}: {1e3 * found['ours']:.1f} ms a point, {100 * overhead:.1f} % over the bare "
          f"forward pass (target 5 %, {verdict}), once {found['once']:.2f} s")  # fmt: skip
    for peer in ("loss-landscape", "loss-landscapes", "bare PyTorch"):
        print(f"  {peer}: {found[peer] / found['ours']:.2f} times our time", flush=True)


def metrics(pair: Pair) -> Callable:
    def accuracy(params, data):
        right = jnp.argmax(pair.apply(params, data["image"]), -1) == data["label"]
        return {"accuracy": right.astype(jnp.float32)}

    return accuracy


Run = Callable[[Callable[[], object]], object]  # calls back after every point


def ours(pair: Pair, images, labels, options) -> Run:
    plain = subjects.objective(pair, images, labels, options.batch)
    objective = Objective(plain.composite, pair.params, plain.batches, metrics=metrics(pair))
    directions = [random_direction(pair.params, seed) for seed in (0, 1)]
    axis = coordinates(-1, 1, options.grid)

    def run(advance):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "surface.h5"
            compute_surface(objective, directions, axis, axis, out=out, progress=advance)

    return run


def bare(pair: Pair, images, labels, options) -> Run:
    @jax.jit
    def step(params, image, label):
        logits = pair.apply(params, image)
        losses = softmax_cross_entropy(logits, label)
        return jnp.sum(losses), jnp.sum(jnp.argmax(logits, -1) == label)

    size = options.batch
    data = [
        (jnp.asarray(images[i : i + size]), jnp.asarray(labels[i : i + size]))
        for i in range(0, len(images), size)
    ]

    def run(advance):
        for _ in range(options.grid**2):
            with jax.default_matmul_precision("highest"):
                sums = [step(pair.params, *batch) for batch in data]
            [(float(loss), int(right)) for loss, right in sums]
            advance()

    return run


def li_loop(pair: Pair, batches, options) -> Run:
    """The steps of their loop over the grid: new weight tensors, ``item()`` twice a batch, file."""
    net, criterion = pair.module.eval(), nn.CrossEntropyLoss()
    weights = [p.data.clone() for p in net.parameters()]
    directions = [pair.tensors(random_direction(pair.params, seed)) for seed in (0, 1)]
    axis = np.linspace(-1, 1, options.grid)

    def evaluate() -> tuple[float, float]:
        total, right, count = 0.0, 0, 0
        with torch.no_grad():
            for inputs, targets in batches:
                outputs = net(inputs)
                total += criterion(outputs, targets).item() * len(inputs)
                right += torch.max(outputs, 1)[1].eq(targets).sum().item()
                count += len(inputs)
        return total / count, 100.0 * right / count

    def run(advance):
        values = np.full((2, len(axis), len(axis)), -1.0)
        with tempfile.TemporaryDirectory() as folder, h5py.File(f"{folder}/s.h5", "w") as file:
            file["train_loss"], file["train_acc"] = values
            for row, y in enumerate(axis):
                for column, x in enumerate(axis):
                    for p, w, u, v in zip(net.parameters(), weights, *directions, strict=True):
                        p.data = w + (u * x + v * y)
                    values[:, row, column] = evaluate()
                    file["train_loss"][:], file["train_acc"][:] = values
                    file.flush()
                    advance()
        for p, w in zip(net.parameters(), weights, strict=True):
            p.data = w.clone()

    return run


def loss_landscapes_plane(pair: Pair, batches, options) -> Run:
    class Loss(loss_landscapes.metrics.Metric):
        def __call__(self, model_wrapper):
            criterion = nn.CrossEntropyLoss()
            with torch.no_grad():
                losses = [criterion(model_wrapper.forward(x), y) * len(x) for x, y in batches]
            self.advance()
            return float(sum(losses)) / sum(len(x) for x, _ in batches)

    def run(advance):
        Loss.advance = staticmethod(advance)
        with contextlib.redirect_stdout(io.StringIO()):
            loss_landscapes.random_plane(
                pair.module, Loss(), distance=1, steps=options.grid, normalization="filter",
                deepcopy_model=True,
            )  # fmt: skip

    return run


def bare_torch(pair: Pair, batches, options) -> Run:
    net, criterion = pair.module.eval(), nn.CrossEntropyLoss(reduction="sum")

    def run(advance):
        for _ in range(options.grid**2):
            with torch.no_grad():
                for inputs, targets in batches:
                    outputs = net(inputs)
                    criterion(outputs, targets).item()
                    outputs.argmax(1).eq(targets).sum().item()
            advance()

    return run


if __name__ == "__main__":
    main()
