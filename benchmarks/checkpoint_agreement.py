"""Do checkpoints mean the same to us as to timm and torchvision?

    python benchmarks/checkpoint_agreement.py [PART-OF-A-NAME ...]

For every network, in float32 and on the same images: "read" is weights drawn in PyTorch, written by
PyTorch and read by `landscape.checkpoints.load`, the network built from what that recognises;
"written" is weights drawn here, written by `landscape.checkpoints.write` and loaded by PyTorch with
``strict=True``. Every weight is drawn, those that start at zero or one and running statistics too.
Compared are logits: their largest difference, and that divided by the largest logit, which must be
at most 1e-4. Safetensors and both of torch.save's formats are read; what the readers of the latter
find is compared with torch.load's tensors, byte for byte. Exit status 1 if anything differs.

Two definitions in timm's ResNets with GroupNorm are not those of Google's code, which are ours:
GroupNorm's epsilon is 1e-5, not 1e-6, and kernels are divided by sqrt(variance + epsilon), not by
deviation + 1e-5. Both are set to Google's in the PyTorch module; "timm as it is" tells how far the
logits are apart if they are not (for information).
"""

import argparse
import dataclasses
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.torch
import timm
import torch
import torchvision
from timm.layers import GroupNormAct, StdConv2dSame
from timm.models.resnetv2 import ResNetV2
from torch import nn

from landscape import checkpoints
from landscape.checkpoints import Checkpoint, containers
from landscape.errors import RequestError
from landscape.models import registry
from landscape.models.model import Model

TOLERANCE = 1e-4
GROUP_NORM, STANDARDISATION = 1e-6, 1e-5  # Google's epsilons
IMAGES = 2


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of both sides.

    Attributes
    ----------
    theirs
        Whose it is, and its name there.
    make
        PyTorch's module.
    ours
        Arguments of `landscape.models.registry.build`.
    told
        Those that no state dict tells.
    """

    theirs: str
    make: Callable[[], nn.Module]
    ours: Mapping[str, object]
    told: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.theirs:<29}{' '.join(str(value) for value in self.ours.values() if value)}"


def networks() -> list[Network]:
    erf, relu = {"activation": "gelu_erf"}, {"activation": "relu"}
    tanh = {"activation": "gelu_tanh"}
    pooled = {"class_token": False, "fc_norm": False}
    fixed = {"classifier": "gap", "position_embedding": "sincos2d", "representation": 0}
    groups = partial(
        ResNetV2, (3, 4, 6, 3), preact=False, stem_type="same",
        conv_layer=partial(StdConv2dSame, eps=1e-8),
    )  # fmt: skip
    return [
        _timm("vit_tiny_patch16_224", "ViT-Ti/16", erf),
        _timm("vit_tiny_patch16_224", "ViT-Ti/16", tanh, told=tanh, act_layer="gelu_tanh"),
        _timm("deit_small_patch16_224", "ViT-S/16", erf),
        _timm("vit_small_patch16_224", "ViT-S/16", erf | {"classifier": "gap"},
              global_pool="avg", **pooled),
        _timm("vit_small_patch16_224", "ViT-S/16", erf | {"classifier": "map"},
              global_pool="map", **pooled),
        _timm("vit_small_patch16_224", "PlainViT-S/16", erf | fixed, global_pool="avg", **pooled),
        _timm("mixer_s16_224", "Mixer-S/16", erf),
        _timm("vit_tiny_r_s16_p8_224", "R+ViT-Ti/16", erf),
        _timm("vit_small_r26_s32_224", "R26+ViT-S/32", erf),
        _timm("vit_base_r50_s16_224", "R50+ViT-B/16", erf, num_classes=1000),
        Network("timm ResNetV2(preact=False)", groups, {"name": "ResNet-50", **relu}),
        _timm("resnet50", "ResNet-50-BatchNorm", relu),
        _torchvision("resnet18", "ResNet-18-BatchNorm", relu),
        _torchvision("resnet50", "ResNet-50-BatchNorm", relu),
        _torchvision("vit_b_16", "ViT-B/16", erf),
    ]  # fmt: skip


def _timm(name: str, ours: str, options: Mapping, told: Mapping | None = None, **arguments):
    make = partial(timm.create_model, name, **arguments)
    return Network(f"timm {name}", make, {"name": ours, **options}, told or {})


def _torchvision(name: str, ours: str, options: Mapping):
    make = partial(torchvision.models.get_model, name)
    return Network(f"torchvision {name}", make, {"name": ours, **options})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="only networks with one of these in their name")
    parts = parser.parse_args().parts
    chosen = [
        network
        for network in networks()
        if not parts or any(part in str(network) for part in parts)
    ]
    jax.config.update("jax_default_matmul_precision", "highest")
    print(f"JAX {jax.__version__}, PyTorch {torch.__version__}, timm {timm.__version__}, "
          f"torchvision {torchvision.__version__}; {IMAGES} Gaussian images\n"
          f"{'':<76}{'read':>18}{'written':>18}\n"
          f"{'':<64}{'parameters':>12}" + 2 * f"{'relative':>9}{'absolute':>9}")  # fmt: skip
    unlike = [str(network) for network in chosen if not agrees(network)]
    if not reader_agrees():
        unlike.append("the reader of PyTorch's files")
    print("these differ: " + ", ".join(unlike) if unlike else "all agree")
    return 1 if unlike else 0


def agrees(network: Network) -> bool:
    """Compare one network in both directions and print a line about it."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((IMAGES, 224, 224, 3)).astype(np.float32)
    module = network.make().eval()
    draw_module(module, rng)
    as_it_is = torch_logits(module, images)
    remarks, failures = [], []
    changed = define_as_google(module)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = read(module.state_dict(), Path(folder))
            if found.unknown or found.network.differences:
                failures.append(f"read as {found.network}, unknown {found.unknown}")
            model = registry.build(**found.request | network.told)
            ours = logits(model, found, images)
            differences = difference(ours, torch_logits(module, images))

            model = registry.build(**network.ours)
            drawn = draw_checkpoint(model, rng)
            path = Path(folder) / "ours.safetensors"
            checkpoints.write(drawn, path, network.theirs.split()[0])
            module.load_state_dict(safetensors.torch.load_file(path), strict=True)
        except (RequestError, RuntimeError) as error:  # PyTorch's, about names and shapes
            print(f"{network!s:<64}FAILED: {error}", flush=True)
            return False
    differences += difference(logits(model, drawn, images), torch_logits(module, images))

    if changed:
        remarks.append(f"timm as it is: {difference(ours, as_it_is)[0]:.1e}")
    if not max(differences[::2]) <= TOLERANCE:
        failures.append("FAILED")
    count = sum(leaf.size for leaf in jax.tree.leaves(found.params))
    cells = "".join(f"{value:>9.1e}" for value in differences)
    told = "; ".join(failures + remarks)
    print(f"{network!s:<64}{count:>12,}{cells}  {told}".rstrip(), flush=True)
    return not failures


def define_as_google(module: nn.Module) -> bool:
    """Give timm's GroupNorm and standardised convolutions Google's definitions; True if any."""
    parts = [part for part in module.modules() if isinstance(part, GroupNormAct | StdConv2dSame)]
    for part in parts:
        if isinstance(part, GroupNormAct):
            part.eps = GROUP_NORM
        else:
            part.register_forward_hook(_divided_as_by_google)
    return bool(parts)


def _divided_as_by_google(convolution: StdConv2dSame, inputs: tuple, output: torch.Tensor):
    """The output that the kernel divided by deviation + 1e-5 gives, from that of timm's."""
    variance = convolution.weight.var((1, 2, 3), correction=0)
    factor = (variance + convolution.eps).sqrt() / (variance.sqrt() + STANDARDISATION)
    return output * factor[:, None, None]


def read(state: Mapping[str, torch.Tensor], folder: Path) -> Checkpoint:
    """What is read of a state dict, which must be the same in all of PyTorch's formats."""
    path = folder / "theirs.safetensors"
    safetensors.torch.save_file(dict(state), path)
    found = checkpoints.load(str(path))
    path.unlink()
    for path in saved(state, folder):
        if not equal_leaves(checkpoints.load(str(path)), found):
            raise RequestError(f"{path.name}: other parameters than from safetensors")
    return found


def saved(tensors: Mapping[str, torch.Tensor], folder: Path) -> Iterator[Path]:
    """torch.save's two kinds of file, one after the other; our reader finds in them what it should.

    The tensors are in a mapping, as training scripts save them.
    """
    for kind in ("legacy", "zip"):
        path = folder / f"{kind}.pth"
        torch.save({"model": tensors}, path, _use_new_zipfile_serialization=kind == "zip")
        check_tensors(path)
        yield path
        path.unlink()


def equal_leaves(one: Checkpoint, other: Checkpoint) -> bool:
    ours = [jax.tree.leaves_with_path((each.params, each.state)) for each in (one, other)]
    return len(ours[0]) == len(ours[1]) and all(
        name == same_name and np.array_equal(a, b)
        for (name, a), (same_name, b) in zip(*ours, strict=True)
    )


def check_tensors(path: Path) -> None:
    """Compare names, dtypes, shapes and bytes that our reader finds with torch.load's.

    Raises
    ------
    RequestError
        Naming the first that is another.
    """
    tensors = torch.load(path, weights_only=True)["model"]
    container = containers.opened(path)
    if list(container.arrays) != list(tensors):
        raise RequestError(f"{container.format}: other names than torch.load's")
    for name, array in container.read(tensors):
        tensor = tensors[name]
        alike = (f"torch.{array.dtype.name}", array.shape) == (str(tensor.dtype), tensor.shape)
        content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        if not alike or array.tobytes() != content:
            raise RequestError(f"{container.format}: {name} is not what torch.load gives")


def reader_agrees() -> bool:
    """Try our reader on what a state dict can hold besides float32 arrays of their own."""
    base, small = torch.arange(24.0).reshape(4, 6), torch.arange(-2, 4)
    tensors = {
        **{f"{kind}": base.to(kind) for kind in (torch.float64, torch.float16, torch.bfloat16)},
        **{f"{kind}": small.to(kind) for kind in (torch.int32, torch.int8, torch.bool)},
        "transposed": base.T,
        "part": base[1:3, ::2],
        "shared": base,
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            files = [path.name for path in saved(tensors, Path(folder))]
        except RequestError as error:
            print(f"{len(tensors)} tensors of other kinds FAILED: {error}")
            return False
    print(f"{len(tensors)} tensors of other kinds: {' and '.join(files)} as torch.load reads them")
    return True


def draw_module(module: nn.Module, rng: np.random.Generator) -> None:
    """Give every parameter and running statistic of a PyTorch module random values."""
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue  # the count of batches
        kind = name.rsplit(".", 1)[-1].removeprefix("running_").removeprefix("in_proj_")
        if kind == "weight":
            kind = "kernel" if tensor.ndim > 1 else "scale"
        values = draw(kind, tuple(tensor.shape), math.prod(tensor.shape[1:]), rng)
        tensor.copy_(torch.from_numpy(values))


def draw_checkpoint(model: Model, rng: np.random.Generator) -> Checkpoint:
    """A checkpoint of ours with random values everywhere."""

    def drawn(path, leaf):
        to_heads = any(part.key in ("query", "key", "value") for part in path)  # (in, heads, d)
        fan_in = math.prod(leaf.shape[: 1 if to_heads else -1])
        return draw(path[-1].key, leaf.shape, fan_in, rng)

    params = jax.tree.map_with_path(drawn, model.abstract())
    state = jax.tree.map_with_path(drawn, model.abstract_state())
    return Checkpoint(params, None, {"model": model.request}, model.name, state=state)


def draw(kind: str, shape: tuple[int, ...], fan_in: int, rng: np.random.Generator) -> np.ndarray:
    """Random values of a kind of parameter, with which activations stay of order 1."""
    if kind == "var":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    values = rng.standard_normal(shape).astype(np.float32)
    if kind == "kernel":
        return values / np.float32(math.sqrt(fan_in))
    if kind in ("scale", "bias", "mean"):
        return np.float32(0.1) * values + np.float32(kind == "scale")
    return np.float32(0.5) * values  # tokens and positions


def logits(model: Model, found: Checkpoint, images: np.ndarray) -> np.ndarray:
    params, state = jax.tree.map(jnp.asarray, (found.params, found.state))
    return np.asarray(jax.jit(model.apply)(params, images, state=state))


@torch.no_grad()
def torch_logits(module: nn.Module, images: np.ndarray) -> np.ndarray:
    return module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The largest one, divided by the largest logit and as it is."""
    absolute = float(np.abs(ours - theirs).max())
    return absolute / float(np.abs(theirs).max()), absolute


if __name__ == "__main__":
    sys.exit(main())
