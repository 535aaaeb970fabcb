"""Parameters from flat files, and whether they are usable."""

import container_files
import jax
import numpy as np
import orbax.checkpoint as ocp
import published
import pytest

from landscape.checkpoints import check_fit, check_known, described, load, save_npz
from landscape.checkpoints.containers.orbax import quiet
from landscape.errors import RequestError
from landscape.models.registry import build
from landscape.parameters import named_leaves

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
        ({"a": np.ones(2, int)}, "'a' is no floating array"),
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
    assert "choose the model" in message
    assert "5 not in the model (extra0, extra1, extra2, and 2 more)" in message
    assert "1 of other shape (block1/conv/kernel (3, 2) instead of (3, 3))" in message


def test_of_a_network_without_its_head_it_is_told_how_to_give_it_one():
    expected = PARAMS | {"head": {"bias": np.ones(2), "kernel": np.ones(1)}}
    with pytest.raises(RequestError, match=r"1 missing \(head/kernel\); `convert --classes N`"):
        check_fit(PARAMS, expected)


# --- networks inside others -----------------------------------------------------------------------

VIT = build("ViT-Mini/2")
TENSORS = published.timm_vit(VIT).arrays


def under(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "backbone."]
)
def test_what_training_puts_in_front_of_names_is_taken_off(tmp_path, prefix):
    counted = {"n_averaged": np.array(3)}  # of torch.optim.swa_utils
    container_files.safetensors_(tmp_path / "a", under(prefix, TENSORS) | counted)
    found = load(str(tmp_path / "a"))
    assert (found.naming, found.part, found.unknown) == ("timm", prefix, ())
    check_fit(found.params, VIT.abstract())


def test_blocks_of_a_larger_network_are_not_taken_for_the_whole(tmp_path):
    arrays = under("layers.0.", TENSORS) | under("layers.1.", TENSORS)  # as Swin's are called
    container_files.safetensors_(tmp_path / "a", arrays)
    found = load(str(tmp_path / "a"))
    assert (found.naming, found.network) == ("its own", None)
    assert len(named_leaves(found.params)) == len(arrays)


def test_what_lies_beside_a_network_is_told(tmp_path):
    beside = {"criterion.weight": np.ones(3, "f")}
    container_files.safetensors_(tmp_path / "a", under("model.", TENSORS) | beside)
    found = load(str(tmp_path / "a"))
    assert found.unknown == ("criterion.weight",)
    with pytest.raises(RequestError, match=r"another network: 1 arrays have no place .*criterion"):
        check_known(found.unknown, "checkpoint a")


TREE = published.linen(VIT).arrays
SHORT = {"head/kernel": np.ones((3, 2), "f"), "conv1/kernel": np.ones((3, 3, 1, 2), "f")}


@pytest.mark.parametrize(
    ("write", "arrays"),
    [
        (container_files.safetensors_, under("student.", TENSORS) | under("teacher.", TENSORS)),
        (container_files.npz, under("a/", TREE) | under("b/", TREE)),
    ],
)
def test_of_several_networks_none_is_chosen(tmp_path, write, arrays):
    write(tmp_path / "a", arrays)
    with pytest.raises(RequestError, match=r"holds 2 networks, .*; see `formats`"):
        load(str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("others", "part"),
    [
        (under("ema_params/", TREE), "params/"),
        (under("opt/0/mu/", TREE) | under("opt/0/nu/", TREE), "params/"),
        (under("text/", {k: a for k, a in TREE.items() if not k.startswith("embed")}), "params/"),
    ],
)
def test_the_parameters_are_preferred_to_what_is_named_like_them(tmp_path, others, part):
    container_files.npz(tmp_path / "a", {**others, **under("params/", TREE)})
    assert load(str(tmp_path / "a")).part == part


def test_of_two_towers_the_one_that_sees_images_is_read(tmp_path):
    text = {name: array for name, array in TREE.items() if not name.startswith("embedding/")}
    arrays = under("params/a_text/", text) | under("params/vision/", TREE)
    container_files.npz(tmp_path / "a", arrays)
    assert load(str(tmp_path / "a")).part == "params/vision/"


@pytest.mark.parametrize("top", ["", "params/"])
def test_networks_of_other_kinds_are_read_whole(tmp_path, top):
    arrays = under(f"{top}down/", SHORT) | under(f"{top}up/", SHORT)
    container_files.npz(tmp_path / "a", arrays)
    found = load(str(tmp_path / "a"))
    assert (found.naming, found.network) == ("its own", None)
    assert set(named_leaves(found.params)) == {name.removeprefix(top) for name in arrays}


def test_a_step_that_is_not_there_is_told_with_those_that_are(tmp_path):
    for step in (2, 10):
        with quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
            tree = ocp.args.PyTreeSave(container_files.nested(TREE))
            writer.save(tmp_path / str(step), args=tree)
    assert load(f"{tmp_path}@10").network.name == "ViT-Mini/2"
    with pytest.raises(RequestError, match="available: 2, 10"):
        load(f"{tmp_path}@4")


def test_dtypes_are_those_of_the_file(tmp_path):
    half = {name: array.astype(np.float16) for name, array in TREE.items()}
    container_files.npz(tmp_path / "a", half)
    assert load(str(tmp_path / "a")).dtypes == ("float16",)


def test_a_file_is_described_without_its_values(tmp_path):
    container_files.npz(tmp_path / "a", TREE)
    found = described(str(tmp_path / "a"))
    assert found.params == {}
    assert found.request == load(str(tmp_path / "a")).request
