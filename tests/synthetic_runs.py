"""Run folders with made-up results, in the shape in which the analyses write them."""

import json
from pathlib import Path

import numpy as np

from landscape.results import Field, ResultFile

ORIGIN = {
    "command": "analysis_cli.py all RUN",
    "versions": {"python": "3.11.2", "jax": "0.10.2"},
    "device": "1 x cpu (cpu)",
    "created": "2026-01-02T03:04:05Z",
}
DATA = {"reference": "digits", "split": "train", "examples": 1437, "hash": "d1g1t5"}
EXTREME = [f"lambda_{end}_{part}" for end in ("max", "min")
           for part in ("estimate", "lower", "upper", "residual", "check")]  # fmt: skip
VIT = ["whole", "embedding", "attention", "mlp"] + [
    f"encoderblock_{i}{part}" for i in range(3) for part in ("/attention", "/mlp", "")
] + ["head"]  # fmt: skip
MIXER = ["whole", "embedding", "token_mlp", "channel_mlp"] + [
    f"MixerBlock_{i}{part}" for i in range(3) for part in ("/token_mlp", "/channel_mlp", "")
] + ["head"]  # fmt: skip
RESNET = ["whole", "embedding", *(f"block{b}/unit{u}" for b in (1, 2, 3) for u in (1, 2)), "head"]


HALVES = {"attention": "MultiHeadDotProductAttention_0", "mlp": "MlpBlock_0",
          "token_mlp": "token_mixing", "channel_mlp": "channel_mixing"}  # fmt: skip


def leaves(targets) -> dict[str, list[str]]:
    """The parameters of these blocks: every component has one, a joint block those of all."""
    blocks = {name.partition("/")[0] for name in targets if "Block_" in name or "rblock_" in name}
    parts = {f"{block}/{half}": f"{'Transformer/' * (block[0] == 'e')}{block}/{module}/kernel"
             for block in blocks for half, module in HALVES.items()
             if half.endswith("_mlp") == (block[0] == "M")}  # fmt: skip
    return {
        name: [leaf for part, leaf in parts.items() if name in (part, *part.split("/"))]
        if name.partition("/")[0] in blocks or name in HALVES else [f"{name}/kernel"]
        for name in targets if name != "whole"
    }  # fmt: skip


def layers(targets) -> list[str]:
    """The layers whose neurons are counted, for a network with these blocks."""
    names = {"mlp": "MlpBlock_0", "token_mlp": "token_mixing", "channel_mlp": "channel_mixing"}
    found = [(name.partition("/")[0], names[name.partition("/")[2]]) for name in targets
             if name.partition("/")[2] in names]  # fmt: skip
    return ["/".join(pair) for pair in found] or [n for n in targets if "/unit" in n]


def write_config(folder: Path, model: str, rho: float = 0.0) -> None:
    """``config.json`` and a ``metrics.jsonl`` that ends at 95 % test accuracy."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({
        "schema": 1,
        "steps": 300,
        "model": {"name": model, "classes": 10, "image_shape": [8, 8, 1]},
        "data": {"reference": "digits", "train_examples": 1437, "test_examples": 360},
        "training": {"optimizer": "adamw", "rho": rho, "seed": 0},
        "versions": {"python": "3.11.2", "jax": "0.10.2"},
    }))  # fmt: skip
    rate = 5 * (1 + 10 * rho)
    noise = np.random.default_rng(len(model)).normal(size=300)
    lines = []
    for step in range(1, 301):
        epoch = step / 10
        loss = 2.3 * np.exp(-epoch / rate) * (1 + 0.1 * noise[step - 1]) + 0.01
        line = {"step": step, "epoch": epoch, "train_loss": loss, "learning_rate": 1e-3,
                "gradient_norm": 1.0}  # fmt: skip
        if step % 30 == 0:
            accuracy = 0.95 - 0.8 * (np.exp(-epoch / 6) - np.exp(-30 / 6)) * (1 - rho)
            line |= {"test_loss": 2 * loss, "test_accuracy": accuracy, "train_accuracy": 0.99}
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def write_hessian(
    folder: Path, targets, scale=100.0, *, done=None, power=True, parameters_hash="p0",
    refuted=(), blocks=None, request=None, resumed_with=None, **said,
):  # fmt: skip
    """λmax of target number i is ``scale / (i + 1)``; target 1 did not converge.

    The check refutes those of the targets in ``refuted``; ``blocks`` are the parameters of the
    blocks, 100 in each leaf; ``request`` and ``said`` are further attributes.
    """
    blocks = leaves(targets) if blocks is None else blocks
    size = {name: 100 * len(leaves_of) for name, leaves_of in blocks.items()}
    size["whole"] = 100 * len({leaf for leaves_of in blocks.values() for leaf in leaves_of})
    fields = {name: Field((len(targets),)) for name in
              (*EXTREME, "products", "lambda_max_converged", "lambda_min_converged",
               "lambda_max_confirmed", "power_estimate", "power_residual")}  # fmt: skip
    with ResultFile(
        folder / "hessian.h5", "hessian", request={"blocks": blocks, **(request or {})},
        fields=fields, done=(len(targets),),
        constants={"targets": targets, "parameters": [size[name] for name in targets]},
        origin={**ORIGIN, "seed": 0, "examples": 1437, "loss": 0.0123, "confidence": 0.999,
                "width": 0.01, "norm": 35.38, "l2": 0.0, "parameters_hash": parameters_hash,
                "data": DATA, **said, **(request or {})},
    ) as file:  # fmt: skip
        if resumed_with is not None:
            file.annotate(resumed_with=resumed_with)
        for i in range(len(targets) if done is None else done):
            value = scale / (i + 1)
            file.write(
                i, lambda_max_estimate=value, lambda_max_lower=0.999 * value,
                lambda_max_upper=(1.5 if i == 1 else 1.004) * value, lambda_max_residual=0.01,
                lambda_max_check=1.001 * value, lambda_min_check=-value / 20,
                lambda_min_estimate=-value / 20, lambda_min_lower=-value / 19,
                lambda_min_upper=-value / 21, lambda_min_residual=0.02, products=24,
                lambda_max_converged=float(i != 1 and targets[i] not in refuted),
                lambda_max_confirmed=float(targets[i] not in refuted), lambda_min_converged=1.0,
                power_estimate=0.9 * value if power and i == 0 else np.nan,
                power_residual=3.25 if power and i == 0 else np.nan,
            )  # fmt: skip


def bowl(x, y, sharpness: float, seed: int = 0) -> np.ndarray:
    """A loss-like valley of shape (len(y), len(x)) with its minimum 0.01 at the origin."""
    across, along = np.meshgrid(x, y)
    generator = np.random.default_rng(seed)
    angle, ratio = generator.uniform(0, np.pi), generator.uniform(0.5, 0.9)
    u = across * np.cos(angle) + along * np.sin(angle)
    v = -across * np.sin(angle) + along * np.cos(angle)
    square = sharpness * (u**2 + ratio * v**2 + 0.15 * u**3 + 0.1 * u * v**2)
    return 0.01 + 3 * (1 - np.exp(-square / 2)) + 0.3 * square


def write_surface(
    folder: Path, heights, x=None, y=None, *, done=None, interpolated=0,
    losses=("train_loss",), request=None, **said,
):  # fmt: skip
    """A surface file; ``done`` limits it to the first so many points.

    Of these as many as ``interpolated`` are marked. The first of the ``losses`` has these heights,
    the others are half as high; ``request`` and ``said`` are more attributes.
    """
    heights = np.asarray(heights, np.float64)
    ny, nx = heights.shape
    x = np.linspace(-1, 1, nx) if x is None else x
    y = np.linspace(-1, 1, ny) if y is None else y
    field = Field((ny, nx), dims=("ycoordinates", "xcoordinates"))
    with ResultFile(
        folder / "surface.h5", "surface", request=request or {}, done=(ny, nx),
        fields={**dict.fromkeys([*losses, "train_acc"], field),
                "interpolated": Field((ny, nx), "u1", field.dims)},
        constants={"xcoordinates": x, "ycoordinates": y},
        origin={**ORIGIN, "seed": 3, "cosine": 0.0123, "length_x": 1.0, "length_y": 1.0,
                "normalization": "filter", "parameters_hash": "p0", "data": DATA,
                "metrics": [*losses, "train_acc"], **said, **(request or {})},
    ) as file:  # fmt: skip
        for count, index in enumerate(np.ndindex(ny, nx)):
            if done is None or count < done:
                marked = count < interpolated
                values = {name: heights[index] / (1 + (name != losses[0])) for name in losses}
                file.write(index, **values, train_acc=0.5, interpolated=marked)


def write_ntk(folder: Path, kappa, *, head="zeros", name="ntk.h5", done=None, rank=8, request=None):
    """Kernels of 4 images with these condition numbers; 8 images together have this rank."""
    both = np.where(np.arange(8) < rank, 1.0, 0.0)
    with ResultFile(
        folder / name, "ntk", request=request or {}, done=(len(kappa),),
        fields={"kappa": Field((len(kappa),)), "eigenvalues": Field((len(kappa), 4))},
        constants={"eigenvalues_of_two": both},
        origin={**ORIGIN, "seed": 0, "head": head, "activation": "relu", "batch_size": 4},
    ) as file:  # fmt: skip
        for i, value in enumerate(kappa[:done]):
            file.write(i, kappa=value, eigenvalues=np.minimum([value, 3.0, 2.0, 1.0], value))


def write_neurons(folder: Path, names, level=0.5, *, done=None, request=None):
    """Active fractions that fall with depth; the norm of layer i is 10 + i."""
    count = len(names)
    fields = {name: Field((count,)) for name in ("active_fraction", "standard_error", "norm")}
    with ResultFile(
        folder / "neurons.h5", "neurons", request=request or {}, done=(count,), fields=fields,
        constants={"layers": names},
        origin={**ORIGIN, "seed": 0, "parameters_hash": "p0", **(request or {})},
    ) as file:  # fmt: skip
        for i in range(count if done is None else done):
            file.write(i, active_fraction=level - 0.03 * i, standard_error=0.01, norm=10.0 + i)


def write_run(folder: Path, model: str, targets, *, rho=0.0, scale=100.0, points=9, seed=0) -> Path:
    """A run folder with every analysis."""
    write_config(folder, model, rho)
    write_hessian(folder, targets, scale)
    grid = np.linspace(-1, 1, points)
    write_surface(folder, bowl(grid, grid, scale / 5, seed))
    write_ntk(folder, [2000.0, 2100.0, 2200.0 + len(targets)])
    write_neurons(folder, layers(targets), 0.5 - rho)
    return folder
