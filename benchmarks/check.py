"""What the check of an eigenvalue costs, and why it is not a difference of gradients.

    python benchmarks/check.py --checkpoint resnet32-d509ac18.th --data cifar10 --images 64

Along the certified top eigenvector: u'Hu by the product, by the check (two forward derivatives,
float64 for the micro-batch that contributes most), and by differences of gradients,
(grad L(w + e u) - grad L(w - e u))'u / 2e, for several e. Where the network has ReLUs these cross
kinks, at which the gradient jumps: they measure something else than the Hessian, at every e that
float32 can resolve.
"""

import argparse
import dataclasses
import time

import jax

from landscape import extremes, parameters
from landscape.cli import subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options(subject.Subject):
    pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="a run folder or a file")
    parser.add_argument("--data", help="the images (default: the run's)")
    parser.add_argument("--images", type=int, default=64)
    asked = parser.parse_args()
    options = _Options(**vars(asked))
    objective = subject.objective(options, subject.load(options))
    found = extremes(objective, ends="max", vectors=True)
    vector = found.vectors["lambda_max"]
    print(found.lambda_max)
    product, image = _timed(lambda: objective.product(vector))
    check, quotient = _timed(lambda: objective.rayleigh_quotient(vector))
    value = float(parameters.dot(vector, image))
    print(f"product {value:.7g}; check {quotient.value:.7g}, {check / product:.2f} products")
    for step in (1e-1, 1e-2, 1e-3, 1e-4):

        def differences(step: float = step) -> float:
            there, back = (
                objective.gradient(parameters.add_scaled(objective.params, s, vector))
                for s in (step, -step)
            )
            change = parameters.add_scaled(there, -1.0, back)
            return float(parameters.dot(change, vector)) / (2 * step)

        seconds, along = _timed(differences)
        print(
            f"differences at e = {step:g}: {along:.7g}, off by {along / value - 1:+.2%}, "
            f"{seconds / product:.2f} products"
        )


def _timed(function):
    """Seconds of the second call, and its value."""
    function()
    start = time.perf_counter()
    value = function()
    for leaf in jax.tree.leaves(value):
        getattr(leaf, "block_until_ready", lambda: None)()
    return time.perf_counter() - start, value


if __name__ == "__main__":
    main()
