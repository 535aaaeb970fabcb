"""CIFAR ResNets from PyTorch's files: recognised, converted, and the way back."""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch_files

from landscape.checkpoints import cifar_resnet, load
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


@pytest.mark.parametrize("name", ["CIFAR-ResNet-20", "CIFAR-ResNet-32-projection"])
def test_a_state_dict_is_recognised_and_fits_its_model(name):
    tensors = state_dict(name)
    assert cifar_resnet.recognised(tensors) == name
    found = cifar_resnet.converted(tensors, name)
    model = registry.build(name)
    for tree, expected in ((found.params, model.abstract()), (found.state, model.abstract_state())):
        shapes = jax.tree.map(lambda leaf: leaf.shape, expected)
        assert jax.tree.map(np.shape, tree) == shapes


def test_the_layout_leads_back_to_the_file():
    tensors = state_dict("CIFAR-ResNet-20")
    found = cifar_resnet.converted(tensors, "CIFAR-ResNet-20")
    leaves = named_leaves(found.params)
    trainable = [name for name in tensors if name.endswith(("weight", "bias"))]
    assert [source.name for source in found.layout] == trainable
    for source in found.layout:
        back = np.transpose(leaves[source.leaf], source.axes)
        np.testing.assert_array_equal(back, tensors[source.name])


def test_other_networks_are_not_taken_for_one():
    tensors = state_dict("CIFAR-ResNet-20")
    del tensors["linear.weight"]
    assert cifar_resnet.recognised(tensors) is None
    missing = {k: v for k, v in state_dict("CIFAR-ResNet-20").items() if "layer3.1" not in k}
    assert cifar_resnet.recognised(missing) is None
    wide = {**state_dict("CIFAR-ResNet-20"), "conv1.weight": np.zeros((64, 3, 3, 3), "f")}
    assert cifar_resnet.recognised(wide) is None
    longer = {**state_dict("CIFAR-ResNet-20"), "layer4.0.conv1.weight": np.zeros((64, 64, 3, 3))}
    assert cifar_resnet.recognised(longer) is None


@pytest.mark.parametrize("form", torch_files.FORMATS)
@pytest.mark.parametrize("dtype", ["f", "e", "d"])
def test_a_file_is_known_by_its_content(tmp_path, form, dtype):
    tensors = state_dict("CIFAR-ResNet-20")
    stored = {f"module.{name}": tensor.astype(dtype) for name, tensor in tensors.items()
              if tensor.ndim}  # fmt: skip
    content = {"state_dict": torch_files.state_dict(stored), "best_prec1": 91.7}
    path = torch_files.write(tmp_path / "whatever.npz", content, form)
    found = load(str(path))
    assert (found.model, found.preprocessing) == ("CIFAR-ResNet-20", "imagenet")
    assert (found.step, found.config) == (None, None)
    kernel, var = found.params["layer2"]["0"]["conv1"]["kernel"], found.state["bn1"]["var"]
    assert {kernel.dtype, var.dtype} == {np.dtype("f")}
    exact = tensors["layer2.0.conv1.weight"].astype(dtype).astype("f")
    np.testing.assert_array_equal(kernel, exact.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(var, tensors["bn1.running_var"].astype(dtype).astype("f"))


def test_tensors_of_an_unknown_network_are_named(tmp_path):
    path = torch_files.write(tmp_path / "a.pt", torch_files.state_dict({"fc.w": np.ones(2, "f")}))
    with pytest.raises(RequestError, match=r"holds 1 tensors \(fc\.w, \.\.\.\) of a network"):
        load(str(path))


def test_running_statistics_have_to_be_finite(tmp_path):
    tensors = state_dict("CIFAR-ResNet-20")
    tensors["layer1.0.bn1.running_var"][3] = np.nan
    path = str(torch_files.write(tmp_path / "a.th", torch_files.state_dict(tensors)))
    with pytest.raises(RequestError, match=r"running statistics .* in 'layer1/0/bn1/var'"):
        load(path)
    assert load(path, finite=False).model == "CIFAR-ResNet-20"


def test_inspect_tells_the_network_of_a_file(tmp_path, call):
    tensors = state_dict("CIFAR-ResNet-20")
    path = torch_files.write(tmp_path / "a.th", torch_files.state_dict(tensors))
    status, found, _ = call("inspect", path)
    assert status == 0
    assert (found["format"], found["model"]) == ("PyTorch", "CIFAR-ResNet-20")
    assert (found["fits"], found["preprocessing"]) == ("CIFAR-ResNet-20", "imagenet")
    assert (found["parameters"], found["running_statistics"]) == (269_722, 2 * 688)
    del tensors["bn1.running_mean"]
    torch_files.write(path, torch_files.state_dict(tensors))
    assert "1 missing (bn1/mean)" in call("inspect", path)[1]["fits"]


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
    assert found.model == model
    kernels = [np.float64(leaf) for leaf in jax.tree.leaves(found.params) if leaf.ndim > 1]
    assert sum((kernel**2).sum() for kernel in kernels) ** 0.5 == pytest.approx(norm, abs=5e-7)
