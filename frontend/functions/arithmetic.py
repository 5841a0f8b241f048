"""Elementwise functions: arithmetic, comparison, logic, and the functions of analysis."""

from __future__ import annotations

import math
from typing import Any

from ...ir import dtypes
from ...ir.dtypes import DType, bool_, by_name
from ...ir.errors import DTypeError
from ...ir.op import OPS
from ...ir.source import caller, explain
from ..tensor import Tensor, value_of, wrap
from .operands import (
    append,
    as_operand,
    bring,
    cast,
    common_dtype,
    common_shape,
    elementwise,
    strides_of,
    tensor_of,
    unary,
)

Number = Any


def add(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """``input + alpha * other``."""
    return elementwise(
        OPS["add"], input, other if type(alpha) is int and alpha == 1 else mul(other, alpha)
    )


def sub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """``input - alpha * other``; of bools it is an error, as in PyTorch."""
    return elementwise(
        OPS["sub"], input, other if type(alpha) is int and alpha == 1 else mul(other, alpha)
    )


def mul(input: Any, other: Any) -> Any:
    """``input * other``."""
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        return input * other
    return elementwise(OPS["mul"], input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``; ``rounding_mode`` is None, ``"trunc"`` or ``"floor"``.

    Integers divide as floats where it is None.
    """
    if rounding_mode == "floor":
        return floor_divide(input, other)
    operands = (as_operand(input), as_operand(other))
    dtype, shape = common_dtype(operands), common_shape("div", operands)
    whole = dtype if dtype.kind in "biu" else None
    values = [bring(x, dtypes.default_float() if whole else dtype, shape) for x in operands]
    if rounding_mode not in (None, "trunc"):
        raise ValueError(
            explain(
                f"div: rounding_mode must be None, 'trunc' or 'floor', not {rounding_mode!r}",
                caller(),
            )
        )
    if rounding_mode and whole:
        return _truncated(operands, whole, shape)
    out = append(OPS["div"], *values)
    return wrap(append(OPS["trunc"], out) if rounding_mode else out, strides_of(operands, shape))


def _truncated(operands: Any, dtype: DType, shape: Any) -> Tensor:
    """Integer division towards zero, from the floored one: exact for every integer."""
    a, b = (bring(x, dtype, shape) for x in operands)
    quotient = append(OPS["floordiv"], a, b)
    uneven = append(OPS["ne"], append(OPS["remainder"], a, b), a.full(0))
    negative = append(OPS["lt"], quotient, quotient.full(0))
    both = append(OPS["bitwise_and"], uneven, negative)
    return wrap(
        append(OPS["add"], quotient, append(OPS["cast"], both, dtype=dtype)),
        strides_of(operands, shape),
    )


def floor_divide(input: Any, other: Any) -> Tensor:
    """The quotient rounded towards minus infinity; by integer zero it is 0."""
    return elementwise(OPS["floordiv"], input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """What floor_divide leaves over: it has the divisor's sign."""
    return elementwise(OPS["remainder"], input, other)


def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``; exponents 2 and 0.5 of a tensor are a product and a square root."""
    if isinstance(input, Tensor) and type(exponent) in (int, float):
        if exponent == 2:
            return mul(input, input)  # type: ignore[no-any-return]
        if exponent == 0.5 and input.dtype.is_floating_point:
            return sqrt(input)
        if exponent == 1:
            return elementwise(OPS["mul"], input, 1)
    return elementwise(OPS["pow"], input, exponent)


neg, abs, conj = unary("neg"), unary("abs"), unary("conj")
floor, ceil, trunc, round = (unary(n) for n in ("floor", "ceil", "trunc", "round"))
exp, log, sqrt, sin, cos = (unary(n, to_float=True) for n in ("exp", "log", "sqrt", "sin", "cos"))
tanh, sigmoid, erf = (unary(n, to_float=True) for n in ("tanh", "sigmoid", "erf"))
relu = unary("relu")


def square(input: Tensor) -> Tensor:
    """``input * input``."""
    return mul(input, input)  # type: ignore[no-any-return]


def reciprocal(input: Tensor) -> Tensor:
    """``1 / input``."""
    return div(1, input)


def rsqrt(input: Tensor) -> Tensor:
    """``1 / sqrt(input)``."""
    return div(1, sqrt(input))


def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return div(log(input), math.log(2))


def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return div(log(input), math.log(10))


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN."""
    zero = mul(input, 0) if input.dtype.kind == "c" else None
    if zero is not None:
        raise DTypeError(explain("sign: complex numbers have none", caller()))
    return sub(to(gt(input, 0), input.dtype), to(lt(input, 0), input.dtype))


def maximum(input: Any, other: Any) -> Tensor:
    """The larger of each pair; NaN wins."""
    return elementwise(OPS["maximum"], input, other)


def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of each pair; NaN wins."""
    return elementwise(OPS["minimum"], input, other)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """``input`` held between ``min`` and ``max`` (numbers or tensors; one may be None).

    The derivative is 1 inside and at the ends.
    """
    if min is None and max is None:
        raise ValueError(explain("clamp: at least one of min and max must be given", caller()))
    out = input
    if min is not None:
        out = where(lt(out, min), min, out)
    if max is not None:
        out = where(gt(out, max), max, out)
    return out


def where(condition: Tensor, input: Any = None, other: Any = None) -> Tensor:
    """``input`` where ``condition`` holds, else ``other``."""
    if input is None or other is None:
        raise TypeError(
            explain(
                "where: takes condition, input and other (the indices of True have no fixed number)",
                caller(),
            )
        )
    condition = tensor_of(condition, "where")
    pair = (as_operand(input), as_operand(other))
    dtype = common_dtype(pair)
    shape = common_shape("where", (condition, *pair))
    chosen = bring(condition, bool_, shape)
    return wrap(
        append(OPS["select"], chosen, *(bring(x, dtype, shape) for x in pair)),
        strides_of((condition, *pair), shape),
    )


def _comparison(name: str) -> Any:
    def function(input: Any, other: Any) -> Tensor:
        return elementwise(OPS[name], input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Elementwise ``{name}``, as bools; NaN is equal to nothing."
    return function


eq, ne, lt, le, gt, ge = (_comparison(n) for n in ("eq", "ne", "lt", "le", "gt", "ge"))


def _discrete(name: str) -> Any:
    def function(input: Any, other: Any) -> Tensor:
        return elementwise(OPS[name], input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Elementwise ``{name}`` of integers or bools."
    return function


bitwise_and, bitwise_or, bitwise_xor = (
    _discrete(n) for n in ("bitwise_and", "bitwise_or", "bitwise_xor")
)
bitwise_left_shift, bitwise_right_shift = _discrete("shift_left"), _discrete("shift_right")
bitwise_not = unary("bitwise_not")


def _logical(name: str) -> Any:
    def function(input: Any, other: Any) -> Tensor:
        operands = (as_operand(input), as_operand(other))
        shape = common_shape(name, operands)
        values = [
            bring(ne(x, 0) if isinstance(x, Tensor) else bool(x), bool_, shape) for x in operands
        ]
        return wrap(
            append(OPS[name.replace("logical", "bitwise")], *values), strides_of(operands, shape)
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"``{name}``: anything but 0 is True."
    return function


logical_and, logical_or, logical_xor = (
    _logical(n) for n in ("logical_and", "logical_or", "logical_xor")
)


def logical_not(input: Tensor) -> Tensor:
    """True where ``input`` is 0."""
    return eq(input, 0)  # type: ignore[no-any-return]


def isnan(input: Tensor) -> Tensor:
    """Where ``input`` is NaN."""
    return ne(input, input)  # type: ignore[no-any-return]


def isinf(input: Tensor) -> Tensor:
    """Where ``input`` is an infinity."""
    if input.dtype.kind in "biu":
        return ne(input, input)  # type: ignore[no-any-return]
    return eq(abs(input), math.inf)  # type: ignore[no-any-return]


def isfinite(input: Tensor) -> Tensor:
    """Where ``input`` is neither NaN nor an infinity."""
    if input.dtype.kind in "biu":
        return eq(input, input)  # type: ignore[no-any-return]
    return lt(abs(input), math.inf)  # type: ignore[no-any-return]


def to(input: Tensor, dtype: DType) -> Tensor:
    """``input`` in another dtype; itself if it has it."""
    if input.dtype is dtype:
        return input
    return wrap(cast(value_of(input), dtype), strides_of((input,), input._type.shape))


def addcmul(input: Tensor, tensor1: Any, tensor2: Any, *, value: Number = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return add(input, mul(mul(tensor1, tensor2), value))


def addcdiv(input: Tensor, tensor1: Any, tensor2: Any, *, value: Number = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    return add(input, mul(div(tensor1, tensor2), value))


def lerp(input: Tensor, end: Any, weight: Any) -> Tensor:
    """``input + weight * (end - input)``."""
    return add(input, mul(sub(end, input), weight))


def named_dtype(dtype: Any) -> DType:
    """A dtype given as such, by name, or as Python's float, int or bool."""
    if isinstance(dtype, DType):
        return dtype
    if dtype in (float, int, bool, complex):
        return dtypes.of_number(dtype())
    if isinstance(dtype, str):
        return by_name(dtype)
    return dtypes.from_numpy(dtype)


__all__ = [
    "abs",
    "add",
    "addcdiv",
    "addcmul",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clamp",
    "conj",
    "cos",
    "div",
    "eq",
    "erf",
    "exp",
    "floor",
    "floor_divide",
    "ge",
    "gt",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "lerp",
    "log",
    "log2",
    "log10",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "maximum",
    "minimum",
    "mul",
    "ne",
    "neg",
    "pow",
    "reciprocal",
    "relu",
    "remainder",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "square",
    "sub",
    "tanh",
    "trunc",
    "where",
]
