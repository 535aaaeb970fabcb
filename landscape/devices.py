"""Devices: the mesh, processes, the compilation cache and the memory a program needs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from landscape import host
from landscape.errors import OutOfMemory, RequestError

DATA_AXIS = "data"


def data_mesh(devices: Sequence[jax.Device] | int | None = None) -> Mesh:
    """A one-dimensional mesh over which examples are split.

    Parameters
    ----------
    devices
        The devices, or how many of them; all of every process if not given.

    Raises
    ------
    RequestError
        If more devices are asked for than there are.
    """
    available = jax.devices()
    if isinstance(devices, int | np.integer):
        if not 1 <= devices <= len(available):
            raise RequestError(f"devices: {devices} asked for, {len(available)} available")
        devices = available[:devices]
    chosen = list(devices) if devices is not None else available
    # jax.make_mesh would give Explicit axes from JAX 0.9 on; these are Auto on every version.
    return Mesh(np.array(chosen), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays whose first axis is divided among the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Put host arrays on a mesh, also one of several processes (each passes the same arrays)."""

    def put(leaf):
        if jax.process_count() == 1 or isinstance(leaf, jax.Array):
            return jax.device_put(leaf, sharding)
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(put, tree)


def gathered(values: jax.Array) -> np.ndarray:
    """An array on the host, whole in every process."""
    if values.is_fully_addressable:
        return np.asarray(values)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(values, tiled=True))


def start_processes() -> None:
    """Join the other processes of a Slurm, Open MPI or TPU pod job; alone, do nothing.

    JAX recognises these environments by itself; it has to be asked before the first computation.
    """
    slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    mpi = int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
    pod = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    if (slurm or mpi or pod) and not jax.distributed.is_initialized():
        jax.distributed.initialize()


def cache_folder() -> Path:
    """The user's own folder for what can be made again: compiled programs, the doctor's verdicts.

    ``LANDSCAPE_CACHE_DIR``, else ``landscape`` in ``XDG_CACHE_HOME``, else in ``~/.cache``.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LANDSCAPE_CACHE_DIR") or Path(home) / "landscape")


def use_compilation_cache(folder: str | os.PathLike | None = None) -> None:
    """Keep compiled programs between runs, in the user's own cache folder.

    Called by the command line, never by the library. ``JAX_COMPILATION_CACHE_DIR`` is respected.
    A cache is trusted input (it holds code), so it must not lie in a folder others can write to.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder or cache_folder() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def available_memory(device: jax.Device | None = None) -> int | None:
    """Free bytes on the device (of the host for a CPU, within this job's limits); None if unknown.

    See :mod:`landscape.host`.
    """
    device = device or jax.local_devices()[0]
    if device.platform == "cpu":
        return host.available_memory()
    stats = device.memory_stats() or {}
    limit, used = stats.get("bytes_limit"), stats.get("bytes_in_use", 0)
    return None if limit is None else limit - used


def required_memory(compiled: Any) -> int | None:
    """Bytes a compiled program needs beside its arguments; None where the backend does not say."""
    try:
        analysis = compiled.memory_analysis()
        return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)
    except (AttributeError, NotImplementedError, jax.errors.JaxRuntimeError):
        return None


def compile_within_memory(program: Any, *args: Any, what: str, examples: int) -> Any:
    """Compile a jitted function for its arguments and refuse it if it cannot fit.

    Raises
    ------
    OutOfMemory
        If the program needs more than the device has free, with a batch size that would fit.
    """
    compiled = program.lower(*args).compile()
    refuse_too_large(compiled, what=what, examples=examples)
    return compiled


def refuse_too_large(compiled: Any, *, what: str, examples: int, beside: int = 0) -> None:
    """Refuse a compiled program that cannot fit now, ``beside`` bytes kept free (OutOfMemory)."""
    needed, free = required_memory(compiled), available_memory()
    if needed is not None and free is not None and needed > free - beside:
        free = max(free - beside, 0)
        fitting = max(1, int(examples * free / needed / 2))
        needs, has = f"{needed / 2**30:.1f} GiB", f"{free / 2**30:.1f} GiB"
        raise OutOfMemory(
            f"batch_size: the {what} of {examples} examples at a time needs {needs}, {has} are "
            f"free; use --batch-size {fitting} or less"
        )
