"""The checkpoints of a run folder, ``RUN/checkpoints/<step>/{params,state}``.

Orbax's ``CheckpointManager`` interface is used because every version has it. A step is moved into
place when it is complete, so a killed process leaves complete steps only. The optimizer's state is
an item of its own, which analyses do not read.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from landscape.checkpoints.containers import orbax
from landscape.checkpoints.containers.orbax import quiet
from landscape.errors import RequestError
from landscape.whole_file import whole_file

CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
METRICS = "metrics.jsonl"
BATCH_STATS = "batch_stats"


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
        with quiet():
            self._manager = ocp.CheckpointManager(
                (folder / CHECKPOINTS).absolute(),
                options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
            )

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        with quiet():
            self._manager.close()

    def save(self, step: int, params: Any, state: Any) -> None:
        """Save a step; returns once the values are copied, the files follow in the background."""
        standard = self._ocp.args.StandardSave
        items = self._ocp.args.Composite(params=standard(params), state=standard(state))
        with quiet():
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
        with quiet(), _damage_told(self._folder, step):
            restored = self._manager.restore(step, args=items)
        return restored["params"], restored["state"]


def is_run_folder(path: Path) -> bool:
    """Whether a folder looks like a run's, complete or not."""
    return (path / CHECKPOINTS).is_dir() or (path / CONFIG).is_file()


def save_params(
    folder: Path, step: int, params: Any, batch_stats: Any | None, config: dict[str, Any]
) -> None:
    """Make a run folder of parameters alone, from which nobody goes on training.

    Raises
    ------
    RequestError
        If the folder is a run's already, or cannot be written.
    """
    import orbax.checkpoint as ocp

    if is_run_folder(folder):
        raise RequestError(f"out: {folder} is a run folder already; name another folder")
    standard = ocp.args.StandardSave
    items = {"params": standard(params)}
    if batch_stats is not None:
        items[BATCH_STATS] = standard(batch_stats)
    try:
        with quiet(), ocp.CheckpointManager((folder / CHECKPOINTS).absolute()) as manager:
            manager.save(step, args=ocp.args.Composite(**items), force=True)
        write_config(folder, config)
    except OSError as error:
        raise RequestError(f"out: {folder} cannot be written ({error.strerror})") from error


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
    with _damage_told(folder, step):
        return orbax.restored(folder / CHECKPOINTS / str(step) / "params")


def read_batch_stats(folder: Path, step: int) -> dict | None:
    """The running statistics of a complete step in the same way; None if it has none."""
    item = folder / CHECKPOINTS / str(step) / BATCH_STATS
    if not item.is_dir():
        return None
    with _damage_told(folder, step):
        return orbax.restored(item)


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
