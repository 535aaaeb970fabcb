"""Tables of names that are read in both directions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.namings.layouts import (
    CONVOLUTION,
    DENSE,
    VECTOR,
    Layout,
)

PARAMS, STATE = "params/", "batch_stats/"
POSITION_LEAF = "Transformer/posembed_input/pos_embedding"


@dataclass(frozen=True)
class Tensor:
    """One array of a file.

    Attributes
    ----------
    name
        What the file calls it.
    leaves
        Our leaves it holds: ``params/head/kernel``, ``batch_stats/bn1/mean``.
    layout
        How the one becomes the others.
    """

    name: str
    leaves: tuple[str, ...]
    layout: Layout = field(repr=False)


@dataclass(frozen=True)
class Reading:
    """What a naming makes of the names in a file.

    Trees of Flax keep what has no place in a network of ours among the tensors, under its own name;
    tables of names cannot, and tell it as unknown.

    Attributes
    ----------
    naming
        Its name, for people.
    tensors
        The arrays that are read, in the file's order.
    unknown
        Arrays that look like parameters and have no place in a network of ours.
    activation, preprocessing
        What belongs to checkpoints of this origin; None where that is open.
    heads
        Attention heads, where shapes do not tell; 0 where they do.
    part
        What is in front of the names of those arrays that are read.
    """

    naming: str
    tensors: tuple[Tensor, ...] = field(repr=False)
    unknown: tuple[str, ...] = ()
    activation: str | None = None
    preprocessing: str | None = None
    heads: int = 0
    part: str = ""


@dataclass(frozen=True)
class Row:
    """Names with numbers in them: ``blocks.{i}.norm1.weight`` and the leaves it stands for."""

    name: str
    leaves: tuple[str, ...]
    layout: Layout = field(repr=False)
    shift: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def name_pattern(self) -> re.Pattern[str]:
        """Matches the file's name."""
        return _pattern(self.name)

    @cached_property
    def leaf_pattern(self) -> re.Pattern[str]:
        """Matches the first leaf."""
        return _pattern(self.leaves[0])

    def read(self, match: re.Match[str]) -> tuple[str, ...]:
        """The leaves of a matching name."""
        numbers = {key: int(text) + self.shift.get(key, 0) for key, text in _numbers(match)}
        return tuple(leaf.format(**numbers) for leaf in self.leaves)

    def written(self, match: re.Match[str]) -> tuple[str, tuple[str, ...]]:
        """The name and all leaves of a matching first leaf."""
        numbers = {key: int(text) for key, text in _numbers(match)}
        back = {key: number - self.shift.get(key, 0) for key, number in numbers.items()}
        leaves = tuple(leaf.format(**numbers) for leaf in self.leaves)
        return self.name.format(**back), leaves


def _pattern(template: str) -> re.Pattern[str]:
    # Seven digits at most: more would take int() long, and no network has as many layers.
    return re.compile(re.sub(r"\\{(\w)\\}", r"(?P<\1>[0-9]{1,7})", re.escape(template)))


def _numbers(match: re.Match[str]) -> Iterable[tuple[str, str]]:
    return match.groupdict().items()


def row(name: str, *leaves: str, layout: Layout, **shift: int) -> Row:
    """One array; ``shift`` says how much higher our numbers are: ``j=1``."""
    return Row(name, tuple(PARAMS + leaf for leaf in leaves), layout, shift)


def norm(name: str, leaf: str, **shift: int) -> list[Row]:
    """Scale and bias of a normalisation."""
    return [
        row(f"{name}.weight", f"{leaf}/scale", layout=VECTOR, **shift),
        row(f"{name}.bias", f"{leaf}/bias", layout=VECTOR, **shift),
    ]


def batch_norm(name: str, leaf: str) -> list[Row]:
    """Scale, bias and running statistics."""
    statistics = {"running_mean": "mean", "running_var": "var"}
    return norm(name, leaf) + [
        Row(f"{name}.{theirs}", (f"{STATE}{leaf}/{ours}",), VECTOR)
        for theirs, ours in statistics.items()
    ]


def dense(name: str, leaf: str, kernel: Layout = DENSE, **shift: int) -> list[Row]:
    """Kernel and bias of a linear layer."""
    return [
        row(f"{name}.weight", f"{leaf}/kernel", layout=kernel, **shift),
        row(f"{name}.bias", f"{leaf}/bias", layout=VECTOR, **shift),
    ]


def convolution(name: str, leaf: str, **shift: int) -> Row:
    """The kernel of a convolution without bias."""
    return row(f"{name}.weight", f"{leaf}/kernel", layout=CONVOLUTION, **shift)


def prefixes(names: Iterable[str], marks: re.Pattern[str]) -> list[str]:
    """What stands in front of marks in names; the fewest parts first, ``params/`` before others.

    The parameters themselves come first: an optimiser's moments are named like them, further down.
    """
    found = {name[: match.start("mark")] for name in names if (match := marks.search(name))}
    return sorted(found, key=lambda prefix: (_parts(prefix), prefix != PARAMS, prefix))


def the_first(found: Sequence[str]) -> str | None:
    """The prefix to read; None if there is none.

    Raises
    ------
    ValueError
        If several have an equal claim.
    """
    equal = [prefix for prefix in found if _parts(prefix) == _parts(found[0])]
    if len(equal) > 1 and PARAMS not in equal:
        raise ValueError(
            f"it holds {len(equal)} networks, {', '.join(equal[:3])}; save one of them alone"
        )
    return found[0] if found else None


def _parts(prefix: str) -> int:
    return len(re.findall("[./]", prefix))


def read_by(
    table: Sequence[Row], arrays: Mapping[str, Described], ignored: Sequence[str] = ()
) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """The tensors of the names that are in the table, and the names that are not.

    Names that end in one of ``ignored`` are neither.
    """
    tensors, unknown = [], []
    for name in arrays:
        if name.endswith(tuple(ignored)):
            continue
        for entry in table:
            if match := entry.name_pattern.fullmatch(name):
                tensors.append(Tensor(name, entry.read(match), entry.layout))
                break
        else:
            unknown.append(name)
    return tuple(tensors), tuple(unknown)


def written_by(table: Sequence[Row], leaves: Mapping[str, Any]) -> list[Tensor] | str:
    """The tensors that hold all these leaves, or the name of a leaf that none of them holds."""
    tensors, held = [], set()
    for leaf in leaves:
        if leaf in held:
            continue
        for entry in table:
            match = entry.leaf_pattern.fullmatch(leaf)
            if match:
                name, together = entry.written(match)
                if all(other in leaves for other in together):
                    tensors.append(Tensor(name, together, entry.layout))
                    held.update(together)
                    break
    missing = [leaf for leaf in leaves if leaf not in held]
    return missing[0] if missing else tensors
