import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import kill_writer
import numpy as np
import pytest

from landscape.surface import read_surface

SCRIPT = Path(kill_writer.__file__)


def start(folder, name, log):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    process = subprocess.Popen(
        [sys.executable, SCRIPT, folder / name, folder / log],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process):
    process.stdout.close()
    assert process.wait() == 0


def contents(path):
    """Every dataset and attribute but the time of creation."""
    with h5py.File(path) as file:
        found = {k: v for k, v in file.attrs.items() if k != "created"}
        file.visititems(lambda name, item: found.update({name: np.asarray(item)})
                        if isinstance(item, h5py.Dataset) else None)  # fmt: skip
    return found


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_surface_killed_at_random_moments_ends_like_an_uninterrupted_one(tmp_path, kills):
    finish(start(tmp_path, "straight.h5", "straight.log"))
    rng, path = np.random.default_rng(kills), tmp_path / "killed.h5"
    axis = read_surface(tmp_path / "straight.h5").x.tolist()
    before, interrupted = set(), 0
    for attempt in range(kills):
        process = start(tmp_path, "killed.h5", f"{attempt}.log")
        time.sleep(rng.uniform(0, 1.5 / kills + 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.stdout.close()
        interrupted += process.wait() == -signal.SIGKILL
        if path.exists():  # the first may die before it has made the file
            done = read_surface(path).done
            log = tmp_path / f"{attempt}.log"
            lines = log.read_text().splitlines() if log.exists() else []
            pairs = [tuple(map(float, line.split())) for line in lines]
            begun = {
                (axis.index(y), axis.index(x)) for x, y in pairs if attempt or (x, y) != (0, 0)
            }
            assert not begun & before, "finished points were computed again"
            assert before <= set(map(tuple, np.argwhere(done).tolist()))
            before = set(map(tuple, np.argwhere(done).tolist()))
    assert interrupted == kills
    finish(start(tmp_path, "killed.h5", "last.log"))
    killed, straight = contents(path), contents(tmp_path / "straight.h5")
    assert killed.keys() == straight.keys()
    for name, value in straight.items():
        np.testing.assert_array_equal(killed[name], value, err_msg=name)
    assert killed["done"].all()
