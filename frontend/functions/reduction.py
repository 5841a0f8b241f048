"""Functions that combine elements along dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...ir.dtypes import DType, bool_, float32, int64
from ...ir.errors import DTypeError
from ...ir.graph import Value
from ...ir.op import OPS
from ...ir.ops.reduce import keep
from ...ir.sizes import product
from ...ir.source import caller, explain
from ..state import state
from ..tensor import Tensor, value_of, wrap
from . import arithmetic
from .operands import append, axes_of, axis_of, cast, located, tensor_of

Dims = int | Sequence[int] | None


class ValuesIndices(NamedTuple):
    """Reduced values, and where each stood."""

    values: Tensor
    indices: Tensor


def reduced(op: str, value: Value, axes: tuple[int, ...], keepdim: bool) -> Value:
    """One reduction; with ``keepdim`` the reduced dimensions stay with size 1."""
    if not axes and not value.shape:
        return value if op != "sum" else append(OPS["alias"], value)
    out = located(lambda: append(OPS[op], value, axes=axes))
    return append(OPS["reshape"], out, shape=keep(value.shape, axes)) if keepdim else out  # type: ignore[no-any-return]


def sum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The sum along ``dim`` (all of them by default). Bools and integers add as int64."""
    value = value_of(tensor_of(input, "sum"))
    value = cast(value, dtype or (int64 if value.dtype.kind in "biu" else value.dtype))
    return wrap(reduced("sum", value, axes_of(dim, len(value.shape)), keepdim))


def count_of(input: Tensor, axes: tuple[int, ...]) -> Any:
    """How many elements are combined into one: an int, or a run-time number."""
    n = product(input._type.shape[a] for a in axes)
    return n if isinstance(n, int) else state.trace.size(n)


def mean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The mean along ``dim``; of floats and complex numbers only. f16 and bf16 add in f32."""
    input = tensor_of(input, "mean")
    if dtype is not None:
        input = arithmetic.to(input, dtype)
    if input.dtype.kind in "biu":
        raise DTypeError(
            explain(
                f"mean: takes floats or complex numbers, not {input.dtype!r}",
                caller(),
                "convert it: x.float().mean()",
            )
        )
    axes = axes_of(dim, input.ndim)
    wide = arithmetic.to(input, float32) if input.dtype.itemsize == 2 else input
    return arithmetic.to(
        arithmetic.div(sum(wide, axes, keepdim) if axes else wide, count_of(input, axes)),
        input.dtype,
    )


def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    """The variance along ``dim``, divided by n - correction (1 by default, 0 with ``unbiased=False``)."""
    if isinstance(dim, bool):
        return var(input, None, dim, keepdim, correction=correction)
    axes = axes_of(dim, input.ndim)
    off = (1 if unbiased else 0) if correction is None else correction
    centred = input - mean(input, axes, True)
    return arithmetic.div(sum(centred * centred, axes, keepdim), count_of(input, axes) - off)


def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    """The standard deviation along ``dim``: the square root of ``var``."""
    return arithmetic.sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def amax(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The greatest element along ``dim``; equal ones share the gradient."""
    value = value_of(tensor_of(input, "amax"))
    return wrap(reduced("amax", value, axes_of(dim, len(value.shape)), keepdim))


def amin(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The least element along ``dim``; equal ones share the gradient."""
    if input.dtype.kind in "bu":
        raise DTypeError(
            explain(
                f"amin: takes signed numbers, not {input.dtype!r}", caller(), "convert it first"
            )
        )
    return arithmetic.neg(amax(arithmetic.neg(input), dim, keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the greatest element stands along ``dim`` (in the flattened tensor by default): the first of equal ones."""
    value = value_of(tensor_of(input, "argmax"))
    shape = value.shape
    if dim is None or not shape:
        value = append(OPS["reshape"], value, shape=(product(shape),))
        out = located(lambda: append(OPS["argmax"], value, axis=0))
        return wrap(
            append(OPS["reshape"], out, shape=(1,) * len(shape)) if keepdim and shape else out
        )
    axis = axis_of(dim, len(shape))
    out = located(lambda: append(OPS["argmax"], value, axis=axis))
    return wrap(append(OPS["reshape"], out, shape=keep(shape, (axis,))) if keepdim else out)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the least element stands along ``dim``: the first of equal ones."""
    return argmax(
        arithmetic.neg(input) if input.dtype.kind != "u" else arithmetic.bitwise_not(input),
        dim,
        keepdim,
    )


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The greatest element; with ``dim`` a pair (values, indices); with a tensor as ``dim`` the larger of each pair."""
    return _extreme(input, dim, keepdim, argmax, amax, arithmetic.maximum)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The least element; with ``dim`` a pair (values, indices); with a tensor as ``dim`` the smaller of each pair."""
    return _extreme(input, dim, keepdim, argmin, amin, arithmetic.minimum)


def _extreme(input: Tensor, dim: Any, keepdim: bool, place: Any, least: Any, pairwise: Any) -> Any:
    if isinstance(dim, Tensor):
        return pairwise(input, dim)
    if dim is None:
        return least(input)
    axis = axis_of(dim, input.ndim)
    where = place(input, axis, True) if input.ndim else place(input)
    values = (
        wrap(append(OPS["gather"], value_of(input), value_of(where), axis=axis))
        if input.ndim
        else input + 0
    )
    if keepdim or not input.ndim:
        return ValuesIndices(values, where)
    return ValuesIndices(values.squeeze(axis), where.squeeze(axis))


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether every element along ``dim`` is other than 0; True of none."""
    return arithmetic.logical_not(any(arithmetic.eq(input, 0), dim, keepdim))


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether some element along ``dim`` is other than 0; False of none."""
    value = value_of(arithmetic.ne(input, 0)) if input.dtype is not bool_ else value_of(input)
    axes = axes_of(dim, len(value.shape))
    return arithmetic.ne(wrap(reduced("sum", cast(value, int64), axes, keepdim)), 0)  # type: ignore[no-any-return]


def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` along ``dim``, without overflow; -inf where every element is."""
    axes = axes_of(dim, input.ndim)
    top = amax(input, axes, True).detach()
    top = arithmetic.where(arithmetic.isfinite(top), top, 0)
    out = arithmetic.log(sum(arithmetic.exp(input - top), axes, True)) + top
    return out if keepdim else out.squeeze(axes)  # type: ignore[no-any-return]


def norm(input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The vector norm of order ``p`` along ``dim`` ("fro" is 2; inf and -inf are the extremes, 0 counts)."""
    order = 2.0 if p in ("fro", None) else float(p)
    size = arithmetic.abs(input)
    if order == math.inf:
        return amax(size, dim, keepdim)
    if order == -math.inf:
        return amin(size, dim, keepdim)
    if order == 0:
        return sum(arithmetic.to(arithmetic.ne(input, 0), input.dtype), dim, keepdim)
    if order == 1:
        return sum(size, dim, keepdim)
    if order == 2:
        return arithmetic.sqrt(sum(input * input, dim, keepdim))
    return arithmetic.pow(sum(arithmetic.pow(size, order), dim, keepdim), 1.0 / order)


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
