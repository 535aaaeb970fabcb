"""The command line: ``landscape COMMAND ...``, also ``python analysis_cli.py COMMAND ...``.

One module per command, imported only when its command is called, so that help answers at once.
"""

import difflib
import importlib
import shlex
import sys
from collections.abc import Sequence

from landscape.printable import printable

COMMANDS = {
    "quickstart": "train six small networks on scanned digits, analyse them, write the report",
    "train": "train a network, with or without SAM",
    "evaluate": "loss and accuracy of a checkpoint",
    "hessian": "largest and smallest Hessian eigenvalue with bounds, whole and per component",
    "surface": "losses on a plane or line through a checkpoint, and pictures of them",
    "ntk": "condition number of the neural tangent kernel at initialisation",
    "neurons": "fraction of active neurons, layer by layer",
    "report": "tables and figures of finished runs as one HTML page",
    "inspect": "what a checkpoint holds",
    "convert": "write a checkpoint in another format",
    "models": "the networks that can be built by name",
    "formats": "the checkpoint and data formats that can be read",
    "doctor": "self-test: does the backend compute what it should, and what to do if not",
}

LONGEST_LINE = 1000  # characters of a message
DONE, NOT_CONVERGED, WRONG_REQUEST, BROKEN, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0 done; 1 finished but not converged, or the self-test failed; 2 the request was wrong (one line
    on standard error); 3 a defect of this program; 130 interrupted (with the line that resumes).
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return DONE if arguments else WRONG_REQUEST
    if arguments[0] == "--version":
        import landscape

        print(landscape.__version__)
        return DONE
    name, *rest = arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(COMMANDS)}"
        return _complain(f"command: there is no {name!r}; {hint}")
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    from landscape.errors import RequestError

    debug = "--debug" in arguments
    try:
        from landscape.cli import common, outputs

        module = importlib.import_module(f"landscape.cli.{name}")
        options = common.parse(module.Options, name, COMMANDS[name], arguments)
        outputs.check(name, options)
        common.start(options)
        outcome = module.execute(options)
        common.show(outcome, options)
        return DONE if outcome.converged else NOT_CONVERGED
    except RequestError as error:
        if debug:
            raise
        return _complain(str(error))
    except KeyboardInterrupt:
        again = shlex.join(["analysis_cli.py", name, *arguments])
        print(f"\ninterrupted; what is finished is kept. To go on: {again}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except OSError as error:
        if debug:
            raise
        named = f" {printable(error.filename, 200)}" if error.filename else ""
        return _complain(f"file:{named} cannot be used ({error.strerror or error}); name another")
    except Exception as error:
        if debug:
            raise
        if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
            return _complain("batch_size: out of memory; use a smaller --batch-size")
        first = (str(error).splitlines() or [""])[0]
        _complain(f"defect: {type(error).__name__}: {first}; --debug shows the traceback")
        return BROKEN


def _overview() -> str:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: analysis_cli.py COMMAND [OPTIONS]\n\n"
        "Loss landscapes and Hessians of neural networks.\n\n"
        f"commands:\n{listing}\n\n"
        "`COMMAND --help` explains a command. Exit status: 0 done, 1 finished but not converged\n"
        "or failed self-test, 2 wrong request, 3 a defect of this program, 130 interrupted."
    )


def _complain(message: str) -> int:
    line = printable(" ".join(message.split()))
    if len(line) > LONGEST_LINE:  # a name as long as that; what to do stands at the end
        line = f"{line[: LONGEST_LINE // 2]}…{line[-LONGEST_LINE // 2 :]}"
    print(f"error: {line}", file=sys.stderr)
    return WRONG_REQUEST
