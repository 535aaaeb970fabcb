"""A user's record may hold any name and changes nothing but itself."""

import pytest

from landscape import results
from landscape.cli import main

OBJECTIVE = """
import jax.numpy as jnp, numpy as np
from landscape import Objective

def make(record=RECORD):
    def right(w, batch):
        return {"accuracy": (batch @ w > 0).astype(jnp.float32)}

    data = [np.arange(12, dtype="f4").reshape(4, 3) - 4]
    made = Objective(lambda w, x: (x @ w - 1) ** 2, jnp.array([1.0, 0.5, 2.0]), data, metrics=right)
    return made.with_record(record)
"""
NAMES = ("data", "checkpoint_step", "loss_name", "l2", "matrix", "held_out", "centre", "metrics",
         "directions", "confidence", "explained", "markers", "length_x", "cosine", "accuracy",
         "at_chance", "most_frequent_label", "examples", "split_size", "drawn_targets", "dtype",
         "command", "norm", "loss", "method", "top", "trace", "density", "scan", "data_error",
         "second_derivative", "batchnorm", "adaptive", "seed", "model", "network", "lambda_max",
         "together_with", "interpolated", "x", "y", "targets", "blocks", "parameters")  # fmt: skip
COMMANDS = {
    "hessian": ["--blocks", "none", "--ends", "max"],
    "surface": ["--y", "none", "--grid", 3],
}


@pytest.mark.parametrize("value", ["many", 5, 0, [], {"a": 1}])
@pytest.mark.parametrize("command", COMMANDS)
def test_numbers_are_the_same_whatever_a_record_says(call, tmp_path, capsys, command, value):
    found = {}
    for record in ({}, dict.fromkeys(NAMES, value)):
        file = tmp_path / f"own{len(record)}.py"
        file.write_text(OBJECTIVE.replace("RECORD", repr(record)))
        out = tmp_path / f"{len(record)}.h5"
        arguments = ["--objective", f"{file}:make", *COMMANDS[command], "--out", out]
        status, found[len(record)], err = call(command, *arguments)
        assert status == 0, err
        # What is shown for people can be shown; the file can be gone on with.
        assert main([command, *map(str, arguments), "--quiet"]) == 0
        capsys.readouterr()
        assert results.read(out).attributes["accuracy"] == 0.75
    plain, recorded = found.values()
    places = ("file", "files", "written")
    for name in plain.keys() - set(places):
        assert recorded[name] == plain[name], name
