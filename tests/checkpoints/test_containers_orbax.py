"""Folders of Orbax, written by both of its interfaces, with its two ways of storing arrays."""

import json
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from container_files import loaded
from flax.training.checkpoints import save_checkpoint
from orbax.checkpoint.experimental import v1

from landscape.checkpoints import load
from landscape.checkpoints.containers import opened
from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.containers.orbax import quiet, recognises, step_folder
from landscape.devices import data_mesh
from landscape.errors import RequestError

PARAMS = {"body": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "bias": jnp.ones(2, jnp.bfloat16)}
STATE = {
    "params": PARAMS,
    "opt_state": (optax.adam(0.1).init(PARAMS), None),
    "step": jnp.int32(7),
    "epoch": 3,
    "none": None,
    "empty": {},
    "text": "words",
    "key": np.arange(2, dtype="u4"),
}
NAMES = {
    "params/body/kernel",
    "params/bias",
    "opt_state/0/0/count",
    *(f"opt_state/0/0/{m}/{leaf}" for m in ("mu", "nu") for leaf in ("bias", "body/kernel")),
    "step",
    "key",
}


def pytree(folder, tree, **options):
    with quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)) as writer:
        writer.save(folder, args=ocp.args.PyTreeSave(tree))


def database(folder, tree):
    pytree(folder, tree, use_ocdbt=True)


def folders(folder, tree):
    pytree(folder, tree, use_ocdbt=False)


def third_zarr(folder, tree):
    pytree(folder, tree, use_ocdbt=True, use_zarr3=True)


def new_interface(folder, tree):
    with quiet():
        v1.save(folder, tree)


def managed(folder, *steps, **items):
    """Numbered steps with the given items, or one without a name."""
    save = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
    args = save.pop("default") if "default" in save else ocp.args.Composite(**save)
    with quiet(), ocp.CheckpointManager(folder) as manager:
        for step in steps:
            manager.save(step, args=args)
            manager.wait_until_finished()


@pytest.mark.parametrize("write", [database, folders, third_zarr, new_interface])
def test_a_training_state_is_described_and_read(tmp_path, write):
    write(tmp_path / "a", STATE)
    container = opened(tmp_path / "a")
    assert container.arrays.keys() == NAMES
    assert container.arrays["params/bias"] == Described((2,), np.dtype(ml_dtypes.bfloat16))
    assert container.step is None
    found = dict(container.read(container.arrays))
    assert all(type(array) is np.ndarray for array in found.values())
    np.testing.assert_array_equal(found["params/body/kernel"], [[0, 1, 2], [3, 4, 5]])
    assert found["step"] == 7


@pytest.mark.parametrize("write", [database, folders, new_interface])
def test_only_the_wanted_leaves_are_read(tmp_path, write, monkeypatch):
    write(tmp_path / "a", STATE)
    container = opened(tmp_path / "a")
    for file in (tmp_path / "a").rglob("opt_state*/0*"):
        file.unlink()  # the values of leaves that have folders of their own
    wanted = ["params/bias", "step", "params/body/kernel"]
    assert [name for name, _ in container.read(wanted)] == wanted
    monkeypatch.setattr("landscape.checkpoints.containers.container._AT_ONCE", 1)
    assert [name for name, _ in container.read(wanted)] == wanted


def test_the_newest_step_of_several_is_read(tmp_path):
    managed(tmp_path / "a", 2, 10, default=PARAMS)
    (tmp_path / "a" / "11").mkdir()  # not finished
    assert opened(tmp_path / "a").step == 10
    assert opened(tmp_path / "a" / "2").step == 2
    for folder in (tmp_path / "a", tmp_path / "a" / "10", tmp_path / "a" / "10" / "default"):
        assert loaded(folder).keys() == {"body/kernel", "bias"}


def test_the_steps_of_an_experiment_are_read(tmp_path):
    managed(tmp_path / "a" / "checkpoints", 2, 10, default=PARAMS)
    (tmp_path / "a" / "config.json").write_text("{}")
    container = opened(tmp_path / "a")
    assert (container.step, container.arrays.keys()) == (10, {"body/kernel", "bias"})
    assert load(str(tmp_path / "a")).step == 10
    assert step_folder(tmp_path / "a", 2) == tmp_path / "a" / "checkpoints" / "2"


def test_steps_with_the_name_that_flax_gives_them_are_read(tmp_path):
    for step in (9, 10):
        save_checkpoint(tmp_path, PARAMS, step, keep=2, orbax_checkpointer=ocp.PyTreeCheckpointer())
    (tmp_path / "checkpoint_11").write_bytes(b"\x80")  # as flax writes without Orbax
    for folder in (tmp_path, tmp_path / "checkpoint_10"):
        assert opened(folder).step == 10
        assert loaded(folder).keys() == {"body/kernel", "bias"}
    assert step_folder(tmp_path, 9) == tmp_path / "checkpoint_9"


@pytest.mark.parametrize("name", ["a", "nowhere", "n" * 300])
def test_a_step_that_is_missing_is_told_with_those_that_there_are(tmp_path, name):
    managed(tmp_path / "a", 2, 10, default=PARAMS)
    (tmp_path / "a" / "4").mkdir()  # not finished
    available = "2, 10" if name == "a" else "none"
    with pytest.raises(RequestError, match=f"has no step 4; available: {available}"):
        step_folder(tmp_path / name, 4)


def test_steps_of_the_new_interface_are_read(tmp_path):
    with quiet(), v1.training.Checkpointer(tmp_path / "a") as writer:
        writer.save(5, PARAMS)
    assert opened(tmp_path / "a").step == 5
    assert loaded(tmp_path / "a").keys() == {"body/kernel", "bias"}


def test_names_of_several_items_begin_with_the_item(tmp_path):
    managed(tmp_path / "a", 1, params=PARAMS, state={"step": jnp.ones(())})
    assert loaded(tmp_path / "a").keys() == {"params/body/kernel", "params/bias", "state/step"}
    managed(tmp_path / "b", 1, params=PARAMS)
    assert loaded(tmp_path / "b").keys() == {"body/kernel", "bias"}


@pytest.mark.parametrize("write", [database, folders])
def test_arrays_of_eight_devices_are_read_on_one(tmp_path, write):
    values = np.arange(16.0).reshape(8, 2).astype("f")
    sharding = jax.sharding.NamedSharding(
        data_mesh(8), jax.sharding.PartitionSpec(data_mesh(8).axis_names[0])
    )
    write(tmp_path / "a", {"w": jax.device_put(values, sharding)})
    np.testing.assert_array_equal(loaded(tmp_path / "a")["w"], values)


def test_other_folders_are_not_taken_for_one(tmp_path):
    database(tmp_path / "best", PARAMS)
    database(tmp_path / "last", PARAMS)  # two checkpoints are not one
    (tmp_path / "1").mkdir()
    (tmp_path / "2").write_bytes(b"")
    assert not recognises(tmp_path)
    assert not recognises(tmp_path / "2")


def damaged(tmp_path, change):
    folders(tmp_path / "a", PARAMS)
    change(tmp_path / "a")
    with pytest.raises(RequestError, match="cannot be read") as told:
        loaded(tmp_path / "a")
    assert "\n" not in str(told.value)
    return str(told.value)


def changed(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_missing_array_is_told(tmp_path):
    damaged(tmp_path, lambda folder: shutil.rmtree(folder / "bias"))


@pytest.mark.parametrize("said", [{"shape": [2**40], "chunks": [2**40]}, {"chunks": [2**40]}])
def test_an_array_larger_than_its_file_can_hold_is_refused_before_it_is_read(tmp_path, said):
    told = damaged(tmp_path, lambda folder: changed(folder / "bias" / ".zarray", **said))
    assert "is (1099511627776,) of bfloat16, more than" in told


@pytest.mark.parametrize("shape", [[2, 2], [1] * 40, [-1], "2"])
def test_a_shape_that_does_not_fit_is_told(tmp_path, shape):
    damaged(tmp_path, lambda folder: changed(folder / "bias" / ".zarray", shape=shape))


def test_a_million_names_are_refused_by_the_length_of_their_list(tmp_path):
    def lengthen(folder):
        with (folder / "_METADATA").open("r+b") as file:
            file.truncate(33 * 2**20)

    assert "its _METADATA has 34,603,008 bytes" in damaged(tmp_path, lengthen)


def test_nothing_is_printed(tmp_path, capfd):
    database(tmp_path / "a", PARAMS)
    loaded(tmp_path / "a")
    assert capfd.readouterr() == ("", "")
