"""The two standard errors of a mean loss, against numpy in double precision."""

import jax.numpy as jnp
import numpy as np
import pytest

from landscape import devices
from landscape.objective import Objective
from landscape.surface import Measures, compute_surface

COUNT = 101  # not a multiple of the batches, nor of the devices


def losses_of(values, **options):
    """An objective whose examples have these losses wherever it is."""
    data = [values[i : i + 13] for i in range(0, len(values), 13)]
    return Objective(lambda w, batch: batch + 0 * w[0], jnp.ones(1, values.dtype), data, **options)


def errors(made, name="train_loss", **options):
    line = [jnp.ones(1, made.params.dtype)]
    found = compute_surface(made, line, np.linspace(-1, 1, 3), **options)
    return [
        found.metrics.get(f"{name}_{of}_error", [None] * 3)[-1] for of in ("population", "split")
    ]


def drawn(mean, spread, seed, dtype=np.float32):
    noise = np.random.default_rng(seed).exponential(size=COUNT)
    return (mean + spread * noise).astype(dtype)


def expected(values):
    values = values.astype(np.longdouble)
    return float(values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("where", ["one device", "examples divided", "points spread"])
@pytest.mark.parametrize(
    ("mean", "spread"), [(6.9, 1e-3), (1e4, 1.0), (1e4, 1e-2), (0.0, 1e-25), (0.0, 1e25)]
)
def test_the_error_is_right_whatever_the_mean_and_the_scale(mean, spread, where):
    mesh = devices.data_mesh(8)
    for seed in range(3):
        values = drawn(mean, spread, seed)
        made = losses_of(values, mesh=mesh if where == "examples divided" else None)
        found, _ = errors(made, mesh=mesh if where == "points spread" else None)
        assert found == pytest.approx(expected(values), rel=1e-5, abs=0)


def test_batches_sorted_by_their_losses_do_not_hide_the_spread():
    values = np.sort(drawn(6.9, 1.0, 0))[::-1].copy()
    values[0] = 1e6
    assert errors(losses_of(values))[0] == pytest.approx(expected(values), rel=1e-5, abs=0)


@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e300])
def test_in_double_precision_the_squares_do_not_matter(x64, scale):
    values = drawn(0.0, scale, 0, np.float64)
    made = losses_of(values, split_size=404)
    measures = Measures(gradient_norm=True)
    population, split = errors(made, measures=measures)
    assert population == pytest.approx(expected(values), rel=1e-12, abs=0)
    assert split == pytest.approx(np.sqrt(0.75) * population, rel=1e-12, abs=0)


def test_the_whole_split_is_not_the_population():
    values = drawn(1.0, 1.0, 0)
    for size, left_out in ((404, 0.75), (COUNT, 0.0)):
        population, split = errors(losses_of(values, split_size=size))
        assert population == pytest.approx(expected(values), rel=1e-5, abs=0)
        assert split == pytest.approx(expected(values) * np.sqrt(left_out), rel=1e-5, abs=0)
    assert errors(losses_of(values))[1] is None  # nobody said how large the split is


@pytest.mark.parametrize("said", ["many", 0, 404, None, {"of": 1}])
def test_a_record_decides_no_error(said):
    values = drawn(1.0, 1.0, 0)
    made = losses_of(values, record={"split_size": said})
    assert errors(made) == errors(losses_of(values))
    made = losses_of(values, record={"split_size": said}, split_size=404)
    assert errors(made) == errors(losses_of(values, split_size=404))


def test_a_single_example_has_no_error_and_equal_ones_have_zero():
    assert np.isnan(errors(losses_of(np.ones(1, "f4")))[0])
    assert errors(losses_of(np.full(COUNT, 0.1, "f4")))[0] == 0


def test_an_accuracy_of_one_is_not_certain():
    def right(w, batch):
        return {"accuracy": batch < 10}

    for values in (drawn(0.0, 1.0, 0), drawn(9.0, 1.0, 0)):
        made = losses_of(values, metrics=right, split_size=10 * COUNT)
        found, split = errors(made, "train_acc")
        share = np.mean(values < 10)
        wilson = np.sqrt(share * (1 - share) / COUNT + 1 / (4 * COUNT**2)) / (1 + 1 / COUNT)
        assert found == pytest.approx(100 * wilson, rel=1e-5, abs=0)
        assert split == pytest.approx(np.sqrt(0.9) * found)


def test_metrics_of_whole_numbers_are_averaged_as_numbers():
    def top(w, batch):
        return {"hits": (batch < 1).astype(jnp.int32)}

    values = drawn(0.0, 1.0, 0)
    made = losses_of(values, metrics=top)
    assert made.evaluate()["hits"] == pytest.approx(np.mean(values < 1))
    population, _ = errors(made, "train_hits")
    assert population == pytest.approx(expected((values < 1).astype(float)), rel=1e-5, abs=0)


def test_a_diverged_loss_has_no_error():
    values = drawn(1.0, 1.0, 0)
    values[5] = np.inf
    made = losses_of(values)
    found = compute_surface(made, [jnp.ones(1)], [0.0, 1.0])
    assert np.isposinf(found.loss).all()
    assert np.isnan(found.metrics["train_loss_population_error"]).all()


@pytest.mark.parametrize(("examples", "batch"), [(1000, 100), (1000, 7), (30, 7)])
def test_an_accuracy_of_one_has_an_error_however_its_sum_is_rounded(examples, batch):
    def all_right(w, values):
        return {"accuracy": jnp.ones_like(values)}

    data = [np.ones(min(batch, examples - i), "f") for i in range(0, examples, batch)]
    made = Objective(lambda w, b: b * w[0], jnp.ones(1), data, metrics=all_right)
    found = compute_surface(made, [jnp.ones(1)], [0.0]).metrics
    assert found["train_acc"].tolist() == [100.0]
    assert found["train_acc_population_error"] == pytest.approx(50 / (examples + 1))


def test_bounds_and_errors_are_not_interpolated():
    """Curvature that changes between the points, below a loss that does not show it."""

    def loss(w, batch):
        return 0.5 * (w[0] ** 2 + w[1] ** 2 * (2 + jnp.cos(16 * jnp.pi * w[0]))) * batch

    made = Objective(loss, jnp.zeros(2), [jnp.ones(2)])
    found = compute_surface(
        made,
        [jnp.array([1.0, 0.0])],
        np.linspace(-1, 1, 33),
        measures=Measures(lambda_max=0.01),
        adaptive=0.05,
    )
    assert found.interpolated.any()
    for name in ("max_eig_low", "max_eig_high", "max_eig_converged", "train_loss_population_error"):
        assert np.isnan(found.metrics[name][found.interpolated]).all(), name
        assert np.isfinite(found.metrics[name][~found.interpolated]).all(), name
