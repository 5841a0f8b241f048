"""When iterations of a loop may be taken in another order: the one test that all steps share, and boxes of indices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...ir.errors import ScheduleError
from ...ir.loops.bounds import bounds, factor, greatest, is_nonnegative, least, split_off
from ...ir.loops.expr import Place
from ...ir.loops.nest import Loop, Size, Store
from ...ir.loops.walk import Body, accesses, lets, reads, stores
from ...ir.sizes import ZERO, Dim, Poly, dim

Spot = tuple[tuple[Place, ...], dict[str, Dim]]


def separate(
    axis: str, extent: Dim, body: Body, sizes: Sequence[Size] = (), reductions: bool = False
) -> bool:
    """Do different iterations of ``axis`` touch different elements of all that ``body`` writes?

    With ``reductions``, a buffer that is only ever reduced into may also be shared.
    """
    if extent == 1:
        return True
    private = {b.name for b in lets(body)}
    every = accesses(body)
    for name in {b for b, _, written, _ in every if written} - private:
        mine = [(index, inside) for b, index, _, inside in every if b == name]
        if any(_apart(axis, d, mine, sizes) for d in range(len(mine[0][0]))):
            continue
        if not (reductions and _only_reduced(name, body)):
            return False
    return True


def _only_reduced(name: str, body: Body) -> bool:
    """Is a buffer changed by one kind of reduction alone, restarted by its first store at most?"""
    mine = [s for s in stores(body) if s.buffer == name]
    if len({s.reduce for s in mine}) > 1 or not mine[0].reduce:
        return False
    if any(s.start is not None for s in mine[1:]):
        return False
    return not any(e.buffer == name for s in stores(body) for e in reads(s))


def _apart(axis: str, d: int, spots: Sequence[Spot], sizes: Sequence[Size]) -> bool:
    """Do these indices never meet in dimension ``d`` for different values of ``axis``?"""
    step: Dim = 0
    around: list[Poly] = []
    low: list[Dim] = []
    high: list[Dim] = []
    for index, inside in spots:
        at = index[d]
        c = factor(at, axis) if type(at) is Poly else 0
        if c == 0 or (around and c != step):
            return False
        step = c
        fixed, moved = _parted(at, axis, inside)  # type: ignore[arg-type]
        lo, hi = bounds(moved, inside)
        around.append(fixed)
        low.append(lo)
        high.append(hi)
    if any(fixed.terms != around[0].terms for fixed in around):
        low = [dim(fixed + lo) for fixed, lo in zip(around, low, strict=True)]
        high = [dim(fixed + hi) for fixed, hi in zip(around, high, strict=True)]
    return _spans_less(low, high, step, sizes)


def _parted(at: Poly, axis: str, inside: Mapping[str, Dim]) -> tuple[Poly, Poly]:
    """Of the terms without ``axis``: those that nothing inside moves, and the others with the constant."""
    fixed: dict[tuple[str, ...], int] = {}
    moved: dict[tuple[str, ...], int] = {}
    for m, c in at.terms.items():
        if axis not in m:
            (fixed if m and inside.keys().isdisjoint(m) else moved)[m] = c
    return Poly(fixed), Poly(moved)


def _spans_less(low: list[Dim], high: list[Dim], step: Dim, sizes: Sequence[Size]) -> bool:
    """Is ``max(high) - min(low) < |step|``?"""
    if type(step) is int and all(type(v) is int for v in (*low, *high)):
        return max(high) - min(low) < abs(step)  # type: ignore[type-var, operator]
    try:
        span = greatest(high, sizes) - least(low, sizes)
    except ScheduleError:
        return False
    return any(is_nonnegative(dim(sign * step - span - 1), sizes) for sign in (1, -1))


def region(
    spots: Sequence[Spot], inside: frozenset[str], sizes: Sequence[Size]
) -> tuple[list[Poly], list[Dim]]:
    """Smallest box around indices while the axes in ``inside`` move: its corner and its shape.

    ``inside`` holds the names of sizes too: they do not move the box.
    """
    if len({len(index) for index, _ in spots}) > 1:
        raise ScheduleError("copies of a nest gave locals of different ranks one name")
    corner, shape = [], []
    for d in range(len(spots[0][0])):
        outer: Poly | None = None
        low, high = [], []
        for index, extents in spots:
            at = index[d]
            if type(at) is not Poly:
                raise ScheduleError(f"an index depends on data ({at}): no box holds it")
            around, within = split_off(at, inside)
            if outer is not None and around != outer:
                raise ScheduleError("accesses move differently with the outer loops: no box")
            outer = around
            lo, hi = bounds(within, extents)
            low.append(lo)
            high.append(hi)
        start = least(low, sizes)
        corner.append((outer or ZERO) + start)
        shape.append(dim(greatest(high, sizes) - start + 1))
    return corner, shape


def index_axes(index: Iterable[Place]) -> set[str]:
    """Every name in the polynomials of an index."""
    return {n for i in index if type(i) is Poly for m in i.terms for n in m}


def moving(spots: Sequence[Spot], inside: frozenset[str]) -> list[int]:
    """The dimensions in which indices differ, or depend on the axes in ``inside``."""
    first = spots[0][0]
    return [
        d
        for d in range(len(first))
        if any(not inside.isdisjoint(i[d].names) for i, _ in spots)  # type: ignore[union-attr]
        or len({split_const(i[d]) for i, _ in spots}) > 1
    ]


def split_const(at: Place) -> int:
    """The constant of an index."""
    return at.const if type(at) is Poly else 0


def with_extents(
    body: Body, extents: dict[str, Dim] | None = None
) -> Iterator[tuple[Store, dict[str, Dim]]]:
    """Every store below, with the extents of the loops between."""
    for s in body:
        if type(s) is Loop:
            yield from with_extents(s.body, {**(extents or {}), s.axis: s.extent})
        elif type(s) is Store:
            yield s, extents or {}
