"""``models``: the networks that can be built by name."""

import dataclasses
from typing import Any

from landscape.cli import common


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common):
    pass


def execute(options: Options) -> common.Outcome:
    """List every registered network with its size and source; nothing is allocated."""
    from landscape.models import registry

    rows = []
    for name in registry.names():
        model = registry.build(name)
        rows.append(
            {
                "name": name,
                "family": model.family,
                "parameters": model.parameter_count(),
                "image": list(model.image_shape),
                "classes": model.classes,
                "flops": model.flops(),
                "source": model.source,
            }
        )

    def show(console: Any) -> None:
        console.print(
            common.grid(
                "Networks",
                ("name", "parameters", "image", "classes", "GFLOP / image", "source"),
                [
                    [
                        r["name"],
                        f"{r['parameters']:,}",
                        "x".join(map(str, r["image"])),
                        str(r["classes"]),
                        f"{r['flops'] / 1e9:.3g}",
                        r["source"],
                    ]
                    for r in rows
                ],
            )
        )

    return common.Outcome({"models": rows}, show)
