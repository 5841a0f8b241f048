"""Each loop intrinsic as LLVM instructions, the same for scalars and for vectors of any width."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import coefficients as c
from .emit import Builder, Value

INF, NAN = math.inf, math.nan
LOG2E = 1 / math.log(2)
LN2_HIGH, LN2_LOW = 0.693359375, float(np.float32(math.log(2) - 0.693359375))
DLN2_HIGH = int(math.log(2) * 2**32) / 2**32
DLN2_LOW = 1.9082149292705877e-10 + (0.6931471803691238 - DLN2_HIGH)


def horner(b: Builder, x: Value, coefficients: tuple[float, ...]) -> Value:
    r = x.like(coefficients[-1])
    for a in coefficients[-2::-1]:
        r = b.fma(r, x, a)
    return r


def power_of_two(n: Value) -> Value:
    return ((n + 127) << 23).as_float() if n.kind == "i32" else ((n + 1023) << 52).as_float()


def scale(p: Value, n: Value) -> Value:
    half = n.arithmetic_shift(1)
    return p * power_of_two(half) * power_of_two(n - half)


def nearest(b: Builder, x: Value, factor: float) -> tuple[Value, Value]:
    magic = 12582912.0 if x.kind == "f32" else 6755399441055744.0
    t = b.fma(x, factor, magic)
    return t - magic, t.bits() - (0x4B400000 if x.kind == "f32" else 0x4338000000000000)


def clamp(x: Value, low: float | None, high: float | None) -> Value:
    if low is not None:
        x = x.compare("olt", low).select(low, x)
    return x if high is None else x.compare("ogt", high).select(high, x)


def absolute(b: Builder, x: Value) -> Value:
    if x.kind[0] == "f":
        return b.intrinsic("fabs", x)
    return x if x.kind in ("u8", "bool") else x.compare("slt", 0).select(0 - x, x)


def exp_reduced(b: Builder, x: Value, terms: tuple[float, ...]) -> tuple[Value, Value]:
    n, ni = nearest(b, x, LOG2E)
    high, low = (LN2_HIGH, LN2_LOW) if x.kind == "f32" else (DLN2_HIGH, DLN2_LOW)
    r = b.fma(n, -low, b.fma(n, -high, x))
    return b.fma(r * r, horner(b, r, terms), r) + 1.0, ni


def exp(b: Builder, x: Value) -> Value:
    bounds = (-104.0, 89.0) if x.kind == "f32" else (-746.0, 710.0)
    return scale(*exp_reduced(b, clamp(x, *bounds), c.EXP6 if x.kind == "f32" else c.DEXP11))


def log(b: Builder, x: Value) -> Value:
    return log32(b, x) if x.kind == "f32" else log64(b, x)


def log_special(x: Value, r: Value) -> Value:
    r = x.compare("olt", INF).select(r, x)
    r = x.compare("olt", 0.0).select(x.like(NAN), r)
    return x.compare("oeq", 0.0).select(x.like(-INF), r)


def log32(b: Builder, x: Value) -> Value:
    tiny = x.compare("olt", 1.17549435e-38)
    bits = tiny.select(x * 8388608.0, x).bits()
    e = (bits - 0x3F2AAAAB) & -8388608
    f = (bits - e).as_float() - 1.0
    ef = e.arithmetic_shift(23).convert("sitofp", "f32") + tiny.select(-23.0, x.like(0.0))
    r = b.fma(f * f, horner(b, f, c.LOG8), f)
    return log_special(x, b.fma(ef, math.log(2), r))


def log64(b: Builder, x: Value) -> Value:
    tiny = x.compare("olt", 2.2250738585072014e-308)
    bits = tiny.select(x * 2.0**54, x).bits()
    e = (bits - 0x3FE6A09E667F3BCD) & -4503599627370496
    f = (bits - e).as_float() - 1.0
    ef = e.arithmetic_shift(52).convert("sitofp", "f64") + tiny.select(-54.0, x.like(0.0))
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    r = half - b.fma(s, half + z * horner(b, z, c.DLOG6), ef * DLN2_LOW)
    return log_special(x, b.fma(ef, DLN2_HIGH, f - r))


def tanh(b: Builder, x: Value) -> Value:
    a = absolute(b, x)
    if x.kind == "f32":
        p, n = exp_reduced(b, clamp(a, None, 9.1) * 2.0, c.EXP5)
        terms = c.TANH4
    else:
        p, n = exp_reduced(b, clamp(a, None, 20.0) * 2.0, c.DEXP11)
        terms = c.DTANH10
    large = 1.0 - 2.0 / (p * power_of_two(n) + 1.0)
    z = a * a
    small = b.fma(a * z, horner(b, z, terms), a)
    return b.intrinsic("copysign", a.compare("ult", 0.6).select(small, large), x)


def sigmoid(b: Builder, x: Value) -> Value:
    e = exp(b, -absolute(b, x))
    return x.compare("olt", 0.0).select(e, x.like(1.0)) / (e + 1.0)


def erf(b: Builder, x: Value) -> Value:
    a = absolute(b, x)
    if x.kind == "f32":
        t = clamp(a, None, 4.0)
        p, n = exp_reduced(b, -b.fma(t, horner(b, t, c.ERFL6), t), c.EXP5)
        large, limit, terms = 1.0 - p * power_of_two(n), 0.921875, c.ERFS5
    else:
        t = clamp(a, 1.0, 6.0)
        q = t * t
        low = b.intrinsic("fma", t, t, -q)
        p, n = exp_reduced(b, -q, c.DEXP11)
        e = p * power_of_two(n)
        e = b.fma(e, -low, e)
        large, limit, terms = 1.0 - e * horner(b, (t - 2.0) / (t + 2.0), c.DERFC13), 1.0, c.DERFS11
    z = x * x
    small = b.fma(x, horner(b, z, terms), x)
    return a.compare("ult", limit).select(small, b.intrinsic("copysign", large, x))


def pow_(b: Builder, x: Value, y: Value) -> Value:
    if x.kind[0] != "f":
        return integer_power(b, x, y)
    suffix = f"v{x.lanes}" if x.lanes else ""
    return b.call(x.kind, x.lanes, f"llvm.pow.{suffix}{x.kind}", x, y)


def integer_power(b: Builder, x: Value, y: Value) -> Value:
    result, square, n = x.like(1), x, y
    for _ in range(8 if x.kind in ("u8", "i8") else int(x.kind[1:]) - 1):
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
    if x.kind[0] == "f":
        m = b.emit(x.kind, x.lanes, f"frem {x.type} {x.text}, {y.text}")
        differs = m.compare("une", 0.0) & (m.compare("olt", 0.0) ^ y.compare("olt", 0.0))
        m = differs.select(m + y, m)
        return m.compare("oeq", 0.0).select(b.intrinsic("copysign", m.like(0.0), y), m)
    zero = y.compare("eq", 0)
    return zero.select(0, x - floor_divide(b, x, y) * y)


def floor_divide_floats(b: Builder, x: Value, y: Value) -> Value:
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
    if x.kind[0] == "f":
        return b.intrinsic("maximum", x, y)
    return b.intrinsic("umax" if x.kind in ("u8", "bool") else "smax", x, y)


def minimum(b: Builder, x: Value, y: Value) -> Value:
    if x.kind[0] == "f":
        return b.intrinsic("minimum", x, y)
    return b.intrinsic("umin" if x.kind in ("u8", "bool") else "smin", x, y)


def comparison(of_floats: str, signed: str, unsigned: str) -> Callable[..., Value]:
    def write(b: Builder, x: Value, y: Value) -> Value:
        name = of_floats if x.kind[0] == "f" else unsigned if x.kind in ("u8", "bool") else signed
        return x.compare(name, y)

    return write


def shift_left(b: Builder, x: Value, y: Value) -> Value:
    bits = 8 if x.kind == "u8" else int(x.kind[1:])
    inside = y.compare("ult", bits)
    return inside.select(x << inside.select(y, y.like(0)), x.like(0))


def shift_right(b: Builder, x: Value, y: Value) -> Value:
    last = (8 if x.kind == "u8" else int(x.kind[1:])) - 1
    amount = y.compare("ugt", last).select(last, y)
    return x >> amount if x.kind == "u8" else x.arithmetic_shift(amount)


def invert(b: Builder, x: Value) -> Value:
    return x ^ (True if x.kind == "bool" else -1)


def philox(b: Builder, key: Value, counter: Value, word: Value) -> Value:
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


def libm(name: str) -> Callable[..., Value]:
    """A function of the C library, lane by lane, in f64 for f32 so that the last bit is right."""

    def write(b: Builder, x: Value) -> Value:
        wide = x.convert("fpext", "f64") if x.kind == "f32" else x
        if not wide.lanes:
            out = b.call("f64", 0, name, wide)
        else:
            out = Value(b, "f64", wide.lanes, "poison")
            for i in range(wide.lanes):
                one = b.call("f64", 0, name, b.extract(wide, i))
                out = b.emit(
                    "f64",
                    wide.lanes,
                    f"insertelement {out.type} {out.text}, double {one.text}, i32 {i}",
                )
        return out.convert("fptrunc", "f32") if x.kind == "f32" else out

    return write


def pow_float(b: Builder, x: Value, y: Value) -> Value:
    """The C library's pow, lane by lane, in f64."""
    wx, wy = (v.convert("fpext", "f64") if v.kind == "f32" else v for v in (x, y))
    if not wx.lanes:
        out = b.call("f64", 0, "pow", wx, wy)
    else:
        out = Value(b, "f64", wx.lanes, "poison")
        for i in range(wx.lanes):
            one = b.call("f64", 0, "pow", b.extract(wx, i), b.extract(wy, i))
            out = b.emit(
                "f64", wx.lanes, f"insertelement {out.type} {out.text}, double {one.text}, i32 {i}"
            )
    return out.convert("fptrunc", "f32") if x.kind == "f32" else out


def power(b: Builder, x: Value, y: Value) -> Value:
    return pow_float(b, x, y) if x.kind[0] == "f" else integer_power(b, x, y)


def sincos(name: str) -> Callable[..., Value]:
    return libm(name)


def add(b: Builder, x: Value, y: Value) -> Value:
    return x | y if x.kind == "bool" else x + y


def mul(b: Builder, x: Value, y: Value) -> Value:
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
    "minnum": lambda b, x, y: b.intrinsic("minnum", x, y),
    "maxnum": lambda b, x, y: b.intrinsic("maxnum", x, y),
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
    "log1p": libm("log1p"),
    "expm1": libm("expm1"),
    "sin": libm("sin"),
    "cos": libm("cos"),
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "pow": power,
    "isnan": lambda b, x: x.compare("uno", x),
    "philox": philox,
}


# ---- casts ----


def cast(b: Builder, x: Value, kind: str) -> Value:
    """The rule of the intrinsic table: integers wrap, floats saturate, NaN is 0, anything but 0 is True."""
    if x.kind == kind:
        return x
    if x.kind == "bf16":
        return cast(b, (x.convert("zext", "i32") << 16).convert("bitcast", "f32"), kind)
    if x.kind == "f16":
        return cast(b, x.convert("fpext", "f32"), kind)
    if kind == "bool":
        return x.compare("une", 0.0) if x.kind[0] == "f" else x.compare("ne", 0)
    if kind == "bf16":
        return to_bf16(b, x if x.kind == "f32" else to_float(b, x, "f32"))
    if kind == "f16":
        return (
            to_float(b, x, "f32").convert("fptrunc", "f16")
            if x.kind not in ("f32", "f64")
            else x.convert("fptrunc", "f16")
        )
    if kind[0] == "f":
        return to_float(b, x, kind)
    return to_integer(b, x, kind)


def to_float(b: Builder, x: Value, kind: str) -> Value:
    if x.kind == kind:
        return x
    if x.kind[0] == "f":
        return x.convert("fpext" if kind == "f64" else "fptrunc", kind)
    return x.convert("uitofp" if x.kind in ("u8", "bool") else "sitofp", kind)


def size_of(kind: str) -> int:
    return 1 if kind == "bool" else 8 if kind == "u8" else int(kind.lstrip("bif"))


def to_integer(b: Builder, x: Value, kind: str) -> Value:
    if x.kind[0] == "f":
        name = "fptoui.sat" if kind == "u8" else "fptosi.sat"
        vector = f"v{x.lanes}" if x.lanes else ""
        width = size_of(kind)
        return b.call(kind, x.lanes, f"llvm.{name}.{vector}i{width}.{vector}{x.kind}", x)
    have, want = size_of(x.kind), size_of(kind)
    if have == want:
        return Value(b, kind, x.lanes, x.text)
    return x.convert(
        "trunc" if want < have else "zext" if x.kind in ("u8", "bool") else "sext", kind
    )


def to_bf16(b: Builder, x: Value) -> Value:
    """Round to nearest even in integer arithmetic; NaN keeps its top bits and stays quiet."""
    bits = x.bits()
    rounded = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16
    quiet = (bits >> 16) | 0x40
    out = x.compare("uno", x).select(quiet, rounded)
    return Value(b, "bf16", x.lanes, out.convert("trunc", "i16").text)


def bitcast(b: Builder, x: Value, kind: str) -> Value:
    return x if x.kind == kind else x.convert("bitcast", kind)
