"""One process of several: λmax, a trace, eigenpairs and quadratic forms over a mesh of all devices.

    python distributed_run.py PROCESS PROCESSES PORT

prints one JSON object. Alone (one process) it uses as many devices as the others have together.
"""

import json
import sys

import jax

DEVICES = 4


def objective(mesh):
    import jax.numpy as jnp
    import numpy as np

    from landscape.objective import Composite, Objective

    rng = np.random.default_rng(0)
    x = rng.normal(size=(37, 5)).astype("f")
    y = rng.normal(size=(37, 2)).astype("f")
    data = [(x[i : i + 10], y[i : i + 10]) for i in range(0, 37, 10)]
    params = {
        "a": jnp.asarray(rng.normal(size=(5, 7)).astype("f")),
        "b": jnp.asarray(rng.normal(size=(7, 2)).astype("f")),
    }
    loss = Composite(
        lambda p, batch: jnp.tanh(batch[0] @ p["a"]) @ p["b"],
        lambda out, batch: jnp.sum((out - batch[1]) ** 2, axis=1),
    )
    return Objective(loss, params, data, mesh=mesh)


def measure(mesh):
    from landscape.curvature import block_extremes, eigenpairs, extremes, trace

    made = objective(mesh)
    found = extremes(made, vectors=True)
    return {
        "largest": found.lambda_max.estimate,
        "upper": found.lambda_max.upper,
        "smallest": found.lambda_min.estimate,
        "blocks": [e.lambda_max.estimate for e in block_extremes(made, {"b": ["b"]}).values()],
        "top": eigenpairs(made, 3).values.tolist(),
        "trace": trace(made, probes=5).trace.estimate,
        "forms": made.quadratic_forms(found.vectors["lambda_max"]).tolist(),
        "loss": made.loss(),
    }


if __name__ == "__main__":
    process, processes, port = map(int, sys.argv[1:])
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES // processes)
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    from landscape.devices import data_mesh

    print(json.dumps(measure(data_mesh() if processes > 1 else None)))
