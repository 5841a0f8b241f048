"""Places while a kernel is written: addresses, loads and stores, registers, and turned register tiles."""

from __future__ import annotations

from typing import Any

from ...ir.dtypes import DType
from ...ir.loops import Buffer, Expr
from ...ir.sizes import Dim, Poly, poly
from .casts import cast
from .emit import SCALARS, Value, type_of
from .indices import Indices

Key = tuple[str, tuple[int, ...], int | None]
"""A register: its buffer, its numbers, and which dimension is the lane."""


class Places(Indices):
    """Reads and writes elements; the same load twice between two writes is one value."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: dict[str, Buffer] = {}
        self.registers: dict[Key, Value] = {}
        self.alive: dict[Key, str | None] = {}
        self.version: dict[str, int] = {}
        self.allocas: list[str] = []
        self.nontemporal = False

    def value(self, e: Expr) -> Value:
        """The value of an expression (see ``expressions``)."""
        raise TypeError(f"{type(self).__name__} writes no expressions")

    def changed(self, names: set[str]) -> None:
        """Loads of these buffers from here on are new values."""
        for n in names:
            self.version[n] = self.version.get(n, 0) + 1

    def declare(self, b: Buffer) -> None:
        """Registers need nothing; a local lies on the stack."""
        self.buffers[b.name] = b
        self.registers = {k: v for k, v in self.registers.items() if k[0] != b.name}
        if b.memory == "registers":
            return
        size = extent(b)
        count = size if isinstance(size, int) else size.const
        memory = memory_type(b.dtype)
        self.changed({b.name})
        head = f"  %{b.name} = alloca ["
        before = next((k for k, line in enumerate(self.allocas) if line.startswith(head)), None)
        if before is not None:  # a copy of the same nest: both share the larger of their locals
            count = max(count, int(self.allocas.pop(before)[len(head) :].split(" ", 1)[0]))
        self.allocas.append(f"{head}{count} x {memory}], align 64")

    def moves(self, b: Buffer, index: tuple[Any, ...]) -> bool:
        """Whether an access is another place in each lane."""
        if self.lane is None:
            return False
        if any(isinstance(i, Expr) for i in index):
            return self.flat(b, index)[1] is not None
        return bool(self.split_lane(self.polynomial(b, index))[0].terms)

    def polynomial(self, b: Buffer, index: tuple[Any, ...]) -> Poly:
        """Where an element lies, in elements."""
        out = poly(0)
        for i, s in zip(index, b.strides, strict=True):
            out = out + i * s if isinstance(i, Poly) else out
        return out

    def flat(self, b: Buffer, index: tuple[Any, ...]) -> tuple[Poly, Value | None]:
        """The polynomial part of a place, and what data adds to it (None: nothing that differs by lane)."""
        data: Value | None = None
        for i, s in zip(index, b.strides, strict=True):
            if isinstance(i, Expr):
                v = cast(self, self.value(i), "i64")
                step = self.number(poly(s))
                v = v * (self.splat(step, v.lanes) if v.lanes else step)
                if data is not None and data.lanes != v.lanes:
                    data, v = self.wide(data), self.wide(v)
                data = v if data is None else data + v
        return self.polynomial(b, index), data

    def address(self, b: Buffer, index: tuple[Any, ...]) -> tuple[str, Value | None]:
        """(pointer to the first lane, offsets by lane in elements: None where they are 0, 1, 2 ... or all 0)."""
        p, data = self.flat(b, index)
        factor, rest = self.split_lane(p)
        offset = self.number(rest)
        if data is not None and not data.lanes:
            offset, data = offset + data, None
        memory = memory_type(b.dtype)
        pointer = f"%{b.name}"
        if offset.text != "0":
            pointer = self.emit(
                "ptr", 0, f"getelementptr inbounds {memory}, ptr {pointer}, i64 {offset.text}"
            ).text
        step = self.is_number(factor) if factor.terms else 0
        if data is None and step in (0, 1):
            return pointer, None
        assert self.lane is not None
        lanes = self.lane[1]
        steps = (
            self.lane_numbers(lanes) * self.splat(self.number(factor), lanes)
            if factor.terms
            else None
        )
        offsets = data if steps is None else steps if data is None else data + steps
        return pointer, offsets

    def pointers(self, b: Buffer, pointer: str, offsets: Value) -> str:
        """A vector of pointers."""
        lanes = offsets.lanes
        return self.emit(
            "ptr",
            lanes,
            f"getelementptr {memory_type(b.dtype)}, ptr {pointer}, <{lanes} x i64> {offsets.text}",
        ).text

    def element(self, b: Buffer, index: tuple[Any, ...]) -> Key:
        """The key of a register: its numbers, and which dimension is the lane."""
        key, dim = [], None
        for d, i in enumerate(index):
            factor, rest = self.split_lane(i)
            n = self.is_number(rest)
            assert n is not None, f"{b.name}: the index of a register must be unrolled"
            if factor.terms:
                dim = d
            key.append(n)
        return b.name, tuple(key), dim

    def load(self, b: Buffer, index: tuple[Any, ...]) -> Value:
        """Read an element (or one per lane)."""
        if b.memory == "registers":
            key = self.element(b, index)
            if key not in self.registers:
                self.turn(b, key)
            return self.registers[key]
        moves = self.moves(b, index)
        pointer, offsets = self.address(b, index)
        tag = f" ;{b.name} {self.version.get(b.name, 0)}"
        kind, align = memory_kind(b.dtype), b.dtype.itemsize
        if not moves:
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

    def put(self, b: Buffer, index: tuple[Any, ...], v: Value, nontemporal: bool = False) -> None:
        """Write an element (or one per lane)."""
        if b.memory == "registers":
            self.put_register(b, index, v)
            return
        moves = self.moves(b, index)
        pointer, offsets = self.address(b, index)
        self.changed({b.name})
        v = self.to_memory(v, b.dtype)
        align = b.dtype.itemsize
        if not moves:
            assert not v.lanes, f"{b.name}: lanes stored to one place"
            self.raw(f"store {v.type} {v.text}, ptr {pointer}, align {align}")
            return
        assert self.lane is not None
        _, lanes, mask = self.lane
        v = self.wide(v)
        if offsets is not None:
            self.scatter(b, pointer, offsets, v)
        elif mask is None:
            self.nontemporal = self.nontemporal or nontemporal
            end = f"{lanes * align}, !nontemporal !0" if nontemporal else str(align)
            self.raw(f"store {v.type} {v.text}, ptr {pointer}, align {end}")
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

    def put_register(self, b: Buffer, index: tuple[Any, ...], v: Value) -> None:
        """Lanes that are off keep their value, unless the register's first store left the same lanes off."""
        key = self.element(b, index)
        old = self.registers.get(key)
        mask = self.lane[2] if self.lane and v.lanes else None
        spelled = None if mask is None else mask.text
        if old is None:
            self.alive[key] = spelled
        elif spelled != self.alive.get(key):
            self.alive[key] = None
            if mask is not None:
                v = mask.select(v, self.wide(old))
        self.registers[key] = v

    def turn(self, b: Buffer, wanted: Key) -> None:
        """A tile written with lanes along one dimension and read along another: shuffle all of it once."""
        assert self.lane is not None
        name, key, dim = wanted
        lanes = self.lane[1]
        at = next((d for n, _, d in self.registers if n == name and d not in (None, dim)), None)
        assert at is not None, f"{name}: read before it is written"

        def spot(row: int, column: int) -> tuple[int, ...]:
            return tuple({dim: row, at: column}.get(d, key[d]) for d in range(len(key)))

        off = Value(self, b.dtype.name, lanes, "zeroinitializer")
        rows = [self.registers.get((name, spot(row, 0), at), off) for row in range(lanes)]
        bit = lanes // 2
        while bit:
            out = list(rows)
            for i in range(lanes):
                if not i & bit:
                    low = [q if not q & bit else lanes + (q ^ bit) for q in range(lanes)]
                    high = [(q | bit) if not q & bit else lanes + q for q in range(lanes)]
                    out[i], out[i | bit] = (
                        self.shuffle(rows[i], rows[i | bit], low),
                        self.shuffle(rows[i], rows[i | bit], high),
                    )
            rows, bit = out, bit // 2
        for column, v in enumerate(rows):
            self.registers[name, spot(0, column), dim] = v


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
