"""Expressions of a loop nest: constants, loads, scalar functions, conditions on indices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import is_
from typing import Any, TypeVar, Union, dataclass_transform

from ..dtypes import DType, bool_, int64
from ..sizes import Dim, Poly, poly
from .intrinsics import INTRINSICS, result_dtype

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """A data class that is never changed: frozen for the type checker, cheap to make."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


class Expr:
    """A scalar value; arithmetic on expressions and Python numbers makes ``Apply`` nodes.

    >>> from gristmill.ir.dtypes import float32
    >>> x = Const(2.0, float32)
    >>> print(x * x + 1)
    ((2.0_f32 * 2.0_f32) + 1.0_f32)
    """

    __slots__ = ()
    dtype: DType

    def __add__(self, other: Any) -> Apply:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Apply:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Apply:
        return apply("sub", self, other)

    def __rsub__(self, other: Any) -> Apply:
        return apply("sub", other, self)

    def __mul__(self, other: Any) -> Apply:
        return apply("mul", self, other)

    def __rmul__(self, other: Any) -> Apply:
        return apply("mul", other, self)

    def __truediv__(self, other: Any) -> Apply:
        return apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Apply:
        return apply("div", other, self)

    def __neg__(self) -> Apply:
        return apply("neg", self)

    def relu(self) -> Apply:
        """``max(x, 0)``."""
        return apply("max", self, 0)

    def cast(self, dtype: DType) -> Expr:
        """The value in another dtype; itself if it has that one."""
        return self if self.dtype is dtype else Apply("cast", (self,), dtype)


@record
class Const(Expr):
    """A number: a Python bool, int or float, rounded to ``dtype`` where it is used."""

    value: Any
    dtype: DType

    def __str__(self) -> str:
        if self.dtype is bool_:
            return "true" if self.value else "false"
        return f"{self.value}_{self.dtype.name}"


def const(value: Any, dtype: DType) -> Const:
    """A number in the form that its dtype has: a Python bool, int or float."""
    kind = dtype.kind
    return Const(float(value) if kind == "f" else bool(value) if kind == "b" else int(value), dtype)


@record
class Load(Expr):
    """An element of a buffer; an index entry is a polynomial or an integer expression (gather)."""

    buffer: str
    index: tuple[Place, ...]
    dtype: DType

    def __str__(self) -> str:
        return f"{self.buffer}[{', '.join(map(str, self.index))}]"


@record
class Apply(Expr):
    """A scalar function of the table in ``intrinsics``, rounded to ``dtype``."""

    fn: str
    args: tuple[Expr, ...]
    dtype: DType

    def __str__(self) -> str:
        sign = INTRINSICS[self.fn].sign
        if sign:
            return f"({self.args[0]} {sign} {self.args[1]})"
        to = f"<{self.dtype.name}>" if self.fn in ("cast", "bitcast") else ""
        return f"{self.fn}{to}({', '.join(map(str, self.args))})"


Condition = tuple[Poly, Dim, Dim]


@record
class Where(Expr):
    """``value`` where each ``low <= index < high`` holds, else ``other``; one is computed."""

    conds: tuple[Condition, ...]
    value: Expr
    other: Expr

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """That of both values."""
        return self.value.dtype

    def __str__(self) -> str:
        conds = ", ".join(f"{lo} <= {at} < {hi}" for at, lo, hi in self.conds)
        return f"where({conds}; {self.value}; {self.other})"


@record
class Index(Expr):
    """The value of an index, as an i64."""

    at: Poly

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """Always i64."""
        return int64

    def __str__(self) -> str:
        return f"index({self.at})"


Place = Union[Poly, Expr]  # noqa: UP007 (used at run time, before Poly supports |)


def apply(fn: str, *args: Any, dtype: DType | None = None) -> Apply:
    """An intrinsic of expressions and numbers; a number takes the dtype of what is beside it."""
    beside = next((a.dtype for a in reversed(args) if isinstance(a, Expr)), None)
    if beside is None:
        raise TypeError(
            f"{fn}: no operand is an expression; give its numbers a dtype: Const(1.0, float32)"
        )
    operands = tuple(a if isinstance(a, Expr) else const(a, beside) for a in args)
    return Apply(fn, operands, result_dtype(fn, [a.dtype for a in operands], dtype))


def places(*index: Dim | str | Expr) -> tuple[Place, ...]:
    """Entries of an index from numbers, axis names, polynomials and integer expressions."""
    return tuple(i if isinstance(i, Expr) else poly(i) for i in index)


def map_expr(e: Expr, fn: Callable[[Expr], Expr]) -> Expr:
    """Rebuild ``e`` bottom up through ``fn``; what does not change stays the same object."""
    kind = type(e)
    if kind is Apply:
        args = [map_expr(a, fn) for a in e.args]  # type: ignore[attr-defined]
        if not all(map(is_, args, e.args)):  # type: ignore[attr-defined]
            e = Apply(e.fn, tuple(args), e.dtype)  # type: ignore[attr-defined]
    elif kind is Load:
        if any(type(i) is not Poly for i in e.index):  # type: ignore[attr-defined]
            index = [i if type(i) is Poly else map_expr(i, fn) for i in e.index]  # type: ignore
            if not all(map(is_, index, e.index)):  # type: ignore[attr-defined]
                e = Load(e.buffer, tuple(index), e.dtype)  # type: ignore[attr-defined]
    elif kind is Where:
        value, other = map_expr(e.value, fn), map_expr(e.other, fn)  # type: ignore[attr-defined]
        if value is not e.value or other is not e.other:  # type: ignore[attr-defined]
            e = Where(e.conds, value, other)  # type: ignore[attr-defined]
    return fn(e)
