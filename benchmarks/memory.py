"""Peak memory of a certified λmax of a large network, beside what it has to hold.

    python benchmarks/memory.py [--model ViT-S/16] [--batch 4]

What it has to hold: the parameters, three vectors, and the intermediate values of the product of
one micro-batch, as XLA states them for the compiled program. The peak is that of a search whose
programs are compiled, above what the process holds before it; what programs and compiler take is
told apart.
"""

import argparse
import json
import subprocess
import sys

import jax
import numpy as np
import resident

import landscape
from landscape import parameters
from landscape.losses import softmax_cross_entropy
from landscape.models.registry import build
from landscape.objective import passes

PRODUCTS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-S/16", help="a name of the registry")
    parser.add_argument("--side", type=int, default=112, help="pixels of an image's side")
    parser.add_argument("--batch", type=int, default=4, help="size of a micro-batch")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    command = [sys.executable, __file__, "--measure", "--model", options.model]
    command += ["--side", str(options.side), "--batch", str(options.batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    vector, temporary = found["vector"], found["intermediate"]
    millions = found["parameters"] / 1e6
    images = f"{options.batch} images of {options.side} pixels"
    print(f"{options.model}: {millions:.1f} M parameters, {found['products']} products on {images}")
    expected = 3 * vector + temporary
    rows = {
        "parameters": vector,
        "3 vectors": 3 * vector,
        "intermediate values of a product, by XLA": temporary,
        "vectors and intermediate values": expected,
        "peak of a search above parameters and programs": found["search"],
        "the programs, resident": found["programs"],
        "peak while compiling, above the start": found["compiling"],
    }
    for what, value in rows.items():
        print(f"{what:<48}{value:8.0f} MiB")
    print(f"{'search / (vectors and intermediate values)':<48}{found['search'] / expected:8.2f}")


def temporary_of(program: passes.Program) -> float:
    """Intermediate values of a compiled program, MiB."""
    return program.compiled.memory_analysis().temp_size_in_bytes / 2**20


def network(options: argparse.Namespace):
    model = build(options.model, classes=1000, image_shape=(options.side, options.side, 3))
    params = parameters.gaussian(jax.random.key(0), model.abstract())
    params = parameters.scaled(params, 0.02)

    def loss(params, batch):
        return softmax_cross_entropy(model.apply(params, batch["image"]), batch["label"])

    shape = (options.batch, options.side, options.side, 3)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return params, loss, {"image": images, "label": np.arange(options.batch, dtype=np.int32)}


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Two searches in this process; the second finds its programs compiled (all in MiB)."""
    start = resident.now()
    params, loss, batch = network(options)
    objective = landscape.Objective(loss, params, [batch])
    before = resident.now()
    landscape.extremes(objective, limit=2, ends="max")
    compiling, after = resident.peak() - start, resident.now()
    resident.forget_peak()
    found = landscape.extremes(objective, limit=PRODUCTS, ends="max")
    size = parameters.size(params)
    return {
        "products": found.lambda_max.products,
        "search": resident.peak() - after,
        "intermediate": max(map(temporary_of, passes._programs.values())),
        "programs": after - before,
        "compiling": compiling,
        "parameters": size,
        "vector": size * 4 / 2**20,
    }


if __name__ == "__main__":
    main()
