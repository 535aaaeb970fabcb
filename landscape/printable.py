"""Names that users give, as text that can be printed, drawn and encoded."""

import unicodedata
from typing import Any


def printable(text: Any, most: int | None = None) -> str:
    r"""The text in one line, with what cannot be seen or encoded as escapes.

    Those are control characters and line breaks, marks that turn the direction of writing, bytes
    of file names that are not UTF-8, and halves of surrogate pairs.

    Parameters
    ----------
    text
        Anything; what is not text is taken as ``str`` writes it.
    most
        Longer ones are cut to so many characters, the last of them "…".

    Examples
    --------
    >>> printable("a\u202eb\n"), printable("\udcff", 9), printable("abcdef", 4)
    ('a\\u202eb\\n', '\\xff', 'abc…')
    """
    text = str(text)
    shown = text if most is None else text[: most + 1]
    if not shown.isprintable():
        shown = "".join(map(_character, shown))
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"


def escape(character: str) -> str:
    """A character as its escape; a byte that is not UTF-8 as that byte."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps bytes of file names
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _character(character: str) -> str:
    shown = character.isprintable() or unicodedata.category(character) == "Zs"
    return character if shown else escape(character)
