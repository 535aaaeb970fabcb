"""``neurons``: the fraction of active neurons after each MLP's first dense layer."""

import dataclasses
import os
from typing import Any

from landscape.cli import common, subject
from landscape.errors import RequestError
from landscape.progress import MakeBar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, subject.Subject):
    pass


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Measure all layers in one pass, then store them."""
    from landscape import parameters, results
    from landscape.data.loader import batches
    from landscape.data.preprocessing import preprocess
    from landscape.inspection import active_neurons

    if options.objective is not None:
        raise RequestError("objective: activity needs the network itself; use --checkpoint")
    loaded = subject.load(options)
    path = subject.result_path(options, loaded, "neurons")
    prepare, model = preprocess(loaded.preprocessing), loaded.model

    def activations(params, batch):
        return model.activations(params, prepare(batch["images"]), state=loaded.state)

    data = batches(loaded.split, loaded.batch_size)
    make_bar = common.bars(options, make_bar)
    with make_bar("neurons", len(data)) as advance:
        found = active_neurons(activations, loaded.params, data, progress=advance)
    settings = {**loaded.record, "parameters_hash": parameters.content_hash(loaded.params)}
    layers = (len(found.layers),)
    with results.ResultFile(
        path,
        "neurons",
        request=settings,
        fields={
            name: results.Field(layers) for name in ("active_fraction", "standard_error", "norm")
        },
        done=layers,
        constants={"layers": list(found.layers)},
        origin=results.provenance(
            **settings,
            examples=found.examples,
            seed=options.seed,
            command=common.command_line("neurons", options),
        ),
    ) as file:
        for index in range(len(found.layers)):
            file.write(
                index,
                active_fraction=found.fraction[index],
                standard_error=found.standard_error[index],
                norm=found.norm[index],
            )
    return summary(path)


def summary(path: os.PathLike) -> common.Outcome:
    """The outcome as stored: what ``--json`` prints and what is shown."""
    from landscape import results

    stored = results.read(path, "neurons")
    names = ("active_fraction", "standard_error", "norm")
    layers = {
        str(layer): {name: float(stored[name][i]) for name in names}
        for i, layer in enumerate(stored["layers"])
    }
    data = {"examples": stored.attributes["examples"], "layers": layers, "file": os.fspath(path)}

    def show(console: Any) -> None:
        rows = [
            [name, f"{100 * v['active_fraction']:.2f}", f"{100 * v['standard_error']:.2f}",
             f"{v['norm']:.2f}"]
            for name, v in layers.items()
        ]  # fmt: skip
        title = f"Active neurons over {data['examples']} images"
        console.print(common.grid(title, ("layer", "active %", "± %", "mean ‖a‖"), rows))
        console.print(f"written to {path}")

    return common.Outcome(data, show)
