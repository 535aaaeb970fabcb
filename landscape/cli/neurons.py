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


_OF_LAYERS = ("active_fraction", "standard_error", "norm", "norm_per_token")
_OF_BLOCKS = ("output_norm", "output_norm_per_token")
_OUTPUT = " output"


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Measure all layers and block outputs in one pass, then store them."""
    import numpy as np

    from landscape import parameters, results
    from landscape.data.loader import batches
    from landscape.data.preprocessing import preprocess
    from landscape.inspection import active_neurons

    if options.objective is not None:
        raise RequestError("objective: activity needs the network itself; use --checkpoint")
    subject.refuse_unused(options, "neurons", "loss", "l2", "devices", "remat")
    loaded = subject.load(options, labels=False)
    path = subject.result_path(options, loaded, "neurons")
    prepare, model = preprocess(loaded.preprocessing), loaded.model

    def values(params, batch):
        images = prepare(batch["images"])
        outputs = model.block_outputs(params, images, state=loaded.state)
        return {
            **model.activations(params, images, state=loaded.state),
            **{block + _OUTPUT: output for block, output in outputs.items()},
        }

    data = batches(loaded.split, loaded.batch_size)
    make_bar = common.bars(options, make_bar)
    with make_bar("neurons", len(data)) as advance:
        found = active_neurons(values, loaded.params, data, progress=advance)
    output = np.array([name.endswith(_OUTPUT) for name in found.layers])
    names = np.array([name.removesuffix(_OUTPUT) for name in found.layers])
    settings = {
        **loaded.record,
        "parameters_hash": parameters.content_hash(loaded.params),
    }
    layers = (int(np.sum(~output)),)
    with results.ResultFile(
        path,
        "neurons",
        request=settings,
        fields={name: results.Field(layers) for name in _OF_LAYERS},
        done=layers,
        constants={
            "layers": names[~output].tolist(),
            "blocks": names[output].tolist(),
            "output_norm": found.norm[output],
            "output_norm_per_token": found.norm_per_token[output],
        },
        origin=results.provenance(
            **settings,
            examples=found.examples,
            seed=options.seed,
            command=common.command_line("neurons", options),
        ),
    ) as file:
        columns = (found.fraction, found.standard_error, found.norm, found.norm_per_token)
        for index, row in enumerate(np.stack(columns, axis=1)[~output]):
            file.write(index, **dict(zip(_OF_LAYERS, row, strict=True)))
    return summary(path)


def summary(path: os.PathLike) -> common.Outcome:
    """The outcome as stored: what ``--json`` prints and what is shown."""
    from landscape import results

    stored = results.read(path, "neurons")

    def rows(keys: str, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
        return {
            str(key): {name: float(stored[name][i]) for name in names}
            for i, key in enumerate(stored[keys])
        }

    layers, blocks = rows("layers", _OF_LAYERS), rows("blocks", _OF_BLOCKS)
    data = {
        "examples": stored.attributes["examples"],
        "layers": layers,
        "blocks": blocks,
        "file": os.fspath(path),
    }

    def show(console: Any) -> None:
        cells = [
            [name, f"{100 * v['active_fraction']:.2f}", f"{100 * v['standard_error']:.2f}",
             f"{v['norm']:.2f}", f"{v['norm_per_token']:.2f}"]
            for name, v in layers.items()
        ]  # fmt: skip
        title = f"Active neurons over {data['examples']} images"
        columns = ("layer", "active %", "± %", "mean ‖a‖ of all values", "per token")
        console.print(common.grid(title, columns, cells))
        cells = [[name, *(f"{v[part]:.2f}" for part in _OF_BLOCKS)] for name, v in blocks.items()]
        columns = ("block", "mean ‖output‖ of all values", "per token")
        console.print(common.grid("Outputs of the blocks", columns, cells))
        console.print(f"written to {path}")

    return common.Outcome(data, show)
