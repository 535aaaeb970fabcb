"""Losses against their definitions, at any distance of the logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from spectra import dense

from landscape.curvature import extremes
from landscape.losses import LOSSES, get_loss, is_correct
from landscape.objective import Composite, Objective

LOGITS = np.array([[1.0, -2.0, 0.5], [30.0, 0.0, -30.0], [0.0, 0.0, 0.0]], np.float32)
LABELS = np.array([2, 1, 0], np.int32)


def test_softmax_cross_entropy_is_minus_the_log_probability():
    probabilities = np.exp(LOGITS.astype(float))
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = -np.log(probabilities[np.arange(3), LABELS])
    np.testing.assert_allclose(
        get_loss("softmax_cross_entropy")(LOGITS, LABELS), expected, rtol=1e-6
    )


def test_sigmoid_cross_entropy_sums_one_binary_entropy_per_class():
    signs = np.where(np.eye(3, dtype=bool)[LABELS], 1, -1)
    expected = np.log1p(np.exp(-signs * LOGITS.astype(float))).sum(1)
    np.testing.assert_allclose(
        get_loss("sigmoid_cross_entropy")(LOGITS, LABELS), expected, rtol=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
def test_huge_logits_give_finite_losses_and_derivatives(name):
    def total(logits):
        return get_loss(name)(logits, LABELS).sum()

    logits = jnp.asarray(LOGITS * 1e4)
    for what in (total, jax.grad(total), jax.hessian(total)):
        assert np.isfinite(jax.jit(what)(logits)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_widened_and_double_kept(name, x64):
    assert get_loss(name)(jnp.asarray(LOGITS, jnp.bfloat16), LABELS).dtype == jnp.float32
    assert get_loss(name)(jnp.asarray(LOGITS, jnp.float64), LABELS).dtype == jnp.float64


def exact(name, logits, label):
    """Loss, gradient and second derivative of one example, float64, without cancellation."""
    z, is_label = np.asarray(logits, np.float64), np.arange(len(logits)) == label
    if name == "sigmoid_cross_entropy":
        sign = np.where(is_label, -1, 1)
        up, down = scipy.special.expit(sign * z), scipy.special.expit(-sign * z)
        return np.logaddexp(0, sign * z).sum(), sign * up, np.diag(up * down)
    p = scipy.special.softmax(z)
    others = z[~is_label] - z[label]
    top = max(0.0, others.max(initial=-np.inf))
    loss = top + np.log1p(np.exp(others - top).sum() + np.expm1(-top))
    second = -np.outer(p, p)
    for i in range(len(z)):
        second[i, i] = p[i] * np.delete(p, i).sum()
    return loss, np.where(is_label, -p[~is_label].sum(), p), second


def apart(gap, classes):
    """The label, in the middle, ``gap`` above the others, which are not quite equal."""
    logits = np.linspace(0, 1, classes)
    logits[classes // 2] = gap
    return logits, classes // 2


@functools.cache
def derivatives(name):
    """Of one example: the loss, its gradient, its second derivative in every order, the third."""

    def loss(z, label):
        return get_loss(name)(z[None], label[None])[0]

    second = jax.jacfwd(jax.grad(loss))
    functions = {
        "loss": loss,
        "gradient": jax.grad(loss),
        "forward over reverse": second,
        "reverse over reverse": jax.jacrev(jax.grad(loss)),
        "forward over forward": jax.jacfwd(jax.jacfwd(loss)),
        "third": jax.jacfwd(second),
    }
    return jax.jit(lambda z, label: {what: f(z, label) for what, f in functions.items()})


def check_exact(name, gap, classes, dtype, tolerance):
    logits, label = apart(gap, classes)
    logits = logits.astype(dtype)
    found = derivatives(name)(jnp.asarray(logits), jnp.asarray(label))
    loss, gradient, second = exact(name, logits, label)
    for what in set(found) - {"third"}:
        assert found[what].dtype == dtype
        expected = {"loss": loss, "gradient": gradient}.get(what, second)
        # What is below the smallest normal number may be flushed to zero.
        atol = float(np.finfo(dtype).tiny)
        np.testing.assert_allclose(found[what], expected, rtol=tolerance, atol=atol, err_msg=what)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gap", [-85.0, -17.0, 0.0, 17.0, 85.0])
def test_loss_gradient_and_second_derivative_are_exact_at_every_gap_of_the_logits(name, gap):
    for classes in (1, 2, 4):
        check_exact(name, gap, classes, np.float32, 2e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gap", [-100.0, 100.0])
def test_a_gap_of_a_hundred_whose_odds_float32_cannot_hold_is_exact_in_float64(name, gap, x64):
    check_exact(name, gap, 4, np.float64, 4e-15)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gap", [-30.0, 2.0, 30.0])
def test_third_derivatives_exist_and_are_those_of_the_exact_second(name, gap, x64):
    logits, label = apart(gap, 4)
    third = derivatives(name)(jnp.asarray(logits), jnp.asarray(label))["third"]
    for i in range(4):
        step = np.zeros(4)
        step[i] = 1e-5
        up, down = (exact(name, logits + s, label)[2] for s in (step, -step))
        scale = np.abs(exact(name, logits, label)[2])
        np.testing.assert_array_less(
            np.abs(third[:, :, i] - (up - down) / 2e-5), 1e-8 * scale + 1e-99
        )


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gap", [-40.0, 40.0])
def test_the_curvature_of_fitted_and_of_misclassified_examples_is_certified(name, gap, curvature):
    """Softmax regression with weights 40 I: its λmax was reported a third too large."""
    inputs, labels = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)

    def outputs(w, batch):
        return batch["x"] @ w

    def criterion(logits, batch):
        return get_loss(name)(logits, batch["y"])

    w = gap * np.eye(3, dtype=np.float32)
    loss = Composite(outputs, criterion)
    objective = Objective(loss, jnp.asarray(w), [{"x": inputs, "y": labels}])
    objective = objective.with_curvature(curvature)
    true = np.zeros((9, 9))
    for x, row, label in zip(inputs, w, labels, strict=True):
        true += np.kron(np.outer(x, x), exact(name, row, label)[2]) / 3
    found = dense(objective)
    np.testing.assert_allclose(found, true, rtol=1e-6)
    top = extremes(objective).lambda_max
    assert top.lower <= np.linalg.eigvalsh(true)[-1] * (1 + 1e-6) <= top.upper * (1 + 2e-6)
    vector = np.arange(9, dtype=np.float32).reshape(3, 3) ** 2
    forms = objective.quadratic_forms(jnp.asarray(vector))
    expected = [
        v @ exact(name, row, label)[2] @ v
        for v, row, label in zip(vector.astype(float), w, labels, strict=True)
    ]
    np.testing.assert_allclose(forms, expected, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_logits_have_finite_derivatives(name):
    for logits in ([0.0, 0.0], [7.0] * 4, [1.0, 5.0, 5.0, 0.0]):
        found = derivatives(name)(jnp.array(logits), jnp.asarray(1))
        for what, values in found.items():
            assert np.isfinite(values).all(), what


@pytest.mark.parametrize("name", LOSSES)
def test_labels_have_the_axes_of_the_logits_but_the_last(name):
    loss, logits = get_loss(name), jnp.asarray(LOGITS)
    flat = loss(logits, LABELS)
    np.testing.assert_array_equal(loss(logits[None], LABELS[None]), flat[None])
    np.testing.assert_array_equal(jax.vmap(loss)(logits, LABELS), flat)
    np.testing.assert_array_equal(loss(logits, LABELS.astype(np.uint8)), flat)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_give_no_finite_loss(name, bad):
    for row in ([bad, 0.0], [0.0, bad]):
        if row[1] == -np.inf and name.startswith("softmax"):
            continue  # a class that is left out
        assert np.isnan(get_loss(name)(jnp.array([row]), jnp.array([0]))).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_gives_no_number(name, label):
    def loss(z):
        return get_loss(name)(z, jnp.array([label])).sum()

    value, gradient = jax.value_and_grad(loss)(jnp.zeros((1, 3)))
    assert np.isnan(value)
    assert np.isnan(gradient).all()


def test_a_class_left_out_by_minus_infinity_changes_nothing():
    loss = get_loss("softmax_cross_entropy")
    np.testing.assert_array_equal(
        loss(jnp.array([[1.0, -jnp.inf, 3.0]]), jnp.array([0])),
        loss(jnp.array([[1.0, 3.0]]), jnp.array([0])),
    )


def test_logits_that_are_no_answer_are_never_right_and_of_equal_ones_the_first_counts():
    nan, inf = np.nan, np.inf
    none = [[nan, nan], [nan, 0.0], [0.0, nan], [inf, inf], [-inf, -inf], [inf, 0.0]]
    for label in (0, 1):
        assert not is_correct(jnp.array(none), jnp.full(6, label, jnp.int32)).any()
    logits = jnp.array([[1.0, 1.0], [1.0, 2.0], [0.0, -inf]])
    assert is_correct(logits, jnp.zeros(3, jnp.int32)).tolist() == [True, False, True]
    assert is_correct(jnp.stack([logits] * 2), jnp.ones((2, 3), jnp.int32)).shape == (2, 3)
