"""``train``: train a network, with or without SAM."""

import dataclasses
import os
from typing import Any

from landscape.cli import common
from landscape.errors import RequestError
from landscape.progress import MakeBar
from landscape.training.config import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, TrainConfig):
    devices: int = 1
    """Number of devices over which every batch is divided."""

    def training(self) -> TrainConfig:
        """The part that decides the weights."""
        names = [field.name for field in dataclasses.fields(TrainConfig)]
        return TrainConfig(**{name: getattr(self, name) for name in names})


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Train, or go on with a run that was interrupted."""
    from landscape.devices import data_mesh
    from landscape.training.loop import train

    if options.out is None:
        raise RequestError("out: name the run folder, for example --out runs/vit")
    result = train(
        options.training(),
        options.out,
        mesh=data_mesh(options.devices) if options.devices > 1 else None,
        make_bar=common.bars(options, make_bar),
        command=common.command_line("train", options),
    )
    data = {
        "folder": os.fspath(result.folder),
        "step": result.step,
        "resumed_from": result.resumed_from,
        **result.metrics,
    }

    def show(console: Any) -> None:
        rows = [[name.replace("_", " "), f"{value:.6g}"] for name, value in result.metrics.items()]
        console.print(common.grid(f"Trained {options.model}", ("last step", "value"), rows))
        console.print(f"run folder {result.folder}")

    return common.Outcome(data, show)
