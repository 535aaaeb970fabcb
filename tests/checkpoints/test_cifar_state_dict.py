"""CIFAR ResNets from PyTorch's files: recognised, converted, and the way back."""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch_files

from landscape.checkpoints import check_fit, load
from landscape.errors import RequestError
from landscape.models import registry
from landscape.parameters import named_leaves

PUBLISHED = Path(__file__).parents[3] / "shared" / "checkpoints"


def state_dict(name):
    """A state dict as PyTorch would write it, with random values, of a model of the registry."""
    model, rng = registry.build(name), np.random.default_rng(0)
    params, state = named_leaves(model.abstract()), named_leaves(model.abstract_state())
    found = {}
    for leaf, shape in params.items():
        *folders, last = leaf.split("/")
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape.shape), (0,))
        name = "bias" if last == "bias" else "weight"
        values = rng.normal(size=shape.shape).astype("f")
        found[".".join([*folders, name])] = values.transpose(axes)
    for leaf, shape in state.items():
        *folders, last = leaf.split("/")
        found[".".join([*folders, f"running_{last}"])] = rng.normal(size=shape.shape).astype("f")
        found[".".join([*folders, "num_batches_tracked"])] = np.int64(1)
    return found


def read(folder, tensors):
    """The checkpoint of a file with these tensors."""
    return load(str(torch_files.write(folder / "a.th", torch_files.state_dict(tensors))))


@pytest.mark.parametrize(
    "name", ["CIFAR-ResNet-20", "CIFAR-ResNet-32-projection", "ResNet-18-BatchNorm"]
)
def test_a_state_dict_is_recognised_and_fits_its_model(tmp_path, name):
    found = read(tmp_path, state_dict(name))
    assert (found.network.name, found.network.differences) == (name, {})
    model = registry.build(name)
    assert registry.build(**found.request) is model
    for tree, expected in ((found.params, model.abstract()), (found.state, model.abstract_state())):
        shapes = jax.tree.map(lambda leaf: leaf.shape, expected)
        assert jax.tree.map(np.shape, tree) == shapes


def test_the_layout_leads_back_to_the_file(tmp_path):
    tensors = state_dict("CIFAR-ResNet-20")
    found = read(tmp_path, tensors)
    leaves = named_leaves(found.params)
    trainable = [name for name in tensors if name.endswith(("weight", "bias"))]
    assert [source.name for source in found.layout] == trainable
    for source in found.layout:
        back = np.transpose(leaves[source.leaf], source.axes)
        np.testing.assert_array_equal(back, tensors[source.name])


def test_a_network_of_other_sizes_is_told_by_the_nearest_one(tmp_path):
    tensors = state_dict("CIFAR-ResNet-20")
    fewer = {k: v for k, v in tensors.items() if "layer3.2" not in k}
    found = read(tmp_path, fewer)
    assert found.network.name == "CIFAR-ResNet-20"
    assert found.network.differences == {"units": (3, 3, 2)}
    model = registry.build(**found.request)
    check_fit(found.params, model.abstract())
    check_fit(found.state, model.abstract_state())


def test_without_its_head_a_network_is_known_and_the_head_missing(tmp_path):
    tensors = state_dict("ResNet-18-BatchNorm")
    del tensors["fc.weight"], tensors["fc.bias"]
    found = read(tmp_path, tensors)
    assert found.network.name == "ResNet-18-BatchNorm"
    with pytest.raises(RequestError, match=r"2 missing \(fc/bias, fc/kernel\)"):
        check_fit(found.params, registry.build(**found.request).abstract())


@pytest.mark.parametrize("form", torch_files.FORMATS)
@pytest.mark.parametrize("dtype", ["f", "e", "d"])
def test_a_file_is_known_by_its_content(tmp_path, form, dtype):
    tensors = state_dict("CIFAR-ResNet-20")
    stored = {f"module.{name}": tensor.astype(dtype) for name, tensor in tensors.items()
              if tensor.ndim}  # fmt: skip
    content = {"state_dict": torch_files.state_dict(stored), "best_prec1": 91.7}
    path = torch_files.write(tmp_path / "whatever.npz", content, form)
    found = load(str(path))
    assert (found.network.name, found.preprocessing) == ("CIFAR-ResNet-20", "imagenet")
    assert (found.step, found.config) == (None, None)
    kernel, var = found.params["layer2"]["0"]["conv1"]["kernel"], found.state["bn1"]["var"]
    assert {kernel.dtype, var.dtype} == {np.dtype("f")}
    exact = tensors["layer2.0.conv1.weight"].astype(dtype).astype("f")
    np.testing.assert_array_equal(kernel, exact.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(var, tensors["bn1.running_var"].astype(dtype).astype("f"))


def test_tensors_of_an_unknown_network_keep_their_names(tmp_path):
    found = read(tmp_path, {"fc.w": np.ones(2, "f")})
    assert (found.network, found.naming) == (None, "its own")
    assert found.params["fc"]["w"].shape == (2,)


def test_running_statistics_have_to_be_finite(tmp_path):
    tensors = state_dict("CIFAR-ResNet-20")
    tensors["layer1.0.bn1.running_var"][3] = np.nan
    path = str(torch_files.write(tmp_path / "a.th", torch_files.state_dict(tensors)))
    with pytest.raises(RequestError, match=r"running statistics .* in 'layer1/0/bn1/var'"):
        load(path)
    assert load(path, finite=False).network.name == "CIFAR-ResNet-20"


def test_inspect_tells_the_network_of_a_file(tmp_path, call):
    tensors = state_dict("CIFAR-ResNet-20")
    path = torch_files.write(tmp_path / "a.th", torch_files.state_dict(tensors))
    status, found, _ = call("inspect", path)
    assert status == 0
    assert found["format"] == "PyTorch pickle, names of pytorch_resnet_cifar10"
    assert (found["model"], found["fits"]) == ("CIFAR-ResNet-20", True)
    assert found["preprocessing"]["name"] == "imagenet"
    assert (found["parameters"], found["running_statistics"]) == (269_722, 2 * 688)
    del tensors["bn1.running_mean"]
    torch_files.write(path, torch_files.state_dict(tensors))
    broken = call("inspect", path)[1]
    assert (broken["fits"], broken["missing"]) == (False, ["bn1/mean"])


@pytest.mark.parametrize(
    ("name", "model", "norm"),
    [
        ("resnet32-d509ac18.th", "CIFAR-ResNet-32", 51.572212),
        ("resnet44-014dd654.th", "CIFAR-ResNet-44", 52.685328),
    ],
)
def test_published_files_have_their_norms(name, model, norm):
    if not (PUBLISHED / name).exists():
        pytest.skip(f"{name} of akamaster/pytorch_resnet_cifar10 is not beside the repository")
    found = load(str(PUBLISHED / name))
    assert found.network.name == model
    kernels = [np.float64(leaf) for leaf in jax.tree.leaves(found.params) if leaf.ndim > 1]
    assert sum((kernel**2).sum() for kernel in kernels) ** 0.5 == pytest.approx(norm, abs=5e-7)
