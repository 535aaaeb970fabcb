"""Run folders: what is written comes back, and damage is told."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import SingleDeviceSharding

from landscape.checkpoints import load, native
from landscape.devices import data_mesh, place, replicated
from landscape.errors import RequestError

PARAMS = {
    "body": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "bias": np.ones(2, "f4"),
}
ADAM = optax.adam(1e-3)


def saved(folder, steps=(3, 10), keep=None):
    """A run folder whose bias holds the step."""
    with native.Writer(folder, keep) as writer:
        for step in steps:
            params = jax.tree.map(jnp.asarray, {**PARAMS, "bias": np.full(2, step, "f4")})
            state = {"optimizer": ADAM.init(params), "step": np.int32(step)}
            writer.save(step, params, state)
    (folder / "config.json").write_text(json.dumps({"schema": 1}))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("run"))


def test_newest_step_is_read_without_a_model(run):
    checkpoint = load(str(run))
    assert checkpoint.step == 10
    assert checkpoint.config == {"schema": 1}
    np.testing.assert_array_equal(checkpoint.params["body"]["kernel"], PARAMS["body"]["kernel"])
    assert isinstance(checkpoint.params["bias"], np.ndarray)


def test_a_step_is_chosen_by_name(run):
    assert load(f"{run}@3").params["bias"].tolist() == [3, 3]
    with pytest.raises(RequestError, match=r"has no step 4; available: 3, 10"):
        load(f"{run}@4")


def test_folder_whose_name_looks_like_a_step_is_a_folder(tmp_path):
    folder = saved(tmp_path / "run@7", steps=(2,))
    assert load(str(folder)).step == 2
    assert load(f"{folder}@2").step == 2


def test_parameters_and_state_come_back_bit_for_bit(run):
    one = SingleDeviceSharding(jax.devices()[0])
    params = jax.tree.map(jnp.asarray, PARAMS)
    wanted = (params, {"optimizer": ADAM.init(params), "step": np.int32(0)})
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), wanted)
    with native.Writer(run, None) as writer:
        params, state = writer.restore(10, *abstract)
    assert jax.tree.structure((params, state)) == jax.tree.structure(wanted)
    assert params["bias"].tolist() == [10, 10]
    assert int(state["step"]) == 10


def test_a_run_on_eight_devices_is_read_on_one(tmp_path):
    params = place(PARAMS, replicated(data_mesh(8)))
    with native.Writer(tmp_path, None) as writer:
        writer.save(1, params, {"step": np.int32(1)})
    np.testing.assert_array_equal(load(str(tmp_path)).params["bias"], PARAMS["bias"])


def test_only_the_newest_steps_are_kept(tmp_path):
    assert native.steps(saved(tmp_path, steps=(1, 2, 3), keep=2)) == [2, 3]


def test_unfinished_checkpoint_is_not_a_step(tmp_path):
    saved(tmp_path, steps=(3, 10))
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "10").rename(checkpoints / "10.orbax-checkpoint-tmp")
    assert load(str(tmp_path)).step == 3


def test_folder_that_is_no_run_or_has_no_step_is_refused(tmp_path):
    with pytest.raises(RequestError, match="there is no"):
        load(str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match="is no checkpoint; give a run folder"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text('{"schema": 1}')
    with pytest.raises(RequestError, match="has no complete checkpoint yet"):
        load(str(tmp_path))
    with pytest.raises(RequestError, match="is no checkpoint"):
        load(str(tmp_path / "config.json"))


@pytest.mark.parametrize("damaged", ["_METADATA", "manifest.ocdbt", "d/*"])
@pytest.mark.parametrize("how", ["truncated", "overwritten", "removed"])
def test_damaged_checkpoint_is_told_with_the_step_to_use_instead(run, tmp_path, damaged, how):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for path in (folder / "checkpoints" / "10" / "params").glob(damaged):
        content = path.read_bytes()
        if how == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif how == "overwritten":
            path.write_bytes(bytes(255 - byte for byte in content))
        else:
            path.unlink()
    with pytest.raises(RequestError, match=rf"/10 cannot be read \(.*; use {folder}@3") as told:
        load(str(folder))
    assert "\n" not in str(told.value)
    assert load(f"{folder}@3").step == 3


@pytest.mark.parametrize(
    "files", [["config.json"], ["config.json", "model.safetensors"], ["checkpoints/10/default/a"]]
)
def test_folders_of_others_are_no_run_folders(tmp_path, files):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"architectures": ["ViTModel"]}')
    assert not native.is_run_folder(tmp_path)
    with pytest.raises(RequestError, match="is not a run folder"):
        native.existing_step(tmp_path)
    with pytest.raises(RequestError, match="name another folder"):
        native.save_params(tmp_path, 1, PARAMS, None, {"schema": 1})


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "nowhere"])
def test_a_name_that_no_folder_can_have_is_no_run_folder(name):
    path = Path(name)
    assert not native.is_run_folder(path)
    assert native.read_config(path) is None


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    with pytest.raises(RequestError, match=r"out: .* cannot be written \(File name too long\)"):
        native.save_params(tmp_path / ("a" * 300), 1, PARAMS, None, {"schema": 1})


def test_interrupted_writing_leaves_no_checkpoint_without_a_network(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    monkeypatch.setattr(ocp.CheckpointManager, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        native.save_params(folder, 1, PARAMS, None, {"schema": 1})
    with pytest.raises(RequestError, match="has no complete checkpoint yet"):
        load(str(folder))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"schema": ', "is not readable as JSON"),
        (b"[" * 100_000, "is not readable as JSON"),
        (b'{"schema": "\xff"}', "is not readable as JSON"),
        (b"[1]", "is no JSON object"),
        (b"null", "is no JSON object"),
        (b'{"model": null}', "describes no model"),
        (b'{"model": ["ViT-Mini/2"]}', "describes no model"),
        (b'{"data": "digits"}', "has 'digits' as its data"),
        (b'{"preprocessing": 3}', "has 3 as its preprocessing"),
        (b'{"preprocessing": {}}', "has {} as its preprocessing"),
        (b'{"class_names": 5}', "has 5 as its class_names"),
        (b'{"steps": "x"}', "has 'x' as its steps"),
        (b'{"steps": true}', "has True as its steps"),
        (b'{"training": []}', r"has \[\] as its training"),
        (b'{"data": {"reference": 3}}', r"has 3 as its data\.reference"),
        (b'{"data": {"reference": null}}', r"has None as its data\.reference"),
        (b'{"data": {"class_names": "ab"}}', r"has 'ab' as its data\.class_names"),
        (b'{"data": {"holdout": NaN}}', r"has nan as its data\.holdout"),
        (b'{"data": {"holdout": [0.2]}}', r"has \[0\.2\] as its data\.holdout"),
        (b'{"data": {"seed": -1}}', r"has -1 as its data\.seed"),
        (b'{"data": {"seed": 1e9}}', r"has 1000000000\.0 as its data\.seed"),
        (b'{"data": {"image_size": 0}}', r"has 0 as its data\.image_size"),
        (b'{"data": {"image_size": 1000000}}', r"has 1000000 as its data\.image_size"),
        (b'{"data": {"train_hash": 7}}', r"has 7 as its data\.train_hash"),
        (b'{"preprocessing": ["' + b"a" * 9000 + b'"]}', "has .{,60} as its preprocessing"),
        (b'{"model": {"name": 3}}', "describes no model"),
        (b'{"model": {"name": "ViT-Mini/2", "depht": 3}}', "describes no model"),
    ],
)
def test_damaged_configuration_is_told(tmp_path, content, told):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(
        RequestError, match=rf"^checkpoint: {tmp_path}/config\.json {told}"
    ) as found:
        native.read_config(tmp_path)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("content", ['{"schema": ', '{"schema": 1, "model": {"name": "other"}}'])
def test_a_run_with_a_damaged_configuration_is_still_a_run(run, tmp_path, content):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "config.json").write_text(content)
    with pytest.raises(RequestError, match=rf"^checkpoint: {folder}/config\.json "):
        load(str(folder))


def test_parameters_beside_the_configuration_of_others_are_no_run(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "config.json").write_text('{"model": "small", "data": "imagenet"}')
    found = load(str(folder))
    assert (found.format, found.step, found.config) == ("Orbax", 10, None)
    assert found.params.keys() == PARAMS.keys()


def test_a_configuration_is_returned_as_it_is(tmp_path):
    config = {"schema": 1, "model": {"name": "ViT-Mini/2", "classes": 3}, "preprocessing": None}
    native.write_config(tmp_path, config)
    assert native.read_config(tmp_path) == config
    assert native.is_run_folder(tmp_path)


def test_nothing_is_printed(tmp_path, capfd):
    load(str(saved(tmp_path)))
    assert capfd.readouterr() == ("", "")
