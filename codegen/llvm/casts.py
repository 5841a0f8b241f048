"""Conversions between element types: integers wrap, floats saturate, halves round in integer arithmetic."""

from __future__ import annotations

from .emit import Builder, Value


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
    """A number as a float."""
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


def to_bf16(b: Builder, x: Value) -> Value:
    """Round to nearest even in integer arithmetic; NaN keeps its top bits and stays quiet."""
    bits = x.bits()
    rounded = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16
    quiet = (bits >> 16) | 0x40
    out = x.compare("uno", x).select(quiet, rounded)
    return Value(b, "bf16", x.lanes, out.convert("trunc", "i16").text)


def bitcast(b: Builder, x: Value, kind: str) -> Value:
    """The same bits under another kind."""
    return x if x.kind == kind else x.convert("bitcast", kind)
