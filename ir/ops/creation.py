"""Ops that make values out of nothing: constants, counting, and sizes as numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import INTEGERS, DType, int64
from ..errors import DTypeError, ShapeError
from ..loops import Apply, Const, Index
from ..lowering import Lowering, Pointwise
from ..op import Op, Type
from ..sizes import Dim, Poly, Shape, dim, poly


class Constant(Op):
    """``constant(value, dtype, shape)``: one number in every place."""

    name, attributes = "constant", ("value", "dtype", "shape")

    def infer(self, value: complex, dtype: DType, shape: Shape) -> Type:
        if isinstance(value, complex) and not dtype.is_complex:
            raise DTypeError(f"constant: {value} is no {dtype.name}; take its real part, or a complex dtype")
        if isinstance(value, float) and dtype in INTEGERS and not math.isfinite(value):
            raise DTypeError(f"constant: no {dtype.name} is {value}")
        return Type(dtype, tuple(shape))

    def reference(self, value: complex, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        one = np.array(value, dtype.numpy) if not isinstance(value, int) else np.array(value).astype(dtype.numpy)
        return np.broadcast_to(one, shape)

    def lower(self, value: complex, dtype: DType, shape: Shape) -> Lowering:
        return Pointwise(lambda at: Const(value, dtype))


class Iota(Op):
    """``iota(shape, axis, dtype)``: the place along ``axis``: 0, 1, 2 ..."""

    name, attributes = "iota", ("shape", "axis", "dtype")
    defaults = {"dtype": int64}  # noqa: RUF012

    def infer(self, shape: Shape, axis: int, dtype: DType) -> Type:
        if not 0 <= axis < len(shape):
            raise ShapeError(f"iota: axis {axis} of a shape with {len(shape)} dimensions")
        if dtype not in INTEGERS:
            raise DTypeError(f"iota: counts in integers, not in {dtype.name}; cast the result")
        return Type(dtype, tuple(shape))

    def reference(self, shape: tuple[int, ...], axis: int, dtype: DType) -> np.ndarray:
        line = np.arange(shape[axis]).astype(dtype.numpy)
        return np.broadcast_to(line.reshape([-1 if d == axis else 1 for d in range(len(shape))]), shape)

    def lower(self, shape: Shape, axis: int, dtype: DType) -> Lowering:
        def element(at: tuple[Poly, ...]) -> Any:
            return Index(at[axis]) if dtype is int64 else Apply("cast", (Index(at[axis]),), dtype)

        return Pointwise(element)


class Size(Op):
    """``size(value)``: a size (a polynomial in named sizes) as a number, ``i64[]``."""

    name, attributes = "size", ("value",)

    def infer(self, value: Dim) -> Type:
        return Type(int64, ())

    def reference(self, value: int) -> np.ndarray:
        return np.array(value, np.int64)

    def lower(self, value: Dim) -> Lowering:
        from ..loops import Index

        return Pointwise(lambda at: Index(poly(dim(value))))


constant, iota, size = Constant(), Iota(), Size()
