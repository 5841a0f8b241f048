"""A thread's part of registers that a block declares outside of its thread loops.

``let c: f32[64] in registers; thread t in 16 { unrolled i in 4 { c[4*t + i] = .. } }`` gives each
thread four of the elements, ``c[i]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.errors import ScheduleError
from ...ir.loops.bounds import bounds
from ...ir.loops.expr import Place
from ...ir.loops.nest import Buffer, Stmt
from ...ir.sizes import Dim, Poly, dim
from ...passes.schedule.threads import Touch, is_owned, lane_axes, touches


@dataclass(frozen=True, slots=True)
class Image:
    """What of a buffer one thread holds: every ``step``-th element from ``low``, per dimension."""

    shape: tuple[int, ...]
    low: tuple[int, ...]
    step: tuple[int, ...]
    axes: frozenset[str]

    @property
    def size(self) -> int:
        """How many elements a thread holds."""
        return math.prod(self.shape)

    def index(self, index: Sequence[Place]) -> list[Poly]:
        """The place in the part, from the place in the whole."""
        out = []
        for i, low, step in zip(index, self.low, self.step, strict=True):
            assert type(i) is Poly
            rest = {m: c for m, c in i.terms.items() if self.axes.isdisjoint(m)}
            moved = Poly(rest) - low
            out.append(Poly({m: c // step for m, c in moved.terms.items()}))
        return out


def image_of(b: Buffer, scope: tuple[Stmt, ...], within: int) -> Image:
    """The part of ``b`` that each of ``within`` threads holds; ``scope``: where it is used."""
    mine = [t for t in touches(scope, within, {}, {}) if t.buffer == b.name]
    spread = any(lane in i.names for t in mine for lane, _ in t.lanes for i in _polys(t.index))
    if not spread:
        if any(t.written and t.lanes for t in mine):
            raise ScheduleError(f"threads of a loop store to one element of {b}: give each its own")
        return _whole(b)
    if not is_owned(mine):
        raise ScheduleError(
            f"an element of {b} is used by several threads: it must be shared, not in {b.memory}"
        )
    parts = [_dimension(b, d, mine) for d in range(len(b.shape))]
    return Image(*(tuple(p[n] for p in parts) for n in range(3)), lane_axes(scope))  # type: ignore


def _polys(index: Sequence[Place]) -> list[Poly]:
    return [i for i in index if type(i) is Poly]


def _whole(b: Buffer) -> Image:
    """Every thread holds a copy of all."""
    if not all(type(n) is int for n in b.shape):
        raise ScheduleError(f"the size of {b} is no number")
    n = len(b.shape)
    return Image(b.shape, (0,) * n, (1,) * n, frozenset())  # type: ignore[arg-type]


def _dimension(b: Buffer, d: int, mine: Sequence[Touch]) -> tuple[int, int, int]:
    """Extent, first element and distance of a thread's elements along one dimension."""
    low: list[Dim] = []
    high: list[Dim] = []
    steps = []
    for t in mine:
        lanes = {lane for lane, _ in t.lanes}
        at = t.index[d]
        assert type(at) is Poly
        rest = Poly({m: c for m, c in at.terms.items() if lanes.isdisjoint(m)})
        first, last = bounds(rest, t.inside)
        low.append(first)
        high.append(last)
        steps += [c for m, c in rest.terms.items() if m]
    if not all(type(n) is int for n in (*low, *high)):
        raise ScheduleError(f"how much of {b} a thread holds is no number")
    start = min(low)  # type: ignore[type-var]
    step = math.gcd(*steps, *(dim(n - start) for n in low)) or 1  # type: ignore[arg-type]
    return (max(high) - start) // step + 1, start, step  # type: ignore
