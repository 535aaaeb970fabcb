"""What every command shares: options, parsing, progress bars, output."""

import contextlib
import dataclasses
import io
import json
import math
import re
import shlex
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro

from landscape.cli.settings import check, from_toml
from landscape.errors import RequestError
from landscape.printable import printable
from landscape.progress import MakeBar, bar, no_bar
from landscape.whole_file import whole_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    out: str | None = None
    """Where the result goes (default: into the run folder)."""
    seed: int = 0
    """Seed of every random choice."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""
    quiet: bool = False
    """No progress bar."""
    config: str | None = None
    """TOML file with options of this command; flags override it."""
    debug: bool = False
    """Show tracebacks."""


def bars(options: Common, make_bar: MakeBar | None) -> MakeBar:
    """The bar to use: the caller's, or one of its own unless ``--quiet``."""
    return make_bar or (no_bar if options.quiet else bar)


@dataclasses.dataclass
class Outcome:
    """What a command found.

    ``data`` is printed by ``--json``; ``show`` prints for people (a rich console is passed).
    Commands without a result file of their own are ``brief``: ``--out`` names a file for ``data``.
    """

    data: dict[str, Any]
    show: Callable[[Any], None]
    converged: bool = True
    brief: bool = False


def parse(options: type, name: str, summary: str, arguments: Sequence[str]) -> Any:
    """Options from a TOML file (``--config``) and flags.

    Raises
    ------
    RequestError
        In one line, for whatever is wrong with the arguments. ``--help`` exits.
    """
    options, files = _readable(options), []
    for position, argument in enumerate(arguments):
        if argument == "--config" and position + 1 < len(arguments):
            files.append(arguments[position + 1])
        elif argument.startswith("--config="):
            files.append(argument.removeprefix("--config="))
    if len(files) > 1:
        raise RequestError("config: given more than once; name one file")
    settings = from_toml(options, *files) if files else {}
    default = {}
    if settings:
        # Everything a file leaves out keeps its default; required options stay required.
        for field in dataclasses.fields(options):
            if field.name in settings:
                default[field.name] = settings[field.name]
            elif field.default is not dataclasses.MISSING:
                default[field.name] = field.default
            else:
                default[field.name] = tyro.MISSING
        default = {"default": options(**default)}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            found = tyro.cli(
                options,
                prog=f"analysis_cli.py {name}",
                description=summary[0].upper() + summary[1:] + ".",
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff,),
                **default,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise RequestError(_in_one_line(complaint.getvalue(), name)) from None
    check(found)
    return found


def _in_one_line(box: str, name: str) -> str:
    """tyro draws a box: title, what is wrong, similar options, where the help is, between rules."""
    lines = [line.strip("│ \n") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    parts = [" ".join(part.split()) for part in re.split("[─-]{5,}", " ".join(lines))]
    if "╭" not in box:
        parts = parts[1:]  # without box characters the title is a part of its own
    wrong, *others = parts or [""]
    wrong = re.sub(r"^Error parsing \w+: ", "", wrong)  # in front of what the options refuse
    similar = [
        re.search(r"--[\w-]+", part.partition(":")[2])
        for part in others
        if part.startswith(("Perhaps", "Arguments similar"))
    ]
    meant = ", ".join(found.group() for found in similar if found)
    hint = f"did you mean {meant}? " if meant else ""
    wrong = wrong.rstrip(".") or "arguments not understood"
    return f"{wrong}; {hint}see analysis_cli.py {name} --help"


def _readable(options: type) -> type:
    """The options with plain placeholders: ``--out TEXT``, no ``{None}`` and no default of None."""
    hints, fields = typing.get_type_hints(options, include_extras=True), []
    for field in dataclasses.fields(options):
        hint = hints[field.name]
        marked = typing.get_origin(hint) is Annotated
        kinds = typing.get_args(typing.get_args(hint)[0] if marked else hint)
        optional, unset = type(None) in kinds, field.default in (None, False, ())
        if optional or unset:
            names = [_placeholder(kind) for kind in kinds if kind not in (type(None), ...)]
            names += ["None"] if optional and not unset else []
            shown = tyro.conf.arg(
                metavar="|".join(names).replace("STR", "TEXT") or None,
                help_behavior_hint="" if unset else None,
            )
            default = dataclasses.field(default=field.default)
            fields.append((field.name, Annotated[hint, shown], default))
    return dataclasses.make_dataclass(
        options.__name__, fields, bases=(options,), frozen=True, kw_only=True
    )


def _placeholder(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, typing.get_args(kind)))
    return kind.__name__.upper()


def start(options: Common) -> None:
    """Join a job's other processes and keep compiled programs, before the first computation."""
    from landscape import devices

    devices.start_processes()
    devices.use_compilation_cache()


def command_line(name: str, options: Any) -> str:
    """The command that asks for these options, without those that change no number."""
    words = ["analysis_cli.py", name]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in ("json", "quiet", "debug", "config") or value == field.default:
            continue
        if field.metadata.get("positional"):
            words += value if isinstance(value, tuple) else [value]
            continue
        words.append("--" + field.name.replace("_", "-"))
        if value is not True:
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
    return shlex.join(words)


def show(outcome: Outcome, options: Common) -> None:
    """Print the outcome: JSON or tables."""
    data = json.dumps(_plain(outcome.data))
    if outcome.brief and options.out is not None:
        with whole_file(options.out) as temporary:
            temporary.write_text(data + "\n")
    if options.json:
        print(data)
        return
    from rich.console import Console

    def as_is(text: str) -> str:
        return "\n".join(map(printable, text.split("\n")))

    class AsIs(Console):
        """Without markup and emoji codes, and with escapes for what cannot be seen."""

        def render_str(self, text, **options):
            return super().render_str(as_is(text), **options)

        def render(self, renderable, options=None):
            for part in super().render(renderable, options):
                yield part if part.control else part._replace(text=as_is(part.text))

    width = None if sys.stdout.isatty() else 140
    outcome.show(AsIs(width=width, highlight=False, markup=False, emoji=False))


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def grid(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Sequence[int] = (0,),
) -> Any:
    """A rich table; the columns of text to the left, the others to the right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position in text else "right")
    for row in rows:
        table.add_row(*row)
    return table
