"""Parameters from flat files, and whether they are usable."""

import jax
import numpy as np
import pytest

from landscape.checkpoints import check_fit, load, save_npz
from landscape.errors import RequestError

PARAMS = {
    "block1": {"conv": {"kernel": np.ones((3, 2), "f4")}},
    "head": {"bias": np.zeros(2, "f4")},
}


def test_npz_comes_back_as_it_was(tmp_path):
    save_npz(PARAMS, tmp_path / "p.npz")
    checkpoint = load(str(tmp_path / "p.npz"))
    assert jax.tree.structure(checkpoint.params) == jax.tree.structure(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.params, PARAMS)
    assert (checkpoint.step, checkpoint.config) == (None, None)
    assert sorted(np.load(tmp_path / "p.npz").files) == ["block1/conv/kernel", "head/bias"]
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]


@pytest.mark.parametrize("double", [False, True])
def test_half_precision_is_widened_and_double_kept_where_jax_computes_in_it(tmp_path, double):
    np.savez(tmp_path / "p.npz", **{"a/kernel": np.ones(2, np.float16), "b": np.ones(2)})
    with jax.enable_x64(double):
        params = load(str(tmp_path / "p.npz")).params
    assert params["a"]["kernel"].dtype == np.float32
    assert params["b"].dtype == (np.float64 if double else np.float32)


def test_non_finite_weights_are_counted_and_named(tmp_path):
    bad = {**PARAMS, "x": np.array([0, np.nan, np.inf], "f4")}
    save_npz(bad, tmp_path / "p.npz")
    with pytest.raises(RequestError, match=r"p\.npz: 2 non-finite values in 'x' \(1 of 3 arrays"):
        load(str(tmp_path / "p.npz"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.ones(2), "a/b": np.ones(2)}, "'a/b' clashes"),
        ({"a/b": np.ones(2), "a": np.ones(2)}, "'a' clashes"),
        ({"a": np.ones(2, int)}, "not a floating array"),
        ({"a": np.array([None])}, "holds object, no numbers"),
        ({}, "is no checkpoint"),
    ],
)
def test_arrays_that_are_no_parameters_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(RequestError, match=message):
        load(str(tmp_path / "p.npz"))


def test_truncated_npz_is_refused(tmp_path):
    save_npz(PARAMS, tmp_path / "p.npz")
    (tmp_path / "p.npz").write_bytes((tmp_path / "p.npz").read_bytes()[:-30])
    with pytest.raises(RequestError, match="cannot be read"):
        load(str(tmp_path / "p.npz"))


def test_parameters_that_fit_pass():
    check_fit(PARAMS, jax.eval_shape(lambda: PARAMS))


def test_what_does_not_fit_is_named_by_kind():
    expected = {
        "block1": {"conv": {"kernel": np.ones((3, 3))}},
        "head": {"bias": np.ones(2), "kernel": np.ones(1)},
    }
    found = PARAMS | {f"extra{i}": np.ones(1) for i in range(5)}
    with pytest.raises(RequestError) as told:
        check_fit(found, expected)
    message = str(told.value)
    assert "1 missing (head/kernel)" in message
    assert "5 not in the model (extra0, extra1, extra2, and 2 more)" in message
    assert "1 of other shape (block1/conv/kernel (3, 2) instead of (3, 3))" in message
