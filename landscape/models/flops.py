"""Count the floating-point operations of a function from its traced program."""

import math

import jax


def count_flops(function, *arguments):
    """Operations of one call: two for each multiply-add of a matrix product or convolution.

    `arguments` may be arrays or ``jax.ShapeDtypeStruct``: nothing is computed or compiled.
    Element-wise work is not counted, products with a convolution's zero padding are. Functions
    with loops are out of scope: a loop's body counts once.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr):
    total = 0
    for equation in jaxpr.eqns:
        shapes = [getattr(v.aval, "shape", ()) for v in equation.invars]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            depth = math.prod(shapes[0][axis] for axis in contracted)
            total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
        elif equation.primitive.name == "conv_general_dilated":
            out_axis = equation.params["dimension_numbers"].rhs_spec[0]
            depth = math.prod(shapes[1]) // shapes[1][out_axis]
            total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
        else:
            for inner in equation.params.values():
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += _count(inner)
    return total
