"""Parameters as other codebases publish them, and what they are in a network of ours.

Every array of a file is drawn by its name. What our leaves have to be is cut out of the file's
arrays by plain indexing, so that nothing of `landscape.checkpoints.namings` is taken for granted.
"""

import re
import zlib
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from landscape.parameters import named_leaves

_POSITIONS = "Transformer/posembed_input/pos_embedding"
_MAP = "MAPHead_0"


@dataclass(frozen=True)
class Published:
    """The arrays of a file by their names, and our leaves by theirs."""

    arrays: dict
    leaves: dict
    state: dict = field(default_factory=dict)


def drawn(name, *shape):
    """Standard normal values, the same for every array of that name and shape."""
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype("f")


def shapes_of(tree):
    """``{name: shape}`` of a tree."""
    return {name: leaf.shape for name, leaf in named_leaves(tree).items()}


# --- trees of Flax --------------------------------------------------------------------------------


def linen(model):
    """Our own names, which are those of Linen's modules."""
    arrays = {name: drawn(name, *shape) for name, shape in shapes_of(model.abstract()).items()}
    return Published(arrays, dict(arrays))


def _renamed(found, rename):
    return Published({rename(name): array for name, array in found.arrays.items()}, found.leaves)


_BEFORE_LINEN = {
    "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
    "LayerNorm_1": "LayerNorm_2",
    "MlpBlock_0": "MlpBlock_3",
}


def before_linen(found):
    """The modules of a block numbered together, as in vision_transformer's files."""

    def rename(name):
        top, *rest = name.split("/")
        if top == "Transformer" and rest[0].startswith("encoderblock"):
            rest[1] = _BEFORE_LINEN.get(rest[1], rest[1])
        return "/".join([top, *rest])

    return _renamed(found, rename)


def with_norms_of_four_axes(found):
    """GroupNorm's parameters as (1, 1, 1, C), as in vision_transformer's hybrids."""
    arrays = {
        name: array[None, None, None] if re.search(r"(^|/)gn[^/]*/", name) else array
        for name, array in found.arrays.items()
    }
    return Published(arrays, found.leaves)


def below_params(found):
    """The parameters alone of a train state."""
    return _renamed(found, lambda name: f"params/{name}")


def of_nnx(found):
    """What ``nnx.state`` makes of them: every array is the value of a variable."""
    return _renamed(found, lambda name: f"{name}/value")


def with_old_adam(found, top="opt/"):
    """What ``flax.optim`` saves: the parameters are its target."""
    arrays = {f"{top}target/{name}": array for name, array in found.arrays.items()}
    for name, array in found.arrays.items():
        for moment in ("grad_ema", "grad_sq_ema"):
            state = f"{top}state/param_states/{name}/{moment}"
            arrays[state] = drawn(state, *array.shape)
    return Published({f"{top}state/step": np.array(7), **arrays}, found.leaves)


def with_optax(found):
    """What big_vision saves with optax: moments with the names of the parameters come first."""
    arrays = {"opt/0/count": np.array(7)}
    for top in ("opt/0/mu/", "opt/0/nu/"):
        arrays |= {top + n: drawn(top + n, *array.shape) for n, array in found.arrays.items()}
    arrays |= {f"params/{name}": array for name, array in found.arrays.items()}
    return Published(arrays, found.leaves)


def with_positions_on_top(found, name="pos_embedding"):
    """big_vision's position embedding, which the class token has no place in."""
    arrays = dict(found.arrays)
    positions = arrays.pop(_POSITIONS)
    if "cls" not in arrays:
        return Published({**arrays, name: positions}, found.leaves)
    ours = np.concatenate([np.zeros_like(positions[:, :1]), positions[:, 1:]], axis=1)
    arrays[name] = np.ascontiguousarray(positions[:, 1:])
    return Published(arrays, {**found.leaves, _POSITIONS: ours})


def with_an_unused_place(found, name="Transformer/pos_embedding"):
    """An old position embedding that has a place for a class token, and none there."""
    arrays = dict(found.arrays)
    _, tokens, width = arrays.pop(_POSITIONS).shape
    arrays[name] = drawn(name, 1, tokens + 1, width)
    return Published(arrays, {**found.leaves, _POSITIONS: arrays[name][:, 1:]})


def stacked(found):
    """All blocks in one: each array has the depth as its first axis."""
    arrays, blocks = {}, {}
    for name, array in found.arrays.items():
        if name.startswith("Transformer/encoderblock_"):
            number, rest = name.removeprefix("Transformer/encoderblock_").split("/", 1)
            blocks.setdefault(f"Transformer/encoderblock/{rest}", {})[int(number)] = array
        else:
            arrays[name] = array
    arrays |= {name: np.stack([a[i] for i in range(len(a))]) for name, a in blocks.items()}
    return Published(arrays, found.leaves)


def with_inlined_pooling(found):
    """Attention pooling before it was a module."""
    return _renamed(found, lambda name: name.removeprefix(f"{_MAP}/"))


def in_bfloat16(found):
    """bfloat16 as numpy keeps it without ml_dtypes: two bytes of no type."""
    short = {name: array.astype(ml_dtypes.bfloat16) for name, array in found.arrays.items()}
    rounded = {n: a.astype(ml_dtypes.bfloat16).astype("f") for n, a in found.leaves.items()}
    return Published({name: array.view("V2") for name, array in short.items()}, rounded)


def with_a_text_tower(found):
    """A tree of two towers."""
    shapes = {
        "b": (),
        "t": (1,),
        "txt/Embed_0/embedding": (9, 4),
        "txt/Encoder_0/encoderblock_0/LayerNorm_0/scale": (4,),
        "txt/Encoder_0/encoderblock_0/MlpBlock_0/Dense_0/kernel": (4, 8),
        "txt/Encoder_0/encoder_norm/scale": (4,),
        "txt/pos_embedding": (1, 5, 4),
        "txt/head/kernel": (4, 6),
        "txt/head/bias": (6,),
    }
    arrays = {f"params/{name}": drawn(name, *shape) for name, shape in shapes.items()}
    image = {f"params/img/{name}": array for name, array in found.arrays.items()}
    return Published(arrays | image, found.leaves)


def scenic(found):
    """A train state of Scenic, whose head has another name."""
    renamed = _renamed(found, lambda name: name.replace("head/", "output_projection/"))
    with_adam = with_old_adam(renamed, "optimizer/")
    return Published({**with_adam.arrays, "global_step": np.array(7)}, found.leaves)


# --- state dicts of PyTorch -----------------------------------------------------------------------


class _StateDict:
    """A state dict that grows by modules, and the leaves of a model that they are."""

    def __init__(self, model):
        self.shapes = shapes_of(model.abstract())
        self.published = Published({}, {})

    def array(self, name, *shape):
        self.published.arrays[name] = drawn(name, *shape)
        return self.published.arrays[name]

    def same(self, name, leaf):
        self.published.leaves[leaf] = self.array(name, *self.shapes[leaf])

    def norm(self, name, leaf):
        self.same(f"{name}.weight", f"{leaf}/scale")
        self.same(f"{name}.bias", f"{leaf}/bias")

    def batch_norm(self, name, leaf):
        self.norm(name, leaf)
        for theirs, ours in (("running_mean", "mean"), ("running_var", "var")):
            values = self.array(f"{name}.{theirs}", *self.shapes[f"{leaf}/scale"])
            self.published.state[f"{leaf}/{ours}"] = values
        self.published.arrays[f"{name}.num_batches_tracked"] = np.array(7)

    def linear(self, name, leaf):
        inputs, outputs = self.shapes[f"{leaf}/kernel"]
        weight = self.array(f"{name}.weight", outputs, inputs)
        self.published.leaves[f"{leaf}/kernel"] = weight.T
        self.same(f"{name}.bias", f"{leaf}/bias")

    def convolution(self, name, leaf, bias=False):
        height, width, inputs, outputs = self.shapes[f"{leaf}/kernel"]
        weight = self.array(f"{name}.weight", outputs, inputs, height, width)
        self.published.leaves[f"{leaf}/kernel"] = np.einsum("oihw->hwio", weight)
        if bias:
            self.same(f"{name}.bias", f"{leaf}/bias")

    def to_heads(self, weight, bias, leaf, parts):
        """Several projections, one below the other, the rows of each by head."""
        width, heads, size = self.shapes[f"{leaf}/{parts[0]}/kernel"]
        weight, bias = (
            self.array(weight, len(parts) * width, width),
            self.array(bias, len(parts) * width),
        )
        for number, part in enumerate(parts):
            starts = [number * width + head * size for head in range(heads)]
            kernels = [weight[start : start + size].T for start in starts]
            self.published.leaves[f"{leaf}/{part}/kernel"] = np.stack(kernels, axis=1)
            biases = [bias[start : start + size] for start in starts]
            self.published.leaves[f"{leaf}/{part}/bias"] = np.stack(biases)

    def from_heads(self, name, leaf):
        heads, size, width = self.shapes[f"{leaf}/kernel"]
        weight = self.array(f"{name}.weight", width, heads * size)
        kernels = [weight[:, head * size : (head + 1) * size].T for head in range(heads)]
        self.published.leaves[f"{leaf}/kernel"] = np.stack(kernels)
        self.same(f"{name}.bias", f"{leaf}/bias")

    def mlp(self, first, second, leaf):
        self.linear(first, f"{leaf}/Dense_0")
        self.linear(second, f"{leaf}/Dense_1")


def _attention(leaf):
    return f"{leaf}/MultiHeadDotProductAttention_0"


def timm_vit(model):
    """timm's ``VisionTransformer``: with a class token, ``fc_norm=False`` or ``attn_pool``."""
    made = _StateDict(model)
    if "cls" in made.shapes:
        made.same("cls_token", "cls")
    made.same("pos_embed", _POSITIONS)
    if model.module.resnet is not None:
        backbone = "patch_embed.backbone"
        _timm_stages(made, f"{backbone}.", f"{backbone}.stem" if model.module.resnet else backbone)
    made.convolution("patch_embed.proj", "embedding", bias=True)
    for i in range(model.module.depth):
        block, leaf = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        made.norm(f"{block}.norm1", f"{leaf}/LayerNorm_0")
        qkv = f"{block}.attn.qkv.weight", f"{block}.attn.qkv.bias"
        made.to_heads(*qkv, _attention(leaf), ("query", "key", "value"))
        made.from_heads(f"{block}.attn.proj", f"{_attention(leaf)}/out")
        made.norm(f"{block}.norm2", f"{leaf}/LayerNorm_1")
        made.mlp(f"{block}.mlp.fc1", f"{block}.mlp.fc2", f"{leaf}/MlpBlock_0")
    made.norm("norm", "Transformer/encoder_norm")
    if f"{_MAP}/probe" in made.shapes:
        made.same("attn_pool.latent", f"{_MAP}/probe")
        made.to_heads("attn_pool.q.weight", "attn_pool.q.bias", _attention(_MAP), ("query",))
        kv = "attn_pool.kv.weight", "attn_pool.kv.bias"
        made.to_heads(*kv, _attention(_MAP), ("key", "value"))
        made.from_heads("attn_pool.proj", f"{_attention(_MAP)}/out")
        made.norm("attn_pool.norm", f"{_MAP}/LayerNorm_0")
        made.mlp("attn_pool.mlp.fc1", "attn_pool.mlp.fc2", f"{_MAP}/MlpBlock_0")
    if "pre_logits/kernel" in made.shapes:
        made.linear("pre_logits.fc", "pre_logits")
    made.linear("head", "head")
    return made.published


def timm_mixer(model):
    """timm's ``MlpMixer``."""
    made = _StateDict(model)
    made.convolution("stem.proj", "stem", bias=True)
    for i in range(model.module.depth):
        block, leaf = f"blocks.{i}", f"MixerBlock_{i}"
        made.norm(f"{block}.norm1", f"{leaf}/LayerNorm_0")
        mlp = f"{block}.mlp_tokens"
        made.mlp(f"{mlp}.fc1", f"{mlp}.fc2", f"{leaf}/token_mixing")
        made.norm(f"{block}.norm2", f"{leaf}/LayerNorm_1")
        mlp = f"{block}.mlp_channels"
        made.mlp(f"{mlp}.fc1", f"{mlp}.fc2", f"{leaf}/channel_mixing")
    made.norm("norm", "pre_head_layer_norm")
    made.linear("head", "head")
    return made.published


def _timm_stages(made, prefix, stem):
    made.convolution(f"{stem}.conv", "conv_root")
    made.norm(f"{stem}.norm", "gn_root")
    units = dict.fromkeys(name.split("/gn1/")[0] for name in made.shapes if "/gn1/" in name)
    for leaf in units:
        stage, unit = (int(number) - 1 for number in re.findall(r"\d+", leaf))
        block = f"{prefix}stages.{stage}.blocks.{unit}"
        if f"{leaf}/conv_proj/kernel" in made.shapes:
            made.convolution(f"{block}.downsample.conv", f"{leaf}/conv_proj")
            made.norm(f"{block}.downsample.norm", f"{leaf}/gn_proj")
        for n in (1, 2, 3):
            made.convolution(f"{block}.conv{n}", f"{leaf}/conv{n}")
            made.norm(f"{block}.norm{n}", f"{leaf}/gn{n}")


def timm_resnet(model):
    """timm's ``ResNetV2`` with ``preact=False``, whose head is a convolution."""
    made = _StateDict(model)
    _timm_stages(made, "", "stem")
    inputs, outputs = made.shapes["head/kernel"]
    weight = made.array("head.fc.weight", outputs, inputs, 1, 1)
    made.published.leaves["head/kernel"] = weight.reshape(outputs, inputs).T
    made.same("head.fc.bias", "head/bias")
    return made.published


def torchvision_resnet(model):
    """torchvision's ``ResNet``."""
    made = _StateDict(model)
    made.convolution("conv1", "conv1")
    made.batch_norm("bn1", "bn1")
    units = dict.fromkeys(name.split("/bn1/")[0] for name in made.shapes if "/bn1/" in name)
    for leaf in units:
        unit = leaf.replace("/", ".")
        for n in (1, 2, 3) if model.module.bottleneck else (1, 2):
            made.convolution(f"{unit}.conv{n}", f"{leaf}/conv{n}")
            made.batch_norm(f"{unit}.bn{n}", f"{leaf}/bn{n}")
        if f"{leaf}/downsample/0/kernel" in made.shapes:
            made.convolution(f"{unit}.downsample.0", f"{leaf}/downsample/0")
            made.batch_norm(f"{unit}.downsample.1", f"{leaf}/downsample/1")
    made.linear("fc", "fc")
    return made.published


def torchvision_vit(model, first="mlp.0", second="mlp.3"):
    """torchvision's ``VisionTransformer``; before 0.13 its MLPs had ``mlp.linear_1`` and ``_2``."""
    made = _StateDict(model)
    made.same("class_token", "cls")
    made.convolution("conv_proj", "embedding", bias=True)
    made.same("encoder.pos_embedding", _POSITIONS)
    for i in range(model.module.depth):
        layer, leaf = f"encoder.layers.encoder_layer_{i}", f"Transformer/encoderblock_{i}"
        made.norm(f"{layer}.ln_1", f"{leaf}/LayerNorm_0")
        attention = f"{layer}.self_attention"
        in_proj = f"{attention}.in_proj_weight", f"{attention}.in_proj_bias"
        made.to_heads(*in_proj, _attention(leaf), ("query", "key", "value"))
        made.from_heads(f"{attention}.out_proj", f"{_attention(leaf)}/out")
        made.norm(f"{layer}.ln_2", f"{leaf}/LayerNorm_1")
        made.mlp(f"{layer}.{first}", f"{layer}.{second}", f"{leaf}/MlpBlock_0")
    made.norm("encoder.ln", "Transformer/encoder_norm")
    made.linear("heads.head", "head")
    return made.published
