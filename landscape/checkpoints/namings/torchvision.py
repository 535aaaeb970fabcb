"""State dicts of torchvision (ResNet, ViT) and of akamaster/pytorch_resnet_cifar10."""

from collections.abc import Mapping

from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.namings.layouts import CONVOLUTION, OUT, SAME, fused
from landscape.checkpoints.namings.naming import (
    PARAMS,
    POSITION_LEAF,
    Reading,
    Row,
    batch_norm,
    convolution,
    dense,
    norm,
    read_by,
    row,
)
from landscape.checkpoints.namings.timm import heads_of

NAME = "torchvision"
POSITIONS = "encoder.pos_embedding"
_UNIT = "layer{s}.{b}", "layer{s}/{b}"


def _shortcut(name: str) -> list[Row]:
    theirs, ours = (f"{unit}{sign}{name}" for unit, sign in zip(_UNIT, "./", strict=True))
    return [convolution(f"{theirs}.0", f"{ours}/0"), *batch_norm(f"{theirs}.1", f"{ours}/1")]


_TRUNK = [
    convolution("conv1", "conv1"),
    *batch_norm("bn1", "bn1"),
    *(convolution(f"{_UNIT[0]}.conv{n}", f"{_UNIT[1]}/conv{n}") for n in (1, 2, 3)),
    *(entry for n in (1, 2, 3) for entry in batch_norm(f"{_UNIT[0]}.bn{n}", f"{_UNIT[1]}/bn{n}")),
]
_RESNET = [*_TRUNK, *_shortcut("downsample"), *dense("fc", "fc")]
_CIFAR = [*_TRUNK, *_shortcut("shortcut"), *dense("linear", "linear")]

_LAYER = "encoder.layers.encoder_layer_{i}"
_BLOCK = "Transformer/encoderblock_{i}"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_0"
_VIT = [
    row("class_token", "cls", layout=SAME),
    *dense("conv_proj", "embedding", CONVOLUTION),
    row(POSITIONS, POSITION_LEAF, layout=SAME),
    *norm(f"{_LAYER}.ln_1", f"{_BLOCK}/LayerNorm_0"),
    *(
        row(
            f"{_LAYER}.self_attention.in_proj_{theirs}",
            *(f"{_ATTENTION}/{part}/{ours}" for part in ("query", "key", "value")),
            layout=fused(3),
        )
        for theirs, ours in (("weight", "kernel"), ("bias", "bias"))
    ),
    *dense(f"{_LAYER}.self_attention.out_proj", f"{_ATTENTION}/out", OUT),
    *norm(f"{_LAYER}.ln_2", f"{_BLOCK}/LayerNorm_1"),
    *dense(f"{_LAYER}.mlp.0", f"{_BLOCK}/MlpBlock_0/Dense_0"),
    *dense(f"{_LAYER}.mlp.3", f"{_BLOCK}/MlpBlock_0/Dense_1"),
    *dense(f"{_LAYER}.mlp.linear_1", f"{_BLOCK}/MlpBlock_0/Dense_0"),  # before torchvision 0.13
    *dense(f"{_LAYER}.mlp.linear_2", f"{_BLOCK}/MlpBlock_0/Dense_1"),
    *norm("encoder.ln", "Transformer/encoder_norm"),
    *dense("heads.head", "head"),
]


def read(arrays: Mapping[str, Described]) -> Reading | None:
    """What the names stand for; None if they are another codebase's."""
    fused_projection = arrays.get("encoder.layers.encoder_layer_0.self_attention.in_proj_weight")
    if fused_projection is not None:
        tensors, unknown = read_by(_VIT, arrays)
        return Reading(
            NAME,
            tensors,
            unknown,
            activation="gelu_erf",
            preprocessing="torchvision",
            heads=heads_of(fused_projection.shape),
        )
    if "layer1.0.conv1.weight" not in arrays or "bn1.weight" not in arrays:
        return None
    cifar = "linear.weight" in arrays or any(".shortcut." in name for name in arrays)
    tensors, unknown = read_by(
        _CIFAR if cifar else _RESNET, arrays, ignored=(".num_batches_tracked",)
    )
    return Reading(
        "pytorch_resnet_cifar10" if cifar else NAME,
        tensors,
        unknown,
        activation="relu",
        preprocessing="imagenet" if cifar else "torchvision",
    )


def table(leaves: Mapping[str, object]) -> list[Row]:
    """The table for writing a network with these leaves."""
    if f"{PARAMS}conv1/kernel" not in leaves:
        return _VIT
    return _CIFAR if f"{PARAMS}linear/kernel" in leaves else _RESNET
