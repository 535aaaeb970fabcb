"""Progress bars: what long work calls as it advances."""

import contextlib
import sys
from collections.abc import Callable, Iterator

#: Called once per finished unit; ``steps=n`` for several or none, ``note=`` to show a value beside
#: the bar.
Advance = Callable[..., object]

#: ``(description, units) -> context manager`` that yields an :data:`Advance`.
MakeBar = Callable[[str, int], contextlib.AbstractContextManager[Advance]]


def note(text: str) -> None:
    """Tell something that is not wrong and should not be overlooked, on standard error."""
    print(f"note: {text}", file=sys.stderr)


@contextlib.contextmanager
def bar(description: str, total: int) -> Iterator[Advance]:
    """A tqdm bar on standard error with the time left."""
    from tqdm import tqdm

    with tqdm(total=total, desc=description, file=sys.stderr, dynamic_ncols=True) as shown:

        def advance(*_, steps: int = 1, note: str = "") -> None:
            if note:
                shown.set_postfix_str(note, refresh=steps == 0)
            shown.update(steps)

        yield advance


@contextlib.contextmanager
def no_bar(description: str, total: int) -> Iterator[Advance]:
    """The same without a bar."""
    yield lambda *_, **__: None
