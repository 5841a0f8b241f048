"""Rules of ops that only place elements: what cancels, what composes, what is nothing."""

from __future__ import annotations

from typing import Any

from ...ir.graph import Value
from ...ir.sizes import Dim, Shape, dim, least, poly
from .pattern import Computed, op, rule, variables

x, y, base, new = variables("x y base new")
order, inner, outer, shape, axis = variables("order inner outer shape axis")
starts, stops, steps = variables("starts stops steps")
starts2, stops2, steps2 = variables("starts2 stops2 steps2")

At = tuple[Any, ...]


def same_shape(x: Value, shape: Shape) -> bool:
    """Whether ``x`` has the shape already."""
    return x.type.shape == tuple(shape)


def moves_ones(x: Value, order: At) -> bool:
    """Whether an order only moves dimensions of size 1: the elements stay in row-major order."""
    kept = [d for d in order if x.type.shape[d] != 1]
    return kept == sorted(kept)


def adds_leading_ones(x: Value, inner: Shape) -> bool:
    """Whether a shape is that of ``x`` behind sizes of 1."""
    own = x.type.shape
    lead = len(inner) - len(own)
    return lead >= 0 and tuple(inner[lead:]) == own and all(n == 1 for n in inner[:lead])


def takes_all(x: Value, starts: At, stops: At, steps: At) -> bool:
    """Whether a slice is the whole of ``x``."""
    return tuple(stops) == x.type.shape and all(a == 0 for a in starts) and all(s == 1 for s in steps)


def composes(steps: At, steps2: At, starts2: At, stops2: At) -> bool:
    """Whether two slices are one: in steps of 1, or where every number is known."""
    return all(
        s == t == 1 or (isinstance(a, int) and isinstance(b, int))
        for s, t, a, b in zip(steps, steps2, starts2, stops2, strict=True)
    )


def _composed(a: Dim, s: int, a2: Dim, b2: Dim, t: int) -> tuple[Dim, Dim]:
    """Start and stop of what ``a2:b2:t`` takes from a slice that starts at ``a`` in steps of ``s``."""
    if s == t == 1:
        return dim(poly(a) + a2), dim(poly(a) + b2)
    assert isinstance(a2, int) and isinstance(b2, int)
    if a2 == b2:  # nothing, which must not start behind the end
        return a, a
    last = a2 + (b2 - a2 - 1) // t * t
    return dim(poly(a) + a2 * s), dim(poly(a) + last * s + 1)


_starts = Computed(
    lambda starts, steps, starts2, stops2, steps2: tuple(
        [_composed(*each)[0] for each in zip(starts, steps, starts2, stops2, steps2, strict=True)]
    )
)
_stops = Computed(
    lambda starts, steps, starts2, stops2, steps2: tuple(
        [_composed(*each)[1] for each in zip(starts, steps, starts2, stops2, steps2, strict=True)]
    )
)
_steps = Computed(lambda steps, steps2: tuple([s * t for s, t in zip(steps, steps2, strict=True)]))


def disjoint(starts: At, stops: At, steps: At, starts2: At, stops2: At, steps2: At) -> bool:
    """Whether two slices of steps of 1 certainly share no element."""
    for a, b, a2, b2 in zip(starts, stops, starts2, stops2, strict=True):
        before, after = least(dim(poly(a2) - b)), least(dim(poly(a) - b2))
        if (before is not None and before >= 0) or (after is not None and after >= 0):
            return True
    return False


_same_place = {"starts": starts, "stops": stops, "steps": steps}
_other_place = {"starts": starts2, "stops": stops2, "steps": steps2}

VIEWS = (
    rule("permute-nothing", op.permute(x, order=order), x, where=lambda order: list(order) == sorted(order)),
    rule("permute-permute", op.permute(op.permute(x, order=inner), order=outer),
         op.permute(x, order=Computed(lambda inner, outer: tuple([inner[d] for d in outer])))),
    rule("permute-ones", op.permute(x, order=order),
         op.reshape(x, shape=Computed(lambda x, order: tuple([x.type.shape[d] for d in order]))), where=moves_ones),
    rule("reshape-nothing", op.reshape(x, shape=shape), x, where=same_shape),
    rule("reshape-reshape", op.reshape(op.reshape(x, shape=inner), shape=outer), op.reshape(x, shape=outer)),
    rule("broadcast-nothing", op.broadcast(x, shape=shape), x, where=same_shape),
    rule("broadcast-broadcast", op.broadcast(op.broadcast(x, shape=inner), shape=outer), op.broadcast(x, shape=outer)),
    rule("broadcast-reshape", op.broadcast(op.reshape(x, shape=inner), shape=outer), op.broadcast(x, shape=outer),
         where=adds_leading_ones),
    rule("slice-all", op.slice(x, **_same_place), x, where=takes_all),
    rule("slice-slice", op.slice(op.slice(x, **_same_place), **_other_place),
         op.slice(x, starts=_starts, stops=_stops, steps=_steps), where=composes),
    rule("concatenate-one", op.concatenate(x), x),
)  # fmt: skip

IDENTITIES = (
    rule("alias", op.alias(x), x),
    rule("detach", op.detach(x), x),
    rule("overwrite", op.overwrite(x, y), y),
)

PUTS = (
    rule("put-all", op.put(base, new, **_same_place), new,
         where=lambda base, starts, stops, steps: takes_all(base, starts, stops, steps)),
    rule("put-none", op.put(base, new), base, where=lambda new: any(n == 0 for n in new.type.shape)),
    rule("put-back", op.put(x, op.slice(x, **_same_place), **_same_place), x),
    rule("put-put", op.put(op.put(base, x, **_same_place), new, **_same_place), op.put(base, new, **_same_place)),
    rule("slice-put", op.slice(op.put(base, new, **_same_place), **_same_place), new),
    rule("slice-beside-put", op.slice(op.put(base, new, **_same_place), **_other_place),
         op.slice(base, **_other_place), where=disjoint),
)  # fmt: skip
