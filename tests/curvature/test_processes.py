"""The same numbers on one device, on eight devices, and in two processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from distributed_run import measure

from landscape.devices import data_mesh

SCRIPT = Path(__file__).with_name("distributed_run.py")


@pytest.fixture(scope="module")
def alone():
    return measure(None)


def agree(found, expected):
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, atol=1e-4 * scale, err_msg=name)


def test_eight_devices_agree_with_one(alone):
    agree(measure(data_mesh(8)), alone)


def test_two_processes_agree_with_one(alone):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XLA_FLAGS")}
    environment["PYTHONPATH"] = str(SCRIPT.parents[2])
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(process), "2", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for process in range(2)
    ]
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        agree(json.loads(out.splitlines()[-1]), alone)
