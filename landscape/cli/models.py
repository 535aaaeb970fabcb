"""``models``: the networks that can be built by name."""

import dataclasses
from typing import Annotated, Any

import tyro

from landscape.cli import common
from landscape.errors import RequestError
from landscape.progress import MakeBar


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = dataclasses.field(
        default=(), metadata={"positional": True}
    )
    """Only networks whose name contains one of these: ViT-B, R50, BatchNorm."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, _Request):
    pass


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """List registered networks with sizes and sources; they are traced, nothing is allocated."""
    from landscape.models import registry

    wanted = [part.lower() for part in options.names]
    chosen = [
        name
        for name in registry.names()
        if not wanted or any(part in name.lower() for part in wanted)
    ]
    if not chosen:
        raise RequestError(f"names: no network has {' or '.join(options.names)} in its name")
    rows = []
    with common.bars(options, make_bar)("models", len(chosen)) as advance:
        for name in chosen:
            model = registry.build(name)
            rows.append(
                {
                    "name": name,
                    "family": model.family,
                    "parameters": model.parameter_count(),
                    "image": list(model.image_shape),
                    "tokens": model.tokens,
                    "classes": model.classes,
                    "flops": model.flops(),
                    "source": model.source,
                }
            )
            advance(note=name)

    def show(console: Any) -> None:
        console.print(
            common.grid(
                "Networks",
                ("name", "parameters", "image", "tokens", "classes", "GFLOP / image", "source"),
                [
                    [
                        r["name"],
                        f"{r['parameters']:,}",
                        "x".join(map(str, r["image"])),
                        "-" if r["tokens"] is None else str(r["tokens"]),
                        str(r["classes"]),
                        f"{r['flops'] / 1e9:.3g}",
                        r["source"],
                    ]
                    for r in rows
                ],
                text=(0, 6),
            )
        )

    return common.Outcome({"models": rows}, show, brief=True)
