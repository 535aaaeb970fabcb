"""Do parameters fit a model? Told by name and shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from landscape.errors import RequestError
from landscape.parameters import shapes

HEADS = ("head/", "linear/", "fc/")  # what the networks' heads are called


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
        others = [f"{name} {a} instead of {b}" for name, (a, b) in self.reshaped.items()]
        kinds = {
            "missing": self.missing,
            "not in the model": self.extra,
            "of other shape": others,
        }
        told = [f"{len(names)} {kind} ({few(names)})" for kind, names in kinds.items() if names]
        return "; ".join(told)

    @property
    def headless(self) -> bool:
        """Whether nothing but a head is missing."""
        return (
            bool(self.missing)
            and not (self.extra or self.reshaped)
            and all(name.startswith(HEADS) for name in self.missing)
        )


def compare(params: Any, abstract: Any) -> Fit:
    """Compare names and shapes of two trees; leaves are anything with a shape."""
    found, expected = shapes(params), shapes(abstract)
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
        remedy = (
            "`convert --classes N` gives it one of zeros"
            if found.headless
            else "choose the model, classes and image size it was trained with"
        )
        raise RequestError(f"{what} does not fit the model: parameters {found}; {remedy}")


def check_known(unknown: Sequence[str], what: str) -> None:
    """Refuse a checkpoint with arrays that have no place in its network, which is another one.

    Raises
    ------
    RequestError
        Naming the first ones.
    """
    if unknown:
        raise RequestError(
            f"{what} is of another network: {len(unknown)} arrays have no place in ours "
            f"({few(unknown)}); see `inspect`"
        )


def check_whole(found: Any, model: Any, what: str) -> None:
    """Check that a checkpoint is all of a network and nothing else: parameters and statistics.

    Raises
    ------
    RequestError
        As `check_known` and `check_fit`.
    """
    check_known(found.unknown, what)
    check_fit(found.params, model.abstract(), what)
    if model.has_state:
        check_fit(found.state or {}, model.abstract_state(), f"state of {what}")


def few(names: Sequence[str], most: int = 3) -> str:
    """The first ones, and how many there are more."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])
