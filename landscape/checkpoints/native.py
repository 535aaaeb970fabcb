"""The checkpoints of a run folder, ``RUN/checkpoints/<step>/{params,state}``.

Orbax's ``CheckpointManager`` interface is used because every version has it. A step is moved into
place when it is complete, so a killed process leaves complete steps only. The optimizer's state is
an item of its own, which analyses do not read.
"""

import json
import math
import os
import re
import reprlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from landscape.checkpoints.containers import orbax
from landscape.checkpoints.containers.limits import damage_told
from landscape.checkpoints.containers.orbax import quiet
from landscape.checkpoints.flat import nested
from landscape.errors import RequestError
from landscape.models import registry
from landscape.printable import printable
from landscape.whole_file import failure_told, whole_file

CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
METRICS = "metrics.jsonl"
BATCH_STATS = "batch_stats"
_LONGEST = 64 * 2**20  # bytes of a configuration
_ENTRIES = {  # of a configuration, where they are there
    "schema": int,
    "steps": int,
    "training": dict,
    "data": dict,
    "preprocessing": str | None,
    "class_names": list | None,
}
_DATA = {
    "reference": str,
    "holdout": float | int | None,
    "seed": int,
    "image_size": int | None,
    "class_names": list | None,
    "train_examples": int,
    "train_hash": str,
    "test_examples": int | None,
    "test_hash": str | None,
}
_RANGES = {"seed": (0, 2**32), "image_size": (1, 2**16), "steps": (0, 2**63)}


class Writer:
    """Saves and restores the checkpoints of one run; a context manager.

    Parameters
    ----------
    folder
        The run folder.
    keep
        Number of newest steps to keep; None keeps all.
    """

    def __init__(self, folder: Path, keep: int | None):
        import orbax.checkpoint as ocp

        self._ocp, self._folder = ocp, folder
        self._quiet = quiet()  # all the time: what fails in the background is told by the next call
        with quiet(), _failure_told(folder):
            self._manager = ocp.CheckpointManager(
                (folder / CHECKPOINTS).absolute(),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep,
                    create=True,
                    cleanup_tmp_directories=True,
                    # Where that fails later, the process waits for it for minutes.
                    async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
                ),
            )

    def __enter__(self) -> "Writer":
        self._quiet.__enter__()
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        # What ended the block is told, not that a save in the background failed too.
        told = _failure_told(self._folder) if kind is None else suppress(Exception)
        try:
            with told:
                self._manager.close()
        finally:
            self._quiet.__exit__(None, None, None)

    def save(self, step: int, params: Any, state: Any) -> None:
        """Save a step; returns once the values are copied, the files follow in the background.

        Raises
        ------
        RequestError
            If it cannot be written, or the one before could not; so does the end of the block.
        """
        standard = self._ocp.args.StandardSave
        items = self._ocp.args.Composite(params=standard(params), state=standard(state))
        with _failure_told(self._folder):
            self._manager.save(step, args=items, force=True)

    def restore(self, step: int, params: Any, state: Any) -> tuple[Any, Any]:
        """The parameters and state of a step, bit for bit.

        Parameters
        ----------
        step
            An existing step.
        params, state
            Trees of ``jax.ShapeDtypeStruct`` with shardings: where to put what.

        Raises
        ------
        RequestError
            If the checkpoint is damaged.
        """
        standard = self._ocp.args.StandardRestore
        items = self._ocp.args.Composite(params=standard(params), state=standard(state))
        with _damage_told(self._folder, step):
            restored = self._manager.restore(step, args=items)
        return restored["params"], restored["state"]


def is_run_folder(path: Path) -> bool:
    """Whether a folder is a run's, complete or not.

    Told by the ``schema`` in its ``config.json``; where there is none, or a damaged one, by
    parameters in a step.
    """
    try:
        config = _json(path / CONFIG) if os.path.isfile(path / CONFIG) else None
    except RequestError:
        config = None
    if config is not None:
        return isinstance(config, dict) and "schema" in config
    steps = path / CHECKPOINTS
    return os.path.isdir(steps) and any(steps.glob("*/params"))


def save_params(
    folder: Path, step: int, params: Any, batch_stats: Any | None, config: dict[str, Any]
) -> None:
    """Make a run folder of parameters alone, from which nobody goes on training.

    Raises
    ------
    RequestError
        If the folder is a run's already or looks like one, or cannot be written.
    """
    import orbax.checkpoint as ocp

    if any(os.path.exists(folder / name) for name in (CHECKPOINTS, CONFIG)):
        raise RequestError(
            f"out: {folder} is a run folder already, or has a {CHECKPOINTS} or {CONFIG} of others; "
            "name another folder"
        )
    standard = ocp.args.StandardSave
    items = {"params": standard(params)}
    if batch_stats is not None:
        items[BATCH_STATS] = standard(batch_stats)
    write_config(folder, config)  # first: what is interrupted then has no complete checkpoint yet
    with (
        quiet(),
        _failure_told(folder),
        ocp.CheckpointManager((folder / CHECKPOINTS).absolute()) as manager,
    ):
        manager.save(step, args=ocp.args.Composite(**items), force=True)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write ``config.json`` in one go."""
    with whole_file(folder / CONFIG) as path:
        path.write_text(json.dumps(config, indent=2) + "\n")


def steps(folder: Path) -> list[int]:
    """The complete steps of a run folder, ascending; empty if there are none."""
    entries = (folder / CHECKPOINTS).glob("*")
    return sorted(int(path.name) for path in entries if path.name.isdecimal() and path.is_dir())


def existing_step(folder: Path, step: int | None = None) -> int:
    """``step`` if the run folder has it, or its newest one.

    Raises
    ------
    RequestError
        If the folder is no run folder, has no complete step, or not this one.
    """
    if not is_run_folder(folder):
        raise RequestError(
            f"checkpoint: {folder} is not a run folder (it has no {CONFIG} with a schema, and no "
            f"{CHECKPOINTS}/STEP/params)"
        )
    available = steps(folder)
    if not available:
        raise RequestError(f"checkpoint: {folder} has no complete checkpoint yet")
    if step is None:
        return available[-1]
    if step not in available:
        raise RequestError(
            f"checkpoint: {folder} has no step {step}; available: {', '.join(map(str, available))}"
        )
    return step


def read_params(folder: Path, step: int) -> dict:
    """The parameters of a complete step as nested dict of numpy arrays, without any model.

    Raises
    ------
    RequestError
        If the files are damaged.
    """
    with _damage_told(folder, step):
        leaves = orbax.leaves_of(folder / CHECKPOINTS / str(step) / "params")
    return nested(leaves, f"{folder}@{step}")


def read_batch_stats(folder: Path, step: int) -> dict | None:
    """The running statistics of a complete step in the same way; None if it has none."""
    item = folder / CHECKPOINTS / str(step) / BATCH_STATS
    if not item.is_dir():
        return None
    with _damage_told(folder, step):
        leaves = orbax.leaves_of(item)
    return nested(leaves, f"{folder}@{step}")


def read_config(folder: Path) -> dict | None:
    """The ``config.json`` of a run folder, None if there is none.

    Raises
    ------
    RequestError
        If it is not JSON, or does not describe a run.
    """
    path = folder / CONFIG
    if not os.path.isfile(path):
        return None
    config = _json(path)
    _check_config(config, path)
    return config


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST:,} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(
            f"checkpoint: {path} is not readable as JSON ({error}); restore it"
        ) from error


def _check_config(config: Any, path: Path) -> None:
    if not isinstance(config, dict):
        raise RequestError(f"checkpoint: {path} is no JSON object; restore it")
    _check_entries(config, _ENTRIES, path, "")
    _check_entries(config.get("data", {}), _DATA, path, "data.")
    if "model" in config:
        try:
            registry.checked_request(config["model"])
        except RequestError as error:
            raise RequestError(f"checkpoint: {path} describes no model ({error})") from error


def _check_entries(found: dict, kinds: dict[str, Any], path: Path, where: str) -> None:
    """Refuse entries of another type, of whatever kind JSON knows."""
    for name, kind in kinds.items():
        if name not in found:
            continue
        value = found[name]
        right = isinstance(value, kind) and not isinstance(value, bool)
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        if not right or (isinstance(value, int | float) and not low <= value < high):
            shown = printable(reprlib.repr(value), 60)
            raise RequestError(f"checkpoint: {path} has {shown} as its {where}{name}; restore it")


@contextmanager
def _failure_told(folder: Path) -> Iterator[None]:
    """Whatever Orbax and TensorStore raise where they cannot write, in one line."""
    with failure_told("out", folder):
        try:
            yield
        except (ValueError, RuntimeError) as error:
            number = re.search(r"(?:os_error_code='|OS error )(\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _damage_told(folder: Path, step: int) -> AbstractContextManager[None]:
    """Whatever Orbax and TensorStore raise for damaged files, in one line."""
    others = [other for other in steps(folder) if other != step]
    remedy = f"use {folder}@{others[-1]}" if others else "train again"
    return damage_told(folder / CHECKPOINTS / str(step), remedy)
