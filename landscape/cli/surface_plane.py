"""The plane of a surface from what ``--x`` and ``--y`` say."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from landscape.errors import RequestError

KINDS = "random, eigenvector:1, gradient, sam, to:CHECKPOINT, pca:1, file:FILE.h5"
_PLAIN = ("random", "gradient", "sam")
_NUMBERED = ("eigenvector", "pca")
_NAMED = ("to", "file")


class Directions:
    """The directions of a request: what identifies them, where they reach, and how to make them.

    Parameters
    ----------
    options
        The options of ``surface``.

    Raises
    ------
    RequestError
        If a direction is none of :data:`KINDS`.
    """

    def __init__(self, options: Any):
        self._options = options
        self.specs = [options.x] if options.y == "none" else [options.x, options.y]
        self._parsed = [_parse(axis, spec) for axis, spec in zip("xy", self.specs, strict=False)]
        self.takes_long = any(kind == "eigenvector" for kind, _ in self._parsed)
        self._read: dict[str, Any] = {}

    def identity(self) -> dict[str, Any]:
        """What decides the directions; files and checkpoints by what they hold."""
        from landscape import parameters

        options, kinds = self._options, {kind for kind, _ in self._parsed}
        found: dict[str, Any] = dict(zip("xy", self.specs, strict=False))
        found |= {"seed": options.seed, "orthogonalize": options.orthogonalize}
        if "random" in kinds:
            found |= {
                "normalization": options.normalize,
                "ignore": options.ignore,
                "embeddings": options.embeddings,
            }
        if "sam" in kinds:
            found["rho"] = options.rho
        for kind, argument in self._parsed:
            if kind == "to":
                found[argument] = parameters.content_hash(self._checkpoint(argument))
            elif kind == "file":
                found[argument] = _digest(Path(argument))
        return found

    def _checkpoint(self, reference: str) -> Any:
        from landscape import checkpoints

        if reference not in self._read:
            self._read[reference] = checkpoints.load(reference).params
        return self._read[reference]

    def plane(self, objective: Any, layout: Any, make_bar: Any, journal: Any) -> Any:
        """Make the directions.

        Parameters
        ----------
        objective
            Whose parameters they start from.
        layout
            Order and layout of the parameters in another framework's file, or None.
        make_bar, journal
            For eigenvectors, which take a while.
        """
        from landscape.surface import Plane, orthogonal
        from landscape.surface.plane import coordinates_of

        self._objective, self._layout = objective, layout
        self._make_bar, self._journal = make_bar, journal
        directions = [self._direction(axis) for axis in range(len(self._parsed))]
        if self._options.orthogonalize and len(directions) == 2:
            directions[1] = orthogonal(directions[1], directions[0])
        origin = (0.0,) * len(directions)
        named = any(kind == "to" for kind, _ in self._parsed)
        markers, path, explained = {"checkpoint": origin} if named else {}, None, None
        for kind, argument in self._parsed:
            if kind == "to":
                other = _placed(self._checkpoint(argument), objective.params)
                name = Path(argument).name if Path(argument).name not in markers else argument
                markers[name] = coordinates_of(other, objective.params, directions)
        kinds = {kind for kind, _ in self._parsed}
        if kinds == {"pca"}:
            numbers = [int(number) - 1 for _, number in self._parsed]
            path = self._principal.path[:, numbers]
            explained = tuple(self._principal.explained[number] for number in numbers)
        return Plane(tuple(directions), self.identity(), markers, path, explained)

    def default_range(self, plane: Any, points: Sequence[int]) -> list[tuple[float, float]]:
        """How far the grid goes along each direction where nothing else is asked for.

        To a bit beyond the other checkpoints or the trajectory, with a point at the checkpoint;
        otherwise from -1 to 1.
        """
        places = plane.path if plane.path is not None else list(plane.markers.values())
        if len(places):
            along = zip(zip(*places, strict=True), points, strict=True)
            return [_around([0.0, *each], count) for each, count in along]
        return [(-1.0, 1.0)] * len(self._parsed)

    def _direction(self, axis: int) -> Any:
        from landscape import surface

        options, (kind, argument) = self._options, self._parsed[axis]
        params = self._objective.params
        if kind == "random":
            return surface.random_direction(
                params,
                2 * options.seed + axis,
                normalization=options.normalize,
                ignore=options.ignore,
                embeddings=options.embeddings == "move",
            )
        if kind == "gradient":
            return surface.gradient_direction(self._objective)
        if kind == "sam":
            return surface.sam_direction(self._objective, options.rho)
        if kind == "eigenvector":
            return self._eigenvectors[int(argument) - 1]
        if kind == "pca":
            return self._principal.directions[int(argument) - 1]
        if kind == "to":
            return surface.difference(params, _placed(self._checkpoint(argument), params))
        return self._from_file(argument, axis)

    @functools.cached_property
    def _eigenvectors(self) -> list:
        from landscape.surface import eigenvector_directions

        count = max(int(number) for kind, number in self._parsed if kind == "eigenvector")
        with self._make_bar("eigenvectors", 10 * count) as advance:
            return eigenvector_directions(
                self._objective,
                count,
                seed=self._options.seed,
                progress=advance,
                journal=self._journal,
            )[0]

    @functools.cached_property
    def _principal(self) -> Any:
        from landscape import checkpoints
        from landscape.checkpoints import native
        from landscape.surface import principal_plane

        folder, last = checkpoints.located(self._options.checkpoint or "")
        if not self._options.checkpoint or not folder.is_dir():
            raise RequestError("x: pca needs the steps of a run; use --checkpoint RUN_FOLDER")
        params = self._objective.params
        steps = [s for s in native.steps(folder) if last is None or s <= last]
        if not steps:
            native.existing_step(folder, last)  # says what is missing
        trajectory = [_placed(self._checkpoint(f"{folder}@{step}"), params) for step in steps]
        count = max(int(number) for kind, number in self._parsed if kind == "pca")
        return principal_plane(params, trajectory, components=count)

    def _from_file(self, path: str, axis: int) -> Any:
        from landscape.results.hdf5 import reading
        from landscape.surface import read_directions
        from landscape.surface.li_files import read_li_directions

        params = self._objective.params
        if not Path(path).is_file():
            raise RequestError(f"{'xy'[axis]}: there is no file {path}")
        try:
            with reading(Path(path)) as file:
                li = any(name.startswith("xdirection/") for name in file.datasets)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"{'xy'[axis]}: {path} is no HDF5 file ({error}); use one with directions"
            ) from error
        found = (
            read_li_directions(path, params, self._layout) if li else read_directions(path, params)
        )
        if axis >= len(found):
            raise RequestError(f"{'xy'[axis]}: {path} holds {len(found)} direction only")
        return found[axis]


def _parse(axis: str, spec: str) -> tuple[str, str]:
    kind, _, argument = spec.partition(":")
    if kind in _PLAIN and not argument:
        return kind, ""
    if kind in _NUMBERED and re.fullmatch("[1-9][0-9]{0,5}", argument or "1"):
        return kind, argument or "1"
    if kind in _NAMED and argument:
        return kind, argument
    raise RequestError(f"{axis}: {spec!r:.60} is no direction; use one of {KINDS}")


def _placed(tree: Any, like: Any) -> Any:
    """Parameters from a file where those of the objective are; refused if they do not fit."""
    from landscape import parameters
    from landscape.surface.plane import check_like

    check_like(tree, like, "checkpoint")
    leaves = parameters.named_leaves(tree)
    return parameters.placed_like([leaves[name] for name in parameters.leaf_names(like)], like)


def _around(places: Sequence[float], points: int) -> tuple[float, float]:
    """A range with the places well inside; of its equally spaced points one is zero."""
    low, high = min(places), max(places)
    margin = 0.2 * (high - low) or 1.0
    low, high = low - margin, high + margin
    if points < 5:  # moving the range might leave a place outside
        return low, high
    step = (high - low) / (points - 1)
    move = round(-low / step) * step + low
    return low - move, high - move


def _digest(path: Path) -> str:
    import hashlib

    if not path.is_file():
        raise RequestError(f"file: there is no {path}")
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
