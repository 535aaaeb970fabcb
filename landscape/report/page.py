"""The page: one HTML file that needs nothing else."""

import os
from collections.abc import Iterable
from pathlib import Path

from landscape.errors import RequestError
from landscape.report import measures
from landscape.report.css import STYLE
from landscape.report.figures import Picture, pictures
from landscape.report.provenance import provenance
from landscape.report.run import NOT_MEASURED, Run, distinct
from landscape.report.table import escape, to_html
from landscape.report.tables import components, planes, table1, table3
from landscape.report.words import summary, warnings
from landscape.whole_file import whole_file

TITLE = "Loss landscapes"
_SECTIONS = (
    ("surfaces", "Loss surfaces"),
    ("contours", "Contours"),
    ("neurons", "Active neurons"),
    ("blocks", "Sharpness by component"),
    ("training", "Training"),
)


def write(runs: Iterable[Run], path: str | os.PathLike, *, title: str = TITLE) -> Path:
    """Write the report of several runs as one self-contained HTML file.

    The page holds tables 1 and 3 of Chen, Hsieh and Gong (arXiv:2106.01548v1), the surfaces on one
    scale, active neurons, λmax per component, training curves, every eigenvalue with its bounds,
    and where each number comes from. What was not measured is said. The same results give the same
    bytes; the file is replaced in one go.

    Raises
    ------
    RequestError
        If there are no runs or the file cannot be written.
    """
    runs = distinct(runs)
    if not runs:
        raise RequestError("runs: there are none to report; pass at least one run folder")
    path = Path(path)
    text = _page(runs, title, path.parent)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _page(runs: list[Run], title: str, beside: Path) -> str:
    drawn = pictures(runs)
    title = title.strip() or TITLE
    parts = [
        f"<header><h1>{escape(title)}</h1>",
        f"<p>{escape(summary(runs))}</p></header>",
        _warnings(warnings(runs)),
        "<main>",
        _section("Results", to_html(table1(runs)) + to_html(table3(runs))),
    ]
    for name, heading in _SECTIONS:
        absent = _without_surface(runs) if name in ("surfaces", "contours") else ""
        content = _figure(drawn.get(name), absent)
        plane = planes(runs) if name == "contours" else None
        parts.append(_section(heading, content + (to_html(plane) if plane else "")))
    parts.append(_section("Every eigenvalue", "".join(_eigenvalues(run) for run in runs)))
    sources = provenance(runs, beside)
    parts.append(_section(
        "Where the numbers come from", "".join(to_html(table, wide=True) for table in sources)
    ))  # fmt: skip
    parts.append("</main>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="generator" content="landscape">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="generator" content="landscape">\n'  # by which it may be replaced
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>\n{content}</section>"


def _without_surface(runs: list[Run]) -> str:
    """Which runs have no surface to draw, and why."""
    reasons = {run.label: measures.no_surface(run) for run in runs}
    return "; ".join(f"{label}: {reason}" for label, reason in reasons.items() if reason)


def _figure(picture: Picture | None, absent: str = "") -> str:
    note = f'<p class="absent-figure">{escape(absent)}</p>' if absent else ""
    if picture is None:
        return note or f'<p class="absent-figure">{NOT_MEASURED}</p>'
    return note + (
        f'<figure><img style="max-width: {160 * picture.inches:.0f}px" src="{picture.address}" '
        f'alt="{escape(picture.alternative)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _eigenvalues(run: Run) -> str:
    if "hessian" not in run.results:
        return f'<p class="absent-figure">{escape(run.label)}: {escape(run.status("hessian"))}</p>'
    return to_html(components(run))


def _warnings(lines: list[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<aside class="warnings"><strong>To be careful about</strong><ul>{items}</ul></aside>'
