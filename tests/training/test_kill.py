"""A run that is killed and resumed ends with the same weights, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from landscape.checkpoints import load, native
from landscape.parameters import named_leaves

SCRIPT = Path(__file__).with_name("train_tiny.py")


def start(folder):
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder)], env=environment, stderr=subprocess.PIPE
    )


def finish(process):
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors.decode()


def kill_after(process, folder, step, delay):
    """SIGKILL the process ``delay`` seconds after it has a checkpoint of ``step`` or later."""
    while process.poll() is None and max(native.steps(folder), default=0) < step:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder))
    return folder


def test_killed_run_resumes_to_the_same_weights_and_metrics(uninterrupted, tmp_path):
    rng = random.Random(time.time_ns())
    steps = sorted(rng.sample(range(10, 250, 10), 2))
    delays = [rng.uniform(0, 0.15) for _ in steps]
    for step, delay in zip(steps, delays, strict=True):
        kill_after(start(tmp_path), tmp_path, step, delay)
    finish(start(tmp_path))

    told = f"killed {delays} s after steps {steps}"
    expected, found = (named_leaves(load(str(f)).params) for f in (uninterrupted, tmp_path))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{name}, {told}")
    for name in ("metrics.jsonl", "config.json"):
        assert (tmp_path / name).read_bytes() == (uninterrupted / name).read_bytes(), told
