"""One process of several that spread the points of a surface over all their devices.

    python distributed_surface.py PROCESS PROCESSES PORT FILE.h5

computes the surface into the file and prints its losses. Killed and started again it goes on.
"""

import json
import sys

import jax

DEVICES = 4


def compute(out, mesh):
    import jax.numpy as jnp
    import numpy as np

    from landscape.objective import Objective
    from landscape.surface import compute_surface, coordinates, random_direction

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(37, 5)).astype("f"), rng.normal(size=37).astype("f")
    data = [(x[i : i + 10], y[i : i + 10]) for i in range(0, 37, 10)]
    params = {
        "a/kernel": jnp.asarray(rng.normal(size=(5, 7)).astype("f")),
        "b/kernel": jnp.asarray(rng.normal(size=(7, 1)).astype("f")),
    }

    def loss(p, batch):
        return ((jnp.tanh(batch[0] @ p["a/kernel"]) @ p["b/kernel"])[:, 0] - batch[1]) ** 2

    plane = [random_direction(params, seed) for seed in (0, 1)]
    return compute_surface(
        Objective(loss, params, data), plane, coordinates(-1, 1, 9), coordinates(-1, 1, 5),
        out=out, mesh=mesh, adaptive=0.5,
    )  # fmt: skip


if __name__ == "__main__":
    process, processes, port = map(int, sys.argv[1:4])
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES // processes)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", processes, process)
    from landscape.devices import data_mesh

    print(json.dumps(compute(sys.argv[4], data_mesh()).loss.tolist()))
