"""Typed LLVM instructions as text: values with a kind and lanes, and a builder that keeps equal ones once."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

SCALARS = {
    "f64": "double",
    "f32": "float",
    "f16": "half",
    "bf16": "i16",
    "i64": "i64",
    "i32": "i32",
    "i16": "i16",
    "i8": "i8",
    "u8": "i8",
    "bool": "i1",
    "ptr": "ptr",
}


def type_of(kind: str, lanes: int) -> str:
    """The LLVM type of a scalar (0 lanes) or a vector."""
    return SCALARS[kind] if lanes == 0 else f"<{lanes} x {SCALARS[kind]}>"


def bits_of(value: float) -> int:
    """The bits of an f64: how LLVM spells floats."""
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def literal(kind: str, value: Any) -> str:
    """A number as LLVM spells it."""
    if kind == "f32":
        return f"0x{bits_of(float(np.float32(value))):016X}"
    if kind == "f64":
        return f"0x{bits_of(float(value)):016X}"
    if kind == "f16":
        return f"0xH{int(np.float16(value).view(np.uint16)):04X}"
    if kind == "bool":
        return "true" if value else "false"
    return str(int(value))


class Value:
    """An SSA value (or a literal) with its kind and lanes; arithmetic on it appends instructions."""

    __slots__ = ("builder", "kind", "lanes", "text")

    def __init__(self, builder: Builder, kind: str, lanes: int, text: str) -> None:
        self.builder, self.kind, self.lanes, self.text = builder, kind, lanes, text

    @property
    def type(self) -> str:
        """Its LLVM type."""
        return type_of(self.kind, self.lanes)

    def like(self, other: Any) -> Value:
        """A number in this value's kind and lanes."""
        return (
            other if isinstance(other, Value) else self.builder.const(self.kind, self.lanes, other)
        )

    def binary(self, other: Any, of_floats: str, of_integers: str, swap: bool = False) -> Value:
        """One two-operand instruction."""
        other = self.like(other)
        a, b = (other, self) if swap else (self, other)
        name = of_floats if self.kind[0] == "f" else of_integers
        return self.builder.emit(self.kind, self.lanes, f"{name} {self.type} {a.text}, {b.text}")

    def __add__(self, other: Any) -> Value:
        return self.binary(other, "fadd", "add")

    def __sub__(self, other: Any) -> Value:
        return self.binary(other, "fsub", "sub")

    def __rsub__(self, other: Any) -> Value:
        return self.binary(other, "fsub", "sub", True)

    def __mul__(self, other: Any) -> Value:
        return self.binary(other, "fmul", "mul")

    def __truediv__(self, other: Any) -> Value:
        return self.binary(other, "fdiv", "sdiv")

    def __rtruediv__(self, other: Any) -> Value:
        return self.binary(other, "fdiv", "sdiv", True)

    def __and__(self, other: Any) -> Value:
        return self.binary(other, "", "and")

    def __or__(self, other: Any) -> Value:
        return self.binary(other, "", "or")

    def __xor__(self, other: Any) -> Value:
        return self.binary(other, "", "xor")

    def __lshift__(self, other: Any) -> Value:
        return self.binary(other, "", "shl")

    def __rshift__(self, other: Any) -> Value:
        return self.binary(other, "", "lshr")

    def arithmetic_shift(self, other: Any) -> Value:
        """Right shift that repeats the sign."""
        return self.binary(other, "", "ashr")

    def __neg__(self) -> Value:
        if self.kind[0] == "f":
            return self.builder.emit(self.kind, self.lanes, f"fneg {self.type} {self.text}")
        return 0 - self

    def compare(self, condition: str, other: Any) -> Value:
        """A comparison: ``olt``, ``une`` ... of floats, ``slt``, ``eq`` ... of integers."""
        other = self.like(other)
        name = "fcmp" if self.kind[0] == "f" else "icmp"
        return self.builder.emit(
            "bool", self.lanes, f"{name} {condition} {self.type} {self.text}, {other.text}"
        )

    def select(self, x: Any, y: Any) -> Value:
        """``x`` where this holds, else ``y``."""
        x = x if isinstance(x, Value) else y.like(x)
        y = x.like(y)
        return self.builder.emit(
            x.kind, x.lanes, f"select {self.type} {self.text}, {x.type} {x.text}, {y.type} {y.text}"
        )

    def convert(self, instruction: str, kind: str) -> Value:
        """A conversion instruction: ``sext``, ``fptrunc``, ``bitcast`` ..."""
        return self.builder.emit(
            kind,
            self.lanes,
            f"{instruction} {self.type} {self.text} to {type_of(kind, self.lanes)}",
        )

    def bits(self) -> Value:
        """The bits of a float as an integer."""
        return self.convert("bitcast", {"f32": "i32", "f64": "i64", "f16": "i16"}[self.kind])

    def as_float(self) -> Value:
        """The float with these bits."""
        return self.convert("bitcast", {"i32": "f32", "i64": "f64", "i16": "f16"}[self.kind])


class Builder:
    """Collects instructions; the same text in the same scope is one value."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.scopes: list[dict[str, Value]] = [{}]
        self.serial = 0
        self.has_fma = True

    def name(self) -> str:
        """A fresh name."""
        self.serial += 1
        return f"v{self.serial}"

    def emit(self, kind: str, lanes: int, text: str, tag: str = "") -> Value:
        """One instruction that gives a value (``tag`` tells loads of changing memory apart)."""
        key = text + tag
        for scope in self.scopes:
            if key in scope:
                return scope[key]
        value = Value(self, kind, lanes, "%" + self.name())
        self.lines.append(f"  {value.text} = {text}")
        self.scopes[-1][key] = value
        return value

    def raw(self, text: str) -> None:
        """One line that gives no value."""
        self.lines.append(f"  {text}")

    def const(self, kind: str, lanes: int, value: Any) -> Value:
        """A number in every lane."""
        text = literal(kind, value)
        return Value(self, kind, lanes, text if lanes == 0 else f"splat ({SCALARS[kind]} {text})")

    def call(self, kind: str, lanes: int, function: str, *args: Value) -> Value:
        """A call of a pure function."""
        self.declarations.add(
            f"declare {type_of(kind, lanes)} @{function}({', '.join(a.type for a in args)})"
        )
        operands = ", ".join(f"{a.type} {a.text}" for a in args)
        return self.emit(kind, lanes, f"call {type_of(kind, lanes)} @{function}({operands})")

    def intrinsic(self, name: str, *args: Any) -> Value:
        """``llvm.name`` on values of one type."""
        first = next(a for a in args if isinstance(a, Value))
        values = [first.like(a) for a in args]
        suffix = f"v{first.lanes}" if first.lanes else ""
        kind = SCALARS[first.kind] if first.kind[0] != "f" else first.kind
        return self.call(first.kind, first.lanes, f"llvm.{name}.{suffix}{kind}", *values)

    def fma(self, a: Any, b: Any, c: Any) -> Value:
        """``a*b + c``, rounded once where the machine can, else twice."""
        return self.intrinsic("fmuladd", a, b, c)

    def splat(self, value: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        if value.lanes == lanes:
            return value
        if not value.text.startswith("%"):
            return Value(self, value.kind, lanes, f"splat ({SCALARS[value.kind]} {value.text})")
        vector = type_of(value.kind, lanes)
        one = self.emit(
            value.kind, lanes, f"insertelement {vector} poison, {value.type} {value.text}, i32 0"
        )
        zeros = f"<{lanes} x i32> zeroinitializer"
        return self.emit(
            value.kind, lanes, f"shufflevector {vector} {one.text}, {vector} poison, {zeros}"
        )

    def lane_numbers(self, lanes: int, kind: str = "i64") -> Value:
        """0, 1, 2 ... in the lanes."""
        return Value(
            self, kind, lanes, "<" + ", ".join(f"{SCALARS[kind]} {i}" for i in range(lanes)) + ">"
        )

    def extract(self, value: Value, lane: int) -> Value:
        """One lane."""
        return self.emit(value.kind, 0, f"extractelement {value.type} {value.text}, i32 {lane}")

    def shuffle(self, x: Value, y: Value, order: list[int]) -> Value:
        """Lanes of two vectors in another order."""
        mask = ", ".join(f"i32 {i}" for i in order)
        return self.emit(
            x.kind,
            len(order),
            f"shufflevector {x.type} {x.text}, {y.type} {y.text}, <{len(order)} x i32> <{mask}>",
        )
