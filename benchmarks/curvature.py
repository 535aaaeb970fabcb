"""Speed and memory of products and of a certified λmax beside the peers, measured in one run.

    python benchmarks/curvature.py [--part product] [--json]

Parts: `product` (one pass over the data, by library), `certified` (λmax to 1 % at 99.9 % against
PyHessian's stop), `blocks` (one product of each block of a ViT), `top` (20 eigenpairs of a million
parameters), `memory` (peak of a process).
Every ratio compares timings that alternate within this run, medians over --repeats. It reports and
asserts nothing: a target that is missed is marked "missed".
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import peers
import resident
import subjects
import torch
from networks import Pair, mixer, resnet32, vit

import landscape
from landscape import parameters

NETWORKS: dict[str, Callable[[Path | None], Pair]] = {
    "vit": lambda _: vit(128, 6),
    "mixer": lambda _: mixer(128, 6),
    "resnet": resnet32,
}
FASTER_THAN_PEERS = {"vit": 1.3, "mixer": 1.3, "resnet": 1.0}
LIBRARIES = ("ours", "PyHessian", "curvlinops", "eigenthings")


@dataclass(frozen=True)
class Figure:
    """One measured number; ``target`` is a bound on it, ``at_least`` says from which side."""

    part: str
    network: str
    what: str
    value: float
    unit: str = ""
    target: float | None = None
    at_least: bool = False

    def __str__(self) -> str:
        line = f"{self.part:<10}{self.network:<20}{self.what:<44}{self.value:>9.3g} {self.unit:<10}"
        if self.target is None:
            return line.rstrip()
        met = self.value >= self.target if self.at_least else self.value <= self.target
        sign = ">=" if self.at_least else "<="
        return f"{line}target {sign} {self.target:g}, {'met' if met else 'missed'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subjects.add_options(parser, images=32)
    parser.set_defaults(batch=16)
    parser.add_argument("--part", choices=PARTS, help="only this part")
    parser.add_argument("--network", choices=NETWORKS, help="only this network (not for blocks)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--peak-of", choices=LIBRARIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.checkpoint.exists():
        options.checkpoint = None
    if options.peak_of:
        print(json.dumps(peak(options)))
        return

    setting = environment(options)
    if not options.json:
        print("  ".join(f"{name}: {value}" for name, value in setting.items()))
    chosen = [options.network] if options.network else list(NETWORKS)
    suite = {name: Subject(NETWORKS[name](options.checkpoint), options) for name in chosen}
    figures = []
    for part in [options.part] if options.part else PARTS:
        for figure in PARTS[part](suite, options):
            figures.append(asdict(figure))
            if not options.json:
                print(figure, flush=True)
    if options.json:
        print(json.dumps({"environment": setting, "figures": figures}))


def environment(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),  # XLA:CPU takes them all
        "PyTorch threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "images": f"{options.images} by {options.batch}",
        "repeats": options.repeats,
    }


class Subject:
    """One network and its data on both sides."""

    def __init__(self, pair: Pair, options: argparse.Namespace):
        self.pair = pair
        data = subjects.read_images(options.images, options.cifar)
        self.batches = subjects.torch_batches(*data, options.batch)
        self.vector = parameters.gaussian(jax.random.key(0), pair.params, unit=True)
        self.tensors = pair.tensors(self.vector)
        self.objective = subjects.objective(pair, *data, options.batch)
        self.linearized: landscape.Objective | None = None

    def gradient(self) -> None:
        jax.block_until_ready(self.objective.gradient())

    def product(self) -> None:
        jax.block_until_ready(self.objective.product(self.vector))

    def linearized_product(self) -> None:
        if self.linearized is None:
            self.linearized = self.objective.linearized()
        jax.block_until_ready(self.linearized.product(self.vector))

    def torch_gradient(self) -> None:
        weights, loss = list(self.pair.module.parameters()), torch.nn.CrossEntropyLoss()
        for images, labels in self.batches:
            torch.autograd.grad(loss(self.pair.module(images), labels), weights)


# --- parts ----------------------------------------------------------------------------------------


def measure_products(suite: dict[str, Subject], options: argparse.Namespace) -> Iterator[Figure]:
    for name, subject in suite.items():
        figure = partial(Figure, "product", subject.pair.name)
        yield figure("ours, the first: checks, compilation", timed(subject.product)[1], "s")
        theirs = peers.products(subject.pair.module, subject.batches)
        times = alternating(
            {
                "gradient": subject.gradient,
                "torch gradient": subject.torch_gradient,
                "ours": subject.product,
                "ours, linearized": subject.linearized_product,
                **{who: partial(one, subject.tensors) for who, one in theirs.items()},
            },
            options.repeats,
        )
        bound = None if name == "resnet" else 2.7
        yield figure("ours / gradient", times["ours"] / times["gradient"], "gradients", bound)
        yield figure("ours", times["ours"], "s")
        yield figure("gradient", times["gradient"], "s")
        yield figure("gradient in PyTorch", times["torch gradient"], "s")
        for ours in ("ours", "ours, linearized"):
            for who in theirs:
                rate = times[who] / times[ours]
                yield figure(f"rate, {ours} / {who}", rate, "", FASTER_THAN_PEERS[name], True)


def measure_certified(suite: dict[str, Subject], options: argparse.Namespace) -> Iterator[Figure]:
    for subject in suite.values():
        figure = partial(Figure, "certified", subject.pair.name)
        value, ours, product = certified(subject.objective)
        _, faster, _ = certified(subject.objective.linearized())
        torch.manual_seed(0)
        peer = peers.pyhessian_operator(subject.pair.module, subject.batches)
        counted = Counted(peer)
        (values, _), theirs = timed(peer.eigenvalues)
        yield figure("ours: products", value.products)
        yield figure("ours: seconds", ours, "s")
        yield figure("ours: λmax", value.estimate)
        yield figure("ours: certified width", 100 * (value.upper - value.lower) / value.estimate,
                     "%", 1.0)  # fmt: skip
        yield figure("ours: not spent in products", 100 * (1 - product.seconds / ours), "%", 3.0)
        yield figure("PyHessian, uncertified: products", counted.products)
        yield figure("PyHessian, uncertified: seconds", theirs, "s")
        yield figure("PyHessian: off our interval's middle",
                     100 * abs(values[0] / ((value.lower + value.upper) / 2) - 1), "%")  # fmt: skip
        yield figure("seconds, ours / PyHessian", ours / theirs, "", 0.5)
        yield figure("seconds, ours, linearized / PyHessian", faster / theirs, "", 0.5)


def certified(objective: landscape.Objective) -> tuple[Any, float, "Timed"]:
    """λmax to 1 % once everything is compiled, and the seconds it took."""
    landscape.extremes(objective, limit=1)
    product = Timed(objective)
    found, seconds = timed(lambda: landscape.extremes(product, width=0.01, ends="max"))
    return found.lambda_max, seconds, product


def measure_blocks(suite: dict[str, Subject], options: argparse.Namespace) -> Iterator[Figure]:
    depth = 12
    subject = Subject(vit(96, depth), options)
    figure = partial(Figure, "blocks", subject.pair.name)
    patterns = {f"block {i}": f"encoderblock_{i}/" for i in range(depth)}
    functions = {"gradient": subject.gradient}
    for name, leaves in parameters.blocks(subject.pair.params, patterns).items():
        part = subject.objective.block(leaves)
        vector = parameters.gaussian(jax.random.key(0), part.params, unit=True)
        functions[name] = lambda p=part, v=vector: jax.block_until_ready(p.product(v))
    times = alternating(functions, options.repeats)
    ratios = [times[name] / times["gradient"] for name in patterns]
    yield figure("mean of the 12 blocks", statistics.mean(ratios), "gradients", 1.1)
    yield figure("first block", ratios[0], "gradients")
    yield figure("last block", ratios[-1], "gradients")


def measure_top(suite: dict[str, Subject], options: argparse.Namespace) -> Iterator[Figure]:
    subject = suite.get("vit") or Subject(NETWORKS["vit"](None), options)
    figure = partial(Figure, "top", subject.pair.name)
    product = Timed(subject.objective.linearized())
    found, seconds = timed(lambda: landscape.eigenpairs(product, 20))
    yield figure("parameters", parameters.size(subject.pair.params))
    yield figure("20 eigenpairs: products", found.products)
    yield figure("20 eigenpairs: seconds", seconds, "s")
    yield figure("20 eigenpairs: not spent in products", 100 * (1 - product.seconds / seconds), "%")
    yield figure("20 eigenpairs: converged, none missed", found.converged)


def measure_memory(suite: dict[str, Subject], options: argparse.Namespace) -> Iterator[Figure]:
    for name in suite:
        for who in LIBRARIES:
            if who == "eigenthings" and peers.HessianOperator is None:
                continue
            found = in_own_process(name, who, options)
            figure = partial(Figure, "memory", found["network"])
            yield figure(f"{who}: peak above start", found["first"], "MiB")
            if "later" in found:
                yield figure(f"{who}: peak in a later product", found["later"], "MiB")


PARTS = {
    "product": measure_products,
    "certified": measure_certified,
    "blocks": measure_blocks,
    "top": measure_top,
    "memory": measure_memory,
}


# --- time -----------------------------------------------------------------------------------------


def alternating(functions: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median seconds of each, called in turn, after one call of each that does not count."""
    for function in functions.values():
        function()
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name].append(timed(function)[1])
    return {name: statistics.median(values) for name, values in seconds.items()}


def timed(function: Callable) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


class Timed:
    """An objective that adds up the seconds of its products."""

    def __init__(self, objective: landscape.Objective):
        self.params, self._product, self.seconds = objective.params, objective.product, 0.0

    def product(self, vector):
        image, seconds = timed(lambda: jax.block_until_ready(self._product(vector)))
        self.seconds += seconds
        return image


class Counted:
    """Counts the products of a PyHessian object from here on."""

    def __init__(self, operator):
        self.products, self._product = 0, operator.dataloader_hv_product
        operator.dataloader_hv_product = self

    def __call__(self, vector):
        self.products += 1
        return self._product(vector)


# --- memory ---------------------------------------------------------------------------------------


def in_own_process(network: str, who: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--network", network, "--peak-of", who]
    command += ["--images", str(options.images), "--batch", str(options.batch)]
    command += ["--cifar", str(options.cifar), "--checkpoint", str(options.checkpoint)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak(options: argparse.Namespace) -> dict[str, Any]:
    """Two products in this process: how far they raise the peak of its memory (MiB).

    ``later``: the peak forgotten after the first two; what they left resident is still counted.
    """
    pair = NETWORKS[options.network](options.checkpoint)
    subject = Subject(pair, options)
    start = resident.peak()
    if options.peak_of == "ours":
        product = subject.product
    else:
        product = partial(
            peers.products(pair.module, subject.batches)[options.peak_of], subject.tensors
        )
    product()
    product()
    found = {"network": pair.name, "first": resident.peak() - start}
    if options.peak_of == "ours" and resident.forget_peak():
        product()
        found["later"] = resident.peak() - start
    return found


if __name__ == "__main__":
    main()
