"""Files laid out as other codebases lay them out: their leaves, their network, its function."""

from dataclasses import dataclass, replace
from functools import partial, reduce

import container_files
import jax
import numpy as np
import orbax.checkpoint as ocp
import published
import pytest
import torch_files
from orbax.checkpoint.experimental import v1
from published import before_linen, below_params, linen
from published import with_positions_on_top as on_top
from scipy import special

from landscape.checkpoints import check_fit, load
from landscape.checkpoints.containers.orbax import quiet
from landscape.models.registry import build
from landscape.parameters import named_leaves


def orbax(path, arrays):
    with quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
        writer.save(path, args=ocp.args.PyTreeSave(container_files.nested(arrays)))


def orbax_v1(path, arrays):
    with quiet():
        v1.save(path, container_files.nested(arrays))


def below_model(path, arrays):
    """DeiT's files."""
    torch_files.write(path, {"model": torch_files.state_dict(arrays)}, "legacy")


npz, deflated = container_files.npz, container_files.npz_deflated
safetensors, msgpack = container_files.safetensors_, container_files.msgpack
legacy, zipped = container_files.torch_legacy, container_files.torch_zip
MHA = "MultiHeadDotProductAttention_0"


@dataclass(frozen=True)
class Origin:
    """Whose names they are, and what belongs to the networks that are trained there."""

    naming: str
    activation: str
    preprocessing: str


GOOGLE = Origin("vision_transformer", "gelu_tanh", "big_vision")
GOOGLE_RESNET = replace(GOOGLE, activation="relu")
BIG_VISION = replace(GOOGLE, naming="big_vision")
TIMM_VIT = Origin("timm", "gelu_erf", "timm_vit")
TIMM_MIXER = replace(TIMM_VIT, preprocessing="timm_mixer")
TIMM_RESNET = Origin("timm", "relu", "timm_resnet")
TORCHVISION_VIT = Origin("torchvision", "gelu_erf", "torchvision")
TORCHVISION_RESNET = replace(TORCHVISION_VIT, activation="relu")

vit = partial(build, "ViT-Mini/2")
gap, pooled = partial(vit, classifier="gap"), partial(vit, classifier="map")
plain = partial(gap, position_embedding="sincos2d", representation=48)
mixer = partial(build, "Mixer-Mini/2")
SMALL = {"width": 48, "depth": 1, "mlp": 8}
hybrid_of_root = partial(build, "R+ViT-Ti/16", classes=10, image_shape=(32, 32, 3), shape=SMALL)
hybrid = partial(hybrid_of_root, shape={"patch": 1, **SMALL, "resnet": (1, 2)})
resnet = partial(build, "ResNet-50", classes=10, shape={"units": (1, 2), "width": 8})
resnet18 = partial(build, "ResNet-18-BatchNorm", classes=10, shape={"width": 8})
resnet50 = partial(build, "ResNet-50-BatchNorm", classes=10, shape={"width": 8})

in_encoder = partial(on_top, name="Transformer/pos_embedding")
older_torchvision_vit = partial(
    published.torchvision_vit, first="mlp.linear_1", second="mlp.linear_2"
)

# Origin, file, network, and the steps that make its arrays.
LAYOUTS = {
    "ViT": (GOOGLE, npz, vit, linen, before_linen),
    "ViT of Linen": (GOOGLE, deflated, vit, linen),
    "ViT with its Adam": (GOOGLE, npz, vit, linen, before_linen, published.with_old_adam),
    "ViT of imagenet21k": (GOOGLE, npz, partial(vit, representation=24), linen, before_linen),
    "ViT of GSAM": (GOOGLE, npz, gap, linen, before_linen),
    "Mixer": (GOOGLE, npz, mixer, linen),
    "ResNet": (GOOGLE_RESNET, npz, resnet, linen),
    "hybrid": (GOOGLE, npz, hybrid, linen, before_linen, published.with_norms_of_four_axes),
    "hybrid of the root": (GOOGLE, npz, hybrid_of_root, linen, published.with_norms_of_four_axes),
    "Scenic": (GOOGLE, msgpack, vit, linen, before_linen, published.scenic),
    "big_vision": (BIG_VISION, npz, gap, linen, on_top),
    "big_vision with a class token": (BIG_VISION, npz, vit, linen, on_top),
    "big_vision, positions in the encoder": (BIG_VISION, npz, vit, linen, in_encoder),
    "big_vision, an unused place": (BIG_VISION, npz, gap, linen, published.with_an_unused_place),
    "big_vision, fixed positions": (BIG_VISION, npz, plain, linen),
    "big_vision below params": (BIG_VISION, npz, vit, linen, on_top, below_params),
    "big_vision with optax": (BIG_VISION, npz, vit, linen, on_top, published.with_optax),
    "big_vision below opt/target": (BIG_VISION, npz, gap, linen, on_top, published.with_old_adam),
    "big_vision, stacked": (BIG_VISION, deflated, gap, linen, on_top, published.stacked),
    "big_vision, stacked with optax": (
        BIG_VISION, msgpack, vit, linen, on_top, published.stacked, published.with_optax
    ),
    "big_vision, pooled": (BIG_VISION, npz, pooled, linen, on_top),
    "big_vision, pooling inlined": (
        BIG_VISION, npz, pooled, linen, on_top, published.with_inlined_pooling
    ),
    "big_vision, bfloat16": (BIG_VISION, npz, gap, linen, on_top, published.in_bfloat16),
    "big_vision, two towers": (
        BIG_VISION, npz, pooled, linen, on_top, published.with_a_text_tower
    ),
    "Orbax": (GOOGLE, orbax, vit, linen, published.with_optax),
    "Orbax, new interface": (BIG_VISION, orbax_v1, gap, linen, on_top, published.with_optax),
    "NNX": (GOOGLE, msgpack, mixer, linen, published.of_nnx),
    "timm": (TIMM_VIT, safetensors, vit, published.timm_vit),
    "timm, gap": (TIMM_VIT, safetensors, gap, published.timm_vit),
    "timm, pooled": (TIMM_VIT, zipped, pooled, published.timm_vit),
    "timm, pre_logits": (TIMM_VIT, legacy, partial(vit, representation=48), published.timm_vit),
    "timm, hybrid": (TIMM_VIT, safetensors, hybrid, published.timm_vit),
    "timm, hybrid of the root": (TIMM_VIT, legacy, hybrid_of_root, published.timm_vit),
    "timm, Mixer": (TIMM_MIXER, safetensors, mixer, published.timm_mixer),
    "timm, ResNet": (TIMM_RESNET, zipped, resnet, published.timm_resnet),
    "DeiT": (TIMM_VIT, below_model, vit, published.timm_vit),
    "torchvision, ResNet-18": (TORCHVISION_RESNET, zipped, resnet18, published.torchvision_resnet),
    "torchvision, ResNet-50": (TORCHVISION_RESNET, legacy, resnet50, published.torchvision_resnet),
    "torchvision, ViT": (TORCHVISION_VIT, safetensors, vit, published.torchvision_vit),
    "torchvision before 0.13, ViT": (TORCHVISION_VIT, zipped, vit, older_torchvision_vit),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_is_read_as_the_network_it_is(tmp_path, name):
    origin, write, network, make, *changes = LAYOUTS[name]
    model = network(activation=origin.activation)
    made = reduce(lambda found, change: change(found), changes, make(model))
    write(tmp_path / "a", made.arrays)
    found = load(str(tmp_path / "a"))

    for tree, leaves in ((found.params, made.leaves), (found.state or {}, made.state)):
        read = named_leaves(tree)
        assert read.keys() == leaves.keys()
        for leaf, expected in leaves.items():
            assert read[leaf].dtype == np.float32
            np.testing.assert_array_equal(read[leaf], expected, err_msg=leaf)

    assert (found.naming, found.preprocessing) == (origin.naming, origin.preprocessing)
    assert (found.unknown, found.network.name) == ((), model.name)
    assert found.network.differences == model.request.get("shape", {})
    rebuilt = build(**found.request)
    assert rebuilt.module == model.module
    assert found.network.any_size or rebuilt.image_shape == model.image_shape
    check_fit(found.params, rebuilt.abstract())
    assert (found.state is not None) == model.has_state
    if model.has_state:
        check_fit(found.state, rebuilt.abstract_state())


# --- functions ------------------------------------------------------------------------------------


def normed(x, scale, bias):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale + bias


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x):
    return 0.5 * x * (1 + special.erf(x / np.sqrt(2)))


def patches(images):
    """(B, 8, 8, 1) to (B, 16, 2, 2): row by row."""
    split = images.reshape(len(images), 4, 2, 4, 2).transpose(0, 1, 3, 2, 4)
    return split.reshape(len(images), 16, 2, 2)


def logits_of_big_vision(file, images):
    """Logits of big_vision's ViT with a class token, which has no position."""
    x = np.einsum("bnhw,hwcd->bnd", patches(images), file["embedding/kernel"])
    x = x + file["embedding/bias"] + file["pos_embedding"]
    x = np.concatenate([np.repeat(file["cls"], len(x), axis=0), x], axis=1)
    for i in range(3):
        prefix = f"Transformer/encoderblock_{i}/"
        of = {name.removeprefix(prefix): a for name, a in file.items() if name.startswith(prefix)}
        y = normed(x, of["LayerNorm_0/scale"], of["LayerNorm_0/bias"])
        q, k, v = (
            np.einsum("bnd,dhe->bhne", y, of[f"{MHA}/{part}/kernel"])
            + of[f"{MHA}/{part}/bias"][:, None]
            for part in ("query", "key", "value")
        )
        scores = np.einsum("bhqe,bhke->bhqk", q, k) / np.sqrt(16)
        mixed = np.einsum("bhqk,bhke->bqhe", softmax(scores), v)
        x = x + np.einsum("bqhe,hed->bqd", mixed, of[f"{MHA}/out/kernel"]) + of[f"{MHA}/out/bias"]
        y = normed(x, of["LayerNorm_1/scale"], of["LayerNorm_1/bias"])
        y = gelu_tanh(y @ of["MlpBlock_0/Dense_0/kernel"] + of["MlpBlock_0/Dense_0/bias"])
        x = x + y @ of["MlpBlock_0/Dense_1/kernel"] + of["MlpBlock_0/Dense_1/bias"]
    x = normed(x, file["Transformer/encoder_norm/scale"], file["Transformer/encoder_norm/bias"])
    return x[:, 0] @ file["head/kernel"] + file["head/bias"]


def logits_of_timm(file, images):
    """Logits of timm's ViT, as its ``forward`` goes."""

    def linear(x, name):
        return x @ file[f"{name}.weight"].T + file[f"{name}.bias"]

    def norm(x, name):
        return normed(x, file[f"{name}.weight"], file[f"{name}.bias"])

    x = np.einsum("bnhw,dchw->bnd", patches(images), file["patch_embed.proj.weight"])
    x = x + file["patch_embed.proj.bias"]
    x = np.concatenate([np.repeat(file["cls_token"], len(x), axis=0), x], axis=1)
    x = x + file["pos_embed"]
    for i in range(3):
        qkv = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
        q, k, v = qkv.reshape(*x.shape[:2], 3, 3, 16).transpose(2, 0, 3, 1, 4)
        mixed = softmax(q @ k.swapaxes(-2, -1) / np.sqrt(16)) @ v
        x = x + linear(mixed.swapaxes(1, 2).reshape(x.shape), f"blocks.{i}.attn.proj")
        y = gelu_erf(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + linear(y, f"blocks.{i}.mlp.fc2")
    return linear(norm(x, "norm")[:, 0], "head")


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (lambda model: on_top(linen(model)), logits_of_big_vision),
        (published.timm_vit, logits_of_timm),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_network_computes_what_theirs_computes(tmp_path, x64, make, theirs, seed):
    file = make(vit()).arrays
    file = {name: 0.2 * array.astype(np.float64) for name, array in file.items()}
    npz(tmp_path / "a", file)
    found = load(str(tmp_path / "a"))
    images = np.random.default_rng(seed).normal(size=(2, 8, 8, 1))
    logits = jax.jit(build(**found.request).apply)(found.params, images)
    np.testing.assert_allclose(logits, theirs(file, images), rtol=1e-9)
