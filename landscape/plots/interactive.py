"""Surfaces to turn and point at, as one HTML page (the extra ``plotly``)."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.errors import RequestError
from landscape.plots import style
from landscape.plots.heights import told_of
from landscape.plots.places import told_outside
from landscape.printable import printable


def interactive(
    surfaces: Mapping[str, Any], *, metric: str | None = None, log: bool = False
) -> Any:
    """Surfaces, or lines, side by side on one range and one colour scale.

    Turn them with the mouse; pointing shows coordinates and all metrics of a point; a menu switches
    the metric of all of them, buttons the scale of the heights. Points that are not finite are
    holes; they, and what else is not shown as it is, are counted above each panel.

    Parameters
    ----------
    surfaces
        ``{title: landscape.surface.Surface}``, all of them planes or all of them lines.
    metric
        Begin with this one; by default with the first loss that all of them have.
    log
        Begin with logarithmic heights.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    RequestError
        Without plotly, without surfaces, for planes and lines mixed, and for surfaces that do not
        share the metric.
    """
    try:
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise RequestError(
            "html: plotly is not installed; pip install 'landscape[plotly]'"
        ) from error
    if not surfaces or len({surface.is_line for surface in surfaces.values()}) != 1:
        raise RequestError("surfaces: pass at least one, and not planes and lines together")
    titles = list(surfaces)
    lines = surfaces[titles[0]].is_line
    metrics = [name for name in surfaces[titles[0]].metrics
               if all(name in surface.metrics for surface in surfaces.values())]  # fmt: skip
    first = metric or next((name for name in metrics if name.endswith("_loss")), "loss")
    if first not in metrics:
        raise RequestError(
            f"metric: not every surface has {first!r}; use one of {', '.join(metrics) or 'none'}, "
            "or draw them apart"
        )
    figure = make_subplots(
        rows=1,
        cols=len(titles),
        specs=[[{"type": "xy" if lines else "scene"} for _ in titles]],
        # Never empty: plotly leaves those out, and the menu counts them.
        subplot_titles=[_heading(*item, first) or " " for item in surfaces.items()],
        horizontal_spacing=0.06 if lines else 0.01,
    )
    for column, surface in enumerate(surfaces.values(), 1):
        for trace in _traces(surface, first, column == 1):
            figure.add_trace(trace, row=1, col=column)
    axes = _value_axes(len(titles), lines)
    figure.update_layout(
        updatemenus=[
            _metric_menu(surfaces, metrics, first, axes, lines),
            _scale_buttons(axes, log),
        ],
        margin={"l": 10, "r": 10, "t": 90, "b": 10},
        font={"family": "sans-serif", "size": 13, "color": style.INK},
        showlegend=False,
    )
    low, high = _range(surfaces, first)
    for axis, surface in zip(axes, surfaces.values(), strict=True):
        figure.layout[axis[0]].update(_settings(axis, surface, first, low, high, log))
        if lines:
            across = axis[0].replace("y", "x")
            figure.layout[across].update(title={"text": _words(surface.axes_names[0])})
    figure.update_layout(coloraxis={"colorscale": "Viridis", "cmin": low, "cmax": high,
                                    "colorbar": {"title": _words(first), "len": 0.6}})  # fmt: skip
    return figure


def interactive_html(
    surfaces: Mapping[str, Any],
    *,
    metric: str | None = None,
    log: bool = False,
    title: str = "",
) -> str:
    """The same as one page that needs nothing else, not even a network."""
    body = interactive(surfaces, metric=metric, log=log).to_html(
        full_html=False, include_plotlyjs=True, config={"displaylogo": False, "responsive": True}
    )
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='generator' content='landscape'>"
        f"<title>{_words(title or 'Loss surface')}</title>"
        "<style>html,body{margin:0;height:100%}body>div{height:100vh}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _heading(title: str, surface: Any, metric: str) -> str:
    """The title of a panel, and below it what the picture does not show as it is."""
    values, done = surface.metrics[metric][surface.done], surface.done
    positive = ~np.isfinite(values) | (values > 0)
    names, path = [], ()
    if not surface.is_line:
        names = [name for name, place in surface.markers.items() if not _inside(surface, place)]
        path = () if surface.path is None else surface.path
    steps = sum(not _inside(surface, place) for place in path)
    counts = {
        "so far": done.sum() if not done.all() else 0,
        "interpolated": surface.interpolated.sum(),
        "without a finite value": np.sum(~np.isfinite(values)),
        "not positive, absent from logarithmic heights": np.sum(~positive),
    }
    told = [told_of(what, count, done.size) for what, count in counts.items() if count]
    told += [f"{steps} of {len(path)} steps outside"] if steps else []
    told += [told_outside(names)] if names else []
    return "<br>".join(filter(None, [_words(title), *(f"<sub>{_words(t)}</sub>" for t in told)]))


def _words(text: str) -> str:
    """Names as they are: plotly, like a page, takes what is between < and > for its own."""
    return html.escape(printable(text), quote=False)


def _holes(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _traces(surface: Any, metric: str, with_scale: bool) -> list:
    import plotly.graph_objects as go

    values = _holes(surface.metrics[metric])
    told = _hover(surface)
    if surface.is_line:
        return [go.Scatter(x=surface.x, y=values, mode="lines+markers", customdata=told,
                           hovertemplate="%{customdata}<extra></extra>",
                           line={"color": style.HUES[0]}, marker={"size": 4})]  # fmt: skip
    traces: list = [
        go.Surface(x=surface.x, y=surface.y, z=values, text=told, hoverinfo="text",
                   coloraxis="coloraxis", showscale=with_scale,
                   contours={"z": {"show": True, "usecolormap": False, "color": "white",
                                   "width": 1}}),
    ]  # fmt: skip
    places = {name: place for name, place in surface.markers.items() if len(place) == 2}
    origin = {"checkpoint": (0.0, 0.0)} if "checkpoint" not in places else {}
    places = {n: p for n, p in {**origin, **places}.items() if _inside(surface, p)}
    if places:
        columns, rows = zip(*places.values(), strict=True)
        traces.append(
            go.Scatter3d(x=columns, y=rows, z=_heights_at(surface, values, places.values()),
                         mode="markers+text", text=list(map(_words, places)),
                         textposition="top center", hoverinfo="text",
                         marker={"size": 4, "color": style.HUES[1]},
                         textfont={"color": style.HUES[4], "size": 15})
        )  # fmt: skip
    if surface.path is not None:
        inside = [place for place in surface.path if _inside(surface, place)]
        if inside:
            columns, rows = zip(*inside, strict=True)
            traces.append(
                go.Scatter3d(x=columns, y=rows, z=_heights_at(surface, values, inside),
                             mode="lines+markers", hoverinfo="skip", marker={"size": 3},
                             line={"color": style.HUES[1], "width": 4})
            )  # fmt: skip
    return traces


def _inside(surface: Any, place) -> bool:
    x, y = surface.x, surface.y
    return bool(x[0] <= place[0] <= x[-1] and y[0] <= place[1] <= y[-1])


def _heights_at(surface: Any, values: np.ndarray, places) -> list[float]:
    """Heights of the drawn surface, a little above it so that marks are not swallowed."""
    from scipy.interpolate import RegularGridInterpolator

    rule = RegularGridInterpolator((surface.y, surface.x), values)
    return [float(rule((row, column))) for column, row in places]


def _hover(surface: Any) -> np.ndarray:
    """What is said of every point."""
    told = np.empty(surface.done.shape, object)
    for index in np.ndindex(surface.done.shape):
        place = [f"x = {surface.x[index[-1]]:.4g}"]
        if not surface.is_line:
            place.append(f"y = {surface.y[index[0]]:.4g}")
        lines = [", ".join(place)]
        lines += [
            f"{_words(name)}: {values[index]:.5g}" for name, values in surface.metrics.items()
        ]
        if surface.interpolated[index]:
            lines.append("interpolated")
        told[index] = "<br>".join(lines)
    return told


def _range(surfaces: Mapping[str, Any], metric: str) -> tuple[float, float]:
    values = np.concatenate([_holes(s.metrics[metric]).ravel() for s in surfaces.values()])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _value_axes(count: int, lines: bool) -> list[tuple[str, str]]:
    """``(layout name, axis below it)`` of every panel's heights."""
    numbers = ["" if n == 0 else str(n + 1) for n in range(count)]
    return [(f"yaxis{n}", "") if lines else (f"scene{n}", "zaxis") for n in numbers]


def _settings(
    axis: tuple[str, str], surface: Any, metric: str, low: float, high: float, log: bool
) -> dict:
    settings: dict[str, Any] = {
        "title": {"text": _words(metric)},
        "type": "log" if log else "linear",
    }
    if not log:
        settings["range"] = [low - 0.02 * (high - low), high + 0.02 * (high - low)]
    if not axis[1]:
        return settings
    named = zip(("xaxis", "yaxis"), surface.axes_names, strict=True)
    names = {below: {"title": {"text": _words(name)}} for below, name in named}
    camera = {"eye": {"x": 1.5, "y": 1.5, "z": 1.2}, "center": {"x": 0, "y": 0, "z": -0.12}}
    return {"zaxis": settings, "aspectmode": "cube", "camera": camera, **names}


def _metric_menu(surfaces, metrics, first: str, axes, lines: bool) -> dict:
    buttons = []
    for metric in metrics:
        low, high = _range(surfaces, metric)
        values = [
            trace.y if lines else trace.z
            for surface in surfaces.values()
            for trace in _traces(surface, metric, with_scale=False)
        ]
        layout: dict[str, Any] = {"coloraxis.cmin": low, "coloraxis.cmax": high,
                                  "coloraxis.colorbar.title.text": _words(metric)}  # fmt: skip
        for panel, item in enumerate(surfaces.items()):
            layout[f"annotations[{panel}].text"] = _heading(*item, metric) or " "
        for name, below in axes:
            prefix = f"{name}.{below}" if below else name
            layout[f"{prefix}.title.text"] = _words(metric)
            layout[f"{prefix}.autorange"] = True
        buttons.append({"label": _words(metric), "method": "update",
                        "args": [{"y" if lines else "z": values}, layout]})  # fmt: skip
    return {"buttons": buttons, "active": metrics.index(first), "x": 0.0, "xanchor": "left",
            "y": 1.18, "yanchor": "top"}  # fmt: skip


def _scale_buttons(axes, log: bool) -> dict:
    def button(kind: str) -> dict:
        layout = {}
        for name, below in axes:
            prefix = f"{name}.{below}" if below else name
            layout[f"{prefix}.type"], layout[f"{prefix}.autorange"] = kind, True
        return {"label": f"{kind} heights", "method": "relayout", "args": [layout]}

    return {
        "type": "buttons",
        "direction": "right",
        "buttons": [button("linear"), button("log")],
        "active": int(log),
        "x": 0.16,
        "xanchor": "left",
        "y": 1.18,
        "yanchor": "top",
    }
