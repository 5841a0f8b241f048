"""Ops that make each element from the elements at the same place; their operands have equal shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import COMPLEX, FLOATS, INTEGERS, NUMERIC, DType, bool_
from ..errors import DTypeError, ShapeError
from ..graph import Value
from ..lowering import Elementwise, Lowering
from ..op import Op, Type
from ..sizes import same_shape

REAL_NUMBERS = (*INTEGERS, *FLOATS)
INEXACT = (*FLOATS, *COMPLEX)
ANY = (bool_, *NUMERIC)
DISCRETE = (bool_, *INTEGERS)
_HALF = ("f16", "bf16")


class ElementwiseOp(Op):
    """A row of the table below: ``result`` None gives the operands' dtype."""

    def __init__(
        self, name: str, operands: str, dtypes: Sequence[DType], function: Callable[..., Any],
        vjp: Sequence[Any] = (), result: DType | None = None, scalar: str | Callable[..., Any] = "", ulp: float = 0,
        doc: str = "",
    ) -> None:
        self.name, self.operands = name, tuple(operands.split())
        self.dtypes, self.function, self.vjp, self.result = tuple(dtypes), function, tuple(vjp), result
        self.scalar, self.ulp, self.__doc__ = scalar or name, ulp, doc
        super().__init__()

    def infer(self, *types: Type) -> Type:
        """Equal dtypes that the op takes, equal shapes."""
        first = types[0]
        for other in types[1:]:
            if other.dtype is not first.dtype:
                raise DTypeError(f"{self.name}: dtypes differ: {_list(self, types)}")
            if other.shape != first.shape and not same_shape(other.shape, first.shape):
                raise ShapeError(f"{self.name}: shapes differ: {_list(self, types)}")
        if first.dtype not in self.dtypes:
            takes = ", ".join(d.name for d in self.dtypes)
            raise DTypeError(f"{self.name} takes {takes}; {self.operands[0]} is {first}")
        return Type(self.result or first.dtype, first.shape)

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        """f16 and bf16 compute in f32 and round once."""
        dtype = arrays[0].dtype
        if dtype.itemsize == 2 and dtype.kind not in "iu":
            wide = self.function(*[a.astype(np.float32) for a in arrays])
            return np.asarray(wide) if self.result else np.asarray(wide).astype(dtype)
        return np.asarray(self.function(*arrays))

    def lower(self, *types: Type) -> Lowering:
        """The intrinsic of the same name, unless the row says otherwise."""
        return Elementwise(self.scalar)


def elementwise(
    name: str, operands: str, dtypes: Sequence[DType], function: Callable[..., Any], **rest: Any
) -> ElementwiseOp:
    """Define an elementwise op by one row: name, operands, dtypes, NumPy function, derivative per operand."""
    return ElementwiseOp(name, operands, dtypes, function, **rest)


def _list(op: Op, types: Sequence[Type]) -> str:
    return " and ".join(f"{n} is {t}" for n, t in zip(op.operands, types, strict=True))


# ---- NumPy meanings that NumPy does not spell in one word ----


def maximum_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IEEE 754-2019 maximum: NaN wins, +0 is above -0."""
    out = np.maximum(a, b)
    return np.where((a == b) & (a == 0), a + b, out) if out.dtype.kind == "f" else out


def minimum_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IEEE 754-2019 minimum: NaN wins, -0 is below +0."""
    out = np.minimum(a, b)
    return np.where((a == b) & (a == 0), -((-a) + (-b)), out) if out.dtype.kind == "f" else out


def power_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Powers; of integers they wrap, and a negative exponent gives 0 unless the base is 1 or -1."""
    if a.dtype.kind in "fc":
        return np.power(a, b)
    out = np.power(a, np.maximum(b, 0))
    negative = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0)) if a.dtype.kind == "i" else out
    return np.where(b < 0, negative, out).astype(a.dtype)


def sigmoid_of(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow on either side."""
    if x.dtype.kind == "c":
        return 1 / (1 + np.exp(-x))
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, x.dtype.type(1)) / (1 + e)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf_of(x: np.ndarray) -> np.ndarray:
    """The error function, by the C library in float64."""
    return _erf(x.astype(np.float64)).astype(x.dtype) if x.size else x.copy()


def shift_left_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a << b``; 0 where ``b`` is negative or not below the number of bits."""
    inside = (b >= 0) & (b < 8 * a.dtype.itemsize)
    return np.where(inside, np.left_shift(a, np.where(inside, b, 0)), 0).astype(a.dtype)


def shift_right_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Arithmetic ``a >> b``; all sign bits where ``b`` is negative or not below the number of bits."""
    last = 8 * a.dtype.itemsize - 1
    return np.right_shift(a, np.where((b < 0) | (b > last), last, b).astype(a.dtype)).astype(a.dtype)


# ---- derivatives used by more than one row ----


def conjugate(x: Value) -> Value:
    """``x`` itself if it is real."""
    return conj(x) if x.dtype.is_complex else x  # type: ignore[no-any-return]


def _zero(g: Value, y: Value, *operands: Value) -> Value:
    return g.full(0)


def _pow_base(g: Value, y: Value, a: Value, b: Value) -> Value:
    return select(eq(b, b.full(0)), g.full(0), g * conjugate(b * pow(a, b - 1)))  # type: ignore[no-any-return]


def _pow_exponent(g: Value, y: Value, a: Value, b: Value) -> Value:
    if a.dtype.is_complex:
        return select(eq(a, a.full(0)), g.full(0), g * conjugate(y * log(a)))  # type: ignore[no-any-return]
    zero = bitwise_and(eq(a, a.full(0)), ge(b, b.full(0)))
    return select(zero, g.full(0), g * (y * log(a)))  # type: ignore[no-any-return]


def _taken(passed_over: Any) -> Any:
    """The cotangent goes to the operand taken, half to each where they are equal, to both for NaN (as in PyTorch)."""
    return lambda g, y, a, b: select(passed_over(a, b), g.full(0), select(eq(a, b), g * 0.5, g))


def sign_of(x: Value) -> Value:
    """-1, 0 or 1 in the type of ``x``; 0 for NaN."""
    negative = select(lt(x, x.full(0)), x.full(-1), x.full(0))
    return select(gt(x, x.full(0)), x.full(1), negative)  # type: ignore[no-any-return]


# ---- the table ----

add = elementwise("add", "x y", ANY, lambda a, b: a | b if a.dtype == bool else a + b,
                  vjp=(lambda g, y, a, b: g, lambda g, y, a, b: g))
sub = elementwise("sub", "x y", NUMERIC, np.subtract, vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -g))
mul = elementwise("mul", "x y", ANY, lambda a, b: a & b if a.dtype == bool else a * b,
                  vjp=(lambda g, y, a, b: g * conjugate(b), lambda g, y, a, b: g * conjugate(a)))
div = elementwise("div", "x y", INEXACT, np.divide,
                  vjp=(lambda g, y, a, b: g / conjugate(b), lambda g, y, a, b: -(g * conjugate(y / b))))
floordiv = elementwise("floordiv", "x y", REAL_NUMBERS, np.floor_divide, vjp=(_zero, _zero))
remainder = elementwise("remainder", "x y", REAL_NUMBERS, np.remainder, scalar="rem",
                        vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -(g * floordiv(a, b))))
pow = elementwise("pow", "x y", NUMERIC, power_of, vjp=(_pow_base, _pow_exponent), ulp=2)
neg = elementwise("neg", "x", NUMERIC, np.negative, vjp=(lambda g, y, x: -g,))
abs = elementwise("abs", "x", REAL_NUMBERS, np.abs, vjp=(lambda g, y, x: g * sign_of(x),))
conj: Op = elementwise("conj", "x", COMPLEX, np.conj, vjp=(lambda g, y, x: conj(g),))
floor = elementwise("floor", "x", FLOATS, np.floor, vjp=(_zero,))
ceil = elementwise("ceil", "x", FLOATS, np.ceil, vjp=(_zero,))
trunc = elementwise("trunc", "x", FLOATS, np.trunc, vjp=(_zero,))
round = elementwise("round", "x", FLOATS, np.rint, vjp=(_zero,), doc="To the nearest integer, halves to the even one.")
maximum = elementwise("maximum", "x y", (bool_, *REAL_NUMBERS), maximum_of, scalar="max",
                      vjp=(lambda g, y, a, b: _taken(lt)(g, y, a, b), lambda g, y, a, b: _taken(lt)(g, y, b, a)))
minimum = elementwise("minimum", "x y", (bool_, *REAL_NUMBERS), minimum_of, scalar="min",
                      vjp=(lambda g, y, a, b: _taken(gt)(g, y, a, b), lambda g, y, a, b: _taken(gt)(g, y, b, a)))
relu = elementwise("relu", "x", REAL_NUMBERS, lambda x: np.where(x <= 0, x.dtype.type(0), x),
                   scalar=lambda x: x.relu(), vjp=(lambda g, y, x: select(le(y, y.full(0)), g.full(0), g),),
                   doc="max(x, 0). A primitive because its derivative is 0 at 0 and reads the result, not the operand.")

eq = elementwise("eq", "x y", ANY, np.equal, result=bool_)
ne = elementwise("ne", "x y", ANY, np.not_equal, result=bool_)
lt: Op = elementwise("lt", "x y", (bool_, *REAL_NUMBERS), np.less, result=bool_)
le: Op = elementwise("le", "x y", (bool_, *REAL_NUMBERS), np.less_equal, result=bool_)
gt: Op = elementwise("gt", "x y", (bool_, *REAL_NUMBERS), np.greater, result=bool_)
ge = elementwise("ge", "x y", (bool_, *REAL_NUMBERS), np.greater_equal, result=bool_)

bitwise_and = elementwise("bitwise_and", "x y", DISCRETE, np.bitwise_and, scalar="and")
bitwise_or = elementwise("bitwise_or", "x y", DISCRETE, np.bitwise_or, scalar="or")
bitwise_xor = elementwise("bitwise_xor", "x y", DISCRETE, np.bitwise_xor, scalar="xor")
bitwise_not = elementwise("bitwise_not", "x", DISCRETE, np.invert, scalar="not")
shift_left = elementwise("shift_left", "x y", INTEGERS, shift_left_of, scalar="shl")
shift_right = elementwise("shift_right", "x y", INTEGERS, shift_right_of, scalar="shr")

exp = elementwise("exp", "x", INEXACT, np.exp, vjp=(lambda g, y, x: g * conjugate(y),), ulp=2)
log = elementwise("log", "x", INEXACT, np.log, vjp=(lambda g, y, x: g / conjugate(x),), ulp=2)
sqrt = elementwise("sqrt", "x", INEXACT, np.sqrt, vjp=(lambda g, y, x: g / conjugate(y + y),))
sin = elementwise("sin", "x", INEXACT, np.sin, vjp=(lambda g, y, x: g * conjugate(cos(x)),), ulp=2)
cos: Op = elementwise("cos", "x", INEXACT, np.cos, vjp=(lambda g, y, x: -(g * conjugate(sin(x))),), ulp=2)
tanh = elementwise("tanh", "x", INEXACT, np.tanh, vjp=(lambda g, y, x: g * conjugate(1 - y * y),), ulp=3)
sigmoid = elementwise("sigmoid", "x", INEXACT, sigmoid_of, vjp=(lambda g, y, x: g * conjugate((1 - y) * y),), ulp=3)
erf = elementwise("erf", "x", FLOATS, erf_of,
                  vjp=(lambda g, y, x: g * (exp(-(x * x)) * (2 / math.sqrt(math.pi))),), ulp=2)


class Select(Op):
    """``select(condition, x, y)``: ``x`` where the condition holds, else ``y``."""

    name, operands = "select", ("condition", "x", "y")
    vjp = (None, lambda g, r, c, x, y: select(c, g, g.full(0)), lambda g, r, c, x, y: select(c, g.full(0), g))

    def infer(self, condition: Type, x: Type, y: Type) -> Type:
        if condition.dtype is not bool_:
            raise DTypeError(f"select: the condition must be bool, not {condition}")
        if x.dtype is not y.dtype:
            raise DTypeError(f"select: dtypes differ: x is {x} and y is {y}")
        if not (same_shape(condition.shape, x.shape) and same_shape(x.shape, y.shape)):
            raise ShapeError(f"select: shapes differ: the condition is {condition}, x is {x} and y is {y}")
        return x

    def reference(self, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(condition, x, y))

    def lower(self, *types: Type) -> Lowering:
        return Elementwise("select")


class Cast(Op):
    """``cast(x, dtype)``: to another element type.

    Floats become integers by truncation; outside the range the nearest bound, NaN becomes 0. Integers wrap.
    Anything but 0 is True (NaN too). Complex to real drops the imaginary part.
    """

    name, operands, attributes = "cast", ("x",), ("dtype",)
    vjp = (lambda g, y, x, dtype: g if g.dtype is x.dtype else cast(g, dtype=x.dtype),)

    def infer(self, x: Type, dtype: DType) -> Type:
        return Type(dtype, x.shape)

    def reference(self, x: np.ndarray, dtype: DType) -> np.ndarray:
        return cast_array(x, dtype)

    def lower(self, x: Type, dtype: DType) -> Lowering:
        return Elementwise("cast")


def cast_array(x: np.ndarray, dtype: DType) -> np.ndarray:
    """A NumPy array in another type, by the rule of ``cast``; a new array, or ``x`` where nothing changes."""
    if x.dtype == dtype.numpy:
        return x
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x != 0 if dtype is bool_ else x.real
    if dtype is bool_:
        return np.asarray(x != 0)
    if dtype.kind in "iu" and x.dtype.kind not in "biu":
        return _saturate(np.trunc(x.astype(np.float64)), dtype)
    return x.astype(dtype.numpy)


def _saturate(x: np.ndarray, dtype: DType) -> np.ndarray:
    info = np.iinfo(dtype.numpy)
    with np.errstate(all="ignore"):
        out = np.where((x > info.min) & (x < info.max), x, 0).astype(dtype.numpy)
    return np.where(x >= info.max, info.max, np.where(x <= info.min, info.min, out)).astype(dtype.numpy)


select: Op = Select()
cast: Op = Cast()

__all__ = [
    "abs", "add", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "cast", "ceil", "conj", "cos", "div", "eq",
    "erf", "exp", "floor", "floordiv", "ge", "gt", "le", "log", "lt", "maximum", "minimum", "mul", "ne", "neg", "pow",
    "relu", "remainder", "round", "select", "shift_left", "shift_right", "sigmoid", "sin", "sqrt", "sub", "tanh",
    "trunc",
]
