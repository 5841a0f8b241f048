"""The names that machine code may call: what we registered, then the C and math libraries."""

import ctypes
import functools
from collections.abc import Iterable

_registered: dict[str, int] = {}


def register(name: str, address: int) -> None:
    """Let objects that are built and loaded from now on refer to ``name``."""
    _registered[name] = address


def registered() -> dict[str, int]:
    """A copy of all that was registered."""
    return dict(_registered)


def resolve(name: str) -> int | None:
    """The address of ``name``, or None if nobody has it."""
    return _registered.get(name) or _library_symbol(name)


def unresolved(names: Iterable[str]) -> list[str]:
    """Those of the names that nobody has."""
    return [name for name in names if resolve(name) is None]


@functools.cache
def _libraries() -> tuple[ctypes.CDLL, ...]:
    found = [ctypes.CDLL(None)]
    try:
        found.append(ctypes.CDLL("libm.so.6"))
    except OSError:
        return tuple(found)
    return tuple(found)


@functools.cache
def _library_symbol(name: str) -> int | None:
    for library in _libraries():
        if hasattr(library, name):
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    return None
