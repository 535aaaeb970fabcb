"""The values of a surface while it is computed: in memory, and in its file."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from landscape import parameters, results
from landscape.errors import RequestError
from landscape.parameters import Tree
from landscape.surface import order
from landscape.surface.plane import Plane, cosine, relative_lengths
from landscape.surface.result import DIRECTIONS, Surface, lengths_of, read_surface

_AXES = ("xcoordinates", "ycoordinates")


class Store:
    """Values of every point so far.

    Of several processes the first one writes the file; all of them hold all values.

    Attributes
    ----------
    metrics
        ``{name: values}`` of the grid's shape.
    done
        Which points have been evaluated.
    """

    def __init__(self, coordinates: Sequence[np.ndarray], plane: Plane, params: Tree):
        self._coordinates, self._plane = list(coordinates), plane
        self._facts = _facts(plane, params)
        shape = tuple(len(c) for c in reversed(coordinates))
        self._path: str | os.PathLike | None = None
        self._file: results.ResultFile | None = None
        self.metrics: dict[str, np.ndarray] = {}
        self.done = np.zeros(shape, bool)
        self._interpolated = np.zeros(shape, bool)

    def start(self, names: Mapping[str, Any]) -> None:
        """Begin without any values of these metrics."""
        self.metrics = {name: np.full(self.done.shape, np.nan) for name in names}

    def open(
        self,
        path: str | os.PathLike,
        described: Mapping[str, Any],
        centre: Callable[[], Mapping[str, float]],
        origin: Mapping[str, Any],
    ) -> None:
        """Make the file, or find it and take over what it holds.

        Parameters
        ----------
        path
            The file.
        described
            The request; a file of another one is refused.
        centre
            Measures the checkpoint itself; called for a new file.
        origin
            Provenance.
        """
        self._path = path
        # A file that is there says what is measured; nothing of it is computed again.
        known = os.path.exists(path)
        centre = dict.fromkeys(read_surface(path).metrics) if known else centre()
        if jax.process_index() == 0:
            self._file = self._opened(path, described, centre, origin)
        _wait_for_all("surface file")
        held = self._file or results.read(path, "surface", without=[DIRECTIONS])
        self.metrics = {name: held[name] for name in centre}
        self.done = held["done"].astype(bool)
        self._interpolated = held["interpolated"].astype(bool)

    def _opened(self, path, described, centre, origin) -> results.ResultFile:
        shape = self.done.shape
        dims = tuple(reversed(_AXES[: len(shape)]))
        fields = {name: results.Field(shape, dims=dims) for name in centre}
        plane = self._plane
        constants = dict(zip(_AXES, self._coordinates, strict=False))
        for axis, direction in zip("xy", plane.directions, strict=False):
            for name, leaf in parameters.named_leaves(direction).items():
                constants[f"{DIRECTIONS}/{axis}/{name}"] = np.asarray(leaf)
        if plane.path is not None:
            for axis, places in zip("xy", np.transpose(plane.path), strict=False):
                constants[f"path/{axis}"] = places  # in a group: xarray wants scales of the rest
        markers = {name: list(place) for name, place in plane.markers.items()}
        return results.ResultFile(
            path,
            "surface",
            request=described,
            fields=fields | {"interpolated": results.Field(shape, "u1")},
            done=shape,
            constants=constants,
            origin={
                **described,  # a user's record may hold any name
                **origin,
                **self._facts,
                "metrics": list(centre),
                "centre": dict(centre),
                "markers": markers,
            },
        )

    @property
    def heights(self) -> np.ndarray:
        """The loss that decides where adaptive refinement looks closer."""
        return next(values for name, values in self.metrics.items() if name.endswith("_loss"))

    def write(self, index: tuple[int, ...], metrics: Mapping[str, float]) -> None:
        """Keep the values of a point.

        Raises
        ------
        RequestError
            If the file that is continued has other metrics.
        """
        if metrics.keys() != self.metrics.keys():
            other = min(metrics.keys() ^ self.metrics.keys())
            raise RequestError(
                f"result: {self._path} and this version do not measure the same ({other}); use "
                "another --out or move the file away"
            )
        for name, value in metrics.items():
            self.metrics[name][index] = value
        self.done[index] = True
        if self._file is not None:
            self._file.write(index, **metrics)

    def interpolate_rest(self) -> int:
        """Fill what adaptive refinement left out; the number of those points."""
        rest = ~self.done
        if not rest.any():
            return 0
        top = int(order.grid_levels(rest.shape).max())
        for name, values in self.metrics.items():
            if name.endswith(("_low", "_high", "_error", "_converged")):
                values[rest] = np.nan  # bounds and errors hold where they were measured
            else:
                values[...] = order.filled(values, self.done, top)
        # Of a process that was killed here, some are marked as done already.
        self.done, self._interpolated = np.ones_like(rest), self._interpolated | rest
        if self._file is not None:
            self._file.write(..., interpolated=self._interpolated, **self.metrics)
        return int(rest.sum())

    def surface(self) -> Surface:
        """The values as a surface; the file is closed."""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            _wait_for_all("surface written")
            return read_surface(self._path)
        return Surface(
            x=self._coordinates[0],
            y=self._coordinates[1] if len(self._coordinates) == 2 else None,
            metrics=self.metrics,
            done=self.done,
            interpolated=self._interpolated,
            cosine=self._facts["cosine"],
            lengths=lengths_of(self._facts),
            markers=dict(self._plane.markers),
            path=self._plane.path,
        )


def _wait_for_all(what: str) -> None:
    """Let the processes of a job meet: those that share the file must not read it too early."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(what)


def _facts(plane: Plane, params: Tree) -> dict[str, Any]:
    """What is always told of the directions."""
    lengths = relative_lengths(plane.directions, params)
    return {
        "cosine": cosine(*plane.directions) if len(plane.directions) == 2 else float("nan"),
        **{f"length_{axis}": length for axis, length in zip("xy", lengths, strict=False)},
        "explained": None if plane.explained is None else list(plane.explained),
    }
