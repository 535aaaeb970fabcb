"""Trace and Frobenius norm from random probes: whole, and for every block from the same products.

For neural-network Hessians, whose bulk is flat, sketching methods need about a hundred products
before they beat plain probes, so those are the default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from landscape import parameters
from landscape.curvature import panel
from landscape.curvature.estimate import Estimate
from landscape.curvature.lanczos import check_finite
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.objective import Objective
from landscape.parameters import Tree


@dataclass(frozen=True)
class Trace:
    """What random probes say about a matrix.

    Attributes
    ----------
    trace
        Trace with standard error.
    frobenius
        Frobenius norm with standard error; None where the probes do not give it.
    products
        Products spent.
    names
        Leaf names (leaves,).
    samples
        (probes, leaves): what each leaf contributed to each sample; empty where the probes were
        deflated.
    looks
        At how many numbers of probes it could have ended; the errors are widened for it.
    converged
        Whether the asked for error was reached; always, if none was asked for.
    """

    trace: Estimate
    frobenius: Estimate | None
    products: int
    names: tuple[str, ...] = ()
    samples: np.ndarray | None = None
    looks: int = 1
    converged: bool = True

    def blocks(self, blocks: Mapping[str, Sequence[str]]) -> dict[str, Estimate]:
        """Traces of sub-diagonal blocks ``{block: [leaf names]}``, at no further cost.

        With independent signs ``v_b (H v)_b`` is an unbiased sample of ``tr H_bb`` for every block
        at once.

        Raises
        ------
        RequestError
            If the probes were deflated, or a block names an unknown leaf.
        """
        if self.samples is None:
            raise RequestError("deflate: deflated probes give no block traces; leave it out")
        place = {name: i for i, name in enumerate(self.names)}
        unknown = [name for names in blocks.values() for name in names if name not in place]
        if unknown:
            raise RequestError(f"blocks: no parameter {unknown[0]!r}; see parameters.leaf_names")
        sums = {
            block: self.samples[:, [place[name] for name in names]].sum(axis=1)
            for block, names in blocks.items()
        }
        return {
            block: Estimate.of(sum_).corrected_for_looks(self.looks) for block, sum_ in sums.items()
        }


def trace(
    objective: Objective,
    *,
    probes: int = 30,
    relative_error: float | None = None,
    deflate: panel.Panel | None = None,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
    journal: Journal | None = None,
) -> Trace:
    """Trace and Frobenius norm by random signs, one product each.

    Parameters
    ----------
    objective
        The objective, or anything with ``params`` and a symmetric ``product(vector)``.
    probes
        Number of products; the most if ``relative_error`` is given.
    relative_error
        Stop when the standard error is below this times the estimate. It is looked at after 30, 60,
        120, ... probes, and the standard error is widened for the looks that there may be.
    deflate
        Orthonormal vectors (:attr:`Eigenpairs.vectors`) whose part of the trace is taken exactly,
        at one product each; the probes then see only the rest, whose spread is smaller.
    seed, progress, journal
        As for :func:`landscape.extremes`.

    Raises
    ------
    RequestError
        If ``probes`` is below 1.

    References
    ----------
    Hutchinson, A stochastic estimator of the trace, Commun. Stat. Simul. Comput. 19 (1990);
    deflation: Gambhir, Stathopoulos, Orginos, SIAM J. Sci. Comput. 39 (2017).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from landscape import Objective
    >>> def loss(w, batch):
    ...     return 0.5 * jnp.sum(jnp.array([3.0, 1.0, 6.0]) * w**2) * batch
    >>> trace(Objective(loss, jnp.ones(3), [jnp.ones(2)]), probes=2).trace.estimate
    10.0
    """
    if probes < 1:
        raise RequestError(f"probes: {probes} is below 1; 30 give some per cent")
    journal = journal or Journal()
    like, count = objective.params, 0
    exact = 0.0
    if deflate is not None:
        exact, count = _trace_inside(objective, deflate, progress)
    kept = journal.load() or {"samples": [], "norms": []}
    samples, norms = kept["samples"], kept["norms"]
    ends = _ends(probes) if relative_error is not None else [probes]

    def so_far() -> Estimate:
        return Estimate.of(np.array(samples).sum(axis=1) + exact).corrected_for_looks(len(ends))

    def enough() -> bool:
        if relative_error is None or len(samples) not in ends:
            return False
        return so_far().standard_error <= relative_error * abs(so_far().estimate)

    while len(samples) < probes and not enough():
        key = jax.random.fold_in(jax.random.key(seed), len(samples))
        vector = parameters.signs(key, like)
        if deflate is not None:
            vector, _ = panel.split(deflate, vector)
        parts, norm = _sample(vector, objective.product(vector))
        check_finite(parts, len(samples) + 1)
        samples.append(np.asarray(parts, np.float64).tolist())
        norms.append(float(norm))
        journal.save({"samples": samples, "norms": norms})
        if progress is not None:
            progress()
    status = {"looks": len(ends), "converged": relative_error is None or enough()}
    if deflate is not None:
        return Trace(so_far(), None, count + len(samples), **status)
    return Trace(
        so_far(),
        Estimate.root_mean_square(np.array(norms)).corrected_for_looks(len(ends)),
        len(samples),
        tuple(parameters.leaf_names(like)),
        np.array(samples),
        **status,
    )


def _ends(probes: int) -> list[int]:
    """The numbers of probes at which a search may end."""
    ends, count = [], 30
    while count < probes:
        ends.append(count)
        count *= 2
    return [*ends, probes]


@jax.jit
def _sample(vector: Tree, image: Tree) -> tuple[jax.Array, jax.Array]:
    """What each leaf contributes to ``v'Av`` (leaves,), and ``|Av|``."""
    parts = [
        parameters.dot(v, h)
        for v, h in zip(jax.tree.leaves(vector), jax.tree.leaves(image), strict=True)
    ]
    widest = parameters.total(parts).dtype
    leaves = jnp.stack([part.astype(widest) for part in parts])
    return leaves, parameters.norm(image)


def _trace_inside(objective, basis: panel.Panel, progress) -> tuple[float, int]:
    """``tr Q'AQ``, and the products it took."""
    total, count = 0.0, jax.tree.leaves(basis)[0].shape[0]
    for i in range(count):
        vector = panel.take(basis, i)
        total += float(parameters.dot(vector, objective.product(vector)))
        if progress is not None:
            progress()
    return total, count


def hutch_plus_plus(
    objective: Objective,
    *,
    products: int = 60,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Trace:
    """Trace from a third of the products spent on a range, a third inside it, a third outside.

    Pays for matrices whose spectrum falls off fast (Gauss-Newton matrices of few classes); takes
    the memory of about ``products`` vectors.

    Raises
    ------
    RequestError
        If ``products`` is below 6.

    References
    ----------
    Meyer, Musco, Musco, Woodruff, Hutch++: optimal stochastic trace estimation, SOSA 2021.
    """
    _check_products(products, 6)
    third = min(products // 3, parameters.size(objective.params))
    basis, _ = panel.orthonormalise(_images(objective, _probes(objective, seed, third), progress))
    found = trace(
        objective, probes=products - 2 * third, deflate=basis, seed=seed + 1, progress=progress
    )
    return Trace(found.trace, None, third + found.products)


def xtrace(
    objective: Objective,
    *,
    products: int = 60,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Trace:
    """Trace by leave-one-out estimates: every probe is at once part of the range and a sample.

    Takes the memory of about 1.5 ``products`` vectors. The samples share most of their range and
    are not independent: their spread tells too little, a jackknife too much. A part of the estimate
    that depends on k probes together (Hoeffding's decomposition) enters the variance told by the
    spread with 1/k of its weight, that of the jackknife with k times, so that the geometric mean
    of the two, which is the standard error given, is at least the true one.

    Raises
    ------
    RequestError
        If ``products`` is below 4.

    References
    ----------
    Epperly, Tropp, Webber, XTrace: making the most of every sample in stochastic trace
    estimation, SIAM J. Matrix Anal. Appl. 45 (2024); Efron, Stein, The jackknife estimate of
    variance, Ann. Stat. 9 (1981).
    """
    _check_products(products, 4)
    size = parameters.size(objective.params)
    count = min(products // 2, size)
    probes = _probes(objective, seed, count)
    basis, triangle = panel.orthonormalise(_images(objective, probes, progress))
    inside = panel.gram(basis, _images(objective, basis, progress))
    check_finite(inside, 2 * count)
    if count == size or not np.diag(triangle).all():  # the range holds the whole matrix, up to
        epsilon = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(basis))  # rounding
        hidden = 10 * epsilon * size**0.5 * float(np.max(np.diag(triangle)))
        return Trace(Estimate(float(np.trace(inside)), hidden, count), None, 2 * count)
    weights = panel.gram(basis, probes)  # Q'W; the directions of Gaussian probes are isotropic
    lengths = np.diag(panel.gram(probes, probes))
    return Trace(leave_one_out_estimate(inside, weights, triangle, lengths, size), None, 2 * count)


def leave_one_out_estimate(
    inside: np.ndarray, weights: np.ndarray, images: np.ndarray, lengths: np.ndarray, size: int
) -> Estimate:
    """The trace of an operator of dimension ``size`` from m probes; see :func:`xtrace`.

    In an orthonormal basis Q of the images' span: ``inside`` is Q'AQ, the columns of ``weights``
    and ``images`` are the probes' parts in the span and their images, all (m, m); ``lengths`` (m,)
    the probes' squared lengths.
    """
    count = len(lengths)
    samples, directions = _leave_one_out(inside, weights, images, lengths, size)
    means = []  # the estimates from all probes but one
    for i in range(count):
        others = np.arange(count) != i
        part = np.linalg.qr(directions[:, [i]], mode="complete")[0][:, 1:].T  # of the others' range
        fewer, _ = _leave_one_out(
            part @ inside @ part.T,
            part @ weights[:, others],
            part @ images[:, others],
            lengths[others],
            size,
        )
        means.append(fewer.mean())
    spread = Estimate.of(samples)
    jackknife = (count - 1) * Estimate.of(np.array(means)).standard_error
    return Estimate(spread.estimate, spread.standard_error**0.5 * jackknife**0.5, count)


def _leave_one_out(
    inside: np.ndarray, weights: np.ndarray, images: np.ndarray, lengths: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """An estimate (m,) for every probe, with the range of the others' images; and the directions
    (m, m) within Q that only one probe's image reaches."""
    directions = np.linalg.inv(images).T
    directions = directions / np.linalg.norm(directions, axis=0)
    inner = weights - directions * (directions * weights).sum(axis=0)  # in the others' range
    outside = (weights * images - 2 * inner * images + inner * (inside @ inner)).sum(axis=0)
    scale = (size - len(lengths) + 1) / (lengths - (inner**2).sum(axis=0))
    left = np.trace(inside) - (directions * (inside @ directions)).sum(axis=0)
    return left + scale * outside, directions


def _check_products(products: int, least: int) -> None:
    if products < least:
        raise RequestError(f"products: {products} is below {least}")


def _probes(objective, seed: int, count: int) -> panel.Panel:
    keys = (jax.random.fold_in(jax.random.key(seed), i) for i in range(count))
    return panel.stack([parameters.gaussian(key, objective.params) for key in keys])


def _images(objective, vectors: panel.Panel, progress) -> panel.Panel:
    images = []
    for i in range(jax.tree.leaves(vectors)[0].shape[0]):
        images.append(objective.product(panel.take(vectors, i)))
        if progress is not None:
            progress()
    return panel.stack(images)
