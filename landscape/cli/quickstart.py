"""``quickstart``: the recipe of experiments/table1.py, from training to the report."""

import contextlib
import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from landscape.cli import common, outputs
from landscape.errors import RequestError
from landscape.progress import Advance, MakeBar


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    scale: Literal["digits", "imagenet"] = "digits"
    """digits takes minutes on two CPU cores; imagenet is the paper's own size."""
    data: str | None = None
    """Data to train on instead of the scale's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, _Request):
    pass


def execute(options: Options) -> common.Outcome:
    """Run every step that is not done yet, then write and print the report."""
    from landscape.cli import report

    folder = Path(options.out or "runs/quickstart")
    outputs.check_replaceable(folder / "report.html", "out", "report")
    recipe = _recipe()
    steps = recipe.steps(options.scale, folder, seed=options.seed, data=options.data)
    converged = True
    with _overall(sum(step.weight for step in steps), options.quiet) as part:
        for step in steps:
            module = importlib.import_module(f"landscape.cli.{step.command}")
            outcome = module.execute(
                module.Options(**step.options), part(f"{step.run} {step.command}", step.weight)
            )
            converged &= outcome.converged
    runs = tuple(dict.fromkeys(str(folder / step.run) for step in steps))
    outcome = report.execute(
        report.Options(
            runs=runs,
            out=str(folder / "report.html"),
            title="ResNet, ViT and MLP-Mixer, plain and with SAM",
        )
    )
    return dataclasses.replace(outcome, converged=converged)


def _recipe() -> Any:
    """experiments/table1.py of the clone this package lies in."""
    path = Path(__file__).resolve().parents[2] / "experiments" / "table1.py"
    if not path.is_file():
        raise RequestError(f"quickstart: there is no {path}; run it from a clone of the project")
    spec = importlib.util.spec_from_file_location("table1", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["table1"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _overall(total: float, quiet: bool) -> Iterator[Any]:
    """One bar over all steps; yields what makes a step's share of it."""
    from tqdm import tqdm

    with tqdm(
        total=total,
        file=sys.stderr,
        disable=quiet,
        dynamic_ncols=True,
        smoothing=0.05,
        bar_format="{desc:<22}{percentage:3.0f}%|{bar}| {elapsed} < {remaining}",
    ) as shown:

        def part(label: str, weight: float) -> MakeBar:
            @contextlib.contextmanager
            def make_bar(description: str, count: int) -> Iterator[Advance]:
                shown.set_description_str(label)
                left = weight

                def advance(*_, steps=1, note=""):
                    nonlocal left
                    share = min(left, weight * steps / count)
                    left -= share
                    shown.update(share)

                yield advance
                shown.update(left)

            return make_bar

        yield part
