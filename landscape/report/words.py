"""What was run and found, and what to be careful about, told from the data."""

from collections.abc import Sequence

from landscape import accuracy, captions
from landscape.numbers import number
from landscape.plots import style
from landscape.printable import printable
from landscape.report import differences, measures
from landscape.report.measures import MARKS, WHOLE, Extreme
from landscape.report.provenance import environments_of, failed_checks
from landscape.report.run import Run, distinct

_LONGEST = 500  # characters of a line


def summary(runs: Sequence[Run]) -> str:
    """One paragraph: the runs, their accuracy, their sharpness, what SAM changed."""
    models = list(dict.fromkeys(run.model for run in runs))
    said = [f"{_plural(len(runs), 'run')} of {_plural(len(models), 'network')} "
            f"({', '.join(models)})"]  # fmt: skip
    data = list(dict.fromkeys(
        str(run.section("data")["reference"])
        for run in runs if run.section("data").get("reference")
    ))  # fmt: skip
    if data:
        said[0] += f" trained on {_joined(data)}"
    radii = sorted({run.rho for run in runs if run.rho > 0})
    if radii:
        with_sam = sum(run.rho > 0 for run in runs)
        said[0] += f", {with_sam} of them with SAM (ρ = {_joined([f'{r:g}' for r in radii])})"
    accuracies = {run.label: measures.accuracy(run) for run in runs}
    known = {label: found[0] for label, found in accuracies.items() if found}
    if known:
        said.append(_range("Test accuracy", known, lambda v: f"{100 * v:.1f} %"))
    sharp = {run.label: measures.extreme(run, WHOLE) for run in runs}
    known = {label: value.estimate for label, value in sharp.items() if value}
    if known:
        which = f"The largest eigenvalue λmax of the {measures.matrices(runs)}"
        said.append(_range(which, known, number))
    said += _pairs(runs)
    return ". ".join(said) + "."


def warnings(runs: Sequence[Run]) -> list[str]:
    """Reasons not to compare, or not to trust, some of the numbers: a printable line each."""
    runs = distinct(runs)
    told = [f"{run.label}: {problem}" for run in runs for problem in run.problems]
    marked: dict[str, list[str]] = {mark: [] for mark in MARKS}
    for run in runs:
        hashes = {
            name: stored.attributes["parameters_hash"]
            for name, stored in run.results.items()
            if "parameters_hash" in stored.attributes and not name.startswith("ntk")
        }
        if len(set(hashes.values())) > 1:
            told.append(f"{run.label}: {_joined(list(hashes))} were computed from different "
                        "parameters; run them again on one checkpoint.")  # fmt: skip
        if run.unfinished:
            told.append(f"{run.label}: its training is not finished, the log ends at "
                        f"{run.unfinished}.")  # fmt: skip
        last = run.last.get("step")
        early = {name: at for name, stored in run.results.items()
                 if (at := captions.step(stored)) not in (None, last)}  # fmt: skip
        if early and last is not None:
            steps = captions.each(f"{at:,}" for at in early.values())
            told.append(f"{run.label}: {_joined(list(early))} computed at step {steps}; test "
                        f"accuracy is of step {last:,}.")  # fmt: skip
        told += [
            f"{run.label}: {name}, over {captions.images(stored)}: {found['remark']}"
            for name, stored in run.results.items()
            if "remark" in (found := accuracy.stored(stored.attributes))
        ]
        told += differences.from_training(run) + differences.within(run) + _environments(run)
        found = [measures.extreme(run, name) for name in measures.targets(run)]
        for mark, runs_marked in marked.items():
            count = sum(value is not None and value.mark == mark for value in found)
            if count:
                runs_marked.append(f"{run.label} ({count} of {len(found)})")
    told += [f"Eigenvalues marked {mark} in {_joined(where)}: {MARKS[mark]}"
             for mark, where in marked.items() if where]  # fmt: skip
    edge = [f"{run.label} ({stored.attributes.get('head', '?')} head, rank "
            f"{found.attainable_rank or found.rank}, batches of {found.eigenvalues.shape[1]})"
            for run in runs for name, stored in run.results.items() if name.startswith("ntk")
            if (found := measures.kappa(run, name)) and found.rank_limited]  # fmt: skip
    if edge:
        told.append("Kernels that are singular or at the edge of it, whose κ measures the size of "
                    f"the batches and not trainability: {_joined(edge)}.")  # fmt: skip
    told += differences.side_by_side(runs)
    return [printable(line, _LONGEST) for line in told]


def _environments(run: Run) -> list[str]:
    """Results of a compiler that computes wrongly, and those of more than one environment."""
    told = []
    for name, stored in run.results.items():
        found = environments_of(stored)
        if wrong := list(dict.fromkeys(check for one in found for check in failed_checks(one))):
            told.append(f"{run.label}: {name} was computed where the compiler fails its checks "
                        f"({_joined(wrong)}); run `analysis_cli.py doctor`, then measure "
                        "again.")  # fmt: skip
        if len(found) > 1:
            new = [
                key for one in stored.attributes["resumed_with"] for key in one if key != "since"
            ]
            told.append(f"{run.label}: {name} was begun in one environment and gone on with in "
                        f"another ({_joined(list(dict.fromkeys(new)))}); see where the numbers "
                        "come from.")  # fmt: skip
    return told


def _pairs(runs: Sequence[Run]) -> list[str]:
    """What SAM did to λmax, where a network was trained both ways."""
    said = []
    plain = {run.label: run for run in runs if style.SAM not in run.label}
    for run in runs:
        partner = plain.get(style.base(run.label))
        if style.SAM not in run.label or partner is None:
            continue
        before, after = (measures.extreme(r, WHOLE) for r in (partner, run))
        if before and after and min(before.estimate, after.estimate) > 0:
            of = [captions.curvature(r.results["hessian"]) for r in (partner, run)]
            same = of[0] == of[1]
            said.append(_change(partner.label, before, after) if same else
                        f"not comparable for {partner.label} ({of[0]}, and {of[1]})")  # fmt: skip
    return [f"With SAM λmax is {'; '.join(said)}"] if said else []


def _change(label: str, before: Extreme, after: Extreme) -> str:
    values = f"{number(before.estimate, 3)} to {number(after.estimate, 3)}"
    if before.lower <= after.upper and after.lower <= before.upper:
        return f"not distinguishable for {label} ({values}, the bounds overlap)"
    if after.estimate < before.estimate:
        return f"{number(before.estimate / after.estimate, 2)} times smaller for {label} ({values})"
    return f"{number(after.estimate / before.estimate, 2)} times larger for {label} ({values})"


def _range(what: str, values: dict[str, float], text) -> str:
    if len(values) == 1:
        label, value = next(iter(values.items()))
        return f"{what} is {text(value)} ({label})"
    low, high = min(values, key=values.get), max(values, key=values.get)
    if text(values[low]) == text(values[high]):
        return f"{what} is {text(values[low])} in every run"
    return f"{what} lies between {text(values[low])} ({low}) and {text(values[high])} ({high})"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _joined(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
