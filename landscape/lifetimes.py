"""Values that live as long as the object that they were made for, such as compiled programs.

A program keeps what its function closes over, so a cache that lasted longer than the function would
keep parameters and data of objects that nobody has any more.
"""

import types
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


def kept_with(owner: Any, key: Hashable, make: Callable[[], T]) -> T:
    """What ``make()`` gave the first time for this object and key.

    Parameters
    ----------
    owner
        The object; a method stands for the object it is of. For one that can hold nothing the value
        is made every time.
    key
        Tells the values of one object apart.
    make
        Makes the value; it may refer to the object.
    """
    if isinstance(owner, types.MethodType):
        owner, key = owner.__self__, (owner.__func__, key)
    try:
        held = vars(owner).get("_kept_with_it")
        if held is None or held.owner != id(owner):
            held = vars(owner)["_kept_with_it"] = _Held(id(owner))
    except TypeError:  # no attributes of its own, or those of a class
        return make()
    if key not in held:
        held[key] = make()
    return held[key]


class _Held(dict):
    """Values of one object, left behind where that is copied or pickled."""

    def __init__(self, owner: int = 0):
        super().__init__()
        self.owner = owner

    def __reduce__(self):
        return _Held, ()
