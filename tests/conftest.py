"""Every test runs under strict dtype and rank promotion, on eight fake CPU devices."""

import json
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

from landscape.cli import main

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Run the test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory):
    """Commands keep compiled programs and verdicts in the user's cache folder; tests must not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("LANDSCAPE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _equal_programs_are_compiled_once(tmp_path_factory):
    """A sixth less time. A folder of this process alone: what others are killed over is torn."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("programs")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run folder: an MLP-Mixer after a few steps on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "mixer"
    arguments = ["--model", "Mixer-Mini/2", "--epochs", "1", "--out", str(folder)]
    assert main(["train", *arguments, "--quiet", "--json"]) == 0
    return folder


@pytest.fixture
def call(capsys):
    """Run a command with --json: its status, its one JSON object, what it wrote for people."""

    def run_command(*arguments):
        capsys.readouterr()
        status = main([str(a) for a in arguments] + ["--json", "--quiet"])
        out, err = capsys.readouterr()
        return status, json.loads(out) if out.strip() else None, err

    return run_command
