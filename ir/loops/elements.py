"""Elements that ops spell by conditions on their place: writing into a slice, joining arrays end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..dtypes import int64
from ..sizes import Dim, Poly, dim, poly
from .expr import Condition, Const, Expr, Index, Place, Where, apply

At = tuple[Poly, ...]
Read = Callable[[tuple[Place, ...]], Expr]


def place_inside(
    at: At,
    old: Read,
    fresh: Read,
    shape: Sequence[Dim],
    starts: Sequence[Dim],
    steps: Sequence[int],
) -> Expr:
    """The element ``at`` of an array into which ``fresh`` was written along a slice."""
    conds: list[Condition] = []
    holes: list[Expr] = []
    inner: list[Place] = []
    for i, n, start, step in zip(at, shape, starts, steps, strict=True):
        span = dim(poly(n) * abs(step) - (abs(step) - 1))
        offset = i - start if step > 0 else poly(start) - i
        conds.append((offset, 0, span))
        if abs(step) == 1:
            inner.append(offset)
            continue
        stride = Const(abs(step), int64)
        inner.append(apply("floordiv", Index(offset), stride))
        holes.append(apply("eq", apply("rem", Index(offset), stride), Const(0, int64)))
    value = fresh(tuple(inner))
    for hole in holes:
        value = apply("select", hole, value, old(at))
    return Where(tuple(conds), value, old(at))


def join_along(at: At, reads: Sequence[Read], sizes: Sequence[Dim], axis: int) -> Expr:
    """The element ``at`` of arrays that lie one after the other along ``axis``."""
    ends = [dim(sum((poly(n) for n in sizes[: k + 1]), poly(0))) for k in range(len(sizes))]
    out: Expr | None = None
    for k in reversed(range(len(reads))):
        start: Dim = ends[k - 1] if k else 0
        here = reads[k]((*at[:axis], at[axis] - start, *at[axis + 1 :]))
        out = here if out is None else Where(((at[axis], start, ends[k]),), here, out)
    if out is None:
        raise ValueError("join_along: there is nothing to join")
    return out
