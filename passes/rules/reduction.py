"""Rules of reductions: over nothing, over what a broadcast repeats, one after the other.

Sums of floats are never regrouped; the greatest element does not depend on the order.
"""

from __future__ import annotations

from typing import Any

from ...ir.graph import Value
from ...ir.ops.reduce import drop
from ...ir.sizes import Shape, product
from .pattern import Computed, op, rule, variables

x = variables("x")[0]
axes, inner, outer, shape = variables("axes inner outer shape")

At = tuple[Any, ...]


def over_ones(x: Value, axes: At) -> bool:
    """Whether only dimensions of size 1 are reduced."""
    return all(x.type.shape[a] == 1 for a in axes)


def over_repeated(x: Value, shape: Shape, axes: At) -> bool:
    """Whether only dimensions are reduced along which a broadcast repeats one element."""
    lead = len(shape) - len(x.type.shape)
    return bool(axes) and all(a < lead or x.type.shape[a - lead] == 1 for a in axes)


def _repeated_count(x: Value, shape: Shape, axes: At) -> bool:
    count = product(shape[a] for a in axes)
    return x.dtype.kind in "iu" and isinstance(count, int) and count < 127 and over_repeated(x, shape, axes)


def _both_axes(inner: At, outer: At) -> At:
    """The axes of two reductions, counted in the first one's operand."""
    left = [d for d in range(len(inner) + max(outer, default=-1) + 1) if d not in inner]
    return tuple(sorted((*inner, *(left[a] for a in outer))))


def _once(x: Value, shape: Shape, axes: At) -> Shape:
    """The shape of ``x`` without the repeated dimensions that are reduced."""
    lead = len(shape) - len(x.type.shape)
    return tuple(n for d, n in enumerate(x.type.shape) if d + lead not in axes)


_dropped = Computed(lambda x, axes: drop(x.type.shape, axes))
_left = Computed(lambda shape, axes: drop(shape, axes))
_repeated = op.broadcast(op.reshape(x, shape=Computed(_once)), shape=_left)
_count = op.constant(
    value=Computed(lambda shape, axes: product(shape[a] for a in axes)),
    dtype=Computed(lambda x: x.dtype),
    shape=_left,
)

REDUCTIONS = (
    rule("sum-one", op.sum(x, axes=axes), op.reshape(x, shape=_dropped),
         where=lambda x, axes: x.dtype.kind in "iu" and over_ones(x, axes)),
    rule("sum-one-float", op.sum(x, axes=axes), op.reshape(x, shape=_dropped) + 0.0,
         where=lambda x, axes: x.dtype.kind == "f" and over_ones(x, axes)),
    rule("sum-sum", op.sum(op.sum(x, axes=inner), axes=outer), op.sum(x, axes=Computed(_both_axes)),
         where=lambda x: x.dtype.kind in "iu"),
    rule("sum-broadcast", op.sum(op.broadcast(x, shape=shape), axes=axes), _repeated * _count, where=_repeated_count),
    rule("amax-one", op.amax(x, axes=axes), op.reshape(x, shape=_dropped), where=over_ones),
    rule("amax-amax", op.amax(op.amax(x, axes=inner), axes=outer), op.amax(x, axes=Computed(_both_axes))),
    rule("amax-broadcast", op.amax(op.broadcast(x, shape=shape), axes=axes), _repeated, where=over_repeated),
)  # fmt: skip
