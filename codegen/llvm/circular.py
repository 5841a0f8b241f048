"""Sine, cosine and power on vectors: common arguments by polynomials, the rest in a branch that is rarely taken."""

from __future__ import annotations

import math

from . import coefficients as c
from .analysis import INF, NAN, absolute, clamp, exponent64, horner, nearest, scale_normal
from .emit import Builder, Value

HALF_PI_HIGH = int(math.pi / 2 * 2**32) / 2**32
"""33 bits: times an integer below 2**20 it is exact."""
HALF_PI_LOW = 6.123233995736766e-17 + (math.pi / 2 - HALF_PI_HIGH)
LARGE = 1.6e6


def sin(b: Builder, x: Value) -> Value:
    """The sine."""
    return circular(b, x, "sin") if x.kind == "f32" else b.by_lane("f64", "sin", x)


def cos(b: Builder, x: Value) -> Value:
    """The cosine."""
    return circular(b, x, "cos") if x.kind == "f32" else b.by_lane("f64", "cos", x)


def circular(b: Builder, x: Value, name: str) -> Value:
    """f32: reduced by pi/2 in f64, then one of two polynomials; huge arguments by the C library."""
    wide = x.convert("fpext", "f64")
    n = nearest(b, wide, 2 / math.pi)
    r = (wide - n.number * HALF_PI_HIGH - n.number * HALF_PI_LOW).convert("fptrunc", "f32")
    quarter = n.whole().convert("trunc", "i32")
    quarter = quarter + 1 if name == "cos" else quarter
    z = r * r
    sine = b.fma(r * z, horner(b, z, c.SIN2), r)
    cosine = b.fma(z * z, horner(b, z, c.COS2), b.fma(z, -0.5, 1.0))
    out = (quarter & 1).compare("eq", 0).select(sine, cosine)
    out = (out.bits() ^ ((quarter & 2) << 30)).as_float()
    if name == "sin":
        out = x.compare("oeq", 0.0).select(x, out)
    large = absolute(b, x).compare("uge", LARGE)

    def exact() -> Value:
        return large.select(b.by_lane("f64", name, wide).convert("fptrunc", "f32"), out)

    return b.choose(b.any(large), exact, lambda: out)


def power(b: Builder, x: Value, y: Value) -> Value:
    """Powers of floats."""
    return power32(b, x, y) if x.kind == "f32" else b.by_lane("f64", "pow", x, y)


def power32(b: Builder, x: Value, y: Value) -> Value:
    """f32: ``2**(y * log2(x))`` in f64; zeros, infinities, signs and NaN in a branch."""
    a = absolute(b, x)
    usual = (a.bits() - 1).compare("ult", 0x7F7FFFFF)
    size = positive_power(b, usual.select(a, a.like(1.0)), y)
    odd = (x.bits() - 1).compare("uge", 0x7F7FFFFF) | absolute(b, y).compare("uge", INF)
    return b.choose(b.any(odd), lambda: special_power(b, x, y, size), lambda: size)


def positive_power(b: Builder, x: Value, y: Value) -> Value:
    """The power of positive finite numbers, rounded once from f64."""
    wide, exponent = x.convert("fpext", "f64"), y.convert("fpext", "f64")
    bits = wide.bits()
    e = (bits - 0x3FE6A09E667F3BCD) & -4503599627370496
    m = (bits - e).as_float()
    s = (m - 1.0) / (m + 1.0)
    logarithm = b.fma(s, horner(b, s * s, c.POWLOG5), exponent64(e))
    t = clamp(exponent * logarithm, -160.0, 160.0)
    n = nearest(b, t, 1.0)
    return scale_normal(b, horner(b, t - n.number, c.POWEXP7), n).convert("fptrunc", "f32")


def special_power(b: Builder, x: Value, y: Value, size: Value) -> Value:
    """IEEE 754's table of powers, around the power of sizes."""
    a, ay = absolute(b, x), absolute(b, y)
    finite = ay.compare("olt", INF)
    integer = b.intrinsic("trunc", y).compare("oeq", y) & finite
    half = y * 0.5
    odd = integer & ay.compare("olt", 16777216.0) & b.intrinsic("trunc", half).compare("une", half)
    negative = x.bits().compare("slt", 0)
    down = y.compare("olt", 0.0)
    r = (a.compare("olt", 1.0) ^ down).select(size.like(0.0), size.like(INF))
    r = finite.select(size, r)
    r = a.compare("oeq", 0.0).select(down.select(INF, a.like(0.0)), r)
    r = a.compare("oeq", INF).select(down.select(0.0, a.like(INF)), r)
    ordinary = a.compare("ogt", 0.0) & a.compare("olt", INF)
    r = (negative & ordinary & finite & (integer ^ True)).select(r.like(NAN), r)
    sign = (negative & odd).select(-(1 << 31), x.bits().like(0))
    r = (r.bits() | sign).as_float()
    r = x.compare("uno", y).select(x + y, r)
    one = x.compare("oeq", 1.0) | y.compare("oeq", 0.0)
    one = one | (x.compare("oeq", -1.0) & ay.compare("oeq", INF))
    return one.select(r.like(1.0), r)
