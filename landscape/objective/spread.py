"""The spread of values around their mean, gathered part by part without squaring large numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import parameters


class Spread(NamedTuple):
    """What is known of the spread of the values seen so far; zeros before the first.

    Everything is in the unit of the values, so that nothing overflows or vanishes before they do,
    and relative to one of them, so that a large mean takes no digits from a small spread.

    Attributes
    ----------
    count
        How many values.
    origin
        One of the values.
    offset
        Their mean, less ``origin``.
    deviation
        Square root of the sum of the squared deviations from the mean.

    References
    ----------
    Chan, Golub, LeVeque, Algorithms for computing the sample variance: analysis and
    recommendations, The American Statistician 37 (1983).
    """

    count: jax.Array
    origin: jax.Array
    offset: jax.Array
    deviation: jax.Array

    @classmethod
    def of(cls, values: jax.Array, mask: jax.Array) -> "Spread":
        """Of the values (B,) that ``mask`` (B,) marks, in two passes over them."""
        count = jnp.sum(mask, dtype=values.dtype)
        origin = values[jnp.argmax(mask)]
        zero = jnp.zeros_like(values)
        from_origin = jnp.where(mask, values - origin, zero)
        offset = jnp.sum(from_origin / jnp.maximum(count, 1))
        return cls(
            count, origin, offset, parameters.norm(jnp.where(mask, from_origin - offset, zero))
        )

    def joined(self, other: "Spread") -> "Spread":
        """Of the values of both."""
        count = self.count + other.count
        part = other.count / jnp.maximum(count, 1)
        origin = jnp.where(self.count > 0, self.origin, other.origin)
        between = (other.origin - origin) + other.offset - self.offset
        between = jnp.where(other.count > 0, between, jnp.zeros_like(between))
        apart = jnp.abs(between) * jnp.sqrt(self.count) * jnp.sqrt(part)
        deviation = jnp.hypot(jnp.hypot(self.deviation, other.deviation), apart)
        return Spread(count, origin, self.offset + part * between, deviation)


def standard_deviation(parts: Spread) -> float:
    """The sample's standard deviation from parts (devices,) on the host; NaN for a single value."""
    count, origin, offset, deviation = (np.asarray(part, np.float64) for part in parts)
    known = count > 0
    count, deviation = count[known], deviation[known]
    if count.sum() < 2:
        return np.nan
    with np.errstate(invalid="ignore", over="ignore"):
        means = (origin[known] - origin[known][0]) + offset[known]
        apart = np.sqrt(count) * np.abs(means - np.sum(means * (count / count.sum())))
        return float(np.hypot.reduce([*deviation, *apart]) / np.sqrt(count.sum() - 1))
