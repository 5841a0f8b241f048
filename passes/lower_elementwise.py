"""Scalar ops as loop expressions: half floats compute in f32 and round at each op, bools by logic.

A *wide* expression stands for a value: of a half float it is the f32 that the value rounds to, of all else the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.dtypes import DType, bfloat16, bool_, float16, float32, float64, int32
from ..ir.graph import Node
from ..ir.loops import Apply, Const, Expr, apply, const
from ..ir.ops.elementwise import cast_array

HALF = (float16, bfloat16)

# comparison and arithmetic of bools, by and, or, xor and not
_BOOLEAN: dict[str, Any] = {
    "add": lambda a, b: apply("or", a, b),
    "mul": lambda a, b: apply("and", a, b),
    "max": lambda a, b: apply("or", a, b),
    "min": lambda a, b: apply("and", a, b),
    "eq": lambda a, b: apply("not", apply("xor", a, b)),
    "ne": lambda a, b: apply("xor", a, b),
    "lt": lambda a, b: apply("and", apply("not", a), b),
    "le": lambda a, b: apply("or", apply("not", a), b),
    "gt": lambda a, b: apply("and", a, apply("not", b)),
    "ge": lambda a, b: apply("or", a, apply("not", b)),
}


def wide_dtype(dtype: DType) -> DType:
    """The type in which values of ``dtype`` are computed with."""
    return float32 if dtype in HALF else dtype


def widen(e: Expr) -> Expr:
    """What was loaded, as a wide expression."""
    if type(e) is Const and e.dtype in HALF:
        return literal(e.value, e.dtype)
    return Apply("cast", (e,), float32) if e.dtype in HALF else e


def narrow(e: Expr, dtype: DType) -> Expr:
    """A wide expression, as it is stored."""
    if e.dtype is dtype:
        return e
    if type(e) is Apply and e.fn == "cast" and e.args[0].dtype is dtype:
        return e.args[0]
    return Apply("cast", (e,), dtype)


def rounded(e: Expr, dtype: DType) -> Expr:
    """A wide expression of what an op gives: rounded to the op's own type."""
    return Apply("cast", (Apply("cast", (e,), dtype),), float32) if dtype in HALF else e


def literal(value: Any, dtype: DType) -> Const:
    """A number as a wide constant: rounded as the reference of ``constant`` rounds it."""
    import numpy as np

    one = np.array(value) if isinstance(value, int) else np.array(value, dtype.numpy)
    item = cast_array(one, dtype) if one.dtype.kind == "c" else one.astype(dtype.numpy)
    return const(item.item(), wide_dtype(dtype))


def scalar(node: Node, scalar_of: Any, operands: Sequence[Expr]) -> Expr:
    """The result of an elementwise node from the wide expressions of its operands."""
    dtype = node.results[0].type.dtype
    if scalar_of == "cast":
        return cast(operands[0], node.operands[0].type.dtype, dtype)
    if not isinstance(scalar_of, str):
        return rounded(scalar_of(*operands), dtype)
    if operands[0].dtype is bool_ and scalar_of in _BOOLEAN:
        found: Expr = _BOOLEAN[scalar_of](*operands)
        return found
    e = apply(scalar_of, *operands)
    return (
        e
        if dtype not in HALF or scalar_of in ("select", "max", "min", "neg", "abs")
        else rounded(e, dtype)
    )


def cast(e: Expr, before: DType, dtype: DType) -> Expr:
    """From one type to another: rounded once."""
    if before is dtype:
        return e
    if dtype in HALF:
        return rounded(_odd(e) if before is float64 and dtype is float16 else e, dtype)
    return e.cast(dtype)


def _odd(e: Expr) -> Expr:
    """An f64 as an f32 that is rounded to odd, so that rounding it again to f16 rounds once (no machine does both)."""
    near = e.cast(float32)
    back, bits = near.cast(float64), apply("bitcast", near, dtype=int32)
    even = apply("eq", apply("and", bits, 1), 0)
    away = apply("gt", apply("abs", e), apply("abs", back))
    next_to = bits + apply("select", away, const(1, int32), const(-1, int32))
    moved = apply("select", apply("and", apply("ne", back, e), even), next_to, bits)
    return apply("bitcast", moved, dtype=float32)
