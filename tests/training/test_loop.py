"""The training loop on a tiny network."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import tiny_network

from landscape.checkpoints import load, native
from landscape.data import load as load_data
from landscape.devices import data_mesh
from landscape.errors import RequestError
from landscape.parameters import gaussian, named_leaves, scaled
from landscape.progress import no_bar
from landscape.training import loop, metrics
from landscape.training.config import TrainConfig
from landscape.training.evaluate import evaluate
from landscape.training.loop import train

CONFIG = TrainConfig(
    model=tiny_network.NAME,
    epochs=4,
    batch_size=128,
    learning_rate=0.01,
    warmup_steps=5,
    checkpoint_every=10,
    dropout=0.1,
)
STEPS = 45


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(loop.registry, "build", tiny_network.build)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.registry, "build", tiny_network.build)
        folder = tmp_path_factory.mktemp("run")
        config = dataclasses.replace(CONFIG, evaluate_every=20)
        return train(config, folder, make_bar=no_bar), config


def weights(folder):
    return {name: np.asarray(leaf) for name, leaf in named_leaves(load(str(folder)).params).items()}


def assert_same_weights(one, other):
    one, other = weights(one), weights(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_it_learns_and_says_so(run):
    result, _ = run
    lines = metrics.read(result.folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert lines[-1]["train_loss"] < 0.5 * lines[0]["train_loss"]
    assert lines[-1]["epoch"] == pytest.approx(STEPS * 128 / 1438)
    assert lines[0]["learning_rate"] == 0
    assert lines[5]["learning_rate"] == pytest.approx(0.01)
    evaluated = [line["step"] for line in lines if "test_accuracy" in line]
    assert evaluated == [20, 40, 45]
    assert result.metrics == lines[-1]
    assert result.metrics["test_accuracy"] > 0.5


def test_reported_accuracy_is_that_of_the_saved_weights(run):
    result, _ = run
    record = json.loads((result.folder / "config.json").read_text())
    data = loop.load(record["data"]["reference"], seed=record["data"]["seed"])
    assert data.test.hash == record["data"]["test_hash"]
    model = tiny_network.build(**record["model"])
    found = evaluate(model.apply, load(str(result.folder)).params, data.test)
    assert found["accuracy"] == pytest.approx(result.metrics["test_accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(result.metrics["test_loss"], rel=1e-5)


def test_newest_checkpoints_are_kept_with_one_at_the_end(run):
    assert native.steps(run[0].folder) == [40, STEPS]


def test_finished_run_returns_at_once(run, monkeypatch):
    result, config = run
    monkeypatch.setattr(loop, "load", None)  # not even the data is read
    again = train(config, result.folder, make_bar=no_bar)
    assert again.metrics == result.metrics
    assert again.resumed_from == again.step == STEPS


def test_other_settings_for_an_existing_folder_are_refused_by_name(run):
    result, config = run
    other = dataclasses.replace(config, rho=0.1, seed=3)
    with pytest.raises(RequestError, match=r"rho \(0\.0, now 0\.1\), seed \(0, now 3\)"):
        train(other, result.folder, make_bar=no_bar)


def test_changed_data_is_refused(tmp_path, monkeypatch):
    images, labels = np.zeros((40, 4, 4, 1), np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    config = TrainConfig(
        model=tiny_network.NAME,
        data=str(tmp_path / "d.npz"),
        batch_size=8,
        epochs=6,
        checkpoint_every=5,
    )
    with monkeypatch.context() as patch:
        interrupt_at(patch, 25)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", make_bar=no_bar)
    np.savez(tmp_path / "d.npz", images=images + np.uint8(1), labels=labels)
    with pytest.raises(RequestError, match="train_hash"):
        train(config, tmp_path / "run", make_bar=no_bar)


def interrupt_at(monkeypatch, step):
    """Ctrl-C while the batch of ``step`` is made."""
    indices = loop.TrainingOrder.indices

    def interrupted(self, asked):
        if asked == step:
            raise KeyboardInterrupt
        return indices(self, asked)

    monkeypatch.setattr(loop.TrainingOrder, "indices", interrupted)


@pytest.mark.parametrize(
    "changes",
    [{"rho": 0.05, "group": 32}, {"optimizer": "sgd", "learning_rate": 0.1, "decay": "linear"}],
)
def test_interrupted_run_resumes_to_the_same_weights_and_metrics(tmp_path, monkeypatch, changes):
    config = dataclasses.replace(CONFIG, evaluate_every=20, **changes)
    train(config, tmp_path / "whole", make_bar=no_bar)
    for step in (9, 39):  # before the first checkpoint; before an evaluation
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                train(config, tmp_path / "cut", make_bar=no_bar)
    resumed = train(config, tmp_path / "cut", make_bar=no_bar)
    assert resumed.resumed_from == 30
    assert_same_weights(tmp_path / "whole", tmp_path / "cut")
    for name in ("metrics.jsonl", "config.json"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_metrics_beyond_the_checkpoint_and_torn_lines_are_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    with metrics.MetricLog(path, 2) as log:
        log.add(step=3, learning_rate=0.1)
        log.flush()
    assert metrics.read(path) == [{"step": 1}, {"step": 2}, {"step": 3, "learning_rate": 0.1}]


@pytest.mark.parametrize("group", [None, 16])
def test_eight_devices_train_like_one(tmp_path, group):
    config = dataclasses.replace(CONFIG, epochs=1, rho=0.05, group=group)
    train(config, tmp_path / "one", make_bar=no_bar)
    train(config, tmp_path / "eight", mesh=data_mesh(8), make_bar=no_bar)
    one, eight = weights(tmp_path / "one"), weights(tmp_path / "eight")
    for name in one:
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_run_can_change_the_number_of_devices_when_resumed(tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, epochs=2)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 15)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", mesh=data_mesh(8), make_bar=no_bar)
    assert train(config, tmp_path / "run", make_bar=no_bar).resumed_from == 10


def test_divergence_is_told_and_leaves_the_last_finite_checkpoint(tmp_path):
    config = dataclasses.replace(
        CONFIG, optimizer="sgd", learning_rate=1e18, warmup_steps=30, clip=None, checkpoint_every=1
    )
    message = r"training diverged: \w+ is (nan|inf) at step \d+ \(learning rate [\d.e+]+\)"
    with pytest.raises(RequestError, match=message):
        train(config, tmp_path / "run", make_bar=no_bar)
    assert all(np.isfinite(leaf).all() for leaf in weights(tmp_path / "run").values())


def test_data_without_test_split_is_trained_on(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(40) % 2)
    config = TrainConfig(
        model=tiny_network.NAME,
        data=str(tmp_path / "d.npz"),
        batch_size=16,
        epochs=3,
        warmup_steps=0,
    )
    result = train(config, tmp_path / "run", make_bar=no_bar)
    assert "train_accuracy" in result.metrics
    assert "test_accuracy" not in result.metrics


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 2000}, "batch_size: 2000 with 1438 training examples; use 1 to 1438"),
        ({"data": "digit"}, "neither an existing folder nor 'digits'"),
        ({"group": 100}, "group: 100 does not divide the batch of 128"),
        ({"warmup_steps": 45}, "warmup_steps: 45 of 45 steps"),
        ({"preprocessing": "caffe"}, "preprocessing: 'caffe'"),
        ({"loss": "mse"}, "loss: 'mse'"),
        ({"optimizer": "lion"}, "optimizer: 'lion'"),
        ({"decay": "step"}, "decay: 'step'"),
        ({"holdout": 2.0}, "holdout: 2.0"),
        ({"model": "CIFAR-ResNet-20", "dropout": None}, "model: CIFAR-ResNet-20 has BatchNorm"),
    ],
)
def test_impossible_request_is_refused_before_anything_is_written(tmp_path, changes, message):
    rho = {"rho": 0.1} if "group" in changes else {}
    with pytest.raises(RequestError, match=message):
        train(dataclasses.replace(CONFIG, **changes, **rho), tmp_path / "run", make_bar=no_bar)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rho", -0.1),
        ("learning_rate", float("nan")),
        ("batch_size", 0),
        ("seed", -1),
        ("clip", -1),
        ("clip", 0.0),
    ],
)
def test_values_that_cannot_be_meant_are_refused(field, value):
    with pytest.raises(RequestError, match=f"{field}: {value:g}"):
        TrainConfig(**{field: value})


def test_a_new_head_needs_something_to_start_from():
    with pytest.raises(RequestError, match="new_head: there is no start_from"):
        TrainConfig(new_head=True)


def started(network, request, folder, **changes):
    """Random parameters of a network, those after a run of one step of length 0 from them, and
    the request of the network that was trained."""
    params = scaled(gaussian(jax.random.key(0), network.abstract()), 0.2)
    config = {"schema": 1, "model": request}
    native.save_params(folder / "kept", 1, params, None, config)
    changes |= {"epochs": 0.001, "learning_rate": 0.0, "warmup_steps": 0, "optimizer": "sgd"}
    config = TrainConfig(start_from=str(folder / "kept"), clip=None, **changes)
    train(config, folder / "run", make_bar=no_bar)
    found = load(str(folder / "run"))
    return params, found.params, found.request


def test_what_predicted_masked_patches_is_trained_as_a_classifier(tmp_path):
    shape = {"width": 8, "depth": 1, "heads": 2, "mlp": 8}
    model = tiny_network.from_registry(
        "ViT-Mini/2", shape=shape, head="masked_patches", classes=10, representation=8
    )
    before, after, request = started(model, dict(model.request), tmp_path, representation=0)
    assert (request.get("head"), request["classes"], request["representation"]) == (None, 10, 0)
    assert {*before} - {*after} == {"mask", "pre_logits"}
    assert not np.any(after["head"]["kernel"])  # although the patches' head would fit
    np.testing.assert_array_equal(after["embedding"]["kernel"], before["embedding"]["kernel"])


@pytest.mark.parametrize("new_head", [False, True])
def test_a_head_that_fits_is_kept_unless_a_new_one_is_asked_for(tmp_path, new_head):
    model = tiny_network.build(tiny_network.NAME, classes=10, image_shape=(8, 8, 1))
    before, after, _ = started(model, model.request, tmp_path, new_head=new_head)
    expected = np.zeros((16, 10)) if new_head else before["head"]["kernel"]
    np.testing.assert_array_equal(after["head"]["kernel"], expected)
    np.testing.assert_array_equal(after["hidden"]["kernel"], before["hidden"]["kernel"])


def test_a_head_that_is_kept_keeps_its_labels(tmp_path, capsys):
    model = tiny_network.build(tiny_network.NAME, classes=3, image_shape=(8, 8, 1))
    images = np.zeros((6, 8, 8, 1), np.uint8)
    images[2:4] = 255
    files = {"renamed": ["dog", "bird", "cat"], "other": ["dog", "bird", "cow"]}
    for name, names in files.items():
        labels = [0, 0, 1, 1, 2, 2]
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels, class_names=names)
    config = {"schema": 1, "model": model.request, "class_names": ["bird", "cat", "dog"]}
    params = scaled(gaussian(jax.random.key(0), model.abstract()), 0.2)
    native.save_params(tmp_path / "kept", 1, params, None, config)

    def tuned(data, **more):
        asked = {"data": str(tmp_path / f"{data}.npz"), "start_from": str(tmp_path / "kept")}
        asked |= {"epochs": 1, "batch_size": 6}
        train(TrainConfig(**asked, **more), tmp_path / f"run {data}", make_bar=no_bar)
        return native.read_config(tmp_path / f"run {data}")["data"]["class_names"]

    assert tuned("renamed") == ["bird", "cat", "dog"]
    stored = native.read_config(tmp_path / "run renamed")["data"]
    assert stored["class_labels"] == {"dog": 2, "bird": 0, "cat": 1}
    # What analyses compare with is the data as they are, whatever became of their labels.
    assert stored["train_hash"] == load_data(str(tmp_path / "renamed.npz")).train.hash
    first = json.loads((tmp_path / "run renamed" / "metrics.jsonl").read_text().splitlines()[0])
    logits = np.asarray(model.apply(params, (images / 127.5 - 1).astype(np.float32)))
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(6), [2, 2, 0, 0, 1, 1]]
    assert first["train_loss"] == pytest.approx(float(losses.mean()), rel=1e-4)
    with pytest.raises(RequestError, match=r"'cow' is no class of .*--new-head"):
        tuned("other")
    assert tuned("other", new_head=True) == ["dog", "bird", "cow"]
    np.savez(tmp_path / "plain.npz", images=images, labels=[0, 0, 1, 1, 2, 2])
    assert tuned("plain") == ["bird", "cat", "dog"]
    assert capsys.readouterr().err == ""
    del config["class_names"]
    native.save_params(tmp_path / "unnamed", 1, params, None, config)
    asked = {"data": str(tmp_path / "other.npz"), "start_from": str(tmp_path / "unnamed")}
    train(TrainConfig(**asked, epochs=1, batch_size=6), tmp_path / "position", make_bar=no_bar)
    assert native.read_config(tmp_path / "position")["data"]["labels"] == "by position"
    assert capsys.readouterr().err.startswith("note: data: the class names of start_from")


def test_how_it_is_computed_belongs_to_the_run_and_not_to_the_network(tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, epochs=2, dtype="bfloat16", remat=True)
    asked = []

    def build(*arguments, **options):
        asked.append(options)
        return tiny_network.build(*arguments, **options)

    monkeypatch.setattr(loop.registry, "build", build)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 15)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path, make_bar=no_bar)
    for other in ({"dtype": None}, {"remat": False}):
        with pytest.raises(RequestError, match=f"{next(iter(other))} "):
            train(dataclasses.replace(config, **other), tmp_path, make_bar=no_bar)
    assert train(config, tmp_path, make_bar=no_bar).resumed_from == 10
    assert [(options["dtype"], options["remat"]) for options in asked] == [("bfloat16", True)] * 2
    assert not {"dtype", "remat"} & load(str(tmp_path)).request.keys()


def test_a_run_from_before_a_setting_existed_has_its_default(run, tmp_path):
    result, config = run
    shutil.copytree(result.folder, tmp_path / "old")
    path = tmp_path / "old" / "config.json"
    stored = json.loads(path.read_text())
    del stored["training"]["dtype"]
    path.write_text(json.dumps(stored))
    assert train(config, tmp_path / "old", make_bar=no_bar).resumed_from == STEPS
    with pytest.raises(RequestError, match=r"dtype \(None, now 'bfloat16'\)"):
        train(dataclasses.replace(config, dtype="bfloat16"), tmp_path / "old", make_bar=no_bar)


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RequestError, match=r"holds 'thesis\.tex' and is no run folder"):
        train(CONFIG, tmp_path, make_bar=no_bar)
    with pytest.raises(RequestError, match="is a file"):
        train(CONFIG, tmp_path / "thesis.tex", make_bar=no_bar)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_progress_goes_to_standard_error_alone(tmp_path, capfd):
    train(dataclasses.replace(CONFIG, epochs=1), tmp_path / "shown")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "11/11" in shown.err
    train(dataclasses.replace(CONFIG, epochs=1), tmp_path / "quiet", make_bar=no_bar)
    assert capfd.readouterr() == ("", "")


def test_steps_are_rounded_from_epochs():
    assert CONFIG.steps(1438) == STEPS
    assert dataclasses.replace(CONFIG, epochs=0.001).steps(1438) == 1
