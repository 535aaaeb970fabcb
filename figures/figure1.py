"""Figure 1 of Chen, Hsieh and Gong (arXiv:2106.01548v1): loss surfaces side by side.

    python figures/figure1.py runs/quickstart/* --out figure1.pdf

Draws the surfaces of run folders from their result files (``surface.h5``) on one range; below each
stand λmax with its bounds (``hessian.h5``) and the test accuracy (``metrics.jsonl``). Folders that
hold no run are passed over.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from landscape.errors import RequestError
from landscape.report import collect, surface_figure

FORMATS = (".png", ".pdf", ".svg")


def main(arguments: list[str] | None = None) -> int:
    """Draw the figure; 0 when done, 2 for a wrong request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run folders with a surface.h5")
    parser.add_argument("--out", default="figure1.png", help="figure file: .png, .pdf or .svg")
    parser.add_argument("--kind", choices=("surface", "contour"), default="surface")
    parser.add_argument("--log", action="store_true", help="logarithmic heights and colours")
    parser.add_argument("--vmax", type=float, help="cut the surfaces at this loss")
    options = parser.parse_args(arguments)
    try:
        draw(options)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def draw(options: argparse.Namespace) -> None:
    """Draw what the options ask for and write the file."""
    out = Path(options.out)
    if out.suffix.lower() not in FORMATS:
        raise RequestError(f"--out: {out} is none of {', '.join(FORMATS)}; name such a file")
    folders = [Path(run) for run in options.runs]
    if len(folders) > 1:  # a pattern such as runs/* also finds report.html
        folders = [folder for folder in folders if folder.is_dir() or not folder.exists()]
    runs = [collect(folder) for folder in folders]
    figure = surface_figure(runs, kind=options.kind, log=options.log, vmax=options.vmax)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=300)
    except OSError as error:
        raise RequestError(f"--out: {out} cannot be written ({error.strerror})") from error
    print(out)


if __name__ == "__main__":
    sys.exit(main())
