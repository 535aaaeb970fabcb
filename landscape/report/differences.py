"""Settings that make numbers incomparable: those of results side by side, and of the training."""

from collections.abc import Sequence
from typing import Any

from landscape.printable import printable
from landscape.report.run import Run
from landscape.results import Stored

SHOWN = {
    "hessian": "Hessians",
    "surface": "Surfaces",
    "neurons": "Active neurons",
    "ntk": "Kernels",
    "ntk-lecun": "Kernels (non-zero head)",
}
_MAY_DIFFER = {
    # what is compared
    "model", "network name", "parameters_hash", "state_hash", "data_hash", "checkpoint_step",
    "directions of_step", "seed", "directions seed",
    # how much was measured, and with which effort
    "blocks", "targets", "x", "y", "method", "ends", "width", "confidence", "limit", "iterations",
    "top", "trace", "probes", "density", "starts", "steps", "data_error", "scan", "gradient_norm",
    "lambda_max", "adaptive", "batches", "split_size", "held_out", "together_with",
    "class_labels",
    # what follows from others
    "kind", "schema", "curvature", "epsilon",
}  # fmt: skip


def side_by_side(runs: Sequence[Run]) -> list[str]:
    """Settings in which results differ that are shown side by side, a line each."""
    told = []
    for name, what in SHOWN.items():
        settings = [_settings(run.results[name]) for run in runs if name in run.results]
        for key in dict.fromkeys(key for one in settings for key in one):
            values: dict[Any, set[str]] = {}
            for one in settings:
                if key in one:
                    # Settings of a network belong to it: a ResNet's activation is another.
                    of = one.get("network name") if key.startswith("network ") else None
                    values.setdefault(of, set()).add(one[key])
            for found in values.values():
                if len(found) > 1 and key not in _MAY_DIFFER:
                    values_found = ", ".join(printable(value, 200) for value in sorted(found))
                    told.append(f"{what} of different runs differ in {key} ({values_found}): "
                                "compare with care.")  # fmt: skip
    return told


def from_training(run: Run) -> list[str]:
    """Settings in which results differ from those that the run was trained with, a line each."""
    trained = _flat({"network": run.section("model")})
    if "preprocessing" in run.config:
        trained |= _flat({"preprocessing": run.config["preprocessing"]})
    told = []
    for name in ("hessian", "surface", "neurons"):
        settings = _settings(run.results[name]) if name in run.results else {}
        told += [
            f"{run.label}: {name} was computed with {key} {settings[key]}, the network was trained "
            f"with {trained[key]}."
            for key in settings.keys() & trained.keys()
            if settings[key] != trained[key]
        ]
        if name in run.results:
            told += _other_data(run, name)
    return sorted(told)


def _other_data(run: Run, name: str) -> list[str]:
    """Whether the data of a result are others than those of the training, or have changed since."""
    used, trained = run.results[name].attributes.get("data"), run.section("data")
    if not isinstance(used, dict):
        return []
    split = used.get("split", "train")
    known = [(used.get(part), trained.get(f"{split}_{part}")) for part in ("examples", "hash")]
    if any(None in pair for pair in known) or known[0][0] != known[0][1]:  # a part of the images
        known = [(used.get("reference"), trained.get("reference"))]
    was, now = known[-1][::-1]
    if None in (was, now) or was == now:
        return []
    return [
        f"{run.label}: {name} was computed with the {split} data {now}, the training had {was}."
    ]


def within(run: Run) -> list[str]:
    """Settings in which the results of one run differ that stand in one column, a line each.

    Which images and how many the captions say; another network in front of them is told as a
    difference from the training.
    """
    settings = {name: _settings(run.results[name]) for name in ("hessian", "surface", "neurons")
                if name in run.results}  # fmt: skip
    told = []
    for key in dict.fromkeys(key for one in settings.values() for key in one):
        found = {name: one[key] for name, one in settings.items() if key in one}
        part = key.partition(" ")[0]
        if len(set(found.values())) > 1 and part not in _MAY_DIFFER | {"network", "examples"} and (
            key not in _MAY_DIFFER | {"data examples", "data hash"}
        ):  # fmt: skip
            listed = ", ".join(f"{name} {value}" for name, value in found.items())
            told.append(f"{run.label}: its results differ in {key} ({listed}).")
    return told


def _settings(stored: Stored) -> dict[str, str]:
    """What a result was asked for, as text."""
    has = stored.attributes
    request = {key: value for key, value in has["request"].items() if key not in ("x", "y")}
    if isinstance(request.get("directions"), list):  # hashes, which no other network shares
        del request["directions"]
    if request.get("normalisation_statistics") == "none":  # no such layers
        del request["normalisation_statistics"]
    return _flat(request | ({"x64": has["x64"]} if "x64" in has else {}))


def _flat(request: dict[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in request.items():
        if key in _MAY_DIFFER or not isinstance(value, dict):
            found[key] = str(value)
            continue
        found |= {f"{key} {part}": _text(item) for part, item in value.items()
                  if part not in request}  # fmt: skip
    return found


def _text(value: Any) -> str:
    """A direction to another checkpoint leads each network to its own."""
    return "to" if str(value).startswith("to:") else str(value)
