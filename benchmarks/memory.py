"""Peak memory of a certified λmax of a large network, beside what it has to hold.

    python benchmarks/memory.py [--model ViT-S/16] [--batch 4]

What it has to hold: the parameters, three vectors, and the intermediate values of the product of
one micro-batch, as XLA states them for the compiled program. The peak is that of a process of its
own, above what it held before the network was made. It counts the compiled programs, and memory
that was freed but not given back to the system.
"""

import argparse
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import resident

import landscape
from landscape import parameters
from landscape.models.registry import build
from landscape.training.losses import softmax_cross_entropy

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
    vector, temporary = found["vector"], intermediate(options)
    millions = found["parameters"] / 1e6
    images = f"{options.batch} images of {options.side} pixels"
    print(f"{options.model}: {millions:.1f} M parameters, {found['products']} products on {images}")
    print(f"parameters {vector:8.0f} MiB")
    print(f"3 vectors  {3 * vector:8.0f} MiB")
    print(f"product    {temporary:8.0f} MiB of intermediate values")
    expected = 4 * vector + temporary
    print(f"together   {expected:8.0f} MiB")
    for which, remark in (("first", "with compilation"), ("later", "in a second search")):
        if which in found:
            times = found[which] / expected
            print(f"peak       {found[which]:8.0f} MiB, {times:.2f} times that, {remark}")


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
    """Two searches in this process: how far each raises its memory above the start (MiB)."""
    start = resident.peak()
    params, loss, batch = network(options)
    objective = landscape.Objective(loss, params, [batch])

    def search() -> int:
        found = landscape.extremes(objective, limit=PRODUCTS, ends="max")
        return found.lambda_max.products

    found = {"products": search(), "first": resident.peak() - start}
    if resident.forget_peak():
        search()
        found["later"] = resident.peak() - start
    size = parameters.size(params)
    return found | {"parameters": size, "vector": size * 4 / 2**20}


def intermediate(options: argparse.Namespace) -> float:
    """Temporary memory of one micro-batch's product as compiled, MiB."""
    params, loss, batch = network(options)

    def product(params, vector, batch):
        def mean(params):
            return jnp.mean(loss(params, batch))

        return jax.jvp(jax.grad(mean), (params,), (vector,))[1]

    with jax.default_matmul_precision("highest"):
        compiled = jax.jit(product).lower(params, params, batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


if __name__ == "__main__":
    main()
