"""Functions that combine elements along dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...ir import dtypes
from ...ir.dtypes import DType, bool_, float32, float64, int64, uint8
from ...ir.errors import DTypeError
from ...ir.graph import Value
from ...ir.op import OPS
from ...ir.ops.reduce import keep
from ...ir.sizes import at_least, product
from ...ir.source import caller, explain
from ..state import state
from ..tensor import Tensor, value_of, wrap
from . import arithmetic
from .arguments import axes_of, axis_of, float_of, named_dtype, of_tensor
from .operands import append, cast, located

Dims = int | Sequence[int] | None


class ValuesIndices(NamedTuple):
    """Reduced values, and where each stood."""

    values: Tensor
    indices: Tensor


def reduced(op: str, value: Value, axes: tuple[int, ...], keepdim: bool) -> Value:
    """One reduction; with ``keepdim`` the reduced dimensions stay with size 1."""
    if not axes and not value.shape:
        return append(OPS["alias"], value)
    out = located(lambda: append(OPS[op], value, axes=axes))
    return append(OPS["reshape"], out, shape=keep(value.shape, axes)) if keepdim else out  # type: ignore[no-any-return]


@of_tensor
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum along ``dim`` (all of them by default). Bools and integers add as int64."""
    value = value_of(input)
    found = value.dtype if dtype is None else named_dtype(dtype)
    value = cast(value, int64 if dtype is None and found.kind in "biu" else found)
    return wrap(reduced("sum", value, axes_of(dim, len(value.shape), "sum"), keepdim))


def count_of(input: Tensor, axes: tuple[int, ...]) -> Any:
    """How many elements are combined into one: an int, or a run-time number."""
    n = product(input._type.shape[a] for a in axes)
    return n if isinstance(n, int) else state.trace.size(n)


@of_tensor
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean along ``dim``; of floats and complex numbers only. f16 and bf16 add in f32."""
    if dtype is not None:
        input = arithmetic.to(input, dtype)
    _check_inexact("mean", input)
    axes = axes_of(dim, input.ndim, "mean")
    wide = widened(input)
    return arithmetic.to(
        arithmetic.div(sum(wide, axes, keepdim) if axes else wide, count_of(input, axes)),
        input.dtype,
    )


def _check_inexact(name: str, input: Tensor) -> None:
    if input.dtype.kind in "biu":
        raise DTypeError(
            explain(
                f"{name}: takes floats or complex numbers, not {input.dtype!r}",
                caller(),
                f"convert it: x.float().{name}()",
            )
        )


def widened(input: Tensor) -> Tensor:
    """f16 and bf16 as f32: they are rounded once, at the end."""
    return arithmetic.to(input, float32) if input.dtype.itemsize == 2 else input


@of_tensor
def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    """The variance along ``dim``, divided by n - correction (1 by default, 0 with ``unbiased=False``)."""
    return arithmetic.to(
        _variance("var", input, dim, unbiased, keepdim, correction), real_of(input.dtype)
    )


@of_tensor
def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    """The standard deviation along ``dim``: the square root of ``var``."""
    return arithmetic.to(
        root(_variance("std", input, dim, unbiased, keepdim, correction)), real_of(input.dtype)
    )


def _variance(
    name: str, input: Tensor, dim: Any, unbiased: bool | None, keepdim: bool, correction: Any
) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(explain(f"{name}: give unbiased or correction, not both", caller()))
    _check_inexact(name, input)
    axes, x = axes_of(dim, input.ndim, name), widened(input)
    off = (1 if unbiased in (None, True) else 0) if correction is None else correction
    total = sum(squared(x - mean(x, axes, True)), axes, keepdim)
    n = product(input._type.shape[a] for a in axes)
    count: Any = count_of(input, axes) - off
    if not (isinstance(off, int) and at_least(n, off)) and count < 0:
        count = 0
    return arithmetic.div(total, count)


# ---- sizes of numbers ----


def real_of(dtype: DType) -> DType:
    """The type of the absolute value of a number."""
    if not dtype.is_complex:
        return dtype
    return float64 if dtype is dtypes.complex128 else float32


def squared(x: Tensor) -> Tensor:
    """``|x|**2``, which is real."""
    if not x.dtype.is_complex:
        return x * x
    return arithmetic.to(x * arithmetic.conj(x), real_of(x.dtype))


def root(x: Tensor) -> Tensor:
    """The square root, with the derivative 0 at 0 (as PyTorch's norms and deviations have)."""
    return _flat_at_zero(arithmetic.sqrt, x, 0.0)


def _flat_at_zero(function: Any, x: Tensor, there: float) -> Tensor:
    """``function(x)``, which is ``there`` at 0, without the infinite derivative that it has at 0."""
    if not x.requires_grad:
        return function(x)  # type: ignore[no-any-return]
    zero = arithmetic.eq(x, 0)
    return arithmetic.where(zero, there, function(arithmetic.where(zero, 1.0, x)))


def magnitude(x: Tensor) -> Tensor:
    """``|x|`` of real or complex numbers."""
    return root(squared(x)) if x.dtype.is_complex else arithmetic.abs(x)


# ---- extremes ----


@of_tensor
@of_tensor
def amax(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The greatest element along ``dim``; equal ones share the gradient."""
    value = value_of(input)
    return wrap(reduced("amax", value, axes_of(dim, len(value.shape), "amax"), keepdim))


@of_tensor
def amin(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The least element along ``dim``; equal ones share the gradient."""
    return _mirrored(amax(_mirrored(input), dim, keepdim))


def _mirrored(input: Tensor) -> Tensor:
    """The same elements in reverse order: -x, and for integers ~x, which no integer is too small for."""
    whole = input.dtype.kind in "biu"
    return arithmetic.bitwise_not(input) if whole else arithmetic.neg(input)


@of_tensor
@of_tensor
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the greatest element stands along ``dim`` (in the flattened tensor by default): the first of equal ones."""
    value = value_of(input)
    shape = value.shape
    axis = axis_of(0 if dim is None else dim, len(shape), "argmax")
    if dim is None or not shape:
        value = append(OPS["reshape"], value, shape=(product(shape),))
        out = located(lambda: append(OPS["argmax"], value, axis=0))
        return wrap(
            append(OPS["reshape"], out, shape=(1,) * len(shape)) if keepdim and shape else out
        )
    out = located(lambda: append(OPS["argmax"], value, axis=axis))
    return wrap(append(OPS["reshape"], out, shape=keep(shape, (axis,))) if keepdim else out)


@of_tensor
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the least element stands along ``dim``: the first of equal ones."""
    return argmax(_mirrored(input), dim, keepdim)


@of_tensor
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The greatest element; with ``dim`` a pair (values, indices); with a tensor as ``dim`` the larger of each pair."""
    if other is not None or isinstance(dim, Tensor):
        return arithmetic.maximum(input, dim if other is None else other)
    return amax(input) if dim is None else _extreme(input, dim, keepdim, argmax)


@of_tensor
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The least element; with ``dim`` a pair (values, indices); with a tensor as ``dim`` the smaller of each pair."""
    if other is not None or isinstance(dim, Tensor):
        return arithmetic.minimum(input, dim if other is None else other)
    return amin(input) if dim is None else _extreme(input, dim, keepdim, argmin)


def _extreme(input: Tensor, dim: Any, keepdim: bool, place: Any) -> ValuesIndices:
    axis = axis_of(dim, input.ndim, place.__name__)
    ordered = arithmetic.to(input, uint8) if input.dtype is bool_ else input
    if not input.ndim:
        return ValuesIndices(wrap(append(OPS["alias"], value_of(input))), place(ordered))
    where = place(ordered, axis, True)
    values = wrap(append(OPS["gather"], value_of(input), value_of(where), axis=axis))
    if keepdim:
        return ValuesIndices(values, where)
    return ValuesIndices(values.squeeze(axis), where.squeeze(axis))


# ---- truth ----


@of_tensor
def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether every element along ``dim`` is other than 0; True of none."""
    return arithmetic.logical_not(any(arithmetic.eq(input, 0), dim, keepdim))


@of_tensor
def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether some element along ``dim`` is other than 0; False of none."""
    value = value_of(arithmetic.ne(input, 0)) if input.dtype is not bool_ else value_of(input)
    axes = axes_of(dim, len(value.shape), "any")
    return arithmetic.ne(wrap(reduced("sum", cast(value, int64), axes, keepdim)), 0)  # type: ignore[no-any-return]


# ---- logarithms and norms ----


@of_tensor
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` along ``dim``, without overflow; -inf where every element is, and of none."""
    if input.dtype.kind in "biu":
        input = arithmetic.to(input, dtypes.default_float())
    axes = axes_of(dim, input.ndim, "logsumexp")
    if product(input._type.shape[a] for a in axes) == 0:
        return arithmetic.log(sum(arithmetic.exp(input), axes, keepdim))
    top = amax(input, axes, True).detach()
    top = arithmetic.where(arithmetic.isfinite(top), top, 0)
    out = arithmetic.log(sum(arithmetic.exp(input - top), axes, True)) + top
    return out if keepdim else out.squeeze(axes)  # type: ignore[no-any-return]


@of_tensor
def norm(input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The vector norm of order ``p`` along ``dim`` ("fro" is 2; inf and -inf are the extremes, 0 counts).

    Its derivative at 0 is 0, for every order.
    """
    _check_inexact("norm", input)
    order, x = 2.0 if p in ("fro", None) else float_of(p, "norm", "p"), widened(input)
    return arithmetic.to(_norm(x, order, dim, keepdim), real_of(input.dtype))


def _norm(x: Tensor, order: float, dim: Dims, keepdim: bool) -> Tensor:
    if order == 2:
        return root(sum(squared(x), dim, keepdim))
    if order == 0:
        return sum(arithmetic.to(arithmetic.ne(x, 0), real_of(x.dtype)), dim, keepdim)
    size = magnitude(x)
    if abs(order) == math.inf:
        return amax(size, dim, keepdim) if order > 0 else amin(size, dim, keepdim)
    if order == 1:
        return sum(size, dim, keepdim)
    return _power(sum(_power(size, order), dim, keepdim), 1.0 / order)


def _power(x: Tensor, exponent: float) -> Tensor:
    """``x ** exponent`` of numbers that are not negative; the derivative at 0 is 0."""
    there = 0.0 if exponent > 0 else math.inf
    return _flat_at_zero(lambda x: arithmetic.pow(x, exponent), x, there)


__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "std",
    "sum",
    "var",
]
