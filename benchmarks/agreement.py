"""Whether our products and eigenvalues are those of curvlinops and PyHessian.

    python benchmarks/agreement.py

The same weights, the same images, a ragged last batch. The peers compute in float64; our side does
so too (column "float64": rounding alone may differ) and in float32, as it normally would. Any
checked difference above 1e-4 fails, with exit status 1.

Not checked, for information:

- "H v" of the ResNet in float32: a ReLU network's Hessian jumps where the input of a ReLU crosses
  zero, so that a single unit rounded to the other side shows. Its float64 column is checked, on few
  images, since XLA:CPU convolves float64 15 to 55 times slower than float32.
- curvlinops with nn.LayerNorm: it differentiates with jvp(jacrev(...)), for which PyTorch 2.13
  gives wrong derivatives of LayerNorm's weight. The checked rows write the layer norm out.
- pytorch-hessian-eigenthings: it averages batches without regard to their size.
"""

import argparse
import copy
import dataclasses
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import peers
import subjects
import torch
from networks import Pair, flat, mixer, resnet32, vit, with_plain_layer_norm
from scipy.sparse.linalg import eigsh

import landscape
from landscape import parameters
from landscape.curvature import Extremes

TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Relative differences from the peer's float64 result, by our precision."""

    what: str
    differences: dict[str, float]
    checked: tuple[str, ...] = ("float64", "float32")

    @property
    def failed(self) -> bool:
        return any(p in self.checked and not d <= TOLERANCE for p, d in self.differences.items())

    def __str__(self) -> str:
        cells = [
            f"{self.differences[p]:.1e}" if p in self.differences else ""
            for p in ("float64", "float32")
        ]
        unchecked = [p for p in self.differences if p not in self.checked]
        remark = "not checked: " + ", ".join(unchecked) if unchecked else ""
        remark = "FAILED" if self.failed else remark
        return f"{self.what:<36}{cells[0]:>10}{cells[1]:>10}  {remark}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subjects.add_options(parser, images=100)
    parser.set_defaults(batch=32)
    options = parser.parse_args()
    checkpoint = options.checkpoint if options.checkpoint.exists() else None
    data = subjects.read_images(options.images, options.cifar)
    few = tuple(array[:24] for array in data)
    runs = (
        (vit(64, 2), data, options.batch),
        (mixer(64, 2), data, options.batch),
        (resnet32(checkpoint), few, 16),
    )
    print("images:", "CIFAR-10 test set" if options.cifar.exists() else "Gaussian")
    print(f"{'':<20}{'images':<10}{'':<36}{'float64':>10}{'float32':>10}")
    failures = 0
    for pair, (images, labels), batch in runs:
        for comparison in compare(pair, images, labels, batch):
            size = f"{len(images)} by {batch}"
            print(f"{pair.name:<20}{size:<10}{comparison}", flush=True)
            failures += comparison.failed
    print(f"{failures} differences above {TOLERANCE:g}" if failures else "all agree")
    return 1 if failures else 0


def compare(pair: Pair, images: np.ndarray, labels: np.ndarray, size: int) -> Iterator[Comparison]:
    """Every comparison of one network."""
    smooth, precisions = "ResNet" not in pair.name, ("float64", "float32")
    module = copy.deepcopy(pair.module).double()
    plain = with_plain_layer_norm(module)
    batches = subjects.torch_batches(images, labels, size, torch.float64)
    ours = {precision: Ours.of(pair, images, labels, size, precision) for precision in precisions}
    vector = parameters.gaussian(jax.random.key(3), pair.params, unit=True)
    tensors = pair.tensors(vector, torch.float64)

    def against(what, reference, mine, checked=precisions) -> Comparison:
        return Comparison(what, {p: relative(mine[p], reference) for p in precisions}, checked)

    with torch.no_grad():
        logits = torch.cat([module(x) for x, _ in batches]).numpy()
    yield against("logits", logits, {p: one.logits(images) for p, one in ours.items()})

    mine = {p: one.product(vector) for p, one in ours.items()}
    theirs = peers.products(module, batches)
    exact = precisions if smooth else precisions[:1]
    yield against("H v, PyHessian", flat(theirs["PyHessian"](tensors)), mine, exact)
    curvlinops = peers.curvlinops_operator(plain, batches)
    yield against("H v, curvlinops", flat(curvlinops @ tensors), mine, exact)
    if smooth:
        result = flat(theirs["curvlinops"](tensors))
        yield against("H v, curvlinops with nn.LayerNorm", result, mine, ())
    if "eigenthings" in theirs:
        result = flat(theirs["eigenthings"](tensors))
        yield against("H v, eigenthings", result, mine, ())
    mine = {p: one.product(vector, "gauss_newton") for p, one in ours.items()}
    gauss_newton = peers.curvlinops_operator(plain, batches, gauss_newton=True)
    yield against("G v, curvlinops", flat(gauss_newton @ tensors), mine, exact)

    found = ours["float32"].extremes()
    start = np.random.default_rng(0).standard_normal(curvlinops.shape[0])
    largest = eigsh(curvlinops.to_scipy(), 1, which="LA", v0=start, tol=1e-6)[0][0]
    difference = {"float32": relative(found.lambda_max.estimate, largest)}
    yield Comparison("λmax, curvlinops and eigsh", difference)
    torch.manual_seed(0)
    power = peers.pyhessian_operator(module, batches).eigenvalues(maxIter=200, tol=1e-6)[0][0]
    outermost = max(found.lambda_max.estimate, found.lambda_min.estimate, key=abs)
    yield Comparison("largest |λ|, PyHessian", {"float32": relative(outermost, power)})


@dataclasses.dataclass(frozen=True)
class Ours:
    """Our results for one network and precision."""

    pair: Pair
    objective: landscape.Objective
    double: bool

    @classmethod
    def of(cls, pair: Pair, images, labels, size: int, precision: str) -> "Ours":
        double = precision == "float64"
        with jax.enable_x64(double):
            params = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), precision), pair.params)
            pair = dataclasses.replace(pair, params=params)
            images = images.astype(precision)
            return cls(pair, subjects.objective(pair, images, labels, size), double)

    def logits(self, images: np.ndarray) -> np.ndarray:
        with jax.enable_x64(self.double):
            images = images.astype("float64" if self.double else "float32")
            return np.asarray(jax.jit(self.pair.apply)(self.pair.params, images))

    def product(self, vector, matrix: str = "hessian") -> np.ndarray:
        with jax.enable_x64(self.double):
            vector = jax.tree.map(lambda v, p: jnp.asarray(v, p.dtype), vector, self.pair.params)
            return self.pair.flat(self.objective.with_curvature(matrix).product(vector))

    def extremes(self) -> Extremes:
        with jax.enable_x64(self.double):
            return landscape.extremes(self.objective, width=TOLERANCE)


def relative(a: np.ndarray | float, b: np.ndarray | float) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


if __name__ == "__main__":
    sys.exit(main())
