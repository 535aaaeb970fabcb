"""Programs that a version of XLA compiled wrongly, each with its value by NumPy in float64.

Every program runs on the backend at hand, in the precision in use: float64 where
``jax_enable_x64`` is on, float32 elsewhere. Each returns what it found and what is expected, arrays
of one shape.
"""

import jax
import jax.numpy as jnp
import numpy as np

Found = tuple[np.ndarray, np.ndarray]


def dtype() -> np.dtype:
    """The precision in use."""
    return np.dtype("f8" if jax.config.jax_enable_x64 else "f4")


def allowed() -> float:
    """Relative error beyond which a program of a few hundred operations is wrong."""
    return 1000 * float(np.finfo(dtype()).eps)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation over the largest value expected; infinite where something is not finite."""
    found, expected = np.asarray(found, "f8"), np.asarray(expected, "f8")
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype())


def rows() -> Found:
    """The rows behind the last multiple of the kernel's length are computed from others."""
    matrix, rows = np.eye(3, dtype=dtype()), _random(40_000, 3)
    found = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))(rows)
    expected = np.sum(rows.astype("f8") ** 2, axis=1)
    return found / expected.astype(dtype()), np.ones(len(rows))


def broadcast() -> Found:
    """As in the derivative of ``sum(f(E))``, where the cotangent is one number."""
    matrices, number = _random(5, 60, 60), np.asarray(0.37, dtype())
    found = jax.jit(lambda e: jnp.sum((e @ jnp.full_like(e, number)) * e, axis=-1))(matrices)
    wide = matrices.astype("f8")
    expected = np.sum((wide @ np.full_like(wide, float(number))) * wide, axis=-1)
    return np.asarray(found), expected


def pool() -> Found:
    """Maximum over pairs of rows, with a hole between any two columns."""
    image = _random(64, 128)
    found = jax.lax.reduce_window(
        image, np.asarray(-np.inf, dtype()), jax.lax.max, (2, 1), (2, 1), "VALID",
        base_dilation=(1, 2),
    )  # fmt: skip
    columns = np.maximum(image[0::2], image[1::2])
    holes = np.isneginf(np.asarray(found[:, 1::2]))
    return np.where(holes.all(), np.asarray(found)[:, ::2], np.nan), columns


def seven_axes() -> Found:
    a, b = _random(3, 1, 2, 2, 8, 8, 8), _random(3, 1, 2, 2, 8, 8, 8)[::-1]
    found = jax.jit(lambda a, b: jnp.sum(a * b, axis=3))(a, b)
    return np.asarray(found), np.sum(a.astype("f8") * b, axis=3)


def eight_axes() -> Found:
    a, b = _random(10, 4, 6), _random(10, 4, 6, 9, 9, 9, 9, 9)
    found = jax.jit(lambda a, b: jnp.exp(jnp.sum(a[(...,) + (None,) * 5] * b, axis=2)))(a, b)
    return np.asarray(found), np.exp(np.einsum("abc,abcdefgh->abdefgh", a.astype("f8"), b))


def eager() -> Found:
    found = [jnp.sqrt(jnp.asarray(512, dtype())), jnp.sum(jnp.ones(4, dtype()) + 1)]
    found.append(jnp.std(jax.random.normal(jax.random.key(0), (10_000,), dtype())) > 0.9)
    return np.array([float(value) for value in found]), np.array([np.sqrt(512.0), 8.0, 1.0])


def concatenated() -> Found:
    """Normalised tokens with a row in front and four behind, masked by two masks put together."""
    tokens, more, mask = _random(30, 64), _random(4, 64), np.arange(29) % 3 > 0

    def normalised(tokens, more, mask):
        mask = jnp.concatenate([jnp.ones(1, bool), mask])[:, None]
        tokens = tokens / jnp.sqrt(jnp.mean(tokens**2, axis=-1, keepdims=True))
        return jnp.concatenate([jnp.where(mask, tokens, jnp.zeros_like(tokens)), more])

    found = jax.jit(normalised)(tokens, more, mask)
    wide = tokens.astype("f8")
    expected = wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True))
    expected[1:][~mask] = 0
    return np.asarray(found), np.concatenate([expected, more])


def matrices() -> Found:
    """The precision that every product of the package asks for; TF32 is wrong by 1e-3."""
    a = _random(200, 300)
    with jax.default_matmul_precision("highest"):
        found = jax.jit(lambda a: a @ a.T)(a)
    return np.asarray(found), a.astype("f8") @ a.T.astype("f8")


def wrong() -> list[str]:
    """Which of two quick programs come out wrong, here and now.

    They take milliseconds where the compiler is wrong and some tenths of a second where it is
    right, and tell every version of the table in :mod:`landscape.xla_flags`.
    """
    quick = {"jax issue 39103": rows, "product with a broadcast matrix": broadcast}
    return [name for name, run in quick.items() if not relative_error(*run()) <= allowed()]
