"""The scalar functions of the loop language: arity, result dtype, and meaning in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..dtypes import DType, bool_, int64
from ..errors import DTypeError

Meaning = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """One function; ``result`` is ``same`` (as the operands), ``bool``, ``branch`` or ``given``.

    ``meaning`` maps NumPy scalars of the operands' dtype: a call rounds once, as kernels do.
    """

    name: str
    arity: int
    meaning: Meaning
    result: str = "same"
    sign: str = ""


# ---- meanings that NumPy does not spell in one word ----


def _maximum(a: Any, b: Any) -> Any:
    """IEEE 754-2019 maximum: NaN wins, +0 is above -0."""
    return a + b if a == b and a.dtype.kind == "f" and a == 0 else np.maximum(a, b)


def _minimum(a: Any, b: Any) -> Any:
    """IEEE 754-2019 minimum: NaN wins, -0 is below +0."""
    return -((-a) + (-b)) if a == b and a.dtype.kind == "f" and a == 0 else np.minimum(a, b)


def _fma(a: Any, b: Any, c: Any) -> Any:
    """``a*b + c`` rounded once."""
    if a.dtype.kind != "f" or not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)):
        return a * b + c
    if a.dtype == np.float64:
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        try:
            return np.float64(float(exact)) if exact else a * b + c
        except OverflowError:
            return np.float64(math.copysign(math.inf, exact))
    return np.float32(_odd_sum(float(a) * float(b), float(c)))


def _odd_sum(p: float, c: float) -> float:
    """``p + c`` in f64 rounded to odd: rounding that to f32 rounds the exact sum once."""
    s = p + c
    t = s - p
    error = (p - (s - t)) + (c - t)
    if error and not np.float64(s).view(np.int64) & 1:
        s = float(np.nextafter(s, math.inf if error > 0 else -math.inf))
    return s


def _floor_divide(a: Any, b: Any) -> Any:
    """Rounded down; an integer divided by zero is 0, the least integer by -1 is itself."""
    return a.dtype.type(0) if a.dtype.kind in "iu" and b == 0 else np.floor_divide(a, b)


def _remainder(a: Any, b: Any) -> Any:
    """With the divisor's sign; 0 for an integer divided by zero."""
    return a.dtype.type(0) if a.dtype.kind in "iu" and b == 0 else np.remainder(a, b)


def _shift_left(a: Any, b: Any) -> Any:
    """0 where ``b`` is negative or not below the number of bits."""
    return np.left_shift(a, b) if 0 <= b < 8 * a.dtype.itemsize else a.dtype.type(0)


def _shift_right(a: Any, b: Any) -> Any:
    """Arithmetic; all sign bits where ``b`` is negative or not below the number of bits."""
    last = 8 * a.dtype.itemsize - 1
    return np.right_shift(a, b if 0 <= b <= last else a.dtype.type(last))


def _power(a: Any, b: Any) -> Any:
    """Powers; of integers they wrap, and a negative exponent gives 0 unless the base is 1 or -1."""
    if a.dtype.kind == "f" or b >= 0:
        return np.power(a, b)
    return a if a == 1 or (a == -1 and b % 2) else -a if a == -1 else a.dtype.type(0)


def _sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))`` without overflow on either side."""
    e = np.exp(-np.abs(x))
    return (e if x < 0 else x.dtype.type(1)) / (1 + e)


def cast(x: Any, dtype: DType) -> Any:
    """Floats truncate to integers, outside the range to the nearest bound, NaN to 0."""
    if dtype is bool_:
        return np.bool_(x != 0)
    if dtype.kind in "iu" and x.dtype.kind not in "biu":
        return _saturate(float(x), dtype)
    return x.astype(dtype.numpy)


def _saturate(x: float, dtype: DType) -> Any:
    info = np.iinfo(dtype.numpy)
    if math.isnan(x):
        return dtype.numpy.type(0)
    return dtype.numpy.type(info.max if x >= info.max else info.min if x <= info.min else int(x))


def bitcast(x: Any, dtype: DType) -> Any:
    """The same bits as another dtype of the same size."""
    return np.asarray(x).view(dtype.numpy)[()]


def philox(key: Any, counter: Any, word: Any) -> Any:
    """Philox4x32-10 (Salmon et al., SC 2011) of a 64-bit key and counter: word 0 to 3."""
    k0, k1 = int(key) & 0xFFFFFFFF, int(key) >> 32 & 0xFFFFFFFF
    c0, c1, c2, c3 = int(counter) & 0xFFFFFFFF, int(counter) >> 32 & 0xFFFFFFFF, 0, 0
    for _ in range(10):
        p, q = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = q >> 32 ^ c1 ^ k0, q & 0xFFFFFFFF, p >> 32 ^ c3 ^ k1, p & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.int64((c0, c1, c2, c3)[int(word) & 3])


_ERF = np.frompyfunc(math.erf, 1, 1)

_TABLE = (
    Intrinsic("add", 2, lambda a, b: a + b, sign="+"),
    Intrinsic("sub", 2, lambda a, b: a - b, sign="-"),
    Intrinsic("mul", 2, lambda a, b: a * b, sign="*"),
    Intrinsic("div", 2, lambda a, b: a / b, sign="/"),
    Intrinsic("neg", 1, lambda a: -a),
    Intrinsic("abs", 1, abs),
    Intrinsic("floor", 1, np.floor),
    Intrinsic("ceil", 1, np.ceil),
    Intrinsic("trunc", 1, np.trunc),
    Intrinsic("round", 1, np.rint),
    Intrinsic("min", 2, _minimum),
    Intrinsic("max", 2, _maximum),
    Intrinsic("minnum", 2, np.fmin),
    Intrinsic("maxnum", 2, np.fmax),
    Intrinsic("fma", 3, _fma),
    Intrinsic("floordiv", 2, _floor_divide),
    Intrinsic("rem", 2, _remainder),
    Intrinsic("eq", 2, lambda a, b: a == b, "bool"),
    Intrinsic("ne", 2, lambda a, b: a != b, "bool"),
    Intrinsic("lt", 2, lambda a, b: a < b, "bool"),
    Intrinsic("le", 2, lambda a, b: a <= b, "bool"),
    Intrinsic("gt", 2, lambda a, b: a > b, "bool"),
    Intrinsic("ge", 2, lambda a, b: a >= b, "bool"),
    Intrinsic("and", 2, lambda a, b: a & b),
    Intrinsic("or", 2, lambda a, b: a | b),
    Intrinsic("xor", 2, lambda a, b: a ^ b),
    Intrinsic("not", 1, np.invert),
    Intrinsic("shl", 2, _shift_left),
    Intrinsic("shr", 2, _shift_right),
    Intrinsic("select", 3, lambda c, a, b: a if c else b, "branch"),
    Intrinsic("cast", 1, cast, "given"),
    Intrinsic("bitcast", 1, bitcast, "given"),
    Intrinsic("exp", 1, np.exp),
    Intrinsic("log", 1, np.log),
    Intrinsic("log1p", 1, np.log1p),
    Intrinsic("expm1", 1, np.expm1),
    Intrinsic("sqrt", 1, np.sqrt),
    Intrinsic("rsqrt", 1, lambda a: 1 / np.sqrt(a)),
    Intrinsic("sin", 1, np.sin),
    Intrinsic("cos", 1, np.cos),
    Intrinsic("tanh", 1, np.tanh),
    Intrinsic("sigmoid", 1, _sigmoid),
    Intrinsic("erf", 1, lambda a: a.dtype.type(_ERF(float(a)))),
    Intrinsic("pow", 2, _power),
    Intrinsic("isnan", 1, np.isnan, "bool"),
    Intrinsic("philox", 3, philox),
)

INTRINSICS: dict[str, Intrinsic] = {i.name: i for i in _TABLE}


def result_dtype(fn: str, operands: Sequence[DType], given: DType | None = None) -> DType:
    """The dtype that ``fn`` gives; ``DTypeError`` for a name, arity or dtypes it does not take.

    >>> from gristmill.ir.dtypes import float32
    >>> result_dtype("lt", [float32, float32])
    gristmill.bool
    """
    rule = INTRINSICS.get(fn)
    if rule is None:
        raise DTypeError(f"no intrinsic is called {fn!r}; there are {', '.join(INTRINSICS)}")
    if len(operands) != rule.arity:
        raise DTypeError(f"{fn} takes {rule.arity} operands, not {len(operands)}")
    values = operands[1:] if rule.result == "branch" else operands
    if any(d is not values[0] for d in values):
        raise DTypeError(f"{fn}: operands have different dtypes: {', '.join(d.name for d in operands)}")
    if rule.result == "given":
        if given is None:
            raise DTypeError(f"{fn} must be told which dtype it gives")
        return given
    return bool_ if rule.result == "bool" else values[0]


ULPS = {
    "exp": 2, "log": 2, "log1p": 2, "expm1": 2, "sin": 2, "cos": 2, "tanh": 3, "sigmoid": 3, "erf": 2, "pow": 2,
}  # fmt: skip
"""How far a kernel's result may be from the exact one, in units in the last place; all others are exact."""

# ---- reductions ----

REDUCTIONS = ("max", "min", "maxnum", "minnum", "and", "or", "fma")
SIGNS = {"": "=", "add": "+=", "mul": "*="} | {name: f"{name}=" for name in REDUCTIONS}


def identity(reduce: str, dtype: DType) -> bool | int | float:
    """What a reduction starts from.

    >>> from gristmill.ir.dtypes import float32, int8
    >>> identity("max", float32), identity("max", int8), identity("fma", float32)
    (-inf, -128, 0.0)
    """
    if reduce in ("max", "maxnum", "min", "minnum"):
        return _extreme(dtype, -1 if reduce.startswith("max") else 1)
    one = reduce in ("mul", "and")
    if dtype is bool_:
        return one
    if dtype.kind == "f":
        return float(one)
    return (
        -1
        if reduce == "and" and dtype.is_signed
        else (1 << dtype.bits) - 1
        if reduce == "and"
        else int(one)
    )


def _extreme(dtype: DType, sign: int) -> bool | int | float:
    if dtype is bool_:
        return sign > 0
    if dtype.kind == "f":
        return sign * math.inf
    info = np.iinfo(dtype.numpy)
    return int(info.max if sign > 0 else info.min)


def combine(reduce: str) -> str:
    """The intrinsic that joins two partial results (``add`` for ``fma``)."""
    return "add" if reduce == "fma" else reduce


def is_index_dtype(dtype: DType) -> bool:
    """Whether values of this dtype may stand in an index."""
    return dtype.kind in "iu" or dtype is int64
