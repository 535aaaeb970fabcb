"""Peak memory of loading a large checkpoint, in every format that is read.

    python benchmarks/checkpoint_memory.py [--model ViT-L/16] [--only PART-OF-A-NAME]

Every file is written by one process and loaded by another. Told are the resident memory that
loading adds at its peak and what stays afterwards, divided by the size of the parameters in
float32; and the peak must be at most 1.5. What a process holds before (Python, JAX, the readers'
libraries) is told apart. Pages of a mapped file count as resident. Exit status 1 above 1.5.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import resident

from landscape import checkpoints, parameters
from landscape.checkpoints.containers.orbax import quiet
from landscape.models.registry import build
from landscape.parameters import named_leaves

TARGET = 1.5
BLOCK = "Transformer/encoderblock"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-L/16", help="a name of the registry")
    parser.add_argument("--only", default="", help="only formats with this in their name")
    parser.add_argument("--step", choices=("write", "load"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--format", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "write":
        FORMATS[options.format](options.path, drawn(options.model))
        return 0
    if options.step == "load":
        print(json.dumps(measured(options.path)))
        return 0

    size = build(options.model).parameter_count() * 4 / 2**20
    print(
        f"{options.model}, {size:.0f} MiB of float32 parameters; peak and rest in parameters' size"
    )
    print(f"{'':<48}{'file MiB':>9}{'before MiB':>11}{'peak':>6}{'rest':>6}")
    above = []
    for name in FORMATS:
        if options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint"
            step = ["--model", options.model, "--path", str(path), "--format", name, "--step"]
            subprocess.run([sys.executable, __file__, *step, "write"], check=True)
            path = next(Path(folder).iterdir())  # writers add the suffix they need
            step[3] = str(path)
            command = [sys.executable, __file__, *step, "load"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            files = [path] if path.is_file() else path.rglob("*")
            taken = sum(file.stat().st_size for file in files) / 2**20
        assert found["parameters"] * 4 / 2**20 == size
        print(f"{name:<48}{taken:>9.0f}{found['before']:>11.0f}{found['peak'] / size:>6.2f}"
              f"{found['rest'] / size:>6.2f}", flush=True)  # fmt: skip
        if found["peak"] > TARGET * size:
            above.append(name)
    print(f"above {TARGET}: {', '.join(above)}" if above else f"all at most {TARGET}")
    return 1 if above else 0


def drawn(name: str) -> checkpoints.Checkpoint:
    """The network with random parameters, as if it had been loaded."""
    model, rng = build(name), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), model.abstract())
    return checkpoints.Checkpoint(params, 0, {"model": model.request}, name)


def measured(path: Path) -> dict[str, float]:
    """Load in this process: parameters, and MiB before, at the peak and afterwards."""
    from safetensors import safe_open  # noqa: F401 - libraries that readers import when needed

    before = resident.now()
    resident.forget_peak()
    found = checkpoints.load(str(path))
    peak = resident.peak()
    return {
        "parameters": parameters.size(found.params),
        "before": before,
        "peak": peak - before,
        "rest": resident.now() - before,
    }


# --- writers --------------------------------------------------------------------------------------


def write(suffix: str):
    return lambda path, found: checkpoints.write(found, path.with_suffix(suffix))


def stacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All blocks in one, as big_vision's scan has them."""
    depth = sum(name.endswith("MlpBlock_0/Dense_0/bias") for name in arrays)
    first = f"{BLOCK}_0/"
    parts = {n.removeprefix(first) for n in arrays if n.startswith(first)}
    rest = {name: array for name, array in arrays.items() if not name.startswith(f"{BLOCK}_")}
    blocks = {
        f"{BLOCK}/{part}": np.stack([arrays[f"{BLOCK}_{i}/{part}"] for i in range(depth)])
        for part in sorted(parts)
    }
    return rest | blocks


def write_big_vision(path, found):
    np.savez(path, **{f"params/{n}": a for n, a in stacked(named_leaves(found.params)).items()})


def write_big_vision_bfloat16(path, found):
    arrays = {
        n: a.astype(ml_dtypes.bfloat16) for n, a in stacked(named_leaves(found.params)).items()
    }
    np.savez(path, **{f"params/{name}": array.view("V2") for name, array in arrays.items()})


def write_compressed(path, found):
    np.savez_compressed(path, **named_leaves(found.params))


def write_with_moments(path, found):
    state = {"target": found.params, "state": {"param_states": {"mu": found.params}}}
    path.write_bytes(flax.serialization.msgpack_serialize(state))


def write_msgpack(path, found):
    path.write_bytes(flax.serialization.msgpack_serialize(found.params))


def write_orbax(path, found):
    with quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
        writer.save(path.absolute(), args=ocp.args.PyTreeSave(found.params))


def write_torch(zipped):
    def written(path, found):
        import safetensors.torch
        import torch

        intermediate = path.with_suffix(".safetensors")
        checkpoints.write(found, intermediate)
        state = safetensors.torch.load_file(intermediate)
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        intermediate.unlink()

    return written


FORMATS = {
    "vision_transformer .npz": write(".npz"),
    "the same, compressed": write_compressed,
    "big_vision .npz, stacked": write_big_vision,
    "big_vision .npz, stacked, bfloat16": write_big_vision_bfloat16,
    "Flax msgpack": write_msgpack,
    "Flax msgpack, with one moment": write_with_moments,
    "Orbax": write_orbax,
    "run folder": write(""),
    "timm .safetensors": write(".safetensors"),
    "timm, torch.save": write_torch(True),
    "timm, torch.save, old format": write_torch(False),
}


if __name__ == "__main__":
    sys.exit(main())
