"""Each loop intrinsic as LLVM instructions, the same for scalars and for vectors of any width."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import circular
from .analysis import absolute, erf, exp, expm1, log, log1p, sigmoid, tanh
from .casts import size_of
from .emit import Builder, Value


def integer_power(b: Builder, x: Value, y: Value) -> Value:
    """Powers by squaring; they wrap."""
    result, square, n = x.like(1), x, y
    for _ in range(size_of(x.kind) - (x.kind != "u8")):
        result = (n & 1).compare("ne", 0).select(result * square, result)
        square, n = square * square, n >> 1
    if x.kind == "u8":
        return result
    odd = (y & 1).compare("ne", 0)
    inverse = x.compare("eq", 1).select(
        1, x.compare("eq", -1).select(odd.select(-1, x.like(1)), x.like(0))
    )
    return y.compare("slt", 0).select(inverse, result)


def floor_divide(b: Builder, x: Value, y: Value) -> Value:
    """The quotient rounded down; by integer zero it is 0, and no hardware trap is possible."""
    if x.kind[0] == "f":
        return floor_divide_floats(b, x, y)
    zero = y.compare("eq", 0)
    if x.kind == "u8":
        return zero.select(
            0, b.emit(x.kind, x.lanes, f"udiv {x.type} {x.text}, {zero.select(1, y).text}")
        )
    minus = y.compare("eq", -1)
    safe = (zero | minus).select(1, y)
    q = x / safe
    r = x - q * safe
    wrong = r.compare("ne", 0) & (r ^ safe).compare("slt", 0)
    q = wrong.select(q - 1, q)
    return zero.select(0, minus.select(0 - x, q))


def remainder(b: Builder, x: Value, y: Value) -> Value:
    """What the floored quotient leaves over: it has the divisor's sign."""
    if x.kind[0] == "f":
        m = b.emit(x.kind, x.lanes, f"frem {x.type} {x.text}, {y.text}")
        differs = m.compare("une", 0.0) & (m.compare("olt", 0.0) ^ y.compare("olt", 0.0))
        m = differs.select(m + y, m)
        return m.compare("oeq", 0.0).select(b.intrinsic("copysign", m.like(0.0), y), m)
    zero = y.compare("eq", 0)
    return zero.select(0, x - floor_divide(b, x, y) * y)


def floor_divide_floats(b: Builder, x: Value, y: Value) -> Value:
    """The floored quotient of floats, as Python and NumPy round it."""
    m = b.emit(x.kind, x.lanes, f"frem {x.type} {x.text}, {y.text}")
    q = (x - m) / y
    differs = m.compare("une", 0.0) & (m.compare("olt", 0.0) ^ y.compare("olt", 0.0))
    q = differs.select(q - 1.0, q)
    down = b.intrinsic("floor", q)
    down = (q - down).compare("ogt", 0.5).select(down + 1.0, down)
    zero = b.intrinsic("copysign", q.like(0.0), x / y)
    out = q.compare("oeq", 0.0).select(zero, down)
    return y.compare("oeq", 0.0).select(x / y, out)


def maximum(b: Builder, x: Value, y: Value) -> Value:
    """IEEE 754-2019 maximum: NaN wins, and +0 over -0."""
    if x.kind[0] == "f":
        if y.is_zero():
            return x.compare("ole", 0.0).select(0.0, x)
        larger = x.compare("ogt", y).select(x, y), y.compare("ogt", x).select(y, x)
        return meeting(x, y, larger[0].bits() & larger[1].bits())
    return b.intrinsic("umax" if x.kind in ("u8", "bool") else "smax", x, y)


def minimum(b: Builder, x: Value, y: Value) -> Value:
    """IEEE 754-2019 minimum: NaN wins, and -0 over +0."""
    if x.kind[0] == "f":
        smaller = x.compare("olt", y).select(x, y), y.compare("olt", x).select(y, x)
        return meeting(x, y, smaller[0].bits() | smaller[1].bits())
    return b.intrinsic("umin" if x.kind in ("u8", "bool") else "smin", x, y)


def meeting(x: Value, y: Value, bits: Value) -> Value:
    """Both ways of choosing, joined: they differ in the sign of zero, and where a NaN is chosen away.

    Shorter to wait for than what LLVM makes of its own ``maximum``: each half is one instruction.
    """
    return x.compare("uno", y).select(math.nan, bits.as_float())


def number_over_nan(name: str, of_integers: Callable[..., Value]) -> Callable[..., Value]:
    """The larger or smaller of two, which may lose NaN; of integers there is none to lose."""

    def write(b: Builder, x: Value, y: Value) -> Value:
        return b.intrinsic(name, x, y) if x.kind[0] == "f" else of_integers(b, x, y)

    return write


def comparison(of_floats: str, signed: str, unsigned: str) -> Callable[..., Value]:
    """A comparison under its three names in LLVM."""

    def write(b: Builder, x: Value, y: Value) -> Value:
        name = of_floats if x.kind[0] == "f" else unsigned if x.kind in ("u8", "bool") else signed
        return x.compare(name, y)

    return write


def shift_left(b: Builder, x: Value, y: Value) -> Value:
    """0 where the amount is not below the number of bits."""
    bits = size_of(x.kind)
    inside = y.compare("ult", bits)
    return inside.select(x << inside.select(y, y.like(0)), x.like(0))


def shift_right(b: Builder, x: Value, y: Value) -> Value:
    """All sign bits where the amount is not below the number of bits."""
    last = size_of(x.kind) - 1
    amount = y.compare("ugt", last).select(last, y)
    return x >> amount if x.kind == "u8" else x.arithmetic_shift(amount)


def invert(b: Builder, x: Value) -> Value:
    """All bits flipped."""
    return x ^ (True if x.kind == "bool" else -1)


def philox(b: Builder, key: Value, counter: Value, word: Value) -> Value:
    """Philox4x32-10 (Salmon et al., SC 2011), its 32-bit words in 64-bit lanes."""
    low = 0xFFFFFFFF
    k0, k1 = key & low, key >> 32
    c0, c1, c2, c3 = counter & low, counter >> 32, counter.like(0), counter.like(0)
    for _ in range(10):
        p, q = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (q >> 32) ^ c1 ^ k0, q & low, (p >> 32) ^ c3 ^ k1, p & low
        k0, k1 = (k0 + 0x9E3779B9) & low, (k1 + 0xBB67AE85) & low
    w = word & 3
    first = w.compare("eq", 0).select(
        c0, w.compare("eq", 1).select(c1, w.compare("eq", 2).select(c2, c3))
    )
    return first


def power(b: Builder, x: Value, y: Value) -> Value:
    """Powers of floats, or of integers by squaring."""
    return circular.power(b, x, y) if x.kind[0] == "f" else integer_power(b, x, y)


def add(b: Builder, x: Value, y: Value) -> Value:
    """The sum; of bools their disjunction."""
    return x | y if x.kind == "bool" else x + y


def mul(b: Builder, x: Value, y: Value) -> Value:
    """The product; of bools their conjunction."""
    return x & y if x.kind == "bool" else x * y


WRITE: dict[str, Callable[..., Any]] = {
    "add": add,
    "sub": lambda b, x, y: x - y,
    "mul": mul,
    "div": lambda b, x, y: x / y,
    "neg": lambda b, x: -x,
    "abs": absolute,
    "floor": lambda b, x: b.intrinsic("floor", x),
    "ceil": lambda b, x: b.intrinsic("ceil", x),
    "trunc": lambda b, x: b.intrinsic("trunc", x),
    "round": lambda b, x: b.intrinsic("roundeven", x),
    "min": minimum,
    "max": maximum,
    "minnum": number_over_nan("minnum", minimum),
    "maxnum": number_over_nan("maxnum", maximum),
    "fma": lambda b, x, y, z: b.fma(x, y, z) if x.kind[0] == "f" else x * y + z,
    "floordiv": floor_divide,
    "rem": remainder,
    "eq": comparison("oeq", "eq", "eq"),
    "ne": comparison("une", "ne", "ne"),
    "lt": comparison("olt", "slt", "ult"),
    "le": comparison("ole", "sle", "ule"),
    "gt": comparison("ogt", "sgt", "ugt"),
    "ge": comparison("oge", "sge", "uge"),
    "and": lambda b, x, y: x & y,
    "or": lambda b, x, y: x | y,
    "xor": lambda b, x, y: x ^ y,
    "not": invert,
    "shl": shift_left,
    "shr": shift_right,
    "select": lambda b, k, x, y: k.select(x, y),
    "exp": exp,
    "log": log,
    "sqrt": lambda b, x: b.intrinsic("sqrt", x),
    "rsqrt": lambda b, x: 1.0 / b.intrinsic("sqrt", x),
    "log1p": log1p,
    "expm1": expm1,
    "sin": circular.sin,
    "cos": circular.cos,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "pow": power,
    "isnan": lambda b, x: x.compare("uno", x),
    "philox": philox,
}
