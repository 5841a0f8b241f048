"""Elementwise functions: arithmetic, comparison, logic, and the functions of analysis."""

from __future__ import annotations

import math
from typing import Any

from ...ir import dtypes
from ...ir.dtypes import DType, bool_
from ...ir.errors import DTypeError
from ...ir.op import OPS
from ...ir.source import caller, explain
from ..tensor import Tensor, value_of, wrap
from .arguments import as_operand, named_dtype, of_tensor, tensor_of
from .operands import (
    append,
    bring,
    cast,
    common_dtype,
    common_shape,
    elementwise,
    full,
    strides_of,
    unary,
)

Number = Any


def add(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """``input + alpha * other``."""
    return elementwise(OPS["add"], input, _times("add", input, other, alpha))


def sub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """``input - alpha * other``; of bools it is an error, as in PyTorch."""
    if is_bool(input) or is_bool(other):
        raise DTypeError(
            explain(
                "sub: bools have no difference", caller(), "invert a mask with ~, compare with ^"
            )
        )
    return elementwise(OPS["sub"], input, _times("sub", input, other, alpha))


def is_bool(x: Any) -> bool:
    """Whether a tensor or number is a bool."""
    return x.dtype is bool_ if isinstance(x, Tensor) else isinstance(x, bool)


def _times(name: str, input: Any, other: Any, alpha: Number) -> Any:
    """``alpha * other`` in the type of the result; integers take no float ``alpha``, only bools a bool."""
    if type(alpha) is int and alpha == 1:
        return other
    input, other = as_operand(input, f"{name}: input"), as_operand(other, f"{name}: other")
    dtype = common_dtype((input, other))
    if (isinstance(alpha, float) and dtype.kind in "biu") or (
        isinstance(alpha, bool) and dtype is not bool_
    ):
        raise DTypeError(
            explain(
                f"{name}: the result is {dtype!r}: alpha cannot be {type(alpha).__name__}", caller()
            )
        )
    scaled = to(other, dtype) if isinstance(other, Tensor) else other
    return elementwise(OPS["mul"], scaled, bool(alpha) if dtype is bool_ else alpha)


def mul(input: Any, other: Any) -> Tensor:
    """``input * other``."""
    return elementwise(OPS["mul"], input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``; ``rounding_mode`` is None, ``"trunc"`` or ``"floor"``.

    Integers divide as floats where it is None.
    """
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode not in (None, "trunc"):
        raise ValueError(
            explain(
                f"div: rounding_mode must be None, 'trunc' or 'floor', not {rounding_mode!r}",
                caller(),
            )
        )
    if rounding_mode is None:
        return elementwise(OPS["div"], input, other, least=dtypes.default_float())
    operands = (as_operand(input, "div: input"), as_operand(other, "div: other"))
    dtype = common_dtype(operands)
    if dtype.kind in "biu":
        return _truncated(operands, dtype, common_shape("div", operands))
    return trunc(elementwise(OPS["div"], *operands))


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
        if exponent == 0.5 and input.dtype.is_floating_point:
            return sqrt(input)
        if exponent in (1, 2):
            base = to(input, common_dtype((input, exponent)))
            return mul(base, base if exponent == 2 else 1)
    return elementwise(OPS["pow"], input, exponent)


neg, abs, conj = unary("neg"), unary("abs"), unary("conj")
floor, ceil, trunc, round = (
    unary(n, of_whole="alias") for n in ("floor", "ceil", "trunc", "round")
)
exp, log, sqrt, sin, cos = (unary(n, to_float=True) for n in ("exp", "log", "sqrt", "sin", "cos"))
tanh, sigmoid, erf = (unary(n, to_float=True) for n in ("tanh", "sigmoid", "erf"))
relu = unary("relu")


def square(input: Tensor) -> Tensor:
    """``input * input``; of bools as int64."""
    return pow(tensor_of(input, "square"), 2)


@of_tensor
def reciprocal(input: Tensor) -> Tensor:
    """``1 / input``."""
    return div(1, input)


@of_tensor
def rsqrt(input: Tensor) -> Tensor:
    """``1 / sqrt(input)``."""
    return div(1, sqrt(input))


@of_tensor
def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return div(log(input), math.log(2))


@of_tensor
def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return div(log(input), math.log(10))


@of_tensor
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN. A bool is its own sign."""
    if input.dtype.kind == "c":
        raise DTypeError(explain("sign: complex numbers have none", caller()))
    positive = gt(input, 0)
    if input.dtype is bool_:
        return positive  # type: ignore[no-any-return]
    return sub(to(positive, input.dtype), to(lt(input, 0), input.dtype))


def maximum(input: Any, other: Any) -> Tensor:
    """The larger of each pair; NaN wins."""
    return elementwise(OPS["maximum"], input, other)


def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of each pair; NaN wins."""
    return elementwise(OPS["minimum"], input, other)


@of_tensor
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """``input`` held between ``min`` and ``max`` (numbers or tensors; one may be None).

    The derivative is 1 inside and at the ends; a bound that is NaN makes NaN.
    """
    if min is None and max is None:
        raise ValueError(explain("clamp: at least one of min and max must be given", caller()))
    out = input
    if min is not None:
        out = _bounded(out, as_operand(min, "clamp: min"), lt)
    if max is not None:
        out = _bounded(out, as_operand(max, "clamp: max"), gt)
    return out


def _bounded(x: Tensor, bound: Any, is_outside: Any) -> Tensor:
    if not isinstance(bound, Tensor) and bound != bound:
        bound = wrap(full(bound, common_dtype((x, bound)), ()))
    outside = is_outside(x, bound)
    if isinstance(bound, Tensor) and bound.dtype.is_floating_point:
        outside = bitwise_or(outside, ne(bound, bound))
    return where(outside, bound, x)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Tensor:
    """``input`` where ``condition`` holds, else ``other``."""
    if input is None or other is None:
        raise TypeError(
            explain(
                "where: takes condition, input and other (the indices of True have no fixed number)",
                caller(),
            )
        )
    condition = mask_of(condition, "where", "condition")
    pair = (as_operand(input, "where: input"), as_operand(other, "where: other"))
    dtype = common_dtype(pair)
    shape = common_shape("where", (condition, *pair))
    chosen = bring(condition, bool_, shape)
    return wrap(
        append(OPS["select"], chosen, *(bring(x, dtype, shape) for x in pair)),
        strides_of((condition, *pair), shape),
    )


def mask_of(x: Any, name: str, argument: str) -> Tensor:
    """A tensor of bools; DTypeError for any other type."""
    mask = tensor_of(x, name, argument)
    if mask.dtype is not bool_:
        raise DTypeError(
            explain(
                f"{name}: {argument} must be bool, not {mask._type}",
                caller(),
                "compare it: x != 0, or convert it with .bool()",
            )
        )
    return mask


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
bitwise_left_shift = _discrete("shift_left")
bitwise_not = unary("bitwise_not")


def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """``input >> other``: all bits the sign's where ``other`` is not below the number of bits."""
    out = elementwise(OPS["shift_right"], input, other)
    if out.dtype.kind != "u" or (type(other) is int and 0 <= other < out.dtype.bits):
        return out
    count = to(other, out.dtype) if isinstance(other, Tensor) else wrap(full(other, out.dtype, ()))
    return where(lt(count, out.dtype.bits), out, 0)  # the op repeats the top bit, which is no sign


def _logical(name: str) -> Any:
    def function(input: Any, other: Any) -> Tensor:
        operands = (as_operand(input, f"{name}: input"), as_operand(other, f"{name}: other"))
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


@of_tensor
def logical_not(input: Tensor) -> Tensor:
    """True where ``input`` is 0."""
    return eq(input, 0)  # type: ignore[no-any-return]


@of_tensor
def isnan(input: Tensor) -> Tensor:
    """Where ``input`` is NaN."""
    return ne(input, input)  # type: ignore[no-any-return]


@of_tensor
def isinf(input: Tensor) -> Tensor:
    """Where ``input`` is an infinity."""
    if input.dtype.kind in "biu":
        return ne(input, input)  # type: ignore[no-any-return]
    return eq(abs(input), math.inf)  # type: ignore[no-any-return]


@of_tensor
def isfinite(input: Tensor) -> Tensor:
    """Where ``input`` is neither NaN nor an infinity."""
    if input.dtype.kind in "biu":
        return eq(input, input)  # type: ignore[no-any-return]
    return lt(abs(input), math.inf)  # type: ignore[no-any-return]


def to(input: Tensor, dtype: Any) -> Tensor:
    """``input`` in another dtype; itself if it has it."""
    dtype = named_dtype(dtype)
    if input.dtype is dtype:
        return input
    return wrap(cast(value_of(input), dtype), strides_of((input,), input._type.shape))


def addcmul(input: Tensor, tensor1: Any, tensor2: Any, *, value: Number = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return add(input, mul(mul(tensor1, tensor2), value))


def addcdiv(input: Tensor, tensor1: Any, tensor2: Any, *, value: Number = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    return add(input, mul(div(tensor1, tensor2), value))


@of_tensor
def lerp(input: Tensor, end: Any, weight: Any) -> Tensor:
    """``input + weight * (end - input)``, from the nearer side: exactly ``end`` at weight 1."""
    end = tensor_of(end, "lerp", "end")
    apart = sub(end, input)

    def near() -> Tensor:
        return add(input, mul(apart, weight))

    def far() -> Tensor:
        return sub(end, mul(apart, sub(1, weight) if isinstance(weight, Tensor) else 1 - weight))

    if isinstance(weight, Tensor):
        return where(lt(abs(weight), 0.5), near(), far())
    return near() if -0.5 < as_operand(weight, "lerp: weight") < 0.5 else far()


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
