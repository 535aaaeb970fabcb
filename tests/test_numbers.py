import numpy as np
import pytest

from landscape import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(738.8123, "738.8"), (14468.2, "14468"), (0.000123456, "0.0001235"), (-0.5, "−0.5000"),
     (1.23456e-9, "1.235e−09"), (2.5e9, "2.500e+09"), (0.0, "0"), (float("nan"), "–"),
     (float("inf"), "∞"), (float("-inf"), "−∞"), (9999.96, "10000")],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value, text):
    assert numbers.number(value) == text


@pytest.mark.parametrize("seed", range(3))
def test_printed_bounds_always_contain_the_bounds(seed):
    generator = np.random.default_rng(seed)
    for lower in generator.normal(size=200) * 10.0 ** generator.integers(-8, 9, 200):
        upper = lower + abs(generator.normal()) * abs(lower)
        text = numbers.interval(lower, upper).strip("[]").replace("−", "-").split(", ")
        assert float(text[0]) <= lower
        assert upper <= float(text[1])


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(2801.634, 12.34, "2802 ± 12"), (91.2345, 0.4213, "91.23 ± 0.42"), (5.0, None, "5.000"),
     (5.0, 0.0, "5.000"), (float("inf"), 1.0, "∞"), (14468.0, 1234.5, "14500 ± 1200")],
)  # fmt: skip
def test_a_value_is_as_precise_as_its_error(value, error, text):
    assert numbers.with_error(value, error) == text


def test_bounds_nearer_than_the_digits_are_rounded_apart():
    assert numbers.interval(33.158869, 33.160400) == "[33.15, 33.17]"
