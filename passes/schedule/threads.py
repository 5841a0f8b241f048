"""The threads of a block: which of them runs what, and which elements only one of them touches.

Thread loops are laid over the numbers of a block's threads, inner loops fastest: in a body that
``within`` threads share, a thread loop whose body ``width`` threads share takes
``number % within // width`` as its index. A store outside of the thread loops is made by one thread
if others see it (memory, shared), else by each of them (registers, local).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...ir.errors import ScheduleError
from ...ir.loops.bounds import put
from ...ir.loops.expr import Place
from ...ir.loops.nest import Loop, Store
from ...ir.loops.walk import Body, loops_of, reads
from ...ir.sizes import Dim, Poly, poly

SEEN = ("memory", "shared")  # memories that all threads of a block share


def width(body: Body) -> int:
    """How many threads a body needs."""
    most = 1
    for s in body:
        if type(s) is Loop:
            inner = width(s.body)
            if s.kind == "thread":
                if type(s.extent) is not int:
                    raise ScheduleError(f"thread loop {s.axis!r} runs {s.extent} times, no number")
                inner *= s.extent
            most = max(most, inner)
    return most


@dataclass(frozen=True, slots=True)
class Touch:
    """One access as a thread makes it: indices of thread loops go by where they lie in the block.

    ``alone``: no two threads make it in the same iteration.
    """

    buffer: str
    written: bool
    index: tuple[Place, ...]
    lanes: tuple[tuple[str, int], ...]
    inside: dict[str, Dim]
    alone: bool


def touches(
    body: Body, within: int, memories: dict[str, str], around: dict[str, Dim]
) -> Iterator[Touch]:
    """Every access in a body that ``within`` threads share.

    ``memories``: where buffers are; ``around``: the extents of loops outside that count as moving.
    """
    yield from _touches(body, within, memories, (), {}, around)


def _touches(
    body: Body,
    within: int,
    memories: dict[str, str],
    lanes: tuple[tuple[str, int], ...],
    names: dict[str, Poly],
    inside: dict[str, Dim],
) -> Iterator[Touch]:
    for s in body:
        if type(s) is Loop and s.kind == "thread":
            inner = width(s.body)
            lane = f"%{within}/{inner}"
            known = {**inside, lane: s.extent}
            assert type(s.extent) is int
            run = (*lanes, (lane, s.extent))
            yield from _touches(s.body, inner, memories, run, {**names, s.axis: poly(lane)}, known)
        elif type(s) is Loop:
            known = {**inside, s.axis: s.extent}
            yield from _touches(s.body, within, memories, lanes, names, known)
        elif type(s) is Store:
            alone = within == 1 or memories.get(s.buffer) in SEEN
            yield Touch(s.buffer, True, _named(s.index, names), lanes, inside, alone)
            if s.reduce:
                yield Touch(s.buffer, False, _named(s.index, names), lanes, inside, alone)
            for e in reads(s):
                yield Touch(e.buffer, False, _named(e.index, names), lanes, inside, alone)


def _named(index: tuple[Place, ...], names: dict[str, Poly]) -> tuple[Place, ...]:
    out = []
    for i in index:
        if type(i) is Poly:
            for axis, lane in names.items():
                i = put(i, axis, lane)
        out.append(i)
    return tuple(out)


def is_owned(group: Sequence[Touch]) -> bool:
    """Does each element that these accesses to one buffer meet belong to one thread?"""
    first = [lane for lane, _ in group[0].lanes]
    if not all(t.alone and [lane for lane, _ in t.lanes] == first for t in group):
        return False
    rank = range(len(group[0].index))
    for n, lane in enumerate(first):
        extent = max(t.lanes[n][1] for t in group)
        if not any(_tells(lane, extent, d, group) for d in rank):
            return False
    return True


def _tells(name: str, extent: int, d: int, group: Sequence[Touch]) -> bool:
    """Does index ``d`` alone say which thread along lane ``name`` makes the access?

    Such an index is ``big + c*lane + small``, where big is a multiple of ``m`` and
    ``0 <= c*lane + small < m``, and ``small`` spans less than ``c``.
    """
    parts = [_parts(name, t.index[d], t.inside) for t in group]
    first = parts[0]
    if first is None or any(p is None or (p[0], p[1]) != (first[0], first[1]) for p in parts):
        return False
    c = first[0]
    big = [by for p in parts if p for _, by in p[2] if abs(by) > c * (extent - 1)]
    m = math.gcd(*big)
    low, high = [], []
    for p, t in zip(parts, group, strict=True):
        assert p is not None
        ends = [_end(n, by, t.inside) for n, by in p[2] if by not in big]
        known = [e for e in ends if e is not None]
        if len(known) < len(ends):
            return False
        at = p[3] % m if m else p[3]
        low.append(at + sum(min(0, e) for e in known))
        high.append(at + sum(max(0, e) for e in known))
    span = max(high) - min(low)
    return span < c and (not m or c * (extent - 1) + span < m)


Parts = tuple[int, Poly, list[tuple[tuple[str, ...], int]], int]


def _parts(name: str, at: Place, inside: dict[str, Dim]) -> Parts | None:
    """The factor of a lane, what stays the same, what moves, and the constant of an index."""
    if type(at) is not Poly:
        return None
    c, fixed, moving = at.terms.get((name,), 0), {}, []
    for monomial, by in at.terms.items():
        if monomial == (name,) or not monomial:
            continue
        if name in monomial:
            return None
        if inside.keys().isdisjoint(monomial):
            fixed[monomial] = by
        else:
            moving.append((monomial, by))
    return (c, Poly(fixed), moving, at.const) if c > 0 else None


def _end(monomial: tuple[str, ...], by: int, inside: dict[str, Dim]) -> int | None:
    """The last value of a term that starts at 0; None if that is no number."""
    for n in monomial:
        extent = inside.get(n)
        if type(extent) is not int:
            return None
        by *= extent - 1
    return by


def lane_axes(body: Body) -> frozenset[str]:
    """The axes of all thread loops below."""
    return frozenset(s.axis for s in loops_of(body) if s.kind == "thread")
