"""Writers: what is written is read back, with the names of those it is written for."""

import dataclasses

import numpy as np
import published
import pytest
from safetensors.numpy import load_file, save_file

from landscape.checkpoints import Checkpoint, check_fit, load, write
from landscape.checkpoints.recognition import Recognised
from landscape.errors import RequestError
from landscape.models import registry
from landscape.models.vit import sincos2d
from landscape.parameters import named_leaves

VIT = {"width": 48, "depth": 2, "heads": 3, "mlp": 8}  # heads as a fused projection is read
NETWORKS = {
    "ViT-S/16": {"shape": VIT},
    "ViT-B/16": {"shape": VIT, "classifier": "map"},
    "ViT-L/16": {"shape": VIT, "classifier": "gap"},
    "R26+ViT-S/32": {"shape": {**VIT, "resnet": (1, 1, 1, 1)}},
    "R+ViT-Ti/16": {"shape": VIT},
    "Mixer-S/16": {"shape": {"width": 16, "depth": 2, "token_mlp": 4, "channel_mlp": 8}},
    "ResNet-50": {"shape": {"units": (1, 1), "width": 4}, "image_shape": (80, 80, 3)},
    "ResNet-18-BatchNorm": {"shape": {"units": (1, 1), "width": 4}},
    "CIFAR-ResNet-20-projection": {"shape": {"units": (1, 1), "width": 4}},
}
ELSEWHERE = {  # networks for which timm has no names
    "PlainViT-S/16": ({"shape": VIT, "representation": 5}, "pre_logits/"),
    "ViT22B-S/16": ({"shape": VIT}, "key_ln/scale"),
    "ViT_C-1GF": ({"shape": {**VIT, "depth": 1}}, "stem/"),
}


def checkpoint(name, **options):
    """A network with random values as if it had been read."""
    model = registry.build(name, **{"image_shape": (64, 64, 3), "classes": 3, **options})
    rng = np.random.default_rng(0)

    def drawn(tree):
        if isinstance(tree, dict):
            return {name: drawn(part) for name, part in tree.items()}
        return rng.normal(size=tree.shape).astype("f")

    request = {k: v for k, v in model.request.items() if k not in ("name", "shape", "activation")}
    return Checkpoint(
        drawn(model.abstract()),
        7,
        None,
        "a.npz",
        state=drawn(model.abstract_state()) if model.has_state else None,
        network=Recognised(name, dict(options.get("shape", {})), request),
        activation=model.request["activation"],
        preprocessing="big_vision",
    )


def same(found, expected):
    check = named_leaves(expected)
    found = named_leaves(found)
    assert found.keys() == check.keys()
    for name, leaf in check.items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, file) for name in [*NETWORKS, *ELSEWHERE] for file in ("a.npz", "run")]
    + [(name, "a.safetensors") for name in NETWORKS],
)
def test_what_is_written_comes_back(tmp_path, name, file):
    written = checkpoint(name, **NETWORKS.get(name) or ELSEWHERE[name][0])
    write(written, tmp_path / file)
    found = load(str(tmp_path / file))
    same(found.params, written.params)
    if written.state is not None:
        same(found.state, written.state)
    model, before = registry.build(**found.request), registry.build(**written.request)
    check_fit(found.params, model.abstract())
    for option in ("heads", "classifier", "position_embedding", "style", "convolutions", "block"):
        assert getattr(model.module, option, None) == getattr(before.module, option, None)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_run_folder_keeps_step_network_and_preprocessing(tmp_path):
    written = checkpoint("ViT-S/16", shape=VIT)
    write(written, tmp_path / "run")
    found = load(str(tmp_path / "run"))
    assert (found.step, found.preprocessing) == (7, "big_vision")
    assert registry.build(**found.request) is registry.build(**written.request)
    assert found.config["converted_from"]["reference"] == "a.npz"
    with pytest.raises(RequestError, match="is a run folder already"):
        write(written, tmp_path / "run")


def test_a_run_folder_holds_whole_networks_only(tmp_path):
    written = checkpoint("ViT-S/16", shape=VIT)
    del written.params["cls"]
    with pytest.raises(RequestError, match=r"a\.npz does not fit the model: .*1 missing \(cls\)"):
        write(written, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_an_npz_has_the_names_of_the_published_files(tmp_path):
    write(checkpoint("ViT-S/16", shape=VIT), tmp_path / "a.npz")
    names = set(np.load(tmp_path / "a.npz").files)
    block = "Transformer/encoderblock_1"
    assert {
        "cls",
        f"{block}/LayerNorm_2/scale",
        f"{block}/MultiHeadDotProductAttention_1/query/kernel",
        f"{block}/MlpBlock_3/Dense_1/bias",
    } <= names
    assert len(names) == 8 + 2 * 16


def test_safetensors_of_a_vit_have_timms_names_and_layouts(tmp_path):
    written = checkpoint("ViT-S/16", shape=VIT)
    write(written, tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    attention = written.params["Transformer"]["encoderblock_0"]["MultiHeadDotProductAttention_0"]
    rows = [attention[part]["kernel"].reshape(48, 48).T for part in ("query", "key", "value")]
    np.testing.assert_array_equal(tensors["blocks.0.attn.qkv.weight"], np.concatenate(rows))
    np.testing.assert_array_equal(
        tensors["blocks.0.attn.proj.weight"], attention["out"]["kernel"].reshape(48, 48).T
    )
    kernel = written.params["embedding"]["kernel"]
    np.testing.assert_array_equal(tensors["patch_embed.proj.weight"], kernel.transpose(3, 2, 0, 1))


def test_safetensors_of_a_vit_can_have_torchvisions_names(tmp_path):
    written = checkpoint("ViT-S/16", shape=VIT)
    write(written, tmp_path / "a.safetensors", "torchvision")
    tensors = load_file(tmp_path / "a.safetensors")
    expected = published.torchvision_vit(registry.build(**written.request)).arrays
    assert published.shapes_of(tensors) == published.shapes_of(expected)
    found = load(str(tmp_path / "a.safetensors"))
    assert found.naming == "torchvision"
    same(found.params, written.params)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("ViT-S/16", {"shape": VIT, "classifier": "gap"}, "has a class token, this one none"),
        ("Mixer-S/16", NETWORKS["Mixer-S/16"], "torchvision has no name for 'MixerBlock_0"),
    ],
)
def test_what_torchvision_does_not_have_is_named(tmp_path, name, options, told):
    with pytest.raises(RequestError, match=told):
        write(checkpoint(name, **options), tmp_path / "a.safetensors", "torchvision")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ViT-S/16", {"shape": {**VIT, "heads": 6}, "activation": "relu"}),
        ("ViT-S/16", {"shape": VIT, "position_embedding": "sincos2d"}),
        ("PlainViT-S/16", {"shape": VIT, "representation": 0}),
        ("CIFAR-ResNet-20-noshort", {"shape": {"units": (1, 1), "width": 4}}),
        ("ResNet-Mini", {"shape": {"groups": 2, "units": (1, 1)}}),
    ],
)
def test_safetensors_keep_what_no_shape_tells(tmp_path, name, options):
    written = checkpoint(name, **options)
    write(written, tmp_path / "a.safetensors")
    found = load(str(tmp_path / "a.safetensors"))
    assert registry.build(**found.request) is registry.build(**written.request)
    assert found.preprocessing == "big_vision"
    same(found.params, written.params)


@pytest.mark.parametrize(
    "told",
    [
        "",
        "[",
        "[" * 100_000,
        "3",
        "{}",
        '{"model": {}}',
        '{"model": {"name": "swish"}}',
        '{"model": {"name": "ViT-Mini/2", "bogus": 1}}',
        '{"model": {"name": "ViT-Mini/2", "shape": [1]}}',
        '{"model": {"name": "ViT-Mini/2", "shape": {"heads": 7}}}',
        '{"model": {"name": "ViT-Mini/2", "classes": 3}}',
        '{"model": {"name": "Mixer-Mini/2"}}',
    ],
)
def test_metadata_that_do_not_fit_are_left_alone(tmp_path, told):
    arrays = published.timm_vit(registry.build("ViT-Mini/2")).arrays
    save_file(arrays, tmp_path / "a", {"landscape": told})
    found = load(str(tmp_path / "a"))
    assert (found.activation, found.preprocessing) == ("gelu_erf", "timm_vit")
    check_fit(found.params, registry.build(**found.request).abstract())


def test_fixed_positions_become_the_parameter_that_timm_has(tmp_path):
    plain = checkpoint("PlainViT-S/16", shape=VIT, representation=0)
    write(plain, tmp_path / "a.safetensors")
    table = load_file(tmp_path / "a.safetensors")["pos_embed"]
    np.testing.assert_array_equal(table, sincos2d(4, 4, 48))
    with_token = checkpoint(
        "ViT-S/16", shape=VIT, position_embedding="sincos2d", classifier="token"
    )
    write(with_token, tmp_path / "b.safetensors", "torchvision")
    table = load_file(tmp_path / "b.safetensors")["encoder.pos_embedding"]
    np.testing.assert_array_equal(table[:, 1:], sincos2d(4, 4, 48))
    assert not table[:, 0].any()


def test_batch_counts_that_pytorch_misses_are_written(tmp_path):
    write(checkpoint("ResNet-18-BatchNorm", shape={"units": (1,)}), tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    counts = {name: t for name, t in tensors.items() if name.endswith("num_batches_tracked")}
    assert len(counts) == 3
    assert {(t.dtype, t.shape) for t in counts.values()} == {(np.dtype("i8"), ())}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_timm_has_no_name_for_is_named(tmp_path, name):
    options, part = ELSEWHERE[name]
    written = checkpoint(name, **options)
    with pytest.raises(RequestError, match=f"timm has no name for '.*{part}") as told:
        write(written, tmp_path / "a.safetensors")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_an_unknown_network_goes_to_npz_only(tmp_path):
    unknown = dataclasses.replace(checkpoint("ViT-S/16", shape=VIT), network=None)
    unknown = dataclasses.replace(unknown, params={"a": {"b": np.ones(2, "f")}})
    write(unknown, tmp_path / "a.npz")
    assert np.load(tmp_path / "a.npz").files == ["a/b"]
    with pytest.raises(RequestError, match="is none of the registry"):
        write(unknown, tmp_path / "run")
    with pytest.raises(RequestError, match="of no format that is written"):
        write(unknown, tmp_path / "a.pth")
