"""A table of text and its two renderings: for the terminal and for the page."""

import html
from dataclasses import dataclass
from typing import Any

from landscape.printable import printable
from landscape.report.run import DAMAGED, NOT_MEASURED, OTHER_VERSION

_LONGEST = 5000  # characters of a paragraph or a line of a cell


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column holds the names of the rows.

    A cell may have a second line (after a newline) for what qualifies its number: bounds, a
    residual. ``notes`` are printed below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row {row[0]!r} has {len(row)} cells, not {len(self.columns)}")

    def cell(self, row: str, column: str) -> str:
        """The cell below ``column`` in the row named ``row``."""
        found = next(cells for cells in self.rows if cells[0] == row)
        return found[self.columns.index(column)]


def to_rich(table: Table) -> Any:
    """The table for ``rich.console.Console.print``."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(
        title=Text(table.title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for place, column in enumerate(table.columns):
        first = place == 0
        justify = "left" if first else "right"
        grid.add_column(
            Text(_shown(column)),
            justify=justify,
            no_wrap=first,
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*(Text(_shown(cell), style="dim" if _absent(cell) else "") for cell in row))
    return Group(grid, *(Text(note, style="dim") for note in table.notes))


def _shown(cell: str) -> str:
    return "\n".join(map(printable, cell.split("\n")))


def to_html(table: Table, *, wide: bool = False) -> str:
    """The table as HTML with header scopes; everything is escaped.

    ``wide`` is for tables of words rather than numbers: cells to the left, long words broken.
    """
    head = "".join(
        f'<th scope="col">{_lines(column)}</th>' if column else "<td></td>"
        for column in table.columns
    )
    body = "\n".join(
        f'<tr><th scope="row">{_lines(row[0])}</th>'
        + "".join(f"<td{_class(cell)}>{_lines(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f'<div class="table{" words" if wide else ""}"><div class="scroll"><table>\n'
        f"<caption>{escape(table.title)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + "</div>"
    )


def escape(text: str) -> str:
    """Text in a page as it is, with what cannot be seen or encoded as escapes."""
    return html.escape(printable(text, _LONGEST))


def _lines(cell: str) -> str:
    first, *rest = cell.split("\n")
    return escape(first) + "".join(f"<small>{escape(line)}</small>" for line in rest)


def _class(cell: str) -> str:
    return ' class="absent"' if _absent(cell) else ""


def _absent(cell: str) -> bool:
    return cell in (NOT_MEASURED, OTHER_VERSION, DAMAGED) or cell.startswith("incomplete (")
