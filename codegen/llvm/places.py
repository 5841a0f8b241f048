"""Places while a kernel is written: addresses, loads and stores."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from ...ir.dtypes import DType
from ...ir.loops import Buffer, Expr
from ...ir.sizes import Dim, Poly, dim, poly
from .casts import cast
from .emit import SCALARS, Value, type_of
from .indices import Parts, spelled
from .registers import Registers, Spot

STACK = 1 << 20
"""A local of more bytes than this lies on the heap."""


class Places(Registers):
    """Reads and writes elements; the same load twice between two writes is one value."""

    def __init__(self, features: Collection[str]) -> None:
        super().__init__(features)
        self.version: dict[str, int] = {}
        self.locals: dict[str, int] = {}
        self.open_locals: dict[str, list[Value]] = {}
        self.head: list[str] = []
        self.top = 0
        self.nontemporal = False
        self.guarded = False
        self.count: int | Value = 0

    def value(self, e: Expr) -> Value:
        """The value of an expression (see ``expressions``)."""
        raise TypeError(f"{type(self).__name__} writes no expressions")

    def changed(self, names: set[str]) -> None:
        """Loads of these buffers from here on are new values."""
        for n in names:
            self.version[n] = self.version.get(n, 0) + 1

    def declare(self, b: Buffer) -> None:
        """Registers need nothing; a local gets room for the largest of its name (copies of a nest share it)."""
        self.buffers[b.name] = b
        self.depth[b.name] = len(self.open)
        (self.per_lane.add if self.lane else self.per_lane.discard)(b.name)
        if b.memory == "registers":
            self.forget({b.name})
            return
        self.changed({b.name})
        size = dim(extent(b) * b.dtype.itemsize)
        if isinstance(size, int):
            self.locals[b.name] = max(self.locals.get(b.name, 0), size)
        else:
            self.open_locals.setdefault(b.name, []).append(self.at_entry(size))

    def at_entry(self, size: Poly) -> Value:
        """A size computed where the function begins: only sizes are in it."""
        kept = self.lines, self.known, self.scopes
        self.lines, self.known, self.scopes = self.head, {}, [[]]
        value = self.number(size)
        self.lines, self.known, self.scopes = kept
        return value

    def rooms(self) -> tuple[list[str], list[str]]:
        """How locals begin and end: on the stack, or on the heap where they are large or of any size."""
        first, last = [], []
        for name, size in self.locals.items():
            if size <= STACK and name not in self.open_locals:
                first.append(f"  %p.{name} = alloca [{size} x i8], align 64")
            else:
                constant = self.const("i64", 0, size)
                self.open_locals.setdefault(name, []).append(constant)
        self.lines, self.known, self.scopes = self.head, {}, [[]]
        for name, sizes in self.open_locals.items():
            largest = functools.reduce(lambda a, b: self.intrinsic("smax", a, b), sizes)
            whole = ((largest + 127) & -64).text
            self.declarations |= {"declare ptr @aligned_alloc(i64, i64)", "declare void @free(ptr)"}
            self.raw(f"%p.{name} = call ptr @aligned_alloc(i64 64, i64 {whole})")
            last.append(f"  call void @free(ptr %p.{name})")
        return [*first, *self.head], last

    def spare(self) -> str:
        """Eight bytes that lanes which are off may read and write."""
        self.locals["."] = 8
        return "%p.."

    def moves(self, b: Buffer, index: tuple[Any, ...]) -> bool:
        """Whether an access is another place in each lane."""
        if self.lane is None:
            return False
        spot = self.spot(b, index)
        if spot.factor.terms:
            return True
        data = self.data(spot) if spot.data else None
        return data is not None and data.lanes > 0

    def data(self, spot: Spot) -> Value | None:
        """What data adds to a place, in elements."""
        out: Value | None = None
        for e, s in spot.data:
            v = cast(self, self.value(e), "i64")
            step = self.number(s)
            v = v * (self.splat(step, v.lanes) if v.lanes else step)
            if out is not None and out.lanes != v.lanes:
                out, v = self.wide(out), self.wide(v)
            out = v if out is None else out + v
        return out

    def address(self, b: Buffer, index: tuple[Any, ...]) -> tuple[str, Value | None, bool]:
        """(pointer to the first lane, offsets by lane in elements, whether lanes differ).

        The offsets are None where they are 0, 1, 2 ... or all 0.
        """
        spot = self.spot(b, index)
        parts, constant = self.parts(spot.rest)
        data = self.data(spot) if spot.data else None
        pointer = self.base(b, parts) if parts else f"%p.{b.name}"
        if data is not None and not data.lanes:
            pointer, data = self.beyond(b, pointer, data.text), None
        if constant:
            pointer = self.beyond(b, pointer, constant)
        if not spot.factor.terms:
            return pointer, data, data is not None
        if data is None and self.is_number(spot.factor) == 1:
            return pointer, None, True
        steps = self.lane_steps(spot.factor)
        return pointer, steps if data is None else data + steps, True

    def base(self, b: Buffer, parts: Parts) -> str:
        """A pointer to what is known only when it runs; those of one statement's copies are one."""
        key = f"{b.name}:{b.dtype.name} {spelled(parts)}"
        found = self.known.get(key)
        if found is None:
            text = self.beyond(b, f"%p.{b.name}", self.total(parts).text)
            self.keep(key, found := Value(self, "ptr", 0, text))
        return found.text

    def beyond(self, b: Buffer, pointer: str, count: int | str) -> str:
        """A pointer so many elements further on."""
        text = f"getelementptr {memory_type(b.dtype)}, ptr {pointer}, i64 {count}"
        return self.emit("ptr", 0, text).text

    def pointers(self, b: Buffer, pointer: str, offsets: Value) -> str:
        """A vector of pointers."""
        lanes = offsets.lanes
        return self.emit(
            "ptr",
            lanes,
            f"getelementptr {memory_type(b.dtype)}, ptr {pointer}, <{lanes} x i64> {offsets.text}",
        ).text

    def load(self, b: Buffer, index: tuple[Any, ...]) -> Value:
        """Read an element (or one per lane)."""
        if b.memory == "registers":
            return self.get(b, self.element(b, index))
        pointer, offsets, moves = self.address(b, index)
        tag = f" ;{b.name} {self.version.get(b.name, 0)}"
        kind, align = memory_kind(b.dtype), b.dtype.itemsize
        if not moves:
            if self.guarded and self.lane and self.lane[2] is not None:
                on = self.any(self.lane[2])
                pointer = self.emit(
                    "ptr", 0, f"select i1 {on.text}, ptr {pointer}, ptr {self.spare()}"
                ).text
            v = self.emit(kind, 0, f"load {SCALARS[kind]}, ptr {pointer}, align {align}", tag)
            return self.from_memory(v, b.dtype)
        assert self.lane is not None
        _, lanes, mask = self.lane
        vector = type_of(kind, lanes)
        if offsets is not None:
            return self.from_memory(self.gather(b, pointer, offsets, tag), b.dtype)
        if mask is None:
            return self.from_memory(
                self.emit(kind, lanes, f"load {vector}, ptr {pointer}, align {align}", tag), b.dtype
            )
        f = f"llvm.masked.load.v{lanes}{suffix(kind)}.p0"
        self.declarations.add(f"declare {vector} @{f}(ptr, <{lanes} x i1>, {vector})")
        text = f"call {vector} @{f}(ptr align {align} {pointer}, <{lanes} x i1> {mask.text}, {vector} zeroinitializer)"
        return self.from_memory(self.emit(kind, lanes, text, tag), b.dtype)

    def gather(self, b: Buffer, pointer: str, offsets: Value, tag: str) -> Value:
        """One element per lane from places apart."""
        assert self.lane is not None
        _, lanes, mask = self.lane
        kind = memory_kind(b.dtype)
        vector = type_of(kind, lanes)
        f = f"llvm.masked.gather.v{lanes}{suffix(kind)}.v{lanes}p0"
        self.declarations.add(f"declare {vector} @{f}(<{lanes} x ptr>, <{lanes} x i1>, {vector})")
        on = mask.text if mask is not None else "splat (i1 true)"
        places = self.pointers(b, pointer, offsets)
        text = (
            f"call {vector} @{f}(<{lanes} x ptr> align {b.dtype.itemsize} {places}, "
            f"<{lanes} x i1> {on}, {vector} zeroinitializer)"
        )
        return self.emit(kind, lanes, text, tag)

    def from_memory(self, v: Value, dtype: DType) -> Value:
        """Bools are bytes in memory."""
        return (
            v.compare("ne", 0) if dtype.name == "bool" else Value(self, dtype.name, v.lanes, v.text)
        )

    def to_memory(self, v: Value, dtype: DType) -> Value:
        """Bools are bytes in memory."""
        return v.convert("zext", "i8") if dtype.name == "bool" else v

    def some_on(self) -> Value | None:
        """Whether any lane is on, where that is known only when it runs."""
        mask = self.lane[2] if self.lane else None
        return None if mask is None or isinstance(self.count, int) else self.any(mask)

    def put(self, b: Buffer, index: tuple[Any, ...], v: Value, nontemporal: bool = False) -> None:
        """Write an element (or one per lane).

        A single lane is no masked store: LLVM 22 stores a narrowed value in its wide type then (its issue 179489).
        """
        if b.memory == "registers":
            key = self.element(b, index)
            if not v.lanes and b.name not in self.per_lane and (on := self.some_on()) is not None:
                v = on.select(v, self.get(b, key))
            self.set(b, key, v)
            return
        pointer, offsets, moves = self.address(b, index)
        self.changed({b.name})
        v = self.to_memory(v, b.dtype)
        align = b.dtype.itemsize
        if not moves:
            if (on := self.some_on()) is not None:
                pointer = self.emit(
                    "ptr", 0, f"select i1 {on.text}, ptr {pointer}, ptr {self.spare()}"
                ).text
            self.raw(f"store {v.type} {v.text}, ptr {pointer}, align {align}")
            return
        assert self.lane is not None
        _, lanes, mask = self.lane
        v = self.wide(v)
        if offsets is not None:
            self.scatter(b, pointer, offsets, v)
        elif mask is None:
            if nontemporal and not lanes & (lanes - 1):
                self.put_past_caches(v, pointer, align)
            else:
                self.raw(f"store {v.type} {v.text}, ptr {pointer}, align {align}")
        elif self.count == 1:
            one = self.extract(v, 0)
            self.raw(f"store {one.type} {one.text}, ptr {pointer}, align {align}")
        else:
            f = f"llvm.masked.store.v{lanes}{suffix(v.kind)}.p0"
            self.declarations.add(f"declare void @{f}({v.type}, ptr, <{lanes} x i1>)")
            self.raw(
                f"call void @{f}({v.type} {v.text}, ptr align {align} {pointer}, <{lanes} x i1> {mask.text})"
            )

    def scatter(self, b: Buffer, pointer: str, offsets: Value, v: Value) -> None:
        """One element per lane to places apart, the last lane last."""
        assert self.lane is not None
        _, lanes, mask = self.lane
        f = f"llvm.masked.scatter.v{lanes}{suffix(v.kind)}.v{lanes}p0"
        self.declarations.add(f"declare void @{f}({v.type}, <{lanes} x ptr>, <{lanes} x i1>)")
        on = mask.text if mask is not None else "splat (i1 true)"
        places = self.pointers(b, pointer, offsets)
        self.raw(
            f"call void @{f}({v.type} {v.text}, <{lanes} x ptr> align {b.dtype.itemsize} {places}, <{lanes} x i1> {on})"
        )

    def put_past_caches(self, v: Value, pointer: str, align: int) -> None:
        """A nontemporal store faults where it is not aligned, so each asks first."""
        self.nontemporal = True
        whole = min(v.lanes * align, 64)
        number = self.emit("i64", 0, f"ptrtoint ptr {pointer} to i64")
        test = (number & (whole - 1)).compare("eq", 0)
        name = self.name()
        store = f"store {v.type} {v.text}, ptr {pointer}, align"
        self.raw(f"br i1 {test.text}, label %{name}Y, label %{name}N")
        self.lines += [f"{name}Y:", f"  {store} {whole}, !nontemporal !0", f"  br label %{name}J"]
        self.lines += [f"{name}N:", f"  {store} {align}", f"  br label %{name}J", f"{name}J:"]
        self.current = f"{name}J"

    def accumulate(self, b: Buffer, index: tuple[Any, ...], join: Any) -> None:
        """A reduction at places that data gives: lane after lane, since two of them may be one."""
        assert self.lane is not None
        _, lanes, mask = self.lane
        pointer, offsets, _ = self.address(b, index)
        assert offsets is not None
        kind = memory_kind(b.dtype)
        for n in range(lanes):
            at = self.extract(offsets, n).text
            place = self.emit(
                "ptr", 0, f"getelementptr {memory_type(b.dtype)}, ptr {pointer}, i64 {at}"
            ).text
            if mask is not None:
                on = self.extract(mask, n).text
                place = self.emit("ptr", 0, f"select i1 {on}, ptr {place}, ptr {self.spare()}").text
            where = f"ptr {place}, align {b.dtype.itemsize}"
            tag = f" ;{b.name} {self.version.get(b.name, 0)}"
            old = self.from_memory(
                self.emit(kind, 0, f"load {SCALARS[kind]}, {where}", tag), b.dtype
            )
            new = self.to_memory(join(n, old), b.dtype)
            self.raw(f"store {new.type} {new.text}, {where}")
            self.changed({b.name})


def extent(b: Buffer) -> Dim:
    """How many elements a buffer spans."""
    out = poly(1)
    for n, s in zip(b.shape, b.strides, strict=True):
        out = out + (poly(n) - 1) * s
    return out


def memory_kind(dtype: DType) -> str:
    """How an element lies in memory: bools are bytes."""
    return "i8" if dtype.name == "bool" else dtype.name


def memory_type(dtype: DType) -> str:
    """The LLVM type of an element in memory."""
    return SCALARS[memory_kind(dtype)]


def suffix(kind: str) -> str:
    """How an overloaded intrinsic names an element type."""
    return kind if kind in ("f16", "f32", "f64") else SCALARS[kind]
