"""Ops that read or write at places which data names, and sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import COMPLEX, bool_, int64
from ..errors import DTypeError, IndexRangeError, ShapeError
from ..lowering import Host, Index, Lowering, Pointwise
from ..lowering import ScatterAdd as ScatterAddLowering
from ..op import Op, Type
from ..sizes import at_least, same_shape
from .movement import x_like


def check_index(op: str, x: Type, index: Type, axis: int) -> None:
    """The rule of gather and scatter: int64, as many dimensions, not longer than ``x`` outside of ``axis``."""
    if index.dtype is not int64:
        raise DTypeError(f"{op}: the index must be i64, not {index}")
    if len(index.shape) != len(x.shape) or not 0 <= axis < len(x.shape):
        raise ShapeError(f"{op}: index {index} must have the dimensions of x, {x}, and axis {axis} be one of them")
    for d, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)):
        if d != axis and n != m and not at_least(m, n):
            raise ShapeError(f"{op}: index {index} is larger than x, {x}, in dimension {d}")


def check_range(op: str, index: np.ndarray, size: int) -> None:
    """IndexRangeError naming the first index outside of ``0 <= index < size``."""
    outside = (index < 0) | (index >= size)
    if outside.any():
        raise IndexRangeError(f"{op}: index {index[outside][0]} is outside of a dimension of size {size}")


class Gather(Op):
    """``gather(x, index, axis)``: ``x[.., index[i.., k, j..], ..]``, in the shape of ``index`` (torch.gather)."""

    name, operands, attributes = "gather", ("x", "index"), ("axis",)
    vjp = (lambda g, y, x, index, axis: scatter_add(x_like(g, x), index, g, axis=axis), None)

    def infer(self, x: Type, index: Type, axis: int) -> Type:
        check_index(self.name, x, index, axis)
        return Type(x.dtype, index.shape)

    def reference(self, x: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
        check_range(self.name, index, x.shape[axis])
        cut = tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(index.shape))
        return np.take_along_axis(x[cut], index, axis)

    def lower(self, x: Type, index: Type, axis: int) -> Lowering:
        def element(at: Index, read: Any, place: Any) -> Any:
            return read((*at[:axis], place(at), *at[axis + 1 :]))

        return Pointwise(element)


class ScatterAdd(Op):
    """``scatter_add(x, index, source, axis)``: ``x`` with ``source`` added where ``gather`` reads."""

    name, operands, attributes = "scatter_add", ("x", "index", "source"), ("axis",)
    vjp = (
        lambda g, y, x, index, source, axis: g,
        None,
        lambda g, y, x, index, source, axis: gather(g, index, axis=axis),
    )

    def infer(self, x: Type, index: Type, source: Type, axis: int) -> Type:
        check_index(self.name, x, index, axis)
        if source.dtype is not x.dtype or x.dtype is bool_:
            raise DTypeError(f"scatter_add: x and source must have one numeric dtype, not {x} and {source}")
        if not same_shape(source.shape, index.shape):
            raise ShapeError(f"scatter_add: source must have the shape of index, {index}, not {source}")
        return x

    def reference(self, x: np.ndarray, index: np.ndarray, source: np.ndarray, axis: int) -> np.ndarray:
        check_range(self.name, index, x.shape[axis])
        wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
        out = np.array(x, wide, order="C")
        places: list[np.ndarray] = list(np.indices(index.shape, sparse=True))
        places[axis] = index
        np.add.at(out, tuple(places), source.astype(wide, copy=False))
        return out.astype(x.dtype, copy=False)

    def lower(self, x: Type, index: Type, source: Type, axis: int) -> Lowering:
        return ScatterAddLowering(axis)


class ArgSort(Op):
    """``argsort(x, axis, descending) -> i64``: the places in stable order along ``axis``; NaN is greatest."""

    name, operands, attributes = "argsort", ("x",), ("axis", "descending")
    defaults = {"descending": False}  # noqa: RUF012

    def infer(self, x: Type, axis: int, descending: bool) -> Type:
        if x.dtype in COMPLEX:
            raise DTypeError(f"argsort: {x} has no order")
        if not 0 <= axis < len(x.shape):
            raise ShapeError(f"argsort: axis {axis} of {x}")
        return Type(int64, x.shape)

    def reference(self, x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
        if x.dtype.kind not in "biufc":  # bfloat16's own comparison does not order NaN
            x = x.astype(np.float32)
        if not descending:
            return np.argsort(x, axis, kind="stable").astype(np.int64)
        flipped = np.argsort(np.flip(x, axis), axis, kind="stable")
        return (x.shape[axis] - 1 - np.flip(flipped, axis)).astype(np.int64)

    def lower(self, x: Type, axis: int, descending: bool) -> Lowering:
        return Host()


gather: Op = Gather()
scatter_add: Op = ScatterAdd()
argsort: Op = ArgSort()
