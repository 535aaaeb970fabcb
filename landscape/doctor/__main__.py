"""``python -m landscape.doctor CHECK...``: carries checks out, with lines of JSON around each.

A process of its own, because a wrong program may end it: :func:`landscape.doctor.examine` reads
what came before and goes on behind the check that ended it.
"""

import json
import sys
import time

from landscape.doctor import programs, verdict
from landscape.doctor.checks import CHECKS


def _say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def main(names: list[str]) -> None:
    import jax

    _say(configuration=verdict.configuration())
    for name in names:
        check, start = CHECKS[name], time.monotonic()
        _say(begin=name)
        if jax.device_count() < check.devices:
            _say(skipped="there is one device")
            continue
        try:
            error, failure = programs.relative_error(*check.run()), ""
        except Exception as raised:  # whatever it is, this check has failed and the others go on
            first = (str(raised).splitlines() or [""])[0]
            error, failure = float("inf"), f"{type(raised).__name__}: {first}"
        seconds = time.monotonic() - start
        _say(error=error, allowed=check.allowed, failure=failure, seconds=seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
