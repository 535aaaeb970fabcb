"""Points spread over the devices of two processes give the surface of one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from distributed_surface import compute

from landscape.surface import read_surface

SCRIPT = Path(__file__).with_name("distributed_surface.py")


def in_two_processes(out):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XLA_FLAGS")}
    environment["PYTHONPATH"] = str(SCRIPT.parents[2])
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(process), "2", str(port), out],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for process in range(2)
    ]  # fmt: skip
    for process in processes:
        told, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        yield json.loads(told.splitlines()[-1])


def test_two_processes_agree_with_one_and_go_on_where_they_were(tmp_path):
    alone = compute(None, None)
    path = tmp_path / "s.h5"
    for losses in in_two_processes(path):
        np.testing.assert_allclose(losses, alone.loss, rtol=1e-5)
    stored = read_surface(path)
    np.testing.assert_array_equal(stored.interpolated, alone.interpolated)
    with h5py.File(path, "r+", libver=("earliest", "v108")) as file:
        file["done"][2:, :] = 0
        file["train_loss"][2:, :] = np.nan
    for losses in in_two_processes(path):
        np.testing.assert_array_equal(losses, stored.loss)
