"""``hessian``: certified eigenvalues, whole and per block, and on request the whole spectrum."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from landscape.cli import common, subject
from landscape.cli.hessian_outcome import END, EXTRA, HELD_OUT, TOP, outcome
from landscape.cli.hessian_pictures import draw
from landscape.errors import RequestError, about_block
from landscape.progress import MakeBar


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    blocks: tuple[str, ...] = ("paper",)
    """Sub-diagonal blocks: paper, table3, components, layers, tensors, none, or NAME=REGEX ..."""
    matrix: Literal["hessian", "gauss_newton", "fisher", "empirical_fisher"] = "hessian"
    """The matrix; fisher draws labels from the network itself."""
    method: Literal["lanczos", "power", "both"] = "lanczos"
    """lanczos: certified bounds. power: the paper's 100 iterations, uncertified. both."""
    ends: Literal["both", "max"] = "both"
    """Certify both ends of the whole spectrum, or only λmax (fewer products)."""
    width: float = 0.01
    """Stop when the interval is this narrow relative to the eigenvalue; for λmin, relative to the
    larger of |λmin| and |λmax|."""
    confidence: float = 0.999
    """Probability with which all bounds of this command hold together."""
    limit: int = 84
    """Most products of each search; checking an end takes one more, up to as many again if its
    vector must be found anew."""
    iterations: int = 100
    """Products of the power iteration."""
    top: int = 0
    """Also this many of the largest eigenvalues, with residuals, none missed."""
    trace: bool = False
    """Also trace and Frobenius norm; traces of all blocks come with it."""
    probes: int = 30
    """Products spent on the trace."""
    density: bool = False
    """Also the spectral density and the effective dimension."""
    starts: int = 4
    """Random starts of the density: its error bars."""
    steps: int = 60
    """Products of each start: its resolution."""
    data_error: bool = False
    """Also the spread over the images, and λmax and its vector over as many of the other split."""
    scan: tuple[int, ...] = ()
    """Also λmax over this many of the images, for several numbers."""
    linearize: bool = False
    """Keep what all products have in common: faster, if the memory is large enough."""
    second_derivative: Literal["exact", "central_differences"] = "exact"
    """central_differences: for networks that can be differentiated only once."""
    pictures: str | None = None
    """Folder for pictures of everything that was measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, subject.Subject, _Request):
    pass


# What changes a stored number, beside the subject.
_SETTINGS = (
    "matrix", "method", "ends", "width", "confidence", "limit", "iterations", "seed", "top",
    "trace", "probes", "density", "starts", "steps", "data_error", "scan",
)  # fmt: skip


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Measure what was asked for; what the result file already holds is not repeated."""
    from landscape import accuracy, parameters, results
    from landscape.curvature import check_request
    from landscape.journal import Journal

    check_request(options.width, options.confidence, options.limit)  # before a file is made
    loaded = None if options.objective else subject.load(options)
    # Other matrices are other files: the report takes hessian.h5 for the Hessian.
    path = subject.result_path(options, loaded, options.matrix.replace("_", "-"))
    kept = 2 + (2 * options.top + 10 if options.top else 0)
    change = functools.partial(_matrix, options)
    kept = None if options.linearize else kept
    objective = subject.fitting_objective(options, loaded, change, kept)
    blocks = _blocks(options, objective.params)
    _check(options, objective, blocks)
    other = _other_split(options, loaded, objective.batch_size, change)
    described = objective.describe()
    settings = {name: getattr(options, name) for name in _SETTINGS}
    settings["held_out"] = {} if other is None else other.describe()["data"]
    request = {**described, **settings, "targets": ["whole", *blocks], "blocks": blocks}
    plan, measured = _Plan(options, blocks, objective, other), objective.labelled.evaluate()
    loss, labels = measured["loss"], loaded and loaded.split.labels
    if options.linearize:
        objective = objective.linearized()
    with (
        results.ResultFile(
            path,
            "hessian",
            request=request,
            fields=plan.fields(),
            done=(len(plan.tasks),),
            constants=plan.constants(),
            origin=results.provenance(
                **{
                    **described,  # a user's record may hold any name
                    **settings,
                    "norm": float(parameters.norm(objective.params)),
                    "loss": loss,
                    **accuracy.attributes(measured.get("accuracy"), objective.examples, labels),
                    "command": common.command_line("hessian", options),
                }
            ),
        ) as file,
        common.bars(options, make_bar)("hessian", len(plan.tasks)) as advance,
    ):
        file.refuse_other_value("loss", loss)
        journal = Journal.of_request(path.with_name(f"{path.name}.partial"), file.request)
        _Work(options, plan, objective, file, journal, advance).all()
        journal.discard()
    if options.pictures is not None:
        draw(path, options.pictures)
    return summary(path, options.pictures)


def summary(path: str | os.PathLike, pictures: str | None = None) -> common.Outcome:
    """The outcome as stored: what ``--json`` prints and what is shown."""
    return outcome(Path(path), pictures)


def _check(options: Options, objective: Any, blocks: dict[str, list[str]]) -> None:
    """Refuse now what would be refused after minutes, and before a file is made."""
    for name in ("iterations", "probes", "starts", "steps"):
        if getattr(options, name) < 1:
            raise RequestError(f"{name}: {getattr(options, name)} is below 1; use 1 or more")
    if not 0 <= options.top <= objective.size:
        raise RequestError(f"top: {options.top} asked for, the matrix has {objective.size}")
    if options.data_error and options.method == "power":
        raise RequestError("data_error: power iteration gives no vector for it; use --method both")
    if options.second_derivative != "exact" and (
        options.data_error or options.scan or options.matrix != "hessian"
    ):
        raise RequestError(
            "second_derivative: central differences give the Hessian only, and nothing per image; "
            "leave --matrix, --data-error and --scan out"
        )
    for name in blocks:
        own = name in ("whole", "top", "trace", "density", "data error")
        if own or name.startswith(("power ", "scan ")):
            raise RequestError(f"blocks: the name {name!r} is taken; use another")
    if len(set(options.scan)) < len(options.scan):
        raise RequestError("scan: the same number twice")
    for size in options.scan:
        if not 1 <= size <= objective.examples:
            raise RequestError(f"scan: {size} examples asked for, there are {objective.examples}")


def _other_split(options: Options, loaded: Any, batch_size: int, change: Callable) -> Any:
    """The objective over the split that is not analysed, at most as many images; None without."""
    if not options.data_error or loaded is None or loaded.held_out is None:
        return None
    same_batches = dataclasses.replace(loaded, batch_size=batch_size)
    return change(subject.held_out_objective(options, same_batches))


def _matrix(options: Options, objective: Any) -> Any:
    from landscape.curvature import fisher

    if options.second_derivative != "exact":
        objective = objective.with_second_derivative(options.second_derivative)
    if options.matrix == "fisher":
        return fisher(objective, seed=options.seed)
    return objective.with_curvature(options.matrix)


def _blocks(options: Options, params: Any) -> dict[str, list[str]]:
    from landscape import parameters

    asked = (options.blocks,) if isinstance(options.blocks, str) else options.blocks
    if asked == ("none",):
        return {}
    if len(asked) == 1 and "=" not in asked[0]:
        return parameters.blocks(params, asked[0])
    patterns: dict[str, str] = {}
    for part in asked:
        name, equals, pattern = part.partition("=")
        if not equals or not name:
            raise RequestError(
                f"blocks: {' '.join(asked)!r} is neither one partition nor NAME=REGEX ..."
            )
        if name in patterns:
            raise RequestError(f"blocks: two are called {name!r}; give each a name of its own")
        patterns[name] = pattern
    return parameters.blocks(params, patterns)


class _Plan:
    """The tasks of a request, and the datasets they fill.

    The first tasks are the targets, whole and blocks, in their order; the others follow.
    """

    def __init__(
        self, options: Options, blocks: Mapping[str, list[str]], objective: Any, other: Any
    ):
        self.options, self.blocks = options, blocks
        self.targets = ["whole", *blocks]
        self.objective, self.other = objective, other
        self.tasks = list(self.targets)
        self.tasks += [f"power {t}" for t in self.targets] if options.method == "both" else []
        self.tasks += [name for name in ("top", "trace", "density") if getattr(options, name)]
        self.tasks += ["data error"] if options.data_error else []
        self.tasks += [f"scan {size}" for size in options.scan]

    @property
    def confidence(self) -> float:
        """Of each of the groups of bounds, so that all hold together (union bound)."""
        options = self.options
        groups = (options.method != "power", options.top, options.scan, self.other is not None)
        return 1 - (1 - options.confidence) / max(1, sum(map(bool, groups)))

    def fields(self) -> dict[str, Any]:
        from landscape.results import Field

        options, count = self.options, len(self.targets)
        each = [f"{end}_{part}" for end in ("lambda_max", "lambda_min") for part in END]
        each += ["products", "power_estimate", "power_residual"]
        each += ["trace_estimate", "trace_standard_error"] if options.trace else []
        shapes = dict.fromkeys(each, (count,))
        # Everything a bound is made of, and how it closed with the products.
        for name in ("alpha", "beta", "history_estimate", "history_upper"):
            shapes[name] = (count, options.limit)
        shapes["run_lengths"] = (count, 3)
        for name, members in EXTRA.items():
            if getattr(options, name):
                shapes |= {f"{name}/{member}": () for member in members}
        if options.top:
            shapes |= {f"top/{name}": (options.top,) for name in TOP}
        if options.density:
            shapes |= {f"density/{n}": (options.starts, options.steps) for n in ("node", "weight")}
        if options.data_error:
            shapes["data_error/shards"] = (min(10, self.objective.examples),)
        if options.scan:
            parts = (*END, "products", "other_examples", "other_examples_standard_error")
            shapes |= {f"scan/{part}": (len(options.scan),) for part in parts}
        return {name: Field(shape) for name, shape in shapes.items()}

    def constants(self) -> dict[str, Any]:
        parts = (self.objective.block(names) for names in self.blocks.values())
        return {
            "targets": self.targets,
            "tasks": self.tasks,
            "parameters": [self.objective.size, *(part.size for part in parts)],
            **({"scan/examples": list(self.options.scan)} if self.options.scan else {}),
        }


class _Work:
    """Carries a plan out, task by task."""

    def __init__(self, options, plan, objective, file, journal, advance):
        self.options, self.plan, self.objective = options, plan, objective
        self.file, self.journal, self.advance = file, journal, advance
        self.done = dict(zip(plan.tasks, file.done, strict=True))
        advance(steps=sum(map(int, file.done)))

    def all(self) -> None:
        if self.options.method == "power":
            self._power(prefix="")
        else:
            self._whole()
            self._blocks()
            if self.options.method == "both":
                self._power(prefix="power ")
        for name in ("top", "trace", "density"):
            if self._open(name):
                getattr(self, f"_{name}")()
        if self.options.scan:
            self._scan()

    def _open(self, task: str) -> bool:
        return not self.done.get(task, True)

    def _write(self, task: str, index: Any = ..., **values: Any) -> None:
        self.file.write(index, mark=self.plan.tasks.index(task), **values)
        self.done[task] = True
        self.advance()

    def _settings(self) -> dict[str, Any]:
        options, confidence = self.options, self.plan.confidence
        return {"width": options.width, "confidence": confidence, "seed": options.seed}

    def _progress(self, task: str) -> Any:
        """Counts a task's products beside the bar."""
        products = itertools.count(1)
        return lambda *_: self.advance(steps=0, note=f"{task}: {next(products)} products")

    def _target(self, target: str, found: Any) -> None:
        failure = (1 - self.plan.confidence) / (4 * len(self.plan.targets))
        values = _values(found, self.options.limit, failure)
        self._write(target, self.plan.targets.index(target), **values)

    def _whole(self) -> None:
        from landscape.curvature import extremes

        if not (self._open("whole") or self._open("data error")):
            return
        found = extremes(
            self.objective,
            **self._settings(),
            limit=self.options.limit,
            ends=self.options.ends,
            statements=len(self.plan.targets),
            vectors=self._open("data error"),
            progress=self._progress("whole"),
            journal=self.journal.part("whole"),
        )
        if self._open("whole"):
            self._target("whole", found)
        if self._open("data error"):
            self._data_error(found.vectors["lambda_max"])

    def _data_error(self, vector: Any) -> None:
        from landscape.curvature import data_error

        other = self.plan.other
        error = data_error(
            self.objective,
            vector,
            held_out=other,
            certify=other is not None,
            **self._settings(),
            limit=self.options.limit,
            progress=self._progress("data error"),
            journal=self.journal.part("data error"),
        )
        values = {
            "shards": error.shards,
            "quotient": error.quotient.estimate,
            "standard_error": error.quotient.standard_error,
            "shard_standard_error": error.shard_error,
        }
        if other is not None:
            values |= {
                "held_out": error.held_out.estimate,
                "held_out_standard_error": error.held_out.standard_error,
                "held_out_examples": error.held_out.probes,
            }
            top = error.held_out_lambda_max
            values |= {f"{HELD_OUT}_{part}": getattr(top, part) for part in (*END, "products")}
        self._write("data error", **{f"data_error/{k}": v for k, v in values.items()})

    def _blocks(self) -> None:
        from landscape.curvature import block_extremes

        left = {name: names for name, names in self.plan.blocks.items() if self._open(name)}
        if left:
            block_extremes(
                self.objective,
                left,
                **self._settings(),
                limit=self.options.limit,
                ends="max",  # blocks are compared by their λmax; λmin would take three times longer
                statements=len(self.plan.targets),
                found=self._target,
                progress=self._progress("blocks"),
                journal=self.journal.part("blocks"),
            )

    def _power(self, prefix: str) -> None:
        from landscape.curvature import power_iteration

        for place, (target, names) in enumerate([("whole", None), *self.plan.blocks.items()]):
            if self._open(prefix + target):
                part = self.objective if names is None else self.objective.block(names)
                with about_block("" if names is None else target):
                    found = power_iteration(
                        part,
                        iterations=self.options.iterations,
                        seed=self.options.seed,
                        progress=self._progress("power"),
                        journal=self.journal.part(f"power-{place}"),
                    )
                values = {"power_estimate": found.estimate, "power_residual": found.residual}
                spent = {} if prefix else {"products": found.products}
                self._write(prefix + target, place, **values, **spent)

    def _top(self) -> None:
        import numpy as np

        from landscape.curvature import eigenpairs

        found = eigenpairs(
            self.objective,
            self.options.top,
            **self._settings(),
            limit=max(1000, self.options.limit),
            progress=self._progress("top"),
            journal=self.journal.part("top"),
        )
        # There are fewer than asked for if the products ran out.
        space = self.options.top - len(found.values)
        columns = (found.values, found.residuals, found.lower, found.upper, found.checks)
        values = {
            name: np.pad(column, (0, space), constant_values=np.nan)
            for name, column in zip(TOP, columns, strict=True)
        }
        values |= {"products": found.products, "converged": found.converged}
        self._write("top", **{f"top/{k}": v for k, v in values.items()})

    def _trace(self) -> None:
        from landscape.curvature import trace

        found = trace(
            self.objective,
            probes=self.options.probes,
            seed=self.options.seed,
            progress=self._progress("trace"),
            journal=self.journal.part("trace"),
        )
        estimates = [found.trace, *found.blocks(self.plan.blocks).values()]
        frobenius = found.frobenius
        self._write(
            "trace",
            trace_estimate=[e.estimate for e in estimates],
            trace_standard_error=[e.standard_error for e in estimates],
            **{
                "trace/frobenius": frobenius.estimate,
                "trace/frobenius_standard_error": frobenius.standard_error,
            },
        )

    def _density(self) -> None:
        from landscape.curvature import spectrum

        found = spectrum(
            self.objective,
            probes=self.options.starts,
            steps=self.options.steps,
            **self._settings(),
            progress=self._progress("density"),
            journal=self.journal.part("density"),
        ).density
        self._write(
            "density",
            **{
                "density/node": found.nodes,
                "density/weight": found.weights,
                "density/size": found.size,
                "density/smoothing_width": found.default_width(),
            },
        )

    def _scan(self) -> None:
        from landscape.curvature import scan

        def store(entry: Any) -> None:
            task, top = f"scan {entry.examples}", entry.lambda_max
            values = {f"scan/{part}": getattr(top, part) for part in (*END, "products")}
            if (rest := entry.other_examples) is not None:
                values["scan/other_examples"] = rest.estimate
                values["scan/other_examples_standard_error"] = rest.standard_error
            self._write(task, self.options.scan.index(entry.examples), **values)

        left = [size for size in self.options.scan if self._open(f"scan {size}")]
        scan(
            self.objective,
            left,
            **self._settings(),
            limit=self.options.limit,
            statements=len(self.options.scan),
            found=store,
            progress=self._progress("scan"),
            journal=self.journal.part("scan"),
        )


def _values(found: Any, limit: int, failure: float) -> dict[str, Any]:
    """What is stored of a target: both ends, the coefficients, and how the bounds closed."""
    import numpy as np

    def padded(values: Any) -> Any:
        row = np.full(limit, np.nan)
        row[: len(values)] = values
        return row

    values: dict[str, Any] = {"products": found.lambda_max.products}
    for end in ("lambda_max", "lambda_min"):
        values |= {f"{end}_{part}": getattr(getattr(found, end), part) for part in END}
    for name in ("alpha", "beta"):
        values[name] = padded(np.concatenate([getattr(run, name) for run in found.runs]))
    lengths = [run.products for run in found.runs]
    values["run_lengths"] = lengths + [0] * (3 - len(lengths))
    estimate, upper = found.runs[0].history(failure)
    values |= {"history_estimate": padded(estimate), "history_upper": padded(upper)}
    return values
