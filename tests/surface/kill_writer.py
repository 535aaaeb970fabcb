"""Computes one surface and logs every point it begins: ``kill_writer.py FILE.h5 LOG [POINTS]``."""

import sys

import jax.numpy as jnp
import numpy as np

from landscape.objective import Objective
from landscape.surface import compute_surface, coordinates, random_direction
from landscape.surface.measure import Measurement


def loss(params, batch):
    hidden = jnp.tanh(batch[0] @ params["kernel"])
    return ((hidden @ params["head"]["kernel"])[:, 0] - batch[1]) ** 2


def main(out: str, log: str, points: str = "61") -> None:
    rng = np.random.default_rng(1)
    params = {
        "kernel": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32),
        "head": {"kernel": jnp.asarray(rng.normal(size=(3, 1)), jnp.float32)},
    }
    data = [(rng.normal(size=(8, 4)).astype("f"), rng.normal(size=8).astype("f"))]
    objective = Objective(loss, params, data)
    objective.loss()
    along = Measurement.along

    def logged(self, places):
        with open(log, "a") as file:
            file.writelines(f"{x!r} {y!r}\n" for x, y in np.asarray(places).tolist())
        return along(self, places)

    Measurement.along = logged
    directions = [random_direction(params, seed) for seed in (0, 1)]
    print("ready", flush=True)
    axis = coordinates(-1, 1, int(points))
    compute_surface(objective, directions, axis, axis, out=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
