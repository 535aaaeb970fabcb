import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import dense

from landscape import devices
from landscape.curvature import directional_sharpness, fisher
from landscape.errors import RequestError
from landscape.objective import Composite, Objective


def softmax_regression(sample=True, **options):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(22, 3)).astype(np.float32)
    labels = rng.integers(0, 4, 22).astype(np.int32)

    def criterion(logits, batch):
        picked = jnp.take_along_axis(logits, batch["y"][:, None], 1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - picked

    def draw(key, logits, example):
        return {**example, "y": jax.random.categorical(key, logits).astype(jnp.int32)}

    loss = Composite(lambda w, batch: batch["x"] @ w, criterion, draw if sample else None)
    data = [{"x": x[i : i + 8], "y": labels[i : i + 8]} for i in range(0, 22, 8)]
    w = jnp.asarray(rng.normal(size=(3, 4)).astype(np.float32))
    return Objective(loss, w, data, **options)


def test_the_fisher_matrix_of_softmax_is_the_gauss_newton_matrix_on_average():
    objective = softmax_regression()
    exact = dense(objective.with_curvature("gauss_newton"))
    drawn = np.stack([dense(fisher(objective, seed=seed)) for seed in range(60)])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(60)
    assert (np.abs(drawn.mean(axis=0) - exact) <= 5 * error + 1e-6).all()


def test_more_samples_come_closer():
    objective = softmax_regression()
    exact = dense(objective.with_curvature("gauss_newton"))
    few, many = (np.linalg.norm(dense(fisher(objective, samples=s)) - exact) for s in (1, 40))
    assert many < few / 3


def test_the_draws_of_an_example_count_as_one_example():
    """Errors were those of so many independent examples: 0.029 where 0.100 was right."""
    objective = softmax_regression()
    drawn = fisher(objective, samples=3)
    assert drawn.examples == objective.examples == 22
    assert drawn.describe()["examples"] == 22
    rng = np.random.default_rng(1)
    vector = jnp.asarray(rng.normal(size=(3, 4)).astype(np.float32))
    forms = drawn.quadratic_forms(vector)
    single = np.stack([_forms_of_draw(objective, drawn, s, vector) for s in range(3)])
    np.testing.assert_allclose(forms, single.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        forms.mean(), jnp.vdot(vector, drawn.product(vector)), rtol=1e-5, atol=1e-6
    )


def _forms_of_draw(objective, drawn, number, vector):
    """``(g'v)^2`` of every example at the targets of one draw."""
    batches = list(drawn.batches)
    third = len(batches) // 3
    part = objective.with_batches(batches[number * third : (number + 1) * third])
    return part.with_curvature("empirical_fisher").quadratic_forms(vector)


def test_the_error_over_examples_does_not_shrink_with_the_draws():
    objective = softmax_regression()
    vector = jnp.ones((3, 4), jnp.float32).at[:, 0].set(-2.0)
    limit = directional_sharpness(objective.with_curvature("gauss_newton"), vector)
    found = directional_sharpness(fisher(objective, samples=200), vector)
    assert found.probes == 22
    assert found.standard_error == pytest.approx(limit.standard_error, rel=0.15)


def test_a_part_of_the_examples_has_all_their_draws_and_no_others():
    """A scan's held-out rows were other draws of the examples it had measured."""
    drawn = fisher(softmax_regression(), samples=3)
    vector = jnp.asarray(np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32))
    forms, chosen = drawn.quadratic_forms(vector), [4, 21, 0]
    part = drawn.subset(chosen)
    assert part.examples == 3
    np.testing.assert_allclose(part.quadratic_forms(vector), forms[chosen], rtol=1e-6)
    rest = drawn.subset(np.delete(np.arange(22), chosen))
    whole = dense(drawn)
    np.testing.assert_allclose((3 * dense(part) + 19 * dense(rest)) / 22, whole, atol=1e-6)
    assert part.subset([1]).quadratic_forms(vector) == pytest.approx(forms[21], rel=1e-6)


def test_drawn_targets_belong_to_their_parameters_and_data():
    """Over other data it was silently the empirical Fisher matrix, elsewhere that of old draws."""
    drawn = fisher(softmax_regression(), samples=2, seed=3)
    for exchange in (
        lambda: drawn.with_batches(list(softmax_regression().batches)),
        lambda: drawn.with_params(drawn.params),
    ):
        with pytest.raises(RequestError, match=r"drawn for the old ones; draw anew, with fisher\("):
            exchange()
    assert drawn.describe()["drawn_targets"] == {"draws": 2, "seed": 3}
    same = fisher(softmax_regression(), samples=np.int64(2), seed=np.int64(3))
    assert json.dumps(same.describe()) == json.dumps(drawn.describe())


def test_the_objective_of_the_datas_own_targets_is_at_hand():
    made = softmax_regression()
    drawn = fisher(fisher(made), seed=1).with_l2(0.5)
    assert drawn.loss() != made.with_l2(0.5).loss()
    assert drawn.labelled.evaluate() == made.with_l2(0.5).evaluate()
    assert made.labelled is made


def test_draws_depend_on_the_seed_and_not_on_batches_or_devices():
    objective = softmax_regression()
    first = dense(fisher(objective))
    meshed = softmax_regression(mesh=devices.data_mesh(4))
    np.testing.assert_allclose(dense(fisher(meshed)), first, atol=1e-5)
    one_batch = {name: np.concatenate([b[name] for b in objective.batches]) for name in ("x", "y")}
    np.testing.assert_allclose(dense(fisher(objective.with_batches([one_batch]))), first, atol=1e-5)
    assert np.abs(dense(fisher(objective, seed=1)) - first).max() > 1e-3


def test_losses_without_a_distribution_are_refused():
    with pytest.raises(RequestError, match="sample"):
        fisher(softmax_regression(sample=False))
    with pytest.raises(RequestError, match="block"):
        fisher(softmax_regression().block(["params"]))
    with pytest.raises(RequestError, match="samples"):
        fisher(softmax_regression(), samples=0)
