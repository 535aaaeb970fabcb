"""``evaluate``: loss and accuracy of a checkpoint."""

import dataclasses
from typing import Any

from landscape.cli import common, subject
from landscape.errors import RequestError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, subject.Subject):
    pass


def execute(options: Options) -> common.Outcome:
    """Loss and accuracy of the split."""
    from landscape.training.evaluate import evaluate

    if options.objective is not None:
        raise RequestError(
            "objective: evaluate takes a checkpoint; call Objective.evaluate instead"
        )
    loaded = subject.load(options)
    found = evaluate(
        loaded.apply,
        loaded.params,
        loaded.split,
        loaded.preprocessing,
        loaded.batch_size,
        loss=options.loss,
    )
    data = {"split": options.split, **found}

    def show(console: Any) -> None:
        accuracy, low, high = (100 * found["accuracy" + end] for end in ("", "_lower", "_upper"))
        line = (
            f"{options.split} split, {found['examples']} images: loss {found['loss']:.4f} "
            f"± {found['loss_standard_error']:.4f} (standard error), accuracy {accuracy:.2f} % "
            f"[{low:.2f}, {high:.2f}] (95 % interval)"
        )
        if options.split == "train":
            line += "; errors of the population, if the network did not depend on these images"
        console.print(line, markup=False)

    return common.Outcome(data, show, brief=True)
