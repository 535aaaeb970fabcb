"""State dicts of timm: ViT (with any pooling), hybrids, MLP-Mixer, post-activation ResNets.

The same names are used by DeiT and by many codebases derived from either. timm's BiT ResNets
(``resnetv2_50x1_bit``) have their activations in front and are another network.
"""

from collections.abc import Mapping

from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.namings.layouts import (
    CONVOLUTION,
    OUT,
    POINTWISE,
    SAME,
    VECTOR,
    fused,
)
from landscape.checkpoints.namings.naming import (
    PARAMS,
    POSITION_LEAF,
    Reading,
    Row,
    convolution,
    dense,
    norm,
    read_by,
    row,
)
from landscape.models.table import ENTRIES

NAME = "timm"
POSITIONS = "pos_embed"
_BLOCK = "Transformer/encoderblock_{i}"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_0"
_POOL = "MAPHead_0/MultiHeadDotProductAttention_0"


def _projections(name: str, attention: str, parts: tuple[str, ...]) -> list[Row]:
    return [
        row(
            f"{name}.{theirs}",
            *(f"{attention}/{part}/{ours}" for part in parts),
            layout=fused(len(parts)),
        )
        for theirs, ours in (("weight", "kernel"), ("bias", "bias"))
    ]


def _resnet(prefix: str, stem: str) -> list[Row]:
    unit, ours = f"{prefix}stages.{{s}}.blocks.{{b}}", "block{s}/unit{b}"
    shift = {"s": 1, "b": 1}
    return [
        convolution(f"{stem}conv", "conv_root"),
        *norm(f"{stem}norm", "gn_root"),
        convolution(f"{unit}.downsample.conv", f"{ours}/conv_proj", **shift),
        *norm(f"{unit}.downsample.norm", f"{ours}/gn_proj", **shift),
        *(convolution(f"{unit}.conv{n}", f"{ours}/conv{n}", **shift) for n in (1, 2, 3)),
        *(entry for n in (1, 2, 3) for entry in norm(f"{unit}.norm{n}", f"{ours}/gn{n}", **shift)),
    ]


_BACKBONE = "patch_embed.backbone."
_HEAD = dense("head", "head")
_VIT = [
    row("cls_token", "cls", layout=SAME),
    row(POSITIONS, POSITION_LEAF, layout=SAME),
    *dense("patch_embed.proj", "embedding", CONVOLUTION),
    *norm("blocks.{i}.norm1", f"{_BLOCK}/LayerNorm_0"),
    *_projections("blocks.{i}.attn.qkv", _ATTENTION, ("query", "key", "value")),
    *dense("blocks.{i}.attn.proj", f"{_ATTENTION}/out", OUT),
    *norm("blocks.{i}.norm2", f"{_BLOCK}/LayerNorm_1"),
    *dense("blocks.{i}.mlp.fc1", f"{_BLOCK}/MlpBlock_0/Dense_0"),
    *dense("blocks.{i}.mlp.fc2", f"{_BLOCK}/MlpBlock_0/Dense_1"),
    *norm("norm", "Transformer/encoder_norm"),
    row("attn_pool.latent", "MAPHead_0/probe", layout=SAME),
    *_projections("attn_pool.q", _POOL, ("query",)),
    *_projections("attn_pool.kv", _POOL, ("key", "value")),
    *dense("attn_pool.proj", f"{_POOL}/out", OUT),
    *norm("attn_pool.norm", "MAPHead_0/LayerNorm_0"),
    *dense("attn_pool.mlp.fc1", "MAPHead_0/MlpBlock_0/Dense_0"),
    *dense("attn_pool.mlp.fc2", "MAPHead_0/MlpBlock_0/Dense_1"),
    *_HEAD,
]
_REPRESENTATION = dense("pre_logits.fc", "pre_logits")  # before timm 0.6
_HYBRID = [*_VIT, *_resnet(_BACKBONE, f"{_BACKBONE}stem.")]
_HYBRID_OF_ROOT = [*_VIT, *_resnet(_BACKBONE, _BACKBONE)]
_MIXER = [
    *dense("stem.proj", "stem", CONVOLUTION),
    *norm("blocks.{i}.norm1", "MixerBlock_{i}/LayerNorm_0"),
    *dense("blocks.{i}.mlp_tokens.fc1", "MixerBlock_{i}/token_mixing/Dense_0"),
    *dense("blocks.{i}.mlp_tokens.fc2", "MixerBlock_{i}/token_mixing/Dense_1"),
    *norm("blocks.{i}.norm2", "MixerBlock_{i}/LayerNorm_1"),
    *dense("blocks.{i}.mlp_channels.fc1", "MixerBlock_{i}/channel_mixing/Dense_0"),
    *dense("blocks.{i}.mlp_channels.fc2", "MixerBlock_{i}/channel_mixing/Dense_1"),
    *norm("norm", "pre_head_layer_norm"),
    *_HEAD,
]
_RESNET = [
    *_resnet("", "stem."),
    row("head.fc.weight", "head/kernel", layout=POINTWISE),
    row("head.fc.bias", "head/bias", layout=VECTOR),
]


def recognised(arrays: Mapping[str, Described]) -> list[Row] | None:
    """The table of these names; None if they are not timm's."""
    if "blocks.0.mlp_tokens.fc1.weight" in arrays:
        return _MIXER
    if "blocks.0.attn.qkv.weight" in arrays:
        root_alone = f"{_BACKBONE}conv.weight" in arrays
        hybrid = _HYBRID if f"{_BACKBONE}stem.conv.weight" in arrays else _VIT
        return (_HYBRID_OF_ROOT if root_alone else hybrid) + _REPRESENTATION
    if "stem.norm.weight" in arrays and "stages.0.blocks.0.conv3.weight" in arrays:
        return _RESNET
    return None


def read(arrays: Mapping[str, Described]) -> Reading | None:
    """What the names stand for; None if they are not timm's."""
    table = recognised(arrays)
    if table is None:
        return None
    tensors, unknown = read_by(table, arrays)
    mixer, resnet = table is _MIXER, table is _RESNET
    return Reading(
        NAME,
        tensors,
        unknown,
        activation="relu" if resnet else "gelu_erf",
        preprocessing="timm_mixer" if mixer else "timm_resnet" if resnet else "timm_vit",
        heads=0 if mixer or resnet else heads_of(arrays["blocks.0.attn.qkv.weight"].shape),
    )


# Of widths that no entry has: So400m (arXiv:2305.13035), g and G (arXiv:2106.04560).
_HEADS = {1152: 16, 1408: 16, 1664: 16}


def heads_of(shape: tuple[int, ...]) -> int:
    """Heads of a ViT by the width of its fused projection, which does not tell: by convention."""
    width = shape[-1] if shape else 0
    for entry in ENTRIES.values():
        if entry.family == "vit" and entry.shape["width"] == width:
            return entry.shape["heads"]
    return _HEADS.get(width, max(1, width // 64))


def table(leaves: Mapping[str, object]) -> list[Row]:
    """The table for writing a network with these leaves."""
    if f"{PARAMS}stem/kernel" in leaves:
        return _MIXER
    if f"{PARAMS}embedding/kernel" not in leaves:
        return _RESNET
    if f"{PARAMS}conv_root/kernel" not in leaves:
        return _VIT
    return _HYBRID if f"{PARAMS}block1/unit1/conv1/kernel" in leaves else _HYBRID_OF_ROOT
