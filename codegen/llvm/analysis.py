"""The functions of analysis as polynomials on vectors of any width: exp, log and their kin, tanh, sigmoid, erf.

Special values are IEEE's; ``ir.loops.intrinsics.ULPS`` says how far a result may be from the exact one.
Sources: Cody and Waite, Software Manual for the Elementary Functions, 1980 (reductions); Remez (fits).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from . import coefficients as c
from .emit import Builder, Value

INF, NAN = math.inf, math.nan
WIDTHS = {"f32": 32, "f64": 64}
LOG2E = 1 / math.log(2)
LN2_HIGH, LN2_LOW = 0.693359375, float(np.float32(math.log(2) - 0.693359375))
DLN2_HIGH = int(math.log(2) * 2**32) / 2**32
DLN2_LOW = 1.9082149292705877e-10 + (0.6931471803691238 - DLN2_HIGH)


def horner(b: Builder, x: Value, coefficients: tuple[float, ...]) -> Value:
    """A polynomial, lowest coefficient first."""
    r = x.like(coefficients[-1])
    for a in coefficients[-2::-1]:
        r = b.fma(r, x, a)
    return r


def power_of_two(n: Value) -> Value:
    """``2**n`` for integers in the range of normal exponents."""
    return ((n + 127) << 23).as_float() if n.kind == "i32" else ((n + 1023) << 52).as_float()


class Rounded(NamedTuple):
    """A float rounded to an integer, and the same with the magic number added, whose low bits are the integer."""

    number: Value
    shifted: Value

    def whole(self) -> Value:
        """The integer."""
        bits = self.shifted.bits()
        return bits - (0x4B400000 if bits.kind == "i32" else 0x4338000000000000)


def nearest(b: Builder, x: Value, factor: float) -> Rounded:
    """``x * factor`` rounded to an integer."""
    magic = 12582912.0 if x.kind == "f32" else 6755399441055744.0
    shifted = b.fma(x, factor, magic)
    return Rounded(shifted - magic, shifted)


def scale(b: Builder, p: Value, n: Rounded) -> Value:
    """``p * 2**n``, rounded once: denormal results and infinity come out right."""
    if may_scale(b, p):
        return scaled_at_once(b, p, n)
    whole = n.whole()
    half = whole.arithmetic_shift(1)
    return p * power_of_two(half) * power_of_two(whole - half)


def scale_normal(b: Builder, p: Value, n: Rounded) -> Value:
    """``p * 2**n`` where the power of two is a normal number."""
    if may_scale(b, p):
        return scaled_at_once(b, p, n)
    return p * power_of_two(n.whole())


def may_scale(b: Builder, p: Value) -> bool:
    """Whether the machine scales whole vectors like ``p`` by powers of two."""
    return "+avx512vl" in b.features and p.lanes * WIDTHS[p.kind] in (128, 256, 512)


def scaled_at_once(b: Builder, p: Value, n: Rounded) -> Value:
    """``vscalef``: the same bits as products of powers of two."""
    width = p.lanes * WIDTHS[p.kind]
    mask = f"i{max(8, p.lanes)}"
    name = f"llvm.x86.avx512.mask.scalef.{'ps' if p.kind == 'f32' else 'pd'}.{width}"
    rounding = ("i32",) if width == 512 else ()
    b.declarations.add(f"declare {p.type} @{name}({', '.join([p.type] * 3 + [mask, *rounding])})")
    operands = [f"{p.type} {v}" for v in (p.text, n.number.text, "zeroinitializer")]
    tail = [f"{mask} -1", *(f"{kind} 4" for kind in rounding)]
    return b.emit(p.kind, p.lanes, f"call {p.type} @{name}({', '.join(operands + tail)})")


def clamp(x: Value, low: float | None, high: float | None) -> Value:
    """``x`` held between two numbers; NaN stays."""
    if low is not None:
        x = x.compare("olt", low).select(low, x)
    return x if high is None else x.compare("ogt", high).select(high, x)


def absolute(b: Builder, x: Value) -> Value:
    """The absolute value."""
    if x.kind[0] == "f":
        return b.intrinsic("fabs", x)
    return x if x.kind in ("u8", "bool") else x.compare("slt", 0).select(0 - x, x)


def exp_reduced(b: Builder, x: Value, terms: tuple[float, ...]) -> tuple[Value, Rounded]:
    """``exp(x) = p * 2**n``: the polynomial part and n."""
    n = nearest(b, x, LOG2E)
    high, low = (LN2_HIGH, LN2_LOW) if x.kind == "f32" else (DLN2_HIGH, DLN2_LOW)
    r = b.fma(n.number, -low, b.fma(n.number, -high, x))
    return b.fma(r * r, horner(b, r, terms), r) + 1.0, n


def exp(b: Builder, x: Value) -> Value:
    """The exponential."""
    bounds = (-104.0, 89.0) if x.kind == "f32" else (-746.0, 710.0)
    return scale(b, *exp_reduced(b, clamp(x, *bounds), c.EXP6 if x.kind == "f32" else c.DEXP11))


def log(b: Builder, x: Value) -> Value:
    """The natural logarithm."""
    return log32(b, x) if x.kind == "f32" else log64(b, x)


def log_special(x: Value, r: Value) -> Value:
    """The results for zero, negative numbers, infinity and NaN."""
    r = x.compare("olt", INF).select(r, x)
    r = x.compare("olt", 0.0).select(x.like(NAN), r)
    return x.compare("oeq", 0.0).select(x.like(-INF), r)


def log32(b: Builder, x: Value) -> Value:
    """The logarithm of an f32."""
    tiny = x.compare("olt", 1.17549435e-38)
    bits = tiny.select(x * 8388608.0, x).bits()
    e = (bits - 0x3F2AAAAB) & -8388608
    f = (bits - e).as_float() - 1.0
    ef = e.arithmetic_shift(23).convert("sitofp", "f32") + tiny.select(-23.0, x.like(0.0))
    return log_special(x, log32_of(b, f, ef))


def log32_of(b: Builder, f: Value, e: Value) -> Value:
    """``log(1 + f) + e * log(2)`` in f32."""
    return b.fma(e, math.log(2), b.fma(f * f, horner(b, f, c.LOG8), f))


def log64(b: Builder, x: Value) -> Value:
    """The logarithm of an f64."""
    tiny = x.compare("olt", 2.2250738585072014e-308)
    bits = tiny.select(x * 2.0**54, x).bits()
    e = (bits - 0x3FE6A09E667F3BCD) & -4503599627370496
    f = (bits - e).as_float() - 1.0
    return log_special(x, log64_of(b, f, exponent64(e) + tiny.select(-54.0, x.like(0.0))))


def exponent64(e: Value) -> Value:
    """The exponent field of an f64 as a number, by way of i32: no 64-bit conversion is needed."""
    return e.arithmetic_shift(52).convert("trunc", "i32").convert("sitofp", "f64")


def log64_of(b: Builder, f: Value, e: Value) -> Value:
    """``log(1 + f) + e * log(2)`` in f64."""
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    r = half - b.fma(s, half + z * horner(b, z, c.DLOG6), e * DLN2_LOW)
    return b.fma(e, DLN2_HIGH, f - r)


def log1p(b: Builder, x: Value) -> Value:
    """``log(1 + x)`` without rounding the sum: both terms are scaled by its exponent first."""
    single = x.kind == "f32"
    large = x.compare("ogt", 2.0**60)
    part = large.select(x * 2.0**-64, x)
    one = large.select(0.0, x.like(1.0))
    bits = (part + one).bits()
    if single:
        e = (bits - 0x3F2AAAAB) & -8388608
        factor = (0x3F800000 - e).as_float()
        number = e.arithmetic_shift(23).convert("sitofp", "f32")
    else:
        e = (bits - 0x3FE6A09E667F3BCD) & -4503599627370496
        factor = (0x3FF0000000000000 - e).as_float()
        number = exponent64(e)
    f = b.fma(part, factor, b.fma(one, factor, -1.0))
    number = number + large.select(64.0, x.like(0.0))
    r = log32_of(b, f, number) if single else log64_of(b, f, number)
    r = x.compare("olt", INF).select(r, x)
    r = x.compare("olt", -1.0).select(x.like(NAN), x.compare("oeq", -1.0).select(x.like(-INF), r))
    return x.compare("oeq", 0.0).select(x, r)


def expm1(b: Builder, x: Value) -> Value:
    """``exp(x) - 1``, the power of two shared out so that neither part overflows."""
    low, high = (-20.0, 89.0) if x.kind == "f32" else (-40.0, 710.0)
    n = nearest(b, t := clamp(x, low, high), LOG2E)
    upper, lower = (LN2_HIGH, LN2_LOW) if x.kind == "f32" else (DLN2_HIGH, DLN2_LOW)
    r = b.fma(n.number, -lower, b.fma(n.number, -upper, t))
    p = b.fma(r * r, horner(b, r, c.EXPM1_6 if x.kind == "f32" else c.DEXP11), r)
    scale_of = power_of_two(n.whole() - 1)
    y = b.fma(p, scale_of, scale_of - 0.5)
    return x.compare("oeq", 0.0).select(x, y + y)


def tanh(b: Builder, x: Value) -> Value:
    """The hyperbolic tangent."""
    a = absolute(b, x)
    if x.kind == "f32":
        p, n = exp_reduced(b, clamp(a, None, 9.1) * 2.0, c.EXP5)
        terms: tuple[float, ...] = c.TANH4
    else:
        p, n = exp_reduced(b, clamp(a, None, 20.0) * 2.0, c.DEXP11)
        terms = c.DTANH10
    large = 1.0 - 2.0 / (scale_normal(b, p, n) + 1.0)
    z = a * a
    small = b.fma(a * z, horner(b, z, terms), a)
    return b.intrinsic("copysign", a.compare("ult", 0.6).select(small, large), x)


def sigmoid(b: Builder, x: Value) -> Value:
    """``1 / (1 + exp(-x))``, without overflow on either side."""
    e = exp(b, -absolute(b, x))
    return x.compare("olt", 0.0).select(e, x.like(1.0)) / (e + 1.0)


def erf(b: Builder, x: Value) -> Value:
    """The error function."""
    a = absolute(b, x)
    if x.kind == "f32":
        t = clamp(a, None, 4.0)
        p, n = exp_reduced(b, -b.fma(t, horner(b, t, c.ERFL6), t), c.EXP5)
        large, limit = 1.0 - scale_normal(b, p, n), 0.921875
        terms: tuple[float, ...] = c.ERFS5
    else:
        t = clamp(a, 1.0, 6.0)
        q = t * t
        low = b.intrinsic("fma", t, t, -q)
        p, n = exp_reduced(b, -q, c.DEXP11)
        e = scale_normal(b, p, n)
        e = b.fma(e, -low, e)
        large, limit, terms = 1.0 - e * horner(b, (t - 2.0) / (t + 2.0), c.DERFC13), 1.0, c.DERFS11
    z = x * x
    small = b.fma(x, horner(b, z, terms), x)
    return a.compare("ult", limit).select(small, b.intrinsic("copysign", large, x))
