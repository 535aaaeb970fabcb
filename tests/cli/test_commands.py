"""Every command, as a user calls it, on a small trained network."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from landscape import results
from landscape.checkpoints import Checkpoint, write
from landscape.cli import COMMANDS, main


def test_help_lists_every_command_and_starts_no_jax():
    code = (
        "import sys; from landscape.cli import main; status = main(['--help']);"
        "sys.exit('jax' in sys.modules or 'numpy' in sys.modules or status)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0
    assert all(f"  {name} " in found.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_without_jax(name):
    code = f"import sys; from landscape.cli import main\ntry: main(['{name}', '--help'])\n"
    code += "finally: assert 'jax' not in sys.modules"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "--json" in found.stdout
    assert "{None}" not in found.stdout


def test_a_finished_run_is_not_trained_again(run, call):
    arguments = ["train", "--model", "Mixer-Mini/2", "--epochs", "1", "--out", run]
    status, found, _ = call(*arguments)
    assert status == 0
    assert found["resumed_from"] == found["step"] == 11
    status, _, err = call(*arguments, "--rho", "0.1")
    assert status == 2
    assert "rho (0.0, now 0.1)" in err


@pytest.fixture
def shallow(tmp_path):
    """Weights of a Mixer of one block: every block of parameters is several programs to compile."""
    from landscape.models import registry

    model = registry.build("Mixer-Mini/2", shape={"depth": 1}, head_init="lecun")
    params = jax.tree.map(np.asarray, model.init(jax.random.key(0)))
    path = tmp_path / "shallow.safetensors"
    write(Checkpoint(params, None, {"model": model.request}, model.name), path)
    return path


def test_hessian_prints_the_fixed_interface(shallow, call, tmp_path):
    out = tmp_path / "h.h5"
    arguments = ["hessian", "--checkpoint", shallow, "--data", "digits", "--images", 64]
    arguments += ["--blocks", "components"]
    arguments += ["--method", "both", "--iterations", 5, "--width", "0.2", "--out", out]
    status, found, _ = call(*arguments)
    assert status == 0
    assert found["examples"] == 64
    names = {"estimate", "lower", "upper", "confidence", "residual", "products", "converged"}
    names |= {"check", "product_error", "confirmed"}
    for end in ("lambda_max", "lambda_min"):
        assert set(found[end]) == names
        assert found[end]["lower"] <= found[end]["estimate"] <= found[end]["upper"]
    assert "MixerBlock_0/token_mlp" in found["blocks"]
    for block in found["blocks"].values():
        assert set(block["lambda_max"]) == names
        assert block["lambda_max"]["lower"] <= found["lambda_max"]["upper"]
    total = sum(block["parameters"] for block in found["blocks"].values())
    assert total == results.read(out)["parameters"][0]
    assert found["power"]["estimate"] <= found["lambda_max"]["upper"]
    again = call(*arguments)
    assert again[:2] == (status, found)


def test_hessian_says_when_it_did_not_converge(run, call, tmp_path):
    arguments = ["hessian", "--checkpoint", run, "--images", 64, "--blocks", "none"]
    status, found, _ = call(*arguments, "--limit", 2, "--out", tmp_path / "h.h5")
    assert status == 1
    assert not found["lambda_max"]["converged"]
    assert found["lambda_max"]["products"] == 2 + 2  # and one for the vector of each end


def test_surface_has_the_checkpoint_at_its_centre(run, call, tmp_path):
    picture = tmp_path / "s.png"
    arguments = ["surface", "--checkpoint", run, "--images", 64, "--grid", "5x3"]
    status, found, _ = call(*arguments, "--out", tmp_path / "s.h5", "--picture", picture)
    assert status == 0
    assert found["grid"] == [5, 3]
    assert found["points"] == 15
    _, evaluated, _ = call("evaluate", "--checkpoint", run, "--images", 64)
    assert found["centre"] == pytest.approx(evaluated["loss"], rel=1e-5)
    assert found["lengths"][0] < 1  # biases and normalisation parameters are not moved
    assert picture.stat().st_size > 10_000
    stored = results.read(tmp_path / "s.h5", "surface")
    assert "stem/kernel" in stored.group("directions/x")
    assert not stored.group("directions/x")["stem/bias"].any()


def test_ntk_averages_over_batches(run, call, tmp_path):
    arguments = ["ntk", "--checkpoint", run, "--batch-size", 6, "--batches", 2]
    status, found, _ = call(*arguments, "--out", tmp_path / "n.h5")
    assert status in (0, 1)
    assert found["kappa"] == pytest.approx(np.mean(found["per_batch"]))
    assert found["head"] == "zeros"
    assert found["activation"] == "relu"
    _, again, _ = call(*arguments, "--out", tmp_path / "n.h5")
    assert again == found
    _, by_name, _ = call(
        "ntk", "--model", "Mixer-Mini/2", "--data", "digits", "--batch-size", 6, "--batches", 2,
        "--out", tmp_path / "m.h5",
    )  # fmt: skip
    assert by_name["per_batch"] == found["per_batch"]


def test_errors_of_training_images_are_the_populations_only_on_a_condition(run, capsys):
    from landscape.cli import main

    for split in ("train", "test"):
        assert main(["evaluate", "--checkpoint", str(run), "--split", split, "--images", "64"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "(standard error), accuracy" in shown
        assert "(95 % interval)" in shown
        assert ("nothing about new images" in shown) == (split == "train")


def test_neurons_lists_layers_in_network_order(run, call, tmp_path):
    arguments = ["neurons", "--checkpoint", run, "--images", 64, "--out", tmp_path / "n.h5"]
    status, found, _ = call(*arguments)
    assert status == 0
    layers = list(found["layers"])
    assert layers[:2] == ["MixerBlock_0/token_mixing", "MixerBlock_0/channel_mixing"]
    assert all(0 <= v["active_fraction"] <= 1 for v in found["layers"].values())
    assert call(*arguments)[1] == found


def test_results_go_into_the_run_folder(run, call, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    _, found, _ = call("neurons", "--checkpoint", folder, "--images", 64)
    assert found["file"] == str(folder / "neurons.h5")
    _, found, _ = call("neurons", "--checkpoint", f"{folder}@11", "--images", 64)
    assert found["file"] == str(folder / "neurons.h5")


def test_report_collects_runs(run, call, tmp_path):
    status, found, _ = call("report", run, "--out", tmp_path / "r.html", "--title", "A title")
    assert status == 0
    assert "A title" in (tmp_path / "r.html").read_text()
    assert len(found["tables"]) == 2


def test_inspect_tells_model_norms_and_broken_values(run, call, tmp_path):
    from landscape import checkpoints

    status, found, _ = call("inspect", run)
    assert status == 0
    assert (found["model"], found["fits"]) == ("Mixer-Mini/2", True)
    assert found["not_finite"] == 0
    assert found["norm"] == pytest.approx(
        np.sqrt(sum(c["norm"] ** 2 for c in found["components"].values()))
    )
    params = checkpoints.load(str(run)).params
    params["head"]["bias"] = np.full_like(params["head"]["bias"], np.nan)
    checkpoints.save_npz(params, tmp_path / "broken.npz")
    status, found, _ = call("inspect", tmp_path / "broken.npz")
    assert status == 0
    assert found["components"]["head"]["not_finite"] == 10
    assert (found["model"], found["fits"]) == ("Mixer-Mini/2", True)


def test_a_plain_npz_is_analysed_like_a_run(run, call, tmp_path):
    from landscape import checkpoints

    checkpoints.save_npz(checkpoints.load(str(run)).params, tmp_path / "weights.npz")
    arguments = ["--model", "Mixer-Mini/2", "--data", "digits", "--images", 64]
    _, by_file, _ = call("evaluate", "--checkpoint", tmp_path / "weights.npz", *arguments)
    _, by_run, _ = call("evaluate", "--checkpoint", run, "--images", 64)
    assert by_file == by_run


def test_models_and_formats_are_listed(call):
    _, found, _ = call("models", "vit-b/16", "mini")
    listed = {m["name"]: m for m in found["models"]}
    assert listed["ViT-B/16"]["parameters"] == 86_567_656
    assert (listed["ViT-B/16"]["tokens"], listed["ResNet-Mini"]["tokens"]) == (197, None)
    assert {"ViT-Mini/2", "Mixer-Mini/2", "ResNet-Mini"} <= set(listed)
    assert "ViT-S/16" not in listed
    status, _, err = call("models", "no-such-part")
    assert status == 2
    assert "no network has no-such-part in its name" in err
    _, found, _ = call("formats")
    assert set(found) == {"checkpoints", "written", "data", "preprocessing"}


def test_tables_are_for_people(run, capsys):
    assert main(["inspect", str(run)]) == 0
    assert "Mixer-Mini/2" in capsys.readouterr().out
    assert main(["evaluate", "--checkpoint", str(run), "--images", "64"]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_a_configuration_file_is_overridden_by_flags(run, call, tmp_path):
    (tmp_path / "c.toml").write_text(f'checkpoint = "{run}"\nimages = 64\nsplit = "test"\n')
    _, found, _ = call("evaluate", "--config", tmp_path / "c.toml")
    assert (found["split"], found["examples"]) == ("test", 64)
    _, found, _ = call("evaluate", "--config", tmp_path / "c.toml", "--images", 32)
    assert (found["split"], found["examples"]) == ("test", 32)
    asked = ["evaluate", "--checkpoint", run, "--images", 32, "--config", tmp_path / "d.toml"]
    (tmp_path / "d.toml").write_text('dtype = "bfloat16"\n')
    assert call(*asked)[0] == 0
    (tmp_path / "d.toml").write_text('dtype = "float8"\n')
    assert "dtype is 'float8', use one of bfloat16" in call(*asked)[2]


@pytest.mark.parametrize(
    "command", ["hessian --blocks none --ends max", "surface --y none --grid 3"]
)
def test_a_result_of_an_edited_objective_is_not_gone_on_with(call, tmp_path, command):
    """Neither the parameters nor the data tell that the loss is another."""
    source = """
import jax.numpy as jnp
from landscape import Objective
def make():
    def loss(w, batch):
        return ({} * w[0]**2 + 0.1 * w[1]**2) * batch
    return Objective(loss, jnp.array([1.0, 1.0]), [jnp.ones(4)])
"""
    name, *more = command.split()
    if name == "surface":
        more += ["--normalize", "none", "--ignore", "^$"]
    arguments = [*more, "--objective", f"{tmp_path / 'own.py'}:make", "--out", tmp_path / "r.h5"]
    (tmp_path / "own.py").write_text(source.format(0.5))
    assert call(name, *arguments)[0] == 0
    assert call(name, *arguments)[0] == 0
    (tmp_path / "own.py").write_text(source.format(7))
    status, _, error = call(name, *arguments)
    assert status == 2
    assert "was made with objective_file=" in error


def test_a_users_own_objective(call, tmp_path):
    (tmp_path / "own.py").write_text(
        "import jax.numpy as jnp, numpy as np, landscape\n"
        "def make():\n"
        "    loss = lambda w, b: 0.5 * (3 * w['kernel'][0] ** 2 - w['kernel'][1] ** 2) * b\n"
        "    return landscape.Objective(loss, {'kernel': jnp.ones(2)}, [np.ones(4, 'f')])\n"
    )
    reference = f"{tmp_path / 'own.py'}:make"
    status, found, _ = call("hessian", "--objective", reference, "--out", tmp_path / "h.h5")
    assert status == 0
    assert found["lambda_max"]["estimate"] == pytest.approx(3, rel=1e-5)
    assert found["lambda_min"]["estimate"] == pytest.approx(-1, rel=1e-5)
    arguments = ["--grid", "3", "--out", tmp_path / "s.h5"]
    status, found, _ = call("surface", "--objective", reference, *arguments)
    assert (status, found["centre"]) == (0, 1.0)


def test_the_command_is_recorded_so_that_it_can_be_repeated(run, call, tmp_path):
    path = tmp_path / "h.h5"
    call("hessian", "--checkpoint", run, "--images", 64, "--blocks", "none", "--out", path)
    recorded = results.read(path).attributes["command"]
    assert recorded.startswith("analysis_cli.py hessian --blocks none")
    assert f"--out {path}" in recorded
    assert "--json" not in recorded
    json.dumps(results.read(path).attributes)


def test_a_batch_that_fits_is_found_where_none_is_asked_for(run, call, tmp_path, monkeypatch):
    from landscape.errors import OutOfMemory
    from landscape.objective import passes

    compiled, tried = passes.compile_within_memory, []

    def compile_little(*arguments, examples, **options):
        tried.append(examples)
        if examples > 20:
            raise OutOfMemory("batch_size: too large")
        return compiled(*arguments, examples=examples, **options)

    monkeypatch.setattr(passes, "compile_within_memory", compile_little)
    arguments = ["hessian", "--checkpoint", run, "--images", 50, "--blocks", "none"]
    arguments += ["--ends", "max", "--data-error", "--out", tmp_path / "h.h5"]
    status, found, _ = call(*arguments)
    assert status == 0
    assert list(dict.fromkeys(tried)) == [50, 25, 12]
    assert found["data_error"]["held_out_examples"] == 50
    assert found["data_error"]["held_out_split"] == "test"
    assert found["data_error"]["held_out"] <= found["data_error"]["held_out_lambda_max"]["upper"]
    assert found["data_error"]["quotient"] == pytest.approx(
        found["lambda_max"]["estimate"], rel=1e-2
    )
    status, _, err = call(*arguments, "--batch-size", 40, "--out", tmp_path / "other.h5")
    assert status == 2
    assert "too large" in err
