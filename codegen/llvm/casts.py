"""Conversions between element types: integers wrap, floats saturate, halves round once, in integers where need be."""

from __future__ import annotations

from .emit import Builder, Value, type_of


def cast(b: Builder, x: Value, kind: str) -> Value:
    """The rule of the intrinsic table: integers wrap, floats saturate, NaN is 0, anything but 0 is True."""
    if x.kind == kind:
        return x
    if x.kind in ("f16", "bf16"):
        return cast(b, from_bf16(x) if x.kind == "bf16" else from_f16(b, x), kind)
    if kind == "bool":
        return x.compare("une", 0.0) if x.kind[0] == "f" else x.compare("ne", 0)
    if kind in ("f16", "bf16"):
        narrow = to_bf16 if kind == "bf16" else to_f16
        if x.kind == "f64":
            return narrow(b, round_to_odd(b, x) if kind == "f16" else to_float(x, "f32"))
        return narrow(b, to_float(x, "f32"))
    return to_float(x, kind) if kind[0] == "f" else to_integer(b, x, kind)


def to_float(x: Value, kind: str) -> Value:
    """A number as f32 or f64."""
    if x.kind == kind:
        return x
    if x.kind[0] == "f":
        return x.convert("fpext" if kind == "f64" else "fptrunc", kind)
    return x.convert("uitofp" if x.kind in ("u8", "bool") else "sitofp", kind)


def size_of(kind: str) -> int:
    """Bits of a kind."""
    return 1 if kind == "bool" else 8 if kind == "u8" else int(kind.lstrip("bif"))


def to_integer(b: Builder, x: Value, kind: str) -> Value:
    """A number as an integer: floats saturate, integers wrap."""
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


def from_bf16(x: Value) -> Value:
    """The upper half of an f32."""
    return (x.convert("zext", "i32") << 16).convert("bitcast", "f32")


def to_bf16(b: Builder, x: Value) -> Value:
    """Round to nearest even in integer arithmetic; NaN keeps its top bits and stays quiet.

    All of its exponent is set here too: LLVM 22 takes the bits of a division of zeros for 0 and the value for NaN.
    """
    bits = x.bits()
    rounded = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16
    quiet = (bits >> 16) | 0x7FC0
    out = x.compare("uno", x).select(quiet, rounded)
    return Value(b, "bf16", x.lanes, out.convert("trunc", "i16").text)


def half_type(lanes: int) -> str:
    """LLVM's name of f16, or of a vector of them."""
    return f"<{lanes} x half>" if lanes else "half"


def from_f16(b: Builder, x: Value) -> Value:
    """To f32, by the machine or by moving the exponent."""
    if "+f16c" in b.features:
        half = half_type(x.lanes)
        bits = b.emit("", x.lanes, f"bitcast {x.type} {x.text} to {half}").text
        return b.emit("f32", x.lanes, f"fpext {half} {bits} to {type_of('f32', x.lanes)}")
    bits32 = x.convert("zext", "i32")
    sign = (bits32 & 0x8000) << 16
    moved = ((bits32 & 0x7FFF) << 13).as_float() * 2.0**112
    special = (bits32 & 0x7C00).compare("eq", 0x7C00)
    whole = moved.bits()
    return (special.select(whole | 0x7F800000, whole) | sign).as_float()


def to_f16(b: Builder, x: Value) -> Value:
    """From f32 to the nearest, halves to even, by the machine or in integers."""
    if "+f16c" in b.features:
        half = half_type(x.lanes)
        value = b.emit("", x.lanes, f"fptrunc {x.type} {x.text} to {half}").text
        return b.emit("f16", x.lanes, f"bitcast {half} {value} to {type_of('f16', x.lanes)}")
    bits = x.bits()
    sign = (bits >> 16) & 0x8000
    u = bits & 0x7FFFFFFF
    normal = (u + (((u >> 13) & 1) - 0x37FFF001)) >> 13
    small = (u.as_float() + 0.5).bits() - 0x3F000000
    large = u.compare("sgt", 0x7F800000).select(0x7E00, u.like(0x7C00))
    out = u.compare("sge", 0x47800000).select(
        large, u.compare("slt", 0x38800000).select(small, normal)
    )
    return Value(b, "f16", x.lanes, (out | sign).convert("trunc", "i16").text)


def round_to_odd(b: Builder, x: Value) -> Value:
    """f64 to f32 so that rounding once more, to f16, gives what rounding once would have."""
    near = x.convert("fptrunc", "f32")
    back = b.intrinsic("fabs", near.convert("fpext", "f64"))
    size = b.intrinsic("fabs", x)
    bits = near.bits()
    bits = back.compare("ogt", size).select(bits - 1, bits)
    return back.compare("one", size).select(bits | 1, bits).as_float()


def bitcast(b: Builder, x: Value, kind: str) -> Value:
    """The same bits under another kind."""
    if x.type == type_of(kind, x.lanes):
        return Value(b, kind, x.lanes, x.text)
    return x.convert("bitcast", kind)
