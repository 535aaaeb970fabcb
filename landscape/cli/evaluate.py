"""``evaluate``: loss and accuracy of a checkpoint."""

import dataclasses
from typing import Any

from landscape.cli import common, subject
from landscape.errors import RequestError
from landscape.numbers import with_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, subject.Subject):
    pass


def execute(options: Options) -> common.Outcome:
    """Loss and accuracy of the split."""
    from landscape import accuracy
    from landscape.training.evaluate import evaluate

    if options.objective is not None:
        raise RequestError(
            "objective: evaluate takes a checkpoint; call Objective.evaluate instead"
        )
    subject.refuse_unused(options, "evaluate", "l2", "devices", "remat")
    loaded = subject.load(options)
    found = evaluate(
        loaded.apply,
        loaded.params,
        loaded.split,
        loaded.preprocessing,
        loaded.batch_size,
        loss=options.loss,
    )
    data = {"split": options.split, **found, **accuracy.stored(found)}

    def show(console: Any) -> None:
        loss = with_error(found["loss"], found["loss_standard_error"])
        line = (
            f"{options.split} split, {found['examples']} images: loss {loss} (standard error), "
            f"accuracy {accuracy.told(found)}"
        )
        if options.split == "train":
            line += (
                "; they say nothing about new images if the network was trained on these "
                "(--split test)"
            )
        console.print(line, markup=False)
        if "remark" in data:
            console.print(data["remark"], markup=False)

    return common.Outcome(data, show, brief=True)
