"""What is said of arrays that have no place in a network of ours, or not with their shape."""

import container_files
import numpy as np
import published
import pytest

from landscape.checkpoints import check_fit, load
from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.namings import timm, torchvision
from landscape.checkpoints.recognition import recognised
from landscape.errors import RequestError
from landscape.models.registry import build

VIT = build("ViT-Mini/2")
BLOCK = "Transformer/encoderblock_0"
STACKED = "Transformer/encoderblock"


def opened(folder, arrays):
    container_files.npz(folder / "a", arrays)
    return load(str(folder / "a"))


def refused(folder, arrays):
    """The one line."""
    with pytest.raises(RequestError) as told:
        opened(folder, arrays)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("dist_token", (1, 1, 48)),
        ("head_dist.weight", (10, 48)),
        ("blocks.0.ls1.gamma", (48,)),
        ("blocks.0.attn.q_norm.weight", (16,)),
        ("fc_norm.weight", (48,)),
        ("blocks.x.norm1.weight", (48,)),
    ],
)
def test_names_without_a_place_are_told(tmp_path, name, shape):
    arrays = published.timm_vit(VIT).arrays | {name: np.ones(shape, "f")}
    found = opened(tmp_path, arrays)
    assert found.unknown == (name,)
    check_fit(found.params, VIT.abstract())  # which the rest does


def test_names_without_a_place_in_a_tree_do_not_fit(tmp_path):
    arrays = published.linen(VIT).arrays | {f"{BLOCK}/gamma": np.ones(48, "f")}
    found = opened(tmp_path, arrays)
    with pytest.raises(RequestError, match=rf"1 not in the model \({BLOCK}/gamma\)"):
        check_fit(found.params, build(**found.request).abstract())


def test_a_distilled_network_is_one_with_tokens_too_many(tmp_path):
    arrays = published.timm_vit(VIT).arrays
    arrays["dist_token"], arrays["pos_embed"] = arrays["cls_token"], np.ones((1, 18, 48), "f")
    found = opened(tmp_path, arrays)
    assert (found.network.name, found.unknown) == ("ViT-Mini/2", ("dist_token",))
    with pytest.raises(RequestError, match=r"pos_embedding \(1, 18, 48\) instead of \(1, 17, 48\)"):
        check_fit(found.params, build(**found.request).abstract())


def test_a_norm_after_pooling_is_another_network(tmp_path):
    arrays = published.timm_vit(build("ViT-Mini/2", classifier="gap")).arrays
    for kind in ("weight", "bias"):
        arrays[f"fc_norm.{kind}"] = arrays.pop(f"norm.{kind}")
    found = opened(tmp_path, arrays)
    assert found.unknown == ("fc_norm.weight", "fc_norm.bias")
    assert found.network.name == "ViT-Mini/2"
    with pytest.raises(RequestError, match="2 missing"):
        check_fit(found.params, build(**found.request).abstract())


def test_activations_in_front_make_another_network(tmp_path):
    arrays = published.timm_resnet(build("ResNet-50", shape={"units": (1,), "width": 4})).arrays
    arrays = {"norm.weight": np.ones(16, "f"), **arrays}
    del arrays["stem.norm.weight"], arrays["stem.norm.bias"]  # resnetv2_50x1_bit has none there
    found = opened(tmp_path, arrays)
    assert (found.naming, found.network) == ("its own", None)


# --- shapes ---------------------------------------------------------------------------------------

IN_PROJ = "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"


def on_top(model):
    return published.with_positions_on_top(published.linen(model))


def stacked(model):
    return published.stacked(on_top(model))


@pytest.mark.parametrize(
    ("make", "name", "shape"),
    [
        (published.timm_vit, "blocks.0.attn.qkv.weight", (7, 48)),
        (published.timm_vit, "blocks.0.attn.qkv.weight", ()),
        (published.timm_vit, "blocks.1.attn.qkv.bias", (143,)),
        (published.timm_vit, "blocks.2.attn.proj.weight", (48,)),
        (published.timm_vit, "patch_embed.proj.weight", (48, 4)),
        (published.timm_vit, "head.weight", (10, 48, 1)),
        (published.timm_vit, "head.bias", (10, 1)),
        (published.timm_vit, "norm.weight", (0,)),
        (published.torchvision_vit, IN_PROJ, ()),
        (published.torchvision_vit, IN_PROJ, (143, 48)),
        (on_top, "pos_embedding", (16, 48)),
        (stacked, f"{STACKED}/LayerNorm_0/scale", ()),
        (stacked, f"{STACKED}/LayerNorm_0/scale", (0, 48)),
        (stacked, f"{STACKED}/LayerNorm_0/scale", (10**9, 0)),
    ],
)
def test_a_shape_that_no_array_of_the_name_has_is_told(tmp_path, make, name, shape):
    arrays = make(VIT).arrays | {name: np.ones(shape, "f")}
    told = refused(tmp_path, arrays)
    assert f"{name!r} in {tmp_path / 'a'} has shape {shape}, which no" in told


def test_stacks_of_more_leaves_than_any_network_has_are_refused(tmp_path):
    arrays = stacked(VIT).arrays
    arrays |= {f"{STACKED}/{i}": np.ones(60_000, np.int8) for i in range(2)}
    assert "which no parameter has" in refused(tmp_path, arrays)


@pytest.mark.parametrize(
    ("make", "first", "second"),
    [
        (published.timm_vit, "blocks.0.norm1.bias", "blocks.00.norm1.bias"),
        (published.linen, f"{BLOCK}/LayerNorm_0/bias", f"{BLOCK}/LayerNorm_00/bias"),
        (published.linen, "embedding/bias", "embedding/bias/value"),
        (published.linen, "head/bias", "output_projection/bias"),
        (on_top, "pos_embedding", "Transformer/pos_embedding"),
        (stacked, f"{STACKED}/LayerNorm_0/scale", f"{BLOCK}/LayerNorm_0/scale"),
        (published.torchvision_vit, "encoder.layers.encoder_layer_0.mlp.0.bias",
         "encoder.layers.encoder_layer_0.mlp.linear_1.bias"),
    ],
)  # fmt: skip
def test_a_parameter_under_two_names_is_told(tmp_path, make, first, second):
    arrays = make(VIT).arrays
    arrays[second] = arrays[first][0] if make is stacked else arrays[first]
    assert "under two names" in refused(tmp_path, arrays)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ViT-B/16", {"depth": 6, "mlp": 2048}),
        ("ViT-S/32", {"patch": 28}),
        ("ViT22B-Ti/16", {"depth": 2}),
        ("ViT_C-1GF", {"depth": 3, "mlp": 384}),
        ("R26+ViT-S/32", {"resnet": (1, 1, 1, 1)}),
        ("Mixer-S/16", {"depth": 2, "token_mlp": 128}),
        ("ResNet-50", {"units": (1, 1, 1, 1)}),
        ("ResNet-18-BatchNorm", {"units": (1, 1, 1)}),
        ("CIFAR-ResNet-20", {"width": 24}),
    ],
)
def test_sizes_of_no_registered_network_are_told_from_the_nearest_one(name, shape):
    model = build(name, shape=shape)
    found = recognised(published.shapes_of(model.abstract()))
    assert (found.name, found.differences) == (name, shape)
    assert build(found.name, **found.request).abstract() == model.abstract()


def test_the_nearest_network_of_a_file_is_told_and_built(tmp_path):
    model = build("ViT-Mini/2", shape={"depth": 2, "mlp": 40}, activation="gelu_erf")
    found = opened(tmp_path, published.timm_vit(model).arrays)
    assert found.network.name == "ViT-Mini/2"
    assert found.network.differences == {"depth": 2, "mlp": 40}
    rebuilt = build(**found.request)
    assert rebuilt.module == model.module
    check_fit(found.params, rebuilt.abstract())


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (192, 3), (384, 6), (512, 8), (768, 12), (1024, 16), (1280, 16),
        (1152, 16), (1408, 16), (1664, 16),  # So400m, g and G
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("naming", "name"), [(timm, "blocks.0.attn.qkv.weight"), (torchvision, IN_PROJ)]
)
def test_heads_are_told_by_the_width(naming, name, width, heads):
    described = {name: Described((3 * width, width), np.dtype("f"))}
    assert naming.read(described).heads == heads


@pytest.mark.parametrize(
    "shapes",
    [
        {"Transformer/encoder_norm/scale": (48,)},
        {"Transformer/encoder_norm/scale": (), "embedding/kernel": (2, 2)},
        {"MixerBlock_0/token_mixing/Dense_0/kernel": (4,), "stem/kernel": (2, 2, 1, 4)},
        {"conv_root/kernel": (7, 7, 0, 64)},
        {"conv1/kernel": (3, 3)},
        {"other/kernel": (3, 3)},
        {},
    ],
)
def test_what_is_no_network_of_ours_is_told_to_be_none(shapes):
    assert recognised(shapes) is None
