"""``metrics.jsonl``: one line per training step, without holding up the steps."""

import json
import math
import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from landscape.errors import RequestError
from landscape.whole_file import failure_told, whole_file

# Values are fetched from the devices this many steps late: they are ready by then, the devices
# never wait for the host, and the host does not run further ahead than this.
LAG = 16


class MetricLog:
    """Appends lines of metrics; a context manager.

    Nothing time-like is written, and lines after ``step`` are cut off on opening, so the file of
    an interrupted and resumed run equals that of an uninterrupted one.

    Parameters
    ----------
    path
        The file; None writes nothing (all processes but the first).
    step
        The step from which training goes on; 0 starts anew.

    Raises
    ------
    RequestError
        Here and in every method if the file cannot be written; here also if it is damaged.
    """

    def __init__(self, path: Path | None, step: int):
        self.last: dict[str, float] = {}
        self._pending: deque[dict[str, Any]] = deque()
        self._file: TextIO | None = None
        self._path = path
        if path is not None:
            kept = [line for line in read(path) if line["step"] <= step]
            with whole_file(path) as partial:
                partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
            with failure_told("out", self._path):
                self._file = path.open("a")

    def __enter__(self) -> "MetricLog":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if self._file is not None:
            with failure_told("out", self._path) if kind is None else suppress(OSError):
                self._file.close()

    def add(self, **values: Any) -> None:
        """Note a line; values may be arrays that are still being computed.

        Raises
        ------
        RequestError
            If a value of a line written now is not finite.
        """
        self._pending.append(values)
        while len(self._pending) > LAG:
            self._write(self._pending.popleft())

    def flush(self) -> None:
        """Write all lines, onto the disk.

        Raises
        ------
        RequestError
            If a value is not finite.
        """
        while self._pending:
            self._write(self._pending.popleft())
        if self._file is not None:
            with failure_told("out", self._path):
                self._file.flush()
                os.fsync(self._file.fileno())

    def _write(self, values: dict[str, Any]) -> None:
        line = {name: _number(value) for name, value in values.items()}
        for name, value in line.items():
            if not math.isfinite(value):
                raise RequestError(
                    f"training diverged: {name} is {value} at step {line['step']} (learning rate "
                    f"{line['learning_rate']:g}); the last checkpoint is from before; use a "
                    "smaller learning_rate, more warmup_steps or clip"
                )
        self.last = line
        if self._file is not None:
            with failure_told("out", self._path):
                self._file.write(json.dumps(line) + "\n")


def read(path: Path) -> list[dict[str, float]]:
    """The complete lines of a metrics file; none if there is no file.

    Raises
    ------
    RequestError
        If one of them is damaged.
    """
    if not path.is_file():
        return []
    *lines, _ = path.read_bytes().split(b"\n")  # what is behind the last one was not finished
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
            if not isinstance(found[-1], dict) or type(found[-1].get("step")) is not int:
                raise ValueError("no step")
        except (ValueError, RecursionError) as error:
            raise RequestError(
                f"out: line {number} of {path} is damaged; delete that line, or name a new folder"
            ) from error
    return found


def _number(value: Any) -> int | float:
    """A Python number; float32 with the seven digits it has."""
    return value if isinstance(value, int) else float(f"{float(value):.7g}")
