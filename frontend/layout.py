"""Shapes and strides: the layout of a result, and when a reshape is a view; PyTorch's rules, in both modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.sizes import Dim, Shape, at_least, contiguous_strides, dim, equal


class Size(tuple):  # type: ignore[type-arg]
    """The shape of a tensor: a tuple with ``numel()``."""

    def numel(self) -> int:
        """The number of elements."""
        out = 1
        for n in self:
            out = out * n
        return out

    def __repr__(self) -> str:
        return f"gristmill.Size({list(self)})"

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Any:
        return Size(other + tuple(self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, times: Any) -> Size:
        return Size(tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return Size(found) if isinstance(key, slice) else found


def is_contiguous(shape: Sequence[Dim], strides: Sequence[Dim]) -> bool:
    """Row-major without gaps; strides of dimensions of size 1 do not count."""
    expected: Dim = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n == 0:
            return True
        if n != 1:
            if s != expected:
                return False
            expected = dim(expected * n)
    return True


def dense_strides(shape: Sequence[Dim], order: Sequence[int]) -> Shape:
    """Strides without gaps where ``order`` lists the dimensions from the slowest to the fastest."""
    out: list[Dim] = [0] * len(shape)
    step: Dim = 1
    for d in reversed(order):
        out[d] = step
        step = dim(step * (shape[d] if shape[d] != 0 else 1))
    return tuple(out)


def elementwise_strides(shape: Shape, operands: Sequence[tuple[Shape, Shape]]) -> Shape | None:
    """The strides of an elementwise result, None for row-major: it follows its operands' order of dimensions.

    ``operands``: (shape, strides) of each before broadcasting. The rule is TensorIterator's: dimensions are sorted by
    the strides of the first operand that tells two of them apart.
    """
    rank = len(shape)
    if rank < 2 or all(len(s) < rank or is_contiguous(s, t) for s, t in operands):
        return None
    aligned = [_align(shape, s, t) for s, t in operands]
    order = list(range(rank - 1, -1, -1))
    for i in range(1, rank):
        at = i
        for before in range(i - 1, -1, -1):
            swap = _should_swap(shape, aligned, order[before], order[at])
            if swap > 0:
                order[before], order[at] = order[at], order[before]
                at = before
            elif swap < 0:
                break
    strides = dense_strides(shape, order[::-1])
    return None if strides == contiguous_strides(shape) else strides


def _align(shape: Shape, own: Shape, strides: Shape) -> list[Dim]:
    lead = len(shape) - len(own)
    return [0] * lead + [
        0 if n == 1 and shape[lead + d] != 1 else s
        for d, (n, s) in enumerate(zip(own, strides, strict=True))
    ]


def _should_swap(shape: Shape, operands: Sequence[Sequence[Dim]], a: int, b: int) -> int:
    for strides in operands:
        p, q = strides[a], strides[b]
        if p == 0 or q == 0:
            continue
        if p != q:
            return -1 if at_least(q, p) else 1
        if shape[a] != shape[b] and at_least(shape[a], shape[b]):
            return 1
    return 0


def view_strides(shape: Sequence[Dim], strides: Sequence[Dim], new: Sequence[Dim]) -> Shape | None:
    """The strides under which the same memory has the shape ``new``, or None where it must be copied."""
    if any(n == 0 for n in shape):
        return contiguous_strides(new)
    out: list[Dim] = [0] * len(new)
    place = len(new) - 1
    step: Dim = strides[-1] if strides else 1
    count: Dim = 1
    filled: Dim = 1
    for d in range(len(shape) - 1, -1, -1):
        count = dim(count * shape[d])
        ends = d == 0 or (shape[d - 1] != 1 and strides[d - 1] != dim(count * step))
        if not ends:
            continue
        while place >= 0 and (not equal(filled, count) or new[place] == 1):
            out[place] = dim(filled * step)
            filled = dim(filled * new[place])
            place -= 1
            if isinstance(filled, int) and isinstance(count, int) and filled > count:
                return None
        if not equal(filled, count):
            return None
        if d > 0:
            step, count, filled = strides[d - 1], 1, 1
    while place >= 0:
        out[place] = dim(filled * step)
        filled = dim(filled * new[place])
        place -= 1
    return tuple(out)


def copy_strides(shape: Shape, strides: Shape) -> Shape:
    """The strides that NumPy's order "K" gives a copy: its own order of dimensions, without gaps."""
    if is_contiguous(shape, strides):
        return contiguous_strides(shape)
    order = sorted(range(len(shape)), key=lambda d: (-int(strides[d]), d))  # type: ignore[arg-type]
    return dense_strides(shape, order)


def with_strides(array: np.ndarray, strides: Shape) -> np.ndarray:
    """A copy of ``array`` whose strides (in elements) are ``strides``; they have no gaps."""
    wanted = tuple(s * array.itemsize for s in strides)  # type: ignore[operator]
    if array.strides == wanted:
        return array
    flat = np.empty(array.size, array.dtype)
    out = np.lib.stride_tricks.as_strided(flat, array.shape, wanted)  # type: ignore[arg-type]
    out[...] = array
    return out
