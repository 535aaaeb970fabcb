"""The one exception that means "the request was wrong"."""

import contextlib
from collections.abc import Iterable, Iterator


class RequestError(ValueError):
    """A request that cannot be carried out, told in one line: what, where, what to do instead.

    The command line prints the message and exits with status 2; library callers see a
    ``ValueError``.
    """


class OutOfMemory(RequestError):
    """The request needs more memory than there is."""


class OtherVersion(RequestError):
    """A result file was made by another version of landscape; its numbers mean other things."""


class NotFinite(RequestError):
    """A value that has to be finite is not: the loss overflows, or has no derivative here."""


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Say of a request that fails in here what it was about; nothing for an empty text."""
    try:
        yield
    except RequestError as error:
        if not what:
            raise
        raise type(error)(f"{what}: {error}") from error


def about_block(name: str) -> contextlib.AbstractContextManager:
    """The same for a block of parameters; the whole has no name."""
    return about(f"block {name!r}" if name else "")


def check_choice(argument: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices (RequestError)."""
    choices = list(choices)
    if value not in choices:
        raise RequestError(f"{argument}: {value!r} is none of {', '.join(choices)}")
