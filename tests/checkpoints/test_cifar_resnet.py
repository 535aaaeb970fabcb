import jax
import numpy as np
import pytest

from landscape.checkpoints import cifar_resnet
from landscape.models import registry
from landscape.parameters import named_leaves


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
