"""Numbers as text: no more digits than they deserve, bounds rounded outwards."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

DASH = "–"
# Below tables of eigenvalues, of the column of that name.
CHECKED = (
    "Checked: the vector's quotient computed once more by another program, of the two "
    "micro-batches that contribute most in float64 where possible."
)

# The curvature matrices, by the names of the option.
MATRICES = {
    "hessian": "Hessian",
    "gauss_newton": "Gauss-Newton matrix",
    "fisher": "Fisher matrix (drawn labels)",
    "empirical_fisher": "empirical Fisher matrix",
}


def number(value: float, digits: int = 4, rounding: str = ROUND_HALF_EVEN) -> str:
    """``digits`` significant digits, whole numbers kept whole; a dash for NaN.

    >>> number(738.8123), number(14468.2), number(0.00012345)
    ('738.8', '14468', '0.0001234')
    """
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exact = Decimal(float(value))
    exponent = exact.adjusted()
    if not -5 < exponent < 7:
        scaled = exact.scaleb(-exponent).quantize(Decimal(1).scaleb(1 - digits), rounding)
        return f"{scaled}e{exponent:+03d}".replace("-", "−")
    return _fixed(exact, min(0, exponent - digits + 1), rounding)


def bounds(lower: float, upper: float, digits: int = 4) -> tuple[str, str]:
    """The lower bound rounded down and the upper bound rounded up.

    >>> bounds(33.158869, 33.160400)
    ('33.15', '33.17')
    """
    return number(lower, digits, ROUND_FLOOR), number(upper, digits, ROUND_CEILING)


def interval(lower: float, upper: float, digits: int = 4) -> str:
    """``[lower, upper]``, rounded as :func:`bounds` does.

    >>> interval(738.8123, 741.21)
    '[738.8, 741.3]'
    """
    return "[" + ", ".join(bounds(lower, upper, digits)) + "]"


def with_error(value: float, error: float | None) -> str:
    """A value with its standard error, both to the error's second digit.

    >>> with_error(2801.634, 12.34), with_error(91.2345, 0.4213), with_error(78811, 10124)
    ('2802 ± 12', '91.23 ± 0.42', '79000 ± 10000')
    """
    if error is None or not math.isfinite(error) or error <= 0 or not math.isfinite(value):
        return number(value)
    place = Decimal(float(error)).adjusted() - 1
    if not -6 < place < 6:
        return f"{number(value)} ± {number(error, 2)}"
    return " ± ".join(_fixed(Decimal(float(v)), place, ROUND_HALF_EVEN) for v in (value, error))


def percent(value: float, lower: float, upper: float) -> tuple[str, str]:
    """A share in percent and its interval, to the digits that the interval leaves.

    >>> percent(346 / 360, 0.93611, 0.97712)
    ('96.1', '[93.6, 97.8]')
    """
    digits = 4 if upper - lower < 0.01 else 3
    text = number(100 * value, digits)
    return text, "" if math.isnan(lower) else interval(100 * lower, 100 * upper, digits)


def count(value: float) -> str:
    """A whole number with its thousands apart; a dash for NaN."""
    return DASH if math.isnan(value) else f"{int(value):,}"


def _fixed(exact: Decimal, place: int, rounding: str) -> str:
    """Rounded at ``10**place``, written without an exponent, with a true minus sign."""
    return f"{exact.quantize(Decimal(1).scaleb(place), rounding):f}".replace("-", "−")
