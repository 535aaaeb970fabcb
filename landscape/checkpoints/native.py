"""The checkpoints of a run folder, ``RUN/checkpoints/<step>/{params,state}``; all use of Orbax.

Orbax's ``CheckpointManager`` interface is used because every version has it. A step is moved into
place when it is complete, so a killed process leaves complete steps only. The optimizer's state is
an item of its own, which analyses do not read.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from landscape.errors import RequestError

CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
METRICS = "metrics.jsonl"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax from writing to standard error.

    It tells its progress through absl's logger, at warning level too. And when one of several
    reads fails, the others end in threads that find their event loop closed.
    """
    logger = logging.getLogger("absl")
    level, hook = logger.level, sys.unraisablehook

    def all_but_closed_loops(told):
        if "Event loop is closed" not in str(told.exc_value):
            hook(told)

    logger.setLevel(logging.ERROR)
    sys.unraisablehook = all_but_closed_loops
    try:
        yield
    except Exception:
        time.sleep(0.2)  # for those threads to end
        raise
    finally:
        logger.setLevel(level)
        sys.unraisablehook = hook


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
        with _quiet():
            self._manager = ocp.CheckpointManager(
                (folder / CHECKPOINTS).absolute(),
                options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
            )

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        with _quiet():
            self._manager.close()

    def save(self, step: int, params: Any, state: Any) -> None:
        """Save a step; returns once the values are copied, the files follow in the background."""
        standard = self._ocp.args.StandardSave
        items = self._ocp.args.Composite(params=standard(params), state=standard(state))
        with _quiet():
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
        with _quiet(), _damage_told(self._folder, step):
            restored = self._manager.restore(step, args=items)
        return restored["params"], restored["state"]


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
    if not (folder / CHECKPOINTS).is_dir() and not (folder / CONFIG).is_file():
        raise RequestError(
            f"checkpoint: {folder} is not a run folder (it has no {CHECKPOINTS}/ and no {CONFIG})"
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
    import orbax.checkpoint as ocp

    path = (folder / CHECKPOINTS / str(step) / "params").absolute()
    reader = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    with _quiet(), _damage_told(folder, step), reader:
        described = reader.metadata(path)
        described = getattr(described, "item_metadata", described)  # since Orbax 0.10
        described = getattr(described, "tree", described)
        if not jax.tree.leaves(described):  # how Orbax tells that the description is damaged
            raise ValueError("it lists no parameters")
        # As numpy arrays: independent of the devices the run was on.
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), described)
        return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def read_config(folder: Path) -> dict | None:
    """The ``config.json`` of a run folder, None if there is none.

    Raises
    ------
    RequestError
        If it is not JSON.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RequestError(f"{path} is not readable as JSON ({error}); restore it") from error


@contextmanager
def _damage_told(folder: Path, step: int) -> Iterator[None]:
    """Whatever Orbax and TensorStore raise for damaged files, in one line."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        others = [other for other in steps(folder) if other != step]
        remedy = f"use {folder}@{others[-1]}" if others else "train again"
        raise RequestError(
            f"checkpoint: step {step} of {folder} is damaged ({reason}); {remedy}"
        ) from error
