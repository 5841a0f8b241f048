"""Locks across forks: a fork takes them first, so that the child finds what they guard whole, and them free."""

import os
from typing import Any, TypeVar

L = TypeVar("L", bound=Any)
ORDER = ("trace", "write", "build", "evict", "allocate")
"""The order in which one thread may take locks: whoever holds one waits only for later ones."""
_locks: list[tuple[int, Any]] = []


def held_at_fork(lock: L, name: str) -> L:
    """The lock, which from now on is held while the process forks."""
    _locks.append((ORDER.index(name), lock))
    _locks.sort(key=lambda entry: entry[0])
    return lock


def _take() -> None:
    for _, lock in _locks:
        lock.acquire()


def _give_back() -> None:
    for _, lock in reversed(_locks):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take, after_in_parent=_give_back, after_in_child=_give_back)
