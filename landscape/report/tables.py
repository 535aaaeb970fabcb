"""Tables in the shape of Chen, Hsieh and Gong, arXiv:2106.01548v1, and the detailed ones."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_FLOOR

from landscape import accuracy, captions
from landscape.numbers import CHECKED, DASH, count, interval, number, percent, with_error
from landscape.report import measures
from landscape.report.measures import MARKS, WHOLE, Extreme
from landscape.report.run import NOT_MEASURED, Run, distinct
from landscape.report.table import Table
from landscape.results import Stored


def table1(runs: Iterable[Run]) -> Table:
    """Parameters, κ, λmax, accuracy and loss: a column per run (Table 1 of the paper)."""
    runs = distinct(runs)
    rows = [
        ("#Params", *map(_count, runs)),
        ("NTK κ at initialisation", *(_kappa(run, "ntk") for run in runs)),
        (
            f"{measures.matrices(runs)} λmax\n[lower, upper]",
            *(_bounded(run, WHOLE) for run in runs),
        ),
        ("Test accuracy (%)\n[95 % interval]", *(_accuracy(run) for run in runs)),
        ("Training loss at the checkpoint", *(_loss(run) for run in runs)),
    ]
    if any(measures.power_iteration(run) for run in runs):
        row = ("λmax by power iteration\npaper's method, uncertified", *map(_power, runs))
        rows.insert(3, row)
    if any("ntk-lecun" in run.results for run in runs):
        row = ("NTK κ, non-zero head", *(_kappa(run, "ntk-lecun") for run in runs))
        rows.insert(2, row)
    return Table(
        "Table 1. Trainability, sharpness and accuracy",
        ("", *(run.label for run in runs)),
        tuple(rows),
        tuple(_notes1(runs)),
    )


def table3(runs: Iterable[Run]) -> Table:
    """λmax of diagonal blocks of the Hessian, and norms: a row per run (Table 3 of the paper)."""
    runs = distinct(runs)
    columns = (
        "Model", "Embedding", "All MSA / token MLPs", "All MLPs / channel MLPs", "First block",
        "Middle block", "Last block", "Head", "Whole", "‖w‖₂", "‖a‖₂ first", "‖a‖₂ middle",
        "‖a‖₂ last",
    )  # fmt: skip
    notes = [
        "Embedding: the first linear layer (kernel and bias), without class token and positions. "
        "All MSA / token MLPs and all MLPs / channel MLPs: the joint block of all layers of the "
        "kind, each with the norm in front of it; λmax of one layer is at most that of the joint "
        "block, and this at most that of the whole. The middle one of n blocks (of a ResNet: "
        "units) is number ⌈n/2⌉. Head: with the last norm.",
        "‖a‖₂: mean over images of the norm over all post-activations (tokens times neurons) of a "
        "block, of a Mixer's channel MLP, of the output of a ResNet's unit. neurons.h5 also has "
        "the norms per token and those of the blocks' outputs.",
        "Bounds are in the detailed tables.",
        *_images(runs),
        *_departures(runs),
    ]
    rows = tuple(_row3(run) for run in runs)
    return Table(
        f"Table 3. λmax of diagonal blocks of the {measures.matrices(runs)}, and norms",
        columns,
        rows,
        (*notes, *_marks(cell for row in rows for cell in row[1:])),
    )


def components(run: Run) -> Table:
    """Every eigenvalue of a run with its bounds, residual and cost.

    Only λmax is searched for in blocks: what is known of a λmin that did not converge is its
    bounds.
    """
    rows = []
    parameters = run.results["hessian"]["parameters"]
    for name, size in zip(measures.targets(run), parameters, strict=True):
        largest, smallest = (measures.extreme(run, name, end) for end in ("max", "min"))
        if largest is None:
            rows.append((name, count(size), NOT_MEASURED, *[""] * 8))
            continue
        rows.append((
            name, count(size), number(largest.estimate), interval(largest.lower, largest.upper),
            number(largest.check), number(largest.residual, 2),
            f"no{largest.mark}" if largest.mark else "yes", *_smallest(smallest),
            count(largest.products),
        ))  # fmt: skip
    columns = ("Block", "Parameters", "λmax", "[lower, upper]", "Checked", "Residual", "Converged",
               "λmin", "[lower, upper]", "Residual", "Products")  # fmt: skip
    hessian, status = run.results["hessian"], run.status("hessian")
    over = accuracy.told(accuracy.stored(hessian.attributes))
    notes = (
        f"Accuracy over the same {captions.images(hessian)}: {over}." if over else "",
        CHECKED, *_marks(row[6] for row in rows), status,
    )  # fmt: skip
    return Table(
        f"{run.label}: eigenvalues of the {captions.matrix(hessian)} of {captions.loss(hessian)}, "
        "whole and block by block",
        columns,
        tuple(rows),
        tuple(filter(None, notes)),
    )


def planes(runs: Iterable[Run]) -> Table | None:
    """The planes of the surfaces: how long the directions are and the angle between them."""
    rows = []
    for run in distinct(runs):
        stored = run.results.get("surface")
        if stored is None or "ycoordinates" not in stored.data:
            continue
        x, y, has = stored["xcoordinates"], stored["ycoordinates"], stored.attributes
        rows.append((
            run.label, f"{len(x)} × {len(y)}", captions.directions(stored),
            *(f"{number(float(c[0]), 3)} to {number(float(c[-1]), 3)}" for c in (x, y)),
            *(number(float(has.get(name, float("nan"))), 3)
              for name in ("length_x", "length_y", "cosine")),
            has.get("normalization", DASH), str(has.get("seed", DASH)), captions.images(stored),
            accuracy.told(accuracy.stored(has)) or DASH, count(captions.interpolated(stored)),
            run.status("surface") or "complete",
        ))  # fmt: skip
    columns = ("Model", "Points", "Directions", "Along 1", "Along 2", "Length 1 / ‖w‖",
               "Length 2 / ‖w‖", "Cosine", "Normalisation", "Seed", "Images", "Accuracy",
               "Interpolated", "Status")  # fmt: skip
    return Table("The planes of the surfaces", columns, tuple(rows)) if rows else None


def _smallest(value: Extreme | None) -> tuple[str, str, str]:
    if value is None or not value.lower <= value.upper:  # NaN: no bounds, no value
        return (DASH,) * 3
    bounds = interval(value.lower, value.upper)
    if not value.converged:
        return DASH, bounds, DASH
    return number(value.estimate), bounds, number(value.residual, 2)


def _count(run: Run) -> str:
    value = measures.parameter_count(run)
    return _missing(run) if value is None else count(value)


def _kappa(run: Run, name: str) -> str:
    found = measures.kappa(run, name)
    if found is None:
        return run.status(name)
    if found.rank_limited:
        what = "edge of singularity" if found.resolved else "singular"
        return f"≥ {number(found.kappa, 2, ROUND_FLOOR)}\n{what}"
    return with_error(found.kappa, found.standard_error)


def _missing(run: Run) -> str:
    return run.status("hessian") or NOT_MEASURED


def _departures(runs: Sequence[Run]) -> list[str]:
    """What eigenvalues are of that is not the usual; see :func:`captions.departures`."""
    told = {run.label: ", ".join(captions.departures(run.results["hessian"], run.last.get("step")))
            for run in runs if "hessian" in run.results}  # fmt: skip
    if not any(told.values()):
        return []
    listed = "; ".join(f"{label}: {text}" for label, text in told.items() if text)
    return [f"Not the usual Hessian of the training cross-entropy at the last step: {listed}."]


def _bounded(run: Run, target: str) -> str:
    value = measures.extreme(run, target)
    if value is None:
        return _missing(run)
    return f"{_estimate(value)}\n{interval(value.lower, value.upper)}"


def _estimate(value: Extreme) -> str:
    return number(value.estimate) + value.mark


def _marks(cells: Iterable[str]) -> list[str]:
    """What the marks behind eigenvalues mean, of those that are there."""
    seen = "".join(cells)
    return [f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in seen]


def _power(run: Run) -> str:
    found = measures.power_iteration(run)
    if found is None:
        return _missing(run)
    return f"{captions.power_iteration(found[0])}\nresidual {number(found[1], 2)}"


def _accuracy(run: Run) -> str:
    found = measures.accuracy(run)
    if found is None:
        return NOT_MEASURED
    last = run.last.get("step")
    other = "hessian" in run.results and captions.step(run.results["hessian"]) not in (None, last)
    step = f"after step {last:,}" if other and last is not None else ""
    return "\n".join(filter(None, (*percent(*found), step)))


def _has_l2(stored: Stored) -> bool:
    return stored.attributes.get("l2", 0.0) != 0


def _loss(run: Run) -> str:
    value = measures.training_loss(run)
    return NOT_MEASURED if value is None else number(value)


def _images(runs: Sequence[Run]) -> list[str]:
    """Which images the columns of Table 3 are over: those of one run may differ."""
    of = {
        what: captions.each(captions.images(run.results[name]) for run in runs
                            if name in run.results)
        for name, what in (("hessian", "λmax"), ("neurons", "‖a‖₂"))
    }  # fmt: skip
    told = [f"{what} over {images}" for what, images in of.items() if images]
    return [f"{'; '.join(told)}."] if told else []


def _row3(run: Run) -> tuple[str, ...]:
    blocks = measures.whole_blocks(run)
    units = any("/" in name for name in blocks)  # a ResNet's: "block1/unit1", "layer1/0"
    norms = measures.activation_norms(run)
    hessian = run.results.get("hessian")
    has_norm = hessian is not None and "norm" in hessian.attributes
    return (
        run.label,
        _block(run, "embedding"),
        DASH if units else _block(run, "attention", "token_mlp"),
        DASH if units else _block(run, "mlp", "channel_mlp"),
        *(_block(run, name) for name in _three(blocks)),
        _block(run, "head"),
        _block(run, WHOLE),
        number(float(hessian.attributes["norm"])) if has_norm else _missing(run),
        *(_norm(run, norms, name) for name in _three(list(norms))),
    )


def _three(names: Sequence[str]) -> tuple[str, str, str]:
    """The first, the middle and the last; empty names where there is none."""
    return (names[0], names[(len(names) - 1) // 2], names[-1]) if names else ("", "", "")


def _block(run: Run, *names: str) -> str:
    """λmax of that one of the blocks which the network has."""
    for name in set(names) & set(measures.targets(run)) & measures.of_table3(run):
        value = measures.extreme(run, name)
        return _missing(run) if value is None else _estimate(value)
    return _missing(run) if "hessian" not in run.results else NOT_MEASURED


def _norm(run: Run, norms: dict[str, float], name: str) -> str:
    value = norms.get(name, float("nan"))
    return number(value) if value == value else run.status("neurons") or NOT_MEASURED


def _notes1(runs: Sequence[Run]) -> list[str]:
    notes = []
    stored = [run.results["hessian"] for run in runs if "hessian" in run.results]
    confidences = sorted({float(s.attributes["confidence"]) for s in stored
                          if "confidence" in s.attributes})  # fmt: skip
    if confidences:
        stated = " or ".join(f"{100 * value:g} %" for value in confidences)
        notes.append(f"λmax of {captions.each(map(captions.loss, stored))}: Ritz value; the true "
                     f"eigenvalue lies within the bounds with a probability of {stated} over the "
                     "random start vector.")  # fmt: skip
    notes += _departures(runs)
    notes += _marks(_bounded(run, WHOLE) for run in runs)
    if any(measures.power_iteration(run) for run in runs):
        notes.append("Power iteration has no bounds: it can stop far below λmax; the residual "
                     "‖Hv − λv‖ only says that some eigenvalue is that near.")  # fmt: skip
    kernels = {
        f"{s.attributes.get('head', '?')} head, {s.attributes.get('activation', '?')}, "
        f"batches of {s.attributes.get('batch_size', '?')}"
        for run in runs for name, s in run.results.items() if name.startswith("ntk")
    }  # fmt: skip
    if kernels:
        trained = {activation for run in runs if any(n.startswith("ntk") for n in run.results)
                   if (activation := run.section("model").get("activation"))}  # fmt: skip
        notes.append(f"κ: mean over batches ± standard error ({'; '.join(sorted(kernels))}"
                     + (f"; trained with {captions.each(map(str, trained))}" if trained else "")
                     + ").")  # fmt: skip
    if any(found.rank_limited for run in runs for name in run.results
           if name.startswith("ntk") and (found := measures.kappa(run, name))):  # fmt: skip
        notes.append("κ ≥: the batches have nearly as many images as the network can give a kernel "
                     "rank, or more. No batch has a smaller κ; it says how large the batches are, "
                     "not how trainable the network is.")  # fmt: skip
    if any(measures.accuracy(run) for run in runs):
        notes.append("Test accuracy with Wilson's 95 % interval for the population that the test "
                     "images were drawn from; how much training again would change it is not in "
                     "it.")  # fmt: skip
    measured = [run.results["hessian"] for run in runs if not measures.loss_is_logged(run)]
    if measured:
        l2 = ", without the L2 term" if any(map(_has_l2, measured)) else ""
        images = captions.each(map(captions.images, measured))
        notes.append(f"Training loss: the mean over {images}{l2}.")
    logged = [run.label for run in runs if measures.loss_is_logged(run)
              and measures.training_loss(run) is not None]  # fmt: skip
    if logged:
        notes.append(f"Training loss of the last logged step, not of the checkpoint: "
                     f"{', '.join(logged)}.")  # fmt: skip
    return notes
