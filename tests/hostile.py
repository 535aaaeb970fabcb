"""What tests on generated hostile input share: how many cases, and what each of them must do."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from landscape.cli import main

# Of all areas together 2,000 cases in the usual suite, and 10,000 with the slow one.
CASES = pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.slow)])
MARK = "this text must never be seen"  # of files that nobody named
LONGEST = 20.0  # seconds, of one case

_WATCHED = ("open", "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.system",
            "subprocess.Popen", "os.exec", "socket.connect")  # fmt: skip
_watching: list[Callable[[str, tuple], None]] = []
_hooked: list[bool] = []


def each(strategy: Any, count: int, check: Callable[[Any], None], *, seed: int = 0) -> None:
    """Run ``check`` on that many generated cases, the same ones every time."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def run(case):
        start = time.monotonic()
        check(case)
        assert time.monotonic() - start < LONGEST

    run()


@contextmanager
def only_within(*places: str | os.PathLike):
    """Fail if anything is run, or a file outside of these places is written, or read as data."""
    allowed = [os.path.realpath(place) for place in places]
    allowed += [sys.prefix, sys.base_prefix, str(Path(__file__).parents[1] / "landscape"),
                "/dev", "/proc", "/sys", os.environ.get("LANDSCAPE_CACHE_DIR", "/dev/null"),
                os.environ.get("JAX_COMPILATION_CACHE_DIR", "/dev/null")]  # fmt: skip
    found: list[str] = []

    def watch(event: str, arguments: tuple) -> None:
        if event not in _WATCHED:
            return
        path = arguments[0] if arguments else ""
        if event in ("os.system", "subprocess.Popen", "os.exec", "socket.connect"):
            found.append(f"{event} {arguments!r:.200}")
        elif isinstance(path, str | bytes | os.PathLike):
            real = os.path.realpath(os.fsdecode(path))
            if not any(real == place or real.startswith(place + os.sep) for place in allowed):
                frames = traceback.extract_stack(limit=6)
                found.append(f"{event} {real} ({frames[-3].filename}:{frames[-3].lineno})")

    if not _hooked:  # an audit hook stays for ever
        sys.addaudithook(lambda event, arguments: [each(event, arguments) for each in _watching])
        _hooked.append(True)
    _watching.append(watch)
    try:
        yield
    finally:
        _watching.remove(watch)
    assert not found, found[0]


def asked(arguments: Sequence[str | os.PathLike], capsys: Any, *places: Any) -> int:
    """The status of a command: 0, 1, or 2 with one line; and nothing happens outside of places."""
    capsys.readouterr()
    with only_within(*places):
        status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert status in (0, 1, 2), (status, err)
    assert MARK not in out + err
    if status == 2:
        assert len(err.strip().splitlines()) == 1, err
        assert err.startswith("error: ")
    return status
