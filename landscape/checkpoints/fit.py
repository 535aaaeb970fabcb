"""Do parameters fit a model? Told by name and shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from landscape.errors import RequestError
from landscape.parameters import named_leaves

_SHOWN = 3


@dataclass(frozen=True)
class Fit:
    """How parameters differ from what a model expects.

    Attributes
    ----------
    missing, extra
        Names that only the model, or only the parameters, have.
    reshaped
        ``{name: (found shape, expected shape)}``.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def __bool__(self) -> bool:
        return not (self.missing or self.extra or self.reshaped)

    def __str__(self) -> str:
        shapes = [f"{name} {a} instead of {b}" for name, (a, b) in self.reshaped.items()]
        kinds = {"missing": self.missing, "not in the model": self.extra, "of other shape": shapes}
        told = [f"{len(names)} {kind} ({_few(names)})" for kind, names in kinds.items() if names]
        return "; ".join(told)


def compare(params: Any, abstract: Any) -> Fit:
    """Compare names and shapes of two trees; leaves are anything with a shape."""
    found = {name: tuple(leaf.shape) for name, leaf in named_leaves(params).items()}
    expected = {name: tuple(leaf.shape) for name, leaf in named_leaves(abstract).items()}
    return Fit(
        tuple(name for name in expected if name not in found),
        tuple(name for name in found if name not in expected),
        {
            name: (found[name], shape)
            for name, shape in expected.items()
            if name in found and found[name] != shape
        },
    )


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
    found = compare(params, abstract)
    if not found:
        raise RequestError(
            f"{what} does not fit the model: parameters {found}; "
            "choose the model, classes and image size it was trained with"
        )


def _few(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])
