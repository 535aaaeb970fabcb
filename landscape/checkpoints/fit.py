"""Do parameters fit a model? Told by name and shape."""

from typing import Any

from landscape.errors import RequestError
from landscape.parameters import named_leaves

_SHOWN = 3


def check_fit(params: Any, abstract: Any, what: str = "checkpoint") -> None:
    """Compare parameters with what a model expects.

    Parameters
    ----------
    params
        The parameters.
    abstract
        The expected tree: anything with shapes for leaves, such as ``model.abstract()``.
    what
        How the message calls the parameters.

    Raises
    ------
    RequestError
        Naming the missing and superfluous parameters and those of other shape.
    """
    found = {name: tuple(leaf.shape) for name, leaf in named_leaves(params).items()}
    expected = {name: tuple(leaf.shape) for name, leaf in named_leaves(abstract).items()}
    problems = [
        ("missing", [name for name in expected if name not in found]),
        ("not in the model", [name for name in found if name not in expected]),
        (
            "of other shape",
            [
                f"{name} {found[name]} instead of {shape}"
                for name, shape in expected.items()
                if name in found and found[name] != shape
            ],
        ),
    ]
    told = [f"{len(names)} {kind} ({_few(names)})" for kind, names in problems if names]
    if told:
        raise RequestError(
            f"{what} does not fit the model: parameters {'; '.join(told)}; "
            "choose the model, classes and image size it was trained with"
        )


def _few(names: list[str]) -> str:
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join(names[:_SHOWN] + more)
