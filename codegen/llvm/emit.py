"""Typed LLVM instructions as text: values with a kind and lanes, and a builder that keeps equal ones once.

f16 and bf16 are 16 bits to LLVM: only ``casts`` knows what they mean.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ...ir.dtypes import by_name

SCALARS = {
    "f64": "double",
    "f32": "float",
    "f16": "i16",
    "bf16": "i16",
    "i64": "i64",
    "i32": "i32",
    "i16": "i16",
    "i8": "i8",
    "u8": "i8",
    "bool": "i1",
    "ptr": "ptr",
}


@functools.cache
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
    if kind in ("f16", "bf16"):
        return str(int(np.asarray(value).astype(by_name(kind).numpy).view(np.uint16)))
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

    def is_zero(self) -> bool:
        """Whether it is the literal +0 (in every lane)."""
        zero = literal(self.kind, 0)
        return self.text in (zero, f"splat ({SCALARS[self.kind]} {zero})")

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
        return self.convert("bitcast", {"f32": "i32", "f64": "i64"}[self.kind])

    def as_float(self) -> Value:
        """The float with these bits."""
        return self.convert("bitcast", {"i32": "f32", "i64": "f64"}[self.kind])


class Builder:
    """Collects instructions; the same text in the same scope is one value."""

    def __init__(self, features: Collection[str] = ()) -> None:
        self.features = frozenset(features)
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.known: dict[str, Value] = {}
        self.scopes: list[list[str]] = [[]]
        self.heads: dict[tuple[str, str], str] = {}
        self.serial = 0
        self.current = "entry"

    def name(self) -> str:
        """A fresh name (those of parameters have a dot in them)."""
        self.serial += 1
        return f"v{self.serial}"

    def emit(self, kind: str, lanes: int, text: str, tag: str = "") -> Value:
        """One instruction that gives a value (``tag`` tells loads of changing memory apart)."""
        key = text + tag if tag else text
        value = self.known.get(key)
        if value is None:
            self.serial += 1
            name = f"%v{self.serial}"
            self.lines.append(f"  {name} = {text}")
            value = self.known[key] = Value(self, kind, lanes, name)
            self.scopes[-1].append(key)
        elif value.kind != kind:
            return Value(self, kind, lanes, value.text)
        return value

    def keep(self, key: str, value: Value) -> None:
        """What ``key`` is from here to the end of the scope."""
        self.known[key] = value
        self.scopes[-1].append(key)

    def leave(self) -> None:
        """The end of a scope."""
        for key in self.scopes.pop():
            del self.known[key]

    def choose(self, test: Value, yes: Callable[[], Value], no: Callable[[], Value]) -> Value:
        """One of two values by a scalar; only the chosen one is computed."""
        name = self.name()
        self.raw(f"br i1 {test.text}, label %{name}Y, label %{name}N")
        ends = []
        for label, part in ((f"{name}Y", yes), (f"{name}N", no)):
            self.lines.append(f"{label}:")
            self.current = label
            self.scopes.append([])
            value = part()
            ends.append((value, self.current))
            self.leave()
            self.raw(f"br label %{name}J")
        self.lines.append(f"{name}J:")
        self.current = f"{name}J"
        (a, from_a), (b, from_b) = ends
        out = Value(self, a.kind, a.lanes, "%" + self.name())
        self.raw(f"{out.text} = phi {a.type} [ {a.text}, %{from_a} ], [ {b.text}, %{from_b} ]")
        return out

    def any(self, mask: Value) -> Value:
        """Whether a condition holds in some lane."""
        if not mask.lanes:
            return mask
        bits = self.emit("", 0, f"bitcast {mask.type} {mask.text} to i{mask.lanes}").text
        return self.emit("bool", 0, f"icmp ne i{mask.lanes} {bits}, 0")

    def by_lane(self, kind: str, function: str, *args: Value) -> Value:
        """A scalar function of the C library, lane by lane."""
        lanes = args[0].lanes
        if not lanes:
            return self.call(kind, 0, function, *args)
        out = Value(self, kind, lanes, "poison")
        for i in range(lanes):
            out = self.insert(
                out, self.call(kind, 0, function, *[self.extract(a, i) for a in args]), i
            )
        return out

    def raw(self, text: str) -> None:
        """One line that gives no value."""
        self.lines.append(f"  {text}")

    def const(self, kind: str, lanes: int, value: Any) -> Value:
        """A number in every lane."""
        text = literal(kind, value)
        return Value(self, kind, lanes, text if lanes == 0 else f"splat ({SCALARS[kind]} {text})")

    def call(self, kind: str, lanes: int, function: str, *args: Value) -> Value:
        """A call of a pure function."""
        result = type_of(kind, lanes)
        operands = ", ".join([f"{a.type} {a.text}" for a in args])
        value = self.known.get(text := f"call {result} @{function}({operands})")
        if value is not None:
            return value
        self.declarations.add(f"declare {result} @{function}({', '.join([a.type for a in args])})")
        return self.emit(kind, lanes, text)

    def intrinsic(self, name: str, *args: Any) -> Value:
        """``llvm.name`` on values of one type."""
        first = args[0] if isinstance(args[0], Value) else next(a for a in args if type(a) is Value)
        t, kind, lanes = first.type, first.kind, first.lanes
        head = self.heads.get((name, t))
        if head is None:
            suffix = f"v{lanes}" if lanes else ""
            function = f"llvm.{name}.{suffix}{SCALARS[kind] if kind[0] != 'f' else kind}"
            self.declarations.add(f"declare {t} @{function}({', '.join([t] * len(args))})")
            head = self.heads[name, t] = f"call {t} @{function}("
        operands = [f"{t} {(a if type(a) is Value else first.like(a)).text}" for a in args]
        return self.emit(kind, lanes, f"{head}{', '.join(operands)})")

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

    def insert(self, value: Value, one: Value, lane: int) -> Value:
        """A vector with one lane replaced."""
        text = f"insertelement {value.type} {value.text}, {one.type} {one.text}, i32 {lane}"
        return self.emit(value.kind, value.lanes, text)

    def shuffle(self, x: Value, y: Value, order: list[int]) -> Value:
        """Lanes of two vectors in another order."""
        mask = ", ".join(f"i32 {i}" for i in order)
        return self.emit(
            x.kind,
            len(order),
            f"shufflevector {x.type} {x.text}, {y.type} {y.text}, <{len(order)} x i32> <{mask}>",
        )
