"""Results of finished runs as tables and as one self-contained HTML page.

>>> from landscape import report
>>> runs = [report.collect(folder) for folder in folders]        # doctest: +SKIP
>>> report.write(runs, "report.html", title="SAM on digits")     # doctest: +SKIP
"""

from landscape.report.figures import surface_figure
from landscape.report.page import write
from landscape.report.run import Run, collect
from landscape.report.table import Table, to_html, to_rich
from landscape.report.tables import table1, table3
from landscape.report.words import warnings

__all__ = [
    "Run",
    "Table",
    "collect",
    "surface_figure",
    "table1",
    "table3",
    "to_html",
    "to_rich",
    "warnings",
    "write",
]
