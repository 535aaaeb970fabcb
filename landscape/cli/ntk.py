"""``ntk``: the condition number of the neural tangent kernel at initialisation."""

import dataclasses
import functools
import os
from typing import Any, Literal

from landscape.cli import common, subject
from landscape.errors import RequestError
from landscape.progress import MakeBar


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    batch_size: int = 48
    """Images per kernel; κ grows with it, the paper uses 48."""
    batches: int = 8
    """Kernels to average over."""
    activation: Literal["relu", "gelu_tanh", "gelu_erf"] = "relu"
    """Activation of the network; the paper replaces GELU by ReLU here."""
    head: Literal["zeros", "lecun"] = "zeros"
    """Initial head: zeros as in the paper (then only the head has a gradient), or random."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, _Request, subject.Subject):  # its batch size is another
    pass


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Compute the kernels; batches that the result file already holds are not repeated."""
    import jax
    import numpy as np

    from landscape import parameters, results
    from landscape.data.preprocessing import preprocess
    from landscape.models import registry
    from landscape.ntk import kernel_eigenvalues, summarise

    if options.objective is not None:
        raise RequestError("objective: a kernel needs the network itself; use --model or Python")
    loaded = subject.load(options, checkpoint=False)
    name = "ntk" if options.head == "zeros" else f"ntk-{options.head}"
    path = subject.result_path(options, loaded, name)
    needed, size = options.batch_size * options.batches, options.batch_size
    if options.batch_size < 2 or options.batches < 1:
        raise RequestError("batch-size: κ needs at least 2 images and 1 batch")
    if needed > len(loaded.split):
        raise RequestError(
            f"batches: {options.batches} of {size} need {needed} images, the split has "
            f"{len(loaded.split)}; use --batches {len(loaded.split) // size}"
        )
    model = registry.build(
        **{**loaded.model.request, "activation": options.activation}, head_init=options.head
    )
    params = model.init(jax.random.key(options.seed))
    chosen = np.random.default_rng(options.seed).permutation(len(loaded.split))[:needed]
    images = loaded.split.images[chosen].reshape(-1, size, *loaded.split.image_shape)
    settings = {
        **{key: getattr(options, key) for key in ("batch_size", "activation", "head", "seed")},
        **loaded.record,
        "batches": options.batches,
        "parameters_hash": parameters.content_hash(params),
    }
    prepare = preprocess(loaded.preprocessing)
    apply = functools.partial(model.apply, state=model.init_state())
    make_bar = common.bars(options, make_bar)
    with (
        results.ResultFile(
            path,
            "ntk",
            request=settings,
            fields={
                "kappa": results.Field((options.batches,)),
                "eigenvalues": results.Field((options.batches, size)),
            },
            done=(options.batches,),
            origin=results.provenance(**settings, command=common.command_line("ntk", options)),
        ) as file,
        make_bar("ntk", options.batches) as advance,
    ):
        for index, batch in enumerate(images):
            if not file.done[index]:
                values = kernel_eigenvalues(apply, params, prepare(batch))
                file.write(index, eigenvalues=values, kappa=summarise([values]).kappa)
            advance()
        found = summarise(file["eigenvalues"])
        file.annotate(
            kappa_mean=found.kappa,
            kappa_standard_error=found.standard_error,
            resolved=found.resolved,
        )
    return summary(path)


def summary(path: os.PathLike) -> common.Outcome:
    """The outcome as stored: what ``--json`` prints and what is shown."""
    from landscape import results
    from landscape.ntk import summarise

    stored = results.read(path, "ntk")
    found = summarise(stored["eigenvalues"])
    attributes = stored.attributes
    data = {
        "kappa": found.kappa,
        "standard_error": found.standard_error,
        "per_batch": found.per_batch.tolist(),
        "batch_size": attributes["batch_size"],
        "head": attributes["head"],
        "activation": attributes["activation"],
        "resolved": found.resolved,
        "file": os.fspath(path),
    }

    def show(console: Any) -> None:
        bound = "" if found.resolved else " (a lower bound: λm drowns in rounding)"
        console.print(
            f"{attributes['model']} at initialisation, {attributes['activation']}, head "
            f"{attributes['head']}: κ = {found.kappa:.1f} ± {found.standard_error:.1f} over "
            f"{len(found.per_batch)} batches of {attributes['batch_size']}{bound}"
        )
        console.print(f"written to {path}")

    return common.Outcome(data, show, found.resolved)
