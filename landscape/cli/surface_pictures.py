"""``surface``: what is made of finished surfaces: pictures, pages, meshes, animations."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from landscape import captions
from landscape.cli import common, outputs
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
    from landscape.results.hdf5 import reading
    from landscape.surface import read_surface
    from landscape.surface.li_files import read_li_surface

    try:
        with reading(Path(path)) as file:
            ours = "kind" in file.attributes
    except (OSError, ValueError):
        ours = True  # which says what is wrong
    return read_surface(path) if ours else read_li_surface(path)


def check(options: Any) -> None:
    """Refuse, before anything is computed, what cannot be drawn of as many surfaces.

    Raises
    ------
    RequestError
        For an animation of one surface, an export of several, and options that `--watch` ignores.
    """
    if options.watch is not None:
        for name in ("draw", "html", "export", "animation", "vmax", "hessian"):
            if getattr(options, name) not in (None, ()):
                raise RequestError(f"{name}: --watch draws heights only; leave it out")
        return
    several = len(options.draw) > 1 or (options.along_training and not options.draw)
    if options.animation and not several:
        raise RequestError("animation: it needs several surfaces; use --along-training or --draw")
    if options.export and several:
        raise RequestError("export: it writes one surface; use --draw FILE.h5 for each of them")


def write(options: Any, paths: Sequence[Path]) -> dict[str, int]:
    """Write whatever was asked for; the names of the files, and how many cells each leaves out."""
    wanted = (options.picture, options.html, options.animation, *options.export)
    import jax

    if not any(wanted) or jax.process_index():  # of several processes the first one draws
        return {}
    found = [read(path) for path in paths]
    titles, steps = _titles(paths), [captions.step(surface) for surface in found]
    if options.along_training and None not in steps and len(set(steps)) == len(steps):
        titles = [f"step {step}" for step in steps]
    surfaces = dict(zip(titles, found, strict=True))
    if options.picture is not None:
        beside = {
            title: "\n".join(filter(None, [_sharpness(options, path), *_progress(surface)]))
            for (title, surface), path in zip(surfaces.items(), paths, strict=True)
        }
        _save(_figure(options, surfaces, beside), options.picture, options.dark)
    if options.html is not None:
        from landscape.plots.interactive import interactive_html

        with whole_file(options.html, "html") as page:
            html = interactive_html(surfaces, metric=options.metric, log=options.log)
            page.write_text(html, encoding="utf-8")
    if options.animation is not None:
        _animate(options, surfaces)
    written = {name: 0 for name in wanted if name}
    for name in options.export:
        from landscape.surface.exports import export

        (surface,) = found
        height = options.metric or surface.loss_name
        written[name] = export(surface, name, height=height, log=options.log, cut=options.vmax)
    return written


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
            if found.is_line and options.metric is not None:
                raise RequestError(NO_METRIC_OF_LINES)
            if found.done.sum() != count:
                count = int(found.done.sum())
                shown = plots.watch_figure(found, metric=options.metric, log=options.log)
                _save(shown, picture, options.dark)
                advance(steps=0, note=f"{count} of {found.done.size} points in {picture}")
            if found.done.all():
                return picture
            time.sleep(2.0)


def _titles(paths: Sequence[Path]) -> list[str]:
    """Names that tell the files apart: the shortest ends of their paths, or of their folders'."""
    if len(paths) == 1:
        return [""]
    whole = [Path(os.path.abspath(path)) for path in paths]
    if len(set(whole)) < len(whole):
        twice = next(path for path in whole if whole.count(path) > 1)
        raise RequestError(f"draw: {twice} is named twice; name every surface once")
    stems, folders = [p.with_suffix("").parts for p in whole], [p.parent.parts for p in whole]
    for count in range(1, max(map(len, stems)) + 1):
        for parts in (stems, folders):
            names = ["/".join(part[-count:]) for part in parts]
            if len(set(names)) == len(names):
                return names
    return [os.fspath(path) for path in whole]  # they differ in their suffixes only


def _heights(options: Any, surface: Any) -> Any:
    """What is drawn of a surface; what an unfinished one lacks is interpolated."""
    from landscape.plots.heights import filled_in

    values = surface.metric(options.metric)
    if surface.done.all() or surface.is_line:
        return values
    return filled_in(surface.x, surface.y, values, surface.done)


def _label(options: Any, surface: Any) -> str:
    """What the heights of a surface are."""
    return (options.metric or surface.loss_name).replace("_", " ")


def _shared(options: Any, surfaces: dict[str, Any]) -> tuple[str, tuple[str, str], dict[str, str]]:
    """The label and names of axes for all surfaces, and what is to be said of each of them.

    Where their heights or directions differ, no name fits all; then each says its own.
    """
    from landscape.plots.surface import AXES

    told = {
        title: (f"height: {_label(options, s)}", f"directions: {captions.directions(s)}")
        for title, s in surfaces.items()
    }
    heights, directions = (set(texts) for texts in zip(*told.values(), strict=True))
    names = next(iter(surfaces.values())).axes_names if len(directions) == 1 else AXES
    notes = {
        title: "\n".join([height] * (len(heights) > 1) + [along] * (len(directions) > 1))
        for title, (height, along) in told.items()
    }
    return captions.each(_label(options, s) for s in surfaces.values()), names, notes


def _figure(options: Any, surfaces: dict[str, Any], beside: dict[str, str]) -> Any:
    from landscape import plots
    from landscape.plots import style

    if all(surface.is_line for surface in surfaces.values()):
        return _lines(options, surfaces, beside)
    if any(surface.is_line for surface in surfaces.values()):
        raise RequestError("draw: lines and planes do not go into one picture; draw them apart")
    heights = {t: (s.x, s.y, _heights(options, s)) for t, s in surfaces.items()}
    (title, surface), *others = surfaces.items()
    label, names, notes = _shared(options, surfaces)
    shared = {"vmax": options.vmax, "log": options.log, "axes_names": names}
    flat = options.kind != "surface"
    if others or not _has_places(surface):
        lost = {t: "checkpoints not drawn" if _has_places(s) else "" for t, s in surfaces.items()}
        beside = {t: style.lines(notes[t], text, lost[t]) for t, text in beside.items()}
        return plots.compare(
            heights, kind="contour" if flat else "surface", captions=beside, label=label,
            filled=options.kind != "lines", **shared,
        )  # fmt: skip
    # Checkpoints and paths lie in the plane: they are drawn from above.
    ax = style.figure(style.COLUMN, 3.0).add_subplot()
    more = {"filled": options.kind != "lines", "markers": surface.markers, "ax": ax,
            "beside": style.lines(label, beside[title]), **shared}  # fmt: skip
    if surface.path is not None:
        explained = surface.attributes.get("explained")
        plots.plot_trajectory(*heights[title], surface.path, explained=explained, **more)
    else:
        plots.plot_contour(*heights[title], **more)
    return ax.figure


def _has_places(surface: Any) -> bool:
    """Whether checkpoints or a path lie in the plane."""
    return bool(surface.markers) or surface.path is not None


def _lines(options: Any, surfaces: dict[str, Any], beside: dict[str, str]) -> Any:
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
            beside=beside[title],
            markers={name: place[0] for name, place in found.markers.items()} or None,
            xlabel=found.axes_names[0],
        )
    return fig


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
    outputs.save_picture(figure, name, "picture")


def _animate(options: Any, surfaces: dict[str, Any]) -> None:
    from landscape.plots import style
    from landscape.plots.animation import animate, save_animation

    if len(surfaces) < 2:
        raise RequestError("animation: it needs several surfaces; use --along-training or --draw")
    label, names, notes = _shared(options, surfaces)
    frames = [
        (style.lines(title, *_progress(s), notes[title]), s.x, s.y, _heights(options, s))
        for title, s in surfaces.items()
    ]
    kind = "surface" if options.kind == "surface" else "contour"
    made = animate(
        frames, kind=kind, log=options.log, vmax=options.vmax, dark=options.dark, label=label,
        axes_names=names,
    )  # fmt: skip
    save_animation(made, options.animation)
