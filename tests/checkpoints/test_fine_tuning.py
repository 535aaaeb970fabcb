"""New heads and other resolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.checkpoints.fine_tuning import adapted, resized_positions
from landscape.errors import RequestError
from landscape.models import registry
from landscape.parameters import gaussian, named_leaves

SIZES = {"width": 8, "depth": 1, "heads": 2, "mlp": 8}


def vit(size=32, classes=5, **options):
    return registry.build(
        "ViT-S/16", image_shape=(size, size, 3), classes=classes, shape=SIZES, **options
    )


def drawn(model):
    return gaussian(jax.random.key(0), model.abstract())


def test_a_new_head_starts_at_zero_and_nothing_else_changes():
    params = drawn(vit())
    found = named_leaves(adapted(params, vit(classes=3)))
    for name, leaf in named_leaves(params).items():
        if name.startswith("head/"):
            assert not np.any(found[name])
        else:
            np.testing.assert_array_equal(found[name], leaf)


def test_the_head_of_the_same_classes_is_kept():
    params = drawn(vit())
    np.testing.assert_array_equal(
        adapted(params, vit())["head"]["kernel"], params["head"]["kernel"]
    )


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_positions_are_resized_and_the_class_token_keeps_its_own(classifier):
    old, new = vit(32, classifier=classifier), vit(64, classifier=classifier)
    params = drawn(old)
    before = params["Transformer"]["posembed_input"]["pos_embedding"]
    after = adapted(params, new)["Transformer"]["posembed_input"]["pos_embedding"]
    place = int(classifier == "token")
    assert after.shape == (1, 16 + place, 8)
    np.testing.assert_array_equal(after[:, :place], before[:, :place])
    grid_before = before[0, place:].reshape(2, 2, 8)
    grid_after = after[0, place:].reshape(4, 4, 8)
    for corner in (0, -1):
        np.testing.assert_allclose(
            grid_after[corner, corner], grid_before[corner, corner], rtol=1e-6
        )
    # Bilinear between corners: a third of the way.
    np.testing.assert_allclose(
        grid_after[0, 1], (2 * grid_before[0, 0] + grid_before[0, 1]) / 3, atol=1e-6
    )


def test_the_same_grid_is_left_alone_and_rectangles_are_made():
    positions = np.random.default_rng(0).normal(size=(1, 10, 4))
    np.testing.assert_array_equal(resized_positions(positions, (3, 3), 1), positions)
    assert resized_positions(positions, (2, 5), 1).shape == (1, 11, 4)


def test_linear_positions_stay_linear():
    grid = np.stack(np.mgrid[:3, :3], axis=-1).reshape(1, 9, 2).astype("f")
    found = resized_positions(grid, (5, 9), 0).reshape(5, 9, 2)
    np.testing.assert_allclose(found[:, 0, 0], np.linspace(0, 2, 5), atol=1e-6)
    np.testing.assert_allclose(found[0, :, 1], np.linspace(0, 2, 9), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "dropped"),
    [({"representation": 8}, "pre_logits"), ({"head": "masked_patches"}, "mask")],
)
def test_what_the_model_lacks_is_dropped_with_the_head_behind_it(options, dropped):
    params = drawn(vit(**options))
    assert dropped in params
    found = adapted(params, vit())
    assert dropped not in found
    assert found["head"]["kernel"].shape == params["head"]["kernel"].shape == (8, 5)
    assert not np.any(found["head"]["kernel"])


def test_a_new_head_can_be_asked_for():
    params = drawn(vit())
    found = adapted(params, vit(), new_head=True)
    assert not any(np.any(leaf) for leaf in found["head"].values())
    np.testing.assert_array_equal(found["cls"], params["cls"])


def test_between_rectangles_of_equally_many_tokens_positions_are_resized():
    def of(height, width):
        return registry.build("ViT-S/16", image_shape=(height, width, 3), classes=5, shape=SIZES)

    old, new = of(32, 128), of(64, 64)  # 2x8 and 4x4 tokens
    params = drawn(old)
    before = params["Transformer"]["posembed_input"]["pos_embedding"]
    after = adapted(params, new, image_shape=old.image_shape)
    after = after["Transformer"]["posembed_input"]["pos_embedding"]
    assert after.shape == before.shape == (1, 17, 8)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    for place in (1, -4, 4, -1):  # the corners: of 4x4 ...
        there = {1: 1, -4: -8, 4: 8, -1: -1}[place]  # ... and of 2x8
        np.testing.assert_allclose(after[0, place], before[0, there], rtol=1e-6)
    again = adapted(params, old, image_shape=old.image_shape)
    np.testing.assert_array_equal(again["Transformer"]["posembed_input"]["pos_embedding"], before)


def test_an_adapted_network_computes_what_it_did_before_its_head():
    old, new = vit(), vit(classes=3)
    params = drawn(old)
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3), jnp.float32)
    before = jax.jit(old.intermediates)(params, images)
    after = jax.jit(new.intermediates)(adapted(params, new), images)
    np.testing.assert_array_equal(before.pre_logits, after.pre_logits)
    assert not np.any(after.logits)


def test_a_mixer_cannot_be_resized():
    sizes = {"width": 8, "depth": 1, "token_mlp": 4, "channel_mlp": 8}
    old, new = (
        registry.build("Mixer-S/16", image_shape=(size, size, 3), shape=sizes) for size in (32, 64)
    )
    with pytest.raises(RequestError, match=r"of other shape .*token_mixing"):
        adapted(drawn(old), new)


def test_positions_that_are_no_square_are_refused():
    with pytest.raises(RequestError, match="7 position embeddings are no square"):
        resized_positions(np.zeros((1, 7, 4)), (3, 3), 0)
    with pytest.raises(RequestError, match="checkpoint: 7 position embeddings are not 2x4"):
        resized_positions(np.zeros((1, 7, 4)), (3, 3), 0, old=(2, 4), what="checkpoint")
