"""Ops that combine the elements along dimensions; the reduced dimensions are dropped.

The references reduce in one stated order whatever the memory layout: the reduced dimensions are brought to the end in
row-major order and NumPy's pairwise sum runs over them as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dtypes import COMPLEX, FLOATS, INTEGERS, bool_, int64
from ..errors import DTypeError, ShapeError
from ..graph import Value
from ..lowering import ArgReduce, Lowering, Reduce
from ..op import OPS, Op, Type
from ..sizes import Shape, at_least
from .elementwise import bitwise_or, cast, eq, ne
from .movement import broadcast, reshape


def drop(shape: Shape, axes: Sequence[int]) -> Shape:
    """The shape without ``axes``."""
    return tuple(n for d, n in enumerate(shape) if d not in axes)


def keep(shape: Shape, axes: Sequence[int]) -> Shape:
    """The shape with 1 in the place of ``axes``."""
    return tuple(1 if d in axes else n for d, n in enumerate(shape))


def check_axes(op: Op, x: Type, axes: Sequence[int]) -> None:
    """Axes must exist and stand once, in order; ShapeError says which does not."""
    rank = len(x.shape)
    if any(not 0 <= a < rank for a in axes) or list(axes) != sorted(set(axes)):
        raise ShapeError(f"{op.name}: axes {tuple(axes)} must be different, ascending dimensions of {x}")


def spread(v: Value, x: Value, axes: Sequence[int]) -> Value:
    """A reduced value repeated along the axes that were dropped."""
    return broadcast(reshape(v, shape=keep(x.shape, axes)), shape=x.shape)  # type: ignore[no-any-return]


def rows(x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """``x`` with ``axes`` brought to the end and joined to one contiguous dimension."""
    kept = [d for d in range(x.ndim) if d not in axes]
    turned = np.ascontiguousarray(x.transpose([*kept, *axes]))
    count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    return turned.reshape([*(x.shape[d] for d in kept), count])


class Sum(Op):
    """``sum(x: [*d], axes) -> [d without axes]``: add elements along ``axes``; f16 and bf16 add in f32."""

    name, operands, attributes = "sum", ("x",), ("axes",)
    vjp = (lambda g, y, x, axes: spread(g, x, axes),)

    def infer(self, x: Type, axes: tuple[int, ...]) -> Type:
        check_axes(self, x, axes)
        if x.dtype is bool_:
            raise DTypeError(f"sum: {x} has no addition; cast it to an integer type")
        return Type(x.dtype, drop(x.shape, axes))

    def reference(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
        total = np.add.reduce(rows(x, axes).astype(wide, copy=False), axis=-1, dtype=wide)
        return np.asarray(total).astype(x.dtype, copy=False)

    def lower(self, x: Type, axes: tuple[int, ...]) -> Lowering:
        return Reduce("add", tuple(axes))


class AMax(Op):
    """``amax(x, axes)``: the greatest element; NaN wins, +0 is above -0.

    Equal elements share the cotangent evenly, and so do those that are NaN.
    """

    name, operands, attributes = "amax", ("x",), ("axes",)

    def infer(self, x: Type, axes: tuple[int, ...]) -> Type:
        check_axes(self, x, axes)
        if x.dtype in COMPLEX:
            raise DTypeError(f"amax: {x} has no order")
        if not all(at_least(x.shape[a], 1) for a in axes):
            raise ShapeError(f"amax: {x} has no elements along {tuple(axes)}, and there is no greatest of none")
        return Type(x.dtype, drop(x.shape, axes))

    def reference(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        out = np.asarray(np.max(x, axis=tuple(axes)))
        if x.dtype.kind != "f" and x.dtype.itemsize != 2:
            return out
        positive = np.any((x == 0) & ~np.signbit(x), axis=tuple(axes))
        zero = np.where(positive, x.dtype.type(0), x.dtype.type(-0.0))
        return np.asarray(np.where(out == 0, zero, out)) if x.dtype.kind not in "iu" else out

    def lower(self, x: Type, axes: tuple[int, ...]) -> Lowering:
        return Reduce("max", tuple(axes))

    @staticmethod
    def _share(g: Value, y: Value, x: Value, axes: tuple[int, ...]) -> Value:
        taken = cast(bitwise_or(eq(x, spread(y, x, axes)), ne(x, x)), dtype=g.dtype)
        return taken * spread(g / OPS["sum"](taken, axes=axes), x, axes)  # type: ignore[no-any-return]

    vjp = (lambda g, y, x, axes: AMax._share(g, y, x, axes),)


class ArgMax(Op):
    """``argmax(x, axis) -> i64``: the first place of the greatest element along ``axis``; NaN is greatest."""

    name, operands, attributes = "argmax", ("x",), ("axis",)

    def infer(self, x: Type, axis: int) -> Type:
        check_axes(self, x, (axis,))
        if x.dtype not in (*INTEGERS, *FLOATS):
            raise DTypeError(f"argmax: {x} has no order that it could follow")
        if not at_least(x.shape[axis], 1):
            raise ShapeError(f"argmax: {x} has no elements along {axis}")
        return Type(int64, drop(x.shape, (axis,)))

    def reference(self, x: np.ndarray, axis: int) -> np.ndarray:
        wide = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x
        return np.asarray(np.argmax(wide, axis=axis)).astype(np.int64)

    def lower(self, x: Type, axis: int) -> Lowering:
        return ArgReduce(axis)


sum_, amax, argmax = Sum(), AMax(), ArgMax()
