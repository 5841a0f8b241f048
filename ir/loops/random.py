"""Random elements as expressions: which block of the generator, and which word of it, an element reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..dtypes import int64
from ..sizes import Dim, Poly, contiguous_strides, poly
from .expr import Const, Expr, Index, Place, Where, apply

Read = Callable[[tuple[Place, ...]], Expr]


def _number(value: int) -> Const:
    return Const(value, int64)


def philox_element(at: tuple[Poly, ...], read: Read, shape: Sequence[Dim], bits: int) -> Expr:
    """32 or 64 random bits for the element ``at``; ``read`` gives the state's key and offset."""
    flat = poly(0)
    for i, stride in zip(at, contiguous_strides(shape), strict=True):
        flat = flat + i * stride
    e, per = Index(flat), 64 if bits == 32 else 32
    block = apply("mul", apply("floordiv", e, _number(per)), _number(16))
    counter = read((poly(1),)) + (block + apply("rem", e, _number(16)))
    which = apply("rem", apply("floordiv", e, _number(16)), _number(per // 16))
    key = read((poly(0),))
    if bits == 32:
        return apply("philox", key, counter, which)
    low = apply("philox", key, counter, which * 2)
    high = apply("philox", key, counter, which * 2 + 1)
    return apply("or", low, apply("shl", high, _number(32)))


def advance_element(at: tuple[Poly, ...], read: Read, count: Dim) -> Expr:
    """An element of the state after ``count`` more blocks: the offset moves, the key does not."""
    held = read(at)
    return Where(((at[0], 1, 2),), held + Index(poly(count)), held)
