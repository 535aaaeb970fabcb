import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from landscape import xla_flags
from landscape.doctor import hessians
from landscape.doctor.checks import CHECKS
from landscape.doctor.programs import allowed, relative_error

QUICK = "from landscape.doctor import programs; print(programs.wrong())"


@pytest.mark.parametrize("name", ["rows", "broadcast", "pool", "eager", "concatenated", "matrices"])
def test_programs_agree_with_numpy_under_the_flag(name):
    assert relative_error(*CHECKS[name].run()) <= allowed()


@pytest.mark.parametrize("name", ["rows", "broadcast", "pool", "matrices"])
def test_programs_agree_with_numpy_in_double_precision(x64, name):
    assert relative_error(*CHECKS[name].run()) <= allowed() < 1e-12


def test_a_wrong_element_of_many_is_seen():
    expected = np.ones(40_000)
    found = expected.copy()
    found[-1] += 0.008
    assert relative_error(found, expected) == pytest.approx(0.008)
    assert relative_error(np.append(expected[1:], np.nan), expected) == np.inf
    assert relative_error(expected[1:], expected) == np.inf


@pytest.mark.skipif(not xla_flags.is_known_bad(), reason="not known to be wrong")
@pytest.mark.parametrize("precision", ["0", "1"])
def test_the_quick_check_finds_the_miscompiled_product_without_the_flag(precision):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_ENABLE_X64": precision}
    run = [sys.executable, "-c", QUICK]
    bare = subprocess.check_output(run, text=True, env=environment | {xla_flags.KEEP: "1"})
    assert "product with a broadcast matrix" in bare
    assert ("39103" in bare) == (xla_flags.jaxlib_version() == "0.10.2")
    assert subprocess.check_output(run, text=True, env=environment).strip() == "[]"


def test_softmax_regression_agrees_with_its_closed_form_and_on_all_devices():
    assert relative_error(*hessians.softmax_regression()) <= allowed()
    assert relative_error(*hessians.all_devices()) <= allowed()


def test_a_second_derivative_that_is_not_finite_is_told(monkeypatch):
    class Blown:
        def __init__(self, *_, **__):
            pass

        def product(self, vector):
            return vector

        def with_batches(self, _):
            blown = Blown()
            blown.product = lambda vector: {"w": np.full(3, np.nan)}
            return blown

    monkeypatch.setattr(hessians, "Objective", Blown)
    monkeypatch.setattr(hessians, "_differences", lambda *_: None)
    with pytest.raises(ArithmeticError, match="blank images"):
        hessians.network("MLP-Mixer")
