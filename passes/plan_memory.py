"""Offsets in the arena: values that are alive at the same time never overlap.

Greedy by size: the largest first, each at the lowest offset that is free while it lives (Pisarchyk and Lee, 2020).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """``nbytes`` that are needed from step ``first`` to step ``last``, both included."""

    key: Hashable
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Where each value lies, how large the arena is, and the most bytes ever alive together."""

    offsets: Mapping[Hashable, int]
    nbytes: int
    live: int


def plan_memory(lifetimes: Sequence[Lifetime]) -> Plan:
    """An offset for each value.

    >>> plan_memory([Lifetime("a", 100, 0, 1), Lifetime("b", 50, 1, 2), Lifetime("c", 100, 2, 3)]).nbytes
    192
    """
    placed: list[tuple[int, int, Lifetime]] = []
    offsets: dict[Hashable, int] = {}
    for t in sorted(lifetimes, key=lambda t: (-t.nbytes, t.first)):
        size = -(-t.nbytes // ALIGNMENT) * ALIGNMENT
        offset = 0
        for begin, end, other in placed:
            if other.first <= t.last and t.first <= other.last:
                if begin - offset >= size:
                    break
                offset = max(offset, end)
        offsets[t.key] = offset
        if size:
            insort(placed, (offset, offset + size, t), key=itemgetter(0))
    return Plan(offsets, max((end for _, end, _ in placed), default=0), _most_alive(lifetimes))


def _most_alive(lifetimes: Sequence[Lifetime]) -> int:
    """The largest sum of bytes alive at one step."""
    change: dict[int, int] = {}
    for t in lifetimes:
        change[t.first] = change.get(t.first, 0) + t.nbytes
        change[t.last + 1] = change.get(t.last + 1, 0) - t.nbytes
    most = now = 0
    for step in sorted(change):
        now += change[step]
        most = max(most, now)
    return most
