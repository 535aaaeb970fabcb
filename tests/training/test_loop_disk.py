"""A disk that fills up or breaks while a network is trained."""

import contextlib
import itertools
import os
import threading

import numpy as np
import pytest
import tiny_network
from full_disk import ERRORS, failing, no_file_beyond

from landscape.checkpoints import load, native
from landscape.errors import RequestError
from landscape.parameters import named_leaves
from landscape.progress import no_bar
from landscape.training import loop
from landscape.training.config import TrainConfig
from landscape.training.metrics import read

CONFIG = TrainConfig(
    model=tiny_network.NAME, epochs=1, batch_size=128, warmup_steps=2, checkpoint_every=4
)


# After a failed save its threads tell that their event loop is closed.
OF_ORBAX = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(loop.registry, "build", tiny_network.build)


def train(folder):
    return loop.train(CONFIG, folder, make_bar=no_bar)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.registry, "build", tiny_network.build)
        return train(tmp_path_factory.mktemp("whole")).folder


def assert_equal(folder, other):
    one, other = (named_leaves(load(str(run)).params) for run in (folder, other))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert (folder / "metrics.jsonl").read_bytes()


def fails_once(folder, nth, number):
    """Whether the n-th operation failed; what is complete then has its metrics."""
    before = set(threading.enumerate())
    with failing(folder, nth, number) as disk:
        try:
            train(folder / "run")
        except RequestError as error:
            told = str(error)
        else:
            told = ""
    for thread in set(threading.enumerate()) - before:
        # What Orbax leaves behind ends with the process, if that does not go on.
        with contextlib.suppress(RuntimeError):  # it has not begun yet
            thread.join(5)
    assert (disk.failed is None) == (told == "")
    assert os.strerror(number) in told or not told
    done = max(native.steps(folder / "run"), default=0)
    if done:
        load(str(folder / "run"))
        assert [line["step"] for line in read(folder / "run" / "metrics.jsonl")][:done] == list(
            range(1, done + 1)
        )
    return disk.failed is not None


@OF_ORBAX
@ERRORS
def test_training_goes_on_once_there_is_room(tmp_path, whole, number):
    for nth in (1, 5, 9, 20, 34, 48):
        fails_once(tmp_path, nth, number)
    assert_equal(train(tmp_path / "run").folder, whole)


@pytest.mark.slow
@OF_ORBAX
@ERRORS
def test_every_operation_of_training_may_fail(tmp_path, whole, number):
    for nth in itertools.count(1):
        place = tmp_path / f"{nth}"
        place.mkdir()
        if not fails_once(place, nth, number):
            break
        assert_equal(train(place / "run").folder, whole)
    assert nth > 40


def test_a_checkpoint_that_does_not_fit_ends_training_with_the_reason(tmp_path):
    with no_file_beyond(1500), pytest.raises(RequestError, match=r"too large\); free space and"):
        train(tmp_path / "run")
    assert native.steps(tmp_path / "run") == []
    assert train(tmp_path / "run").step == 11


def test_a_damaged_training_log_is_told_in_one_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for content in (b'{"step": 1}\n[]\n', b'{"step": 1}\n\n', b'{"step": 1}\n{"step": "2"}\n',
                    b'{"step": 1}\n\xff\n', b'{"step": 1}\n' + b"[" * 100_000 + b"\n"):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(RequestError, match=r"line 2 of .*metrics.jsonl is damaged; delete"):
            read(path)
    path.write_bytes(b'{"step": 1}\n{"st')
    assert read(path) == [{"step": 1}]
