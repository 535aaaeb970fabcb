"""An accuracy, how sure it is, and whether the most frequent label would do as well."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from landscape.numbers import percent

CONFIDENCE = 0.95  # of the interval around an accuracy
_INTERVAL = ("accuracy", "accuracy_lower", "accuracy_upper")
UNKNOWN = dict.fromkeys([*_INTERVAL, "most_frequent_label", "at_chance"])


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's interval, at 95 % confidence, around the share of so many examples.

    References
    ----------
    Wilson, Probable inference, the law of succession, and statistical inference, J. Am. Stat.
    Assoc. 22 (1927).

    Examples
    --------
    >>> [round(end, 4) for end in wilson(0.5, 4)]
    [0.15, 0.85]
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    lower, upper = ((middle + sign * reach) / (1 + z * z / count) for sign in (-1, 1))
    # At the ends of the scale it ends there; rounding would say otherwise.
    return (lower if share > 0 else 0.0), (upper if share < 1 else 1.0)


def attributes(
    accuracy: float | None, examples: int, labels: np.ndarray | None = None
) -> dict[str, Any]:
    """What is stored of an accuracy; None where it is not known, or is no share of the examples.

    Parameters
    ----------
    accuracy
        Share of the examples that are answered right, as it was averaged.
    examples
        Their number.
    labels
        Their labels (examples,), integers, where they are known.

    Returns
    -------
    dict
        ``accuracy``, ``accuracy_lower``, ``accuracy_upper``, all in [0, 1]. With labels also
        ``most_frequent_label``, the share of examples that have it, and ``at_chance``: whether the
        lower end is not above that, so that answering always with this label may do as well.
    """
    if accuracy is None or not abs(accuracy - 0.5) <= 0.5 + 1e-4:
        return UNKNOWN
    share = round(accuracy * examples) / examples  # a sum may have been rounded
    lower, upper = wilson(share, examples)
    found = {**UNKNOWN, "accuracy": share, "accuracy_lower": lower, "accuracy_upper": upper}
    if labels is None:
        return found
    most = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    return {**found, "most_frequent_label": most, "at_chance": lower <= most}


def stored(of: Mapping[str, Any]) -> dict[str, Any]:
    """The same from the attributes of a result file, for ``--json``: with the remark, if any."""
    # Of other types they are of a user's record, which may hold any name.
    if not all(isinstance(of.get(name), float) for name in _INTERVAL):
        return {}
    found = {name: of[name] for name in _INTERVAL}
    if isinstance(of.get("at_chance"), bool) and isinstance(of.get("most_frequent_label"), float):
        found |= {name: of[name] for name in ("most_frequent_label", "at_chance")}
    return {**found, "remark": remark(found)} if found.get("at_chance") else found


def told(found: Mapping[str, Any]) -> str:
    """``96.1 % [93.6, 97.8] (95 % interval)``; empty where there is no accuracy."""
    if "accuracy" not in found:
        return ""
    shares = (found[f"accuracy{end}"] for end in ("", "_lower", "_upper"))
    return " % ".join(percent(*shares)) + f" ({CONFIDENCE:.0%} interval)".replace("%", " %")


def remark(found: Mapping[str, Any]) -> str:
    """What a reader should not overlook of an accuracy at chance.

    At initialisation that is as it should be; otherwise the labels may be those of other data.
    """
    accuracy, most = found["accuracy"], found["most_frequent_label"]
    better = "no better" if accuracy <= most else "not surely better"
    return (
        f"accuracy {100 * accuracy:.3g} % is {better} than answering with the most frequent label "
        f"({100 * most:.3g} %): are the labels those of the network?"
    )
