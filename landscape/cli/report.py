"""``report``: tables and figures of finished runs as one HTML page."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import tyro

from landscape.cli import common, outputs
from landscape.errors import RequestError
from landscape.printable import printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = dataclasses.field(
        metadata={"positional": True}
    )
    """Run folders, in the order of the columns; or one folder that holds run folders."""
    title: str = "Loss landscapes"
    """Heading of the page."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, _Request):
    pass


def execute(options: Options) -> common.Outcome:
    """Collect what the run folders hold, write the page, print its tables."""
    from landscape import report

    folders = run_folders(options.runs)
    runs = [report.collect(folder) for folder in folders]
    path = Path(options.out or folders[0].parent / "report.html")
    outputs.check_replaceable(path, "out", "report")
    report.write(runs, path, title=options.title)
    tables = [report.table1(runs), report.table3(runs)]
    warnings = report.warnings(runs)
    data = {
        "report": str(path),
        "warnings": warnings,
        "tables": [
            {
                "title": t.title,
                "columns": list(t.columns),
                "rows": [list(r) for r in t.rows],
                "notes": list(t.notes),
            }
            for t in tables
        ],
    }

    def show(console: Any) -> None:
        for table in tables:
            console.print(report.to_rich(table))
        for line in warnings:
            console.print(f"To be careful about: {line}", markup=False)
        console.print(f"written to {printable(path)}", markup=False)

    return common.Outcome(data, show)


def run_folders(names: tuple[str, ...]) -> list[Path]:
    """The run folders named, or those inside the one folder named.

    Raises
    ------
    RequestError
        If one of them is no run folder. One that is damaged is told on the page.
    """
    if not names:
        raise RequestError("runs: none given; name run folders, for example runs/quickstart/*")
    folders = [Path(name) for name in names]
    if len(folders) == 1 and not _is_run(folders[0]) and os.path.isdir(folders[0]):
        inside = (folders[0] / name for name in sorted(os.listdir(folders[0])))
        folders = [path for path in inside if os.path.isdir(path) and _is_run(path)] or folders
    elif len(folders) > 1:  # a shell pattern also matches the report beside the runs
        folders = [folder for folder in folders if not os.path.isfile(folder)] or folders
    for folder in folders:
        if not os.path.isdir(folder):
            raise RequestError(f"runs: there is no folder {printable(folder)}; name run folders")
        if not _is_run(folder):
            raise RequestError(
                f"runs: {printable(folder)} is no run folder (it has no config.json and no results)"
            )
    return folders


def _is_run(folder: str | os.PathLike) -> bool:
    """Whether a folder holds what a run folder does, readable or not."""
    from landscape.report.run import CONFIG, FILES, LOG

    return any(os.path.lexists(Path(folder, name)) for name in (CONFIG, LOG, *FILES.values()))
