"""``surface``: what is made of finished surfaces: pictures, pages, meshes, animations."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from landscape import captions
from landscape.cli import common
from landscape.errors import OtherVersion, RequestError
from landscape.numbers import MATRICES, bounds
from landscape.whole_file import whole_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
    """Options that say what is drawn."""

    picture: str | None = None
    """Draw the surface into this file (.png, .pdf, .svg)."""
    kind: Literal["surface", "contour", "lines"] = "surface"
    """Lit in three dimensions, filled contours, or contour lines."""
    metric: str | None = None
    """What is drawn, such as test_loss, train_acc, max_eig (default: the loss)."""
    log: bool = False
    """Heights on a logarithmic scale."""
    vmax: float | None = None
    """Cut heights above this."""
    dark: bool = False
    """For a dark page."""
    hessian: str | None = None
    """Result of `hessian` whose λmax is printed below (default: hessian.h5 in the folder)."""
    html: str | None = None
    """Write an interactive page: rotate, hover, switch metric (needs the extra `plotly`)."""
    export: tuple[str, ...] = ()
    """Write .vts, .vtp (Li et al.'s), .obj or .csv files."""
    animation: str | None = None
    """Animate the surfaces of --along-training or --draw into this .gif or .mp4."""
    draw: tuple[str, ...] = ()
    """Compute nothing; draw these surface files side by side, also Li et al.'s."""
    watch: str | None = None
    """Compute nothing; draw this file again and again while another process computes it."""


NO_METRIC_OF_LINES = "metric: pictures of lines show losses and accuracies; leave it out"


def read(path: os.PathLike | str) -> Any:
    """A surface file of ours or of Li et al.'s code."""
    import h5py

    from landscape.surface import read_surface
    from landscape.surface.li_files import read_li_surface

    path = Path(path)
    if path.is_file() and h5py.is_hdf5(path):
        with h5py.File(path, "r", locking=False) as file:
            foreign = "kind" not in file.attrs
        if foreign:
            return read_li_surface(path)
    return read_surface(path)


def write(options: Any, paths: Sequence[Path]) -> list[str]:
    """Write whatever was asked for; the names of the files."""
    wanted = (options.picture, options.html, options.animation, *options.export)
    import jax

    if not any(wanted) or jax.process_index():  # of several processes the first one draws
        return []
    found = [read(path) for path in paths]
    titles = _titles(paths)
    if options.along_training:
        titles = [f"step {surface.attributes['checkpoint_step']}" for surface in found]
    surfaces = dict(zip(titles, found, strict=True))
    if options.picture is not None:
        captions = {
            title: "\n".join(filter(None, [_sharpness(options, path), *_progress(found)]))
            for (title, found), path in zip(surfaces.items(), paths, strict=True)
        }
        _save(_figure(options, surfaces, captions), options.picture, options.dark)
    if options.html is not None:
        from landscape.plots.interactive import interactive_html

        with whole_file(options.html, "html") as page:
            page.write_text(interactive_html(surfaces, log=options.log))
    if options.animation is not None:
        _animate(options, surfaces)
    for name in options.export:
        from landscape.surface.exports import export

        last = next(reversed(surfaces.values()))
        height = options.metric or last.loss_name
        export(last, name, height=height, log=options.log, cut=options.vmax)
    return [name for name in wanted if name]


def watch(options: Any) -> str:
    """Redraw a surface that is being computed until it is complete; nothing of it is touched.

    Returns the name of the picture.
    """
    from landscape import plots

    path = Path(options.watch)
    picture = options.picture or str(path.with_suffix(".png"))
    count = -1
    with common.bars(options, None)("watching", 1) as advance:
        while True:
            found = read(path)
            if found.done.sum() != count:
                count = int(found.done.sum())
                _save(plots.watch_figure(found), picture, options.dark)
                advance(steps=0, note=f"{count} of {found.done.size} points in {picture}")
            if found.done.all():
                return picture
            time.sleep(2.0)


def _titles(paths: Sequence[Path]) -> list[str]:
    """Names that tell the files apart: their own, or their folders'."""
    if len(paths) == 1:
        return [""]
    stems, folders = [p.stem for p in paths], [p.resolve().parent.name for p in paths]
    for names in (stems, folders):
        if len(set(names)) == len(paths):
            return names
    return [f"{folder}/{stem}" for folder, stem in zip(folders, stems, strict=True)]


def _heights(options: Any, surface: Any) -> Any:
    """What is drawn of a surface; what an unfinished one lacks is interpolated."""
    from landscape.plots.heights import filled_in

    name = options.metric or surface.loss_name
    if name not in surface.metrics:
        raise RequestError(f"metric: there is no {name!r}; use {', '.join(surface.metrics)}")
    if surface.done.all() or surface.is_line:
        return surface.metrics[name]
    return filled_in(surface.x, surface.y, surface.metrics[name], surface.done)


def _figure(options: Any, surfaces: dict[str, Any], captions: dict[str, str]) -> Any:
    from landscape import plots
    from landscape.plots import style

    if all(surface.is_line for surface in surfaces.values()):
        return _lines(options, surfaces, captions)
    if any(surface.is_line for surface in surfaces.values()):
        raise RequestError("draw: lines and planes do not go into one picture; draw them apart")
    heights = {t: (s.x, s.y, _heights(options, s)) for t, s in surfaces.items()}
    (title, surface), *others = surfaces.items()
    label = (options.metric or surface.loss_name).replace("_", " ")
    shared = {"vmax": options.vmax, "log": options.log}
    names = _names(surface)
    flat = options.kind != "surface"
    if others or not _has_places(surface):
        lost = {t: "checkpoints not drawn" if _has_places(s) else "" for t, s in surfaces.items()}
        captions = {t: style.lines(text, lost[t]) for t, text in captions.items()}
        return plots.compare(
            heights, kind="contour" if flat else "surface", captions=captions, label=label,
            filled=options.kind != "lines", axes_names=names, **shared,
        )  # fmt: skip
    # Checkpoints and paths lie in the plane: they are drawn from above.
    ax = style.figure(style.COLUMN, 3.0).add_subplot()
    more = {"filled": options.kind != "lines", "markers": surface.markers, "ax": ax,
            "beside": captions[title], **shared}  # fmt: skip
    if surface.path is not None:
        explained = surface.attributes.get("explained")
        plots.plot_trajectory(*heights[title], surface.path, explained=explained, **more)
    else:
        plots.plot_contour(*heights[title], axes_names=names, **more)
    return ax.figure


def _has_places(surface: Any) -> bool:
    """Whether checkpoints or a path lie in the plane."""
    return bool(surface.markers) or surface.path is not None


def _lines(options: Any, surfaces: dict[str, Any], captions: dict[str, str]) -> Any:
    from landscape import plots
    from landscape.plots import style

    if options.metric is not None:
        raise RequestError(NO_METRIC_OF_LINES)
    if not all(found.done.any() for found in surfaces.values()):
        raise RequestError("picture: no point of the line is there yet; compute it first")
    fig = style.figure(style.COLUMN * min(len(surfaces), 2), 2.6 * -(-len(surfaces) // 2))
    for place, (title, found) in enumerate(surfaces.items(), 1):
        ax = fig.add_subplot(-(-len(surfaces) // 2), min(len(surfaces), 2), place)
        known = {name: values[found.done] for name, values in found.metrics.items()}
        splits = [name.removesuffix("_loss") for name in known
                  if name.endswith("_loss") and not name.endswith("_data_loss")]  # fmt: skip
        # Training images say nothing of the population: the network depends on them.
        errors_of = {name: "split" if name == "train" else "population" for name in splits}
        errors_of = {n: of for n, of in errors_of.items() if f"{n}_loss_{of}_error" in known}
        plots.plot_line(
            found.x[found.done],
            {name: known[f"{name}_loss"] for name in splits},
            {n: known[f"{n}_acc"] for n in splits if f"{n}_acc" in known} or None,
            errors={n: known[f"{n}_loss_{of}_error"] for n, of in errors_of.items()},
            errors_of=errors_of,
            ax=ax,
            log=options.log,
            title=title or None,
            beside=captions[title],
            markers={name: place[0] for name, place in found.markers.items()} or None,
            xlabel=_names(found)[0],
        )
    return fig


def _names(surface: Any) -> tuple[str, str]:
    """What the axes are, from the request stored with the surface."""
    said = surface.attributes.get("directions")
    said = said if isinstance(said, dict) else {}
    found = []
    for place, axis in enumerate("xy", 1):
        kind, _, argument = str(said.get(axis, "random")).partition(":")
        found.append(
            {
                "random": f"direction {place}",
                "gradient": "along the gradient",
                "sam": "along SAM's gradient",
                "eigenvector": f"eigenvector {argument or 1}",
                "pca": f"component {argument or 1}",
                "to": f"towards {Path(argument).name}",
            }.get(kind, f"direction {place}")
        )
    return found[0], found[1]


def _progress(surface: Any) -> list[str]:
    """What of a picture was not evaluated."""
    done, told = surface.done, []
    if not done.all():
        rest = "" if surface.is_line else ", rest interpolated"
        told.append(f"{done.sum()} of {done.size} points so far{rest}")
    if surface.interpolated.any():
        told.append(f"{surface.interpolated.sum()} of {done.size} points interpolated")
    return told


def _sharpness(options: Any, path: Path) -> str:
    """The certified λmax of the checkpoint, where a `hessian` result of it is there."""
    from landscape import results

    beside = Path(options.hessian) if options.hessian else path.with_name("hessian.h5")
    if not beside.is_file():
        if options.hessian:
            raise RequestError(f"hessian: there is no {beside}; run `hessian` first")
        return ""
    try:
        found = results.read(beside, "hessian")
    except OtherVersion:
        if options.hessian:
            raise
        return ""
    own = read(path)
    if found.attributes.get("parameters_hash") != own.attributes.get("parameters_hash"):
        if options.hessian:
            raise RequestError(f"hessian: {beside} is of another checkpoint than {path}")
        return ""
    targets = [str(name) for name in found["targets"]]
    place = targets.index("whole")
    low, high = (float(found[f"lambda_max_{end}"][place]) for end in ("lower", "upper"))
    if not found["done"][place] or low != low:
        return ""
    confidence = float(found.attributes["confidence"])
    text = f"λmax between {' and '.join(bounds(low, high))} ({100 * confidence:g} %)"
    said, matrix = captions.loss(found), captions.matrix(found)
    if said == captions.loss(own) and matrix == MATRICES["hessian"]:
        return text
    return f"{text}\nof the {matrix} of {said}"


def _save(figure: Any, name: str, dark: bool) -> None:
    from landscape.plots import style

    if dark:
        style.for_dark_page(figure)
    try:
        with whole_file(name, "picture") as temporary:
            figure.savefig(temporary, bbox_inches="tight", dpi=200)
    except ValueError as error:  # an unknown suffix
        raise RequestError(f"picture: {name} cannot be written ({error})") from error


def _animate(options: Any, surfaces: dict[str, Any]) -> None:
    from landscape.plots.animation import animate, save_animation

    if len(surfaces) < 2:
        raise RequestError("animation: it needs several surfaces; use --along-training or --draw")
    frames = [
        ("\n".join([title, *_progress(s)]), s.x, s.y, _heights(options, s))
        for title, s in surfaces.items()
    ]
    kind = "surface" if options.kind == "surface" else "contour"
    made = animate(frames, kind=kind, log=options.log, vmax=options.vmax, dark=options.dark)
    save_animation(made, options.animation)
