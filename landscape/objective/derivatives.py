"""What one micro-batch contributes to a loss, a gradient, a product, a quadratic form.

Products are forward-over-reverse: of the orders of differentiation that cost the same it needs the
least memory. Models with operations that have no forward rule (``jax.custom_vjp`` inside a backward
pass) are differentiated reverse-over-reverse instead.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from landscape import parameters
from landscape.errors import RequestError
from landscape.objective.spread import Spread
from landscape.parameters import Tree, wide

Kind = Literal["loss", "moments", "slope", "state", "gradient", "product", "form"]
Matrix = Literal["hessian", "gauss_newton", "empirical_fisher"]
Order = Literal["forward", "reverse"]


def contribution(
    kind: Kind,
    matrix: Matrix,
    order: Order,
    loss: Callable[..., jax.Array],
    metrics: Callable[..., Mapping[str, jax.Array]] | None,
    estimate: Callable[[Tree, Any, jax.Array], Tree] | None,
    merge: Callable[[Tree, Any], tuple],
) -> Callable:
    """The function ``(free, fixed, vector, weight, batch, mask) -> contribution``.

    ``"loss"`` gives ``{name: weighted sum}``; ``"moments"`` that and the :class:`Spread` of each;
    ``"slope"`` both and the gradient; ``"state"`` the weighted sum of the batches' states;
    ``"gradient"`` and ``"product"`` trees like ``free``; ``"form"`` the quadratic form
    ``v'A_n v`` of every example (B,), unweighted.
    """
    directional = jvp_forward if order == "forward" else jvp_reverse

    def contribute(free, fixed, vector, weight, batch, mask):
        def check(losses):
            if jnp.shape(losses) != mask.shape:
                raise RequestError(
                    f"loss: must return per-example losses of shape {mask.shape}, got "
                    f"{jnp.shape(losses)}; do not average over the batch"
                )
            real = jnp.issubdtype(losses.dtype, jnp.floating)  # whole numbers have no fractions
            return losses.astype(wide(losses.dtype) if real else jnp.float32)

        def masked(losses):
            losses = check(losses)
            total = jnp.sum(jnp.where(mask, losses, jnp.zeros_like(losses)))
            return total * weight.astype(losses.dtype)

        def losses(free):
            return check(loss(*merge(free, fixed), batch))

        def total(free):
            return masked(losses(free))

        def measured():
            extra = metrics(*merge(free, fixed), batch) if metrics else {}
            return {name: check(values) for name, values in extra.items()}

        def moments(each):
            spreads = {name: Spread.of(values, mask) for name, values in each.items()}
            return {"mean": {n: masked(values) for n, values in each.items()}, "spread": spreads}

        if kind == "loss":
            return {"loss": total(free)} | {n: masked(v) for n, v in measured().items()}
        if kind == "moments":
            return moments({"loss": losses(free)} | measured())
        if kind == "slope":

            def total_and_each(free):
                each = losses(free)
                return masked(each), each

            gradient, each = jax.grad(total_and_each, has_aux=True)(free)
            return moments({"loss": each} | measured()) | {"gradient": gradient}
        if kind == "state":
            share = weight * jnp.sum(mask, dtype=weight.dtype)
            return parameters.scaled(estimate(*merge(free, None), batch, mask), share)
        if kind == "gradient":
            return jax.grad(total)(free)

        tangent = jax.tree.map(lambda v, p: v.astype(p.dtype), vector, free)

        def outputs(free):
            return loss.outputs(*merge(free, fixed), batch)

        def criterion(out):
            return check(loss.criterion(out, batch))

        if kind == "form":
            if matrix == "hessian":
                forms = directional(lambda f: directional(losses, f, tangent), free, tangent)
            elif matrix == "gauss_newton":
                along = directional(outputs, free, tangent)
                forms = jvp_forward(
                    lambda out: jvp_forward(criterion, out, along), outputs(free), along
                )
            else:
                forms = directional(losses, free, tangent) ** 2
            return jnp.where(mask, forms, jnp.zeros_like(forms))

        if matrix == "hessian":
            if order == "forward":
                return jvp_forward(jax.grad(total), free, tangent)
            return jax.grad(lambda f: parameters.dot(jax.grad(total)(f), tangent))(free)
        if matrix == "gauss_newton":
            # d2 criterion applied to J v, then pulled back.
            cotangent = jvp_forward(
                jax.grad(lambda out: masked(criterion(out))),
                outputs(free),
                directional(outputs, free, tangent),
            )
            return jax.vjp(outputs, free)[1](cotangent)[0]
        # The gradient of each example, weighted with its component along the vector.
        slopes = directional(losses, free, tangent)
        slopes = jnp.where(mask, slopes, jnp.zeros_like(slopes)) * weight.astype(slopes.dtype)
        return jax.vjp(losses, free)[1](slopes)[0]

    return contribute


def jvp_forward(function: Callable, at: Any, tangent: Any) -> Any:
    """Derivative of ``function`` along ``tangent``, by forward differentiation."""
    return jax.jvp(function, (at,), (tangent,))[1]


def jvp_reverse(function: Callable, at: Any, tangent: Any) -> Any:
    """The same by reverse differentiation alone: the pull-back is linear, so pull it back."""
    out, pull = jax.vjp(function, at)
    zero = jax.tree.map(jnp.zeros_like, out)
    return jax.vjp(lambda cotangent: pull(cotangent)[0], zero)[1](tangent)[0]
