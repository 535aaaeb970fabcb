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
    """Images per kernel; κ grows with it, the paper uses 48. At most half the width that the head
    sees."""
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
    from landscape.ntk import Jacobians, kernel_eigenvalues, pair_eigenvalues, summarise
    from landscape.objective.float64 import coarsest_epsilon

    if options.objective is not None:
        raise RequestError("objective: a kernel needs the network itself; use --model or Python")
    subject.refuse_unused(options, "ntk", "loss", "l2", "devices", "remat")
    loaded = subject.load(options, checkpoint=False, labels=False)
    name = "ntk" if options.head == "zeros" else f"ntk-{options.head}"
    path = subject.result_path(options, loaded, name)
    needed, size = options.batch_size * options.batches, options.batch_size
    if options.batch_size < 2 or options.batches < 1:
        raise RequestError("batch-size: κ needs at least 2 images and 1 batch")
    if size > len(loaded.split):
        raise RequestError(
            f"batch-size: {size}, the split has {len(loaded.split)} images; use --batch-size "
            f"{min(_Request.batch_size, len(loaded.split))}"
        )
    if needed > len(loaded.split):
        raise RequestError(
            f"batches: {options.batches} of {size} need {needed} images, the split has "
            f"{len(loaded.split)}; use --batches {len(loaded.split) // size}"
        )
    model = registry.build(
        **{**loaded.model.request, "activation": options.activation},
        head_init=options.head,
        dtype=options.dtype,
    )
    params = model.init(jax.random.key(options.seed))
    chosen = np.random.default_rng(options.seed).permutation(len(loaded.split))[:needed]
    images = loaded.split.images[chosen].reshape(-1, size, *loaded.split.image_shape)
    prepare = preprocess(loaded.preprocessing)
    apply = Jacobians(functools.partial(model.apply, state=model.init_state()))
    settings = {
        **{key: getattr(options, key) for key in ("batch_size", "activation", "head", "seed")},
        **loaded.record,
        "batches": options.batches,
        "epsilon": max(
            float(jax.numpy.finfo(options.dtype or "float32").eps),
            coarsest_epsilon(apply, params, prepare(images[0])),
        ),
        "parameters_hash": parameters.content_hash(params),
    }
    make_bar = common.bars(options, make_bar)
    with (
        results.ResultFile(
            path,
            "ntk",
            request=settings,
            fields={
                "kappa": results.Field((options.batches,)),
                "eigenvalues": results.Field((options.batches, size)),
                "eigenvalues_of_two": results.Field((2 * size,)),
            },
            done=(options.batches,),
            origin=results.provenance(**settings, command=common.command_line("ntk", options)),
        ) as file,
        make_bar("ntk", options.batches) as advance,
    ):

        def keep(index: int, values: Any) -> None:
            kappa = summarise([values], settings["epsilon"]).kappa
            file.write(index, eigenvalues=values, kappa=kappa)

        if len(images) > 1 and np.isnan(file["eigenvalues_of_two"]).any():
            *two, both = pair_eigenvalues(apply, params, *map(prepare, images[:2]))
            for index, values in enumerate(two):
                keep(index, values)
            file.write(..., mark=1, eigenvalues_of_two=both)
        for index, batch in enumerate(images):
            if not file.done[index]:
                keep(index, kernel_eigenvalues(apply, params, prepare(batch)))
            advance()
    return summary(path)


def summary(path: os.PathLike) -> common.Outcome:
    """The outcome as stored: what ``--json`` prints and what is shown."""
    from landscape import results
    from landscape.ntk import of_stored

    stored = results.read(path, "ntk")
    attributes, found = stored.attributes, of_stored(stored)
    data = {
        "kappa": found.kappa,
        "standard_error": found.standard_error,
        "per_batch": found.per_batch.tolist(),
        "batch_size": attributes["batch_size"],
        "head": attributes["head"],
        "activation": attributes["activation"],
        "resolved": found.resolved,
        "rank": found.rank,
        "attainable_rank": found.attainable_rank,
        "rank_limited": found.rank_limited,
        "statement": found.statement,
        "file": os.fspath(path),
    }

    def show(console: Any) -> None:
        console.print(
            f"{attributes['model']} at initialisation, {attributes['activation']}, head "
            f"{attributes['head']}: {found.statement}"
        )
        console.print(f"written to {path}")

    return common.Outcome(data, show, found.resolved)
