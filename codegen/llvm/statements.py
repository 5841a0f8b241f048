"""Statements while a kernel is written: loops by kind, assignments, reductions.

for         a loop; registers that its body stores are phis
unrolled    the body once per iteration, the axis a number
vector      the axis is the lane; a reduction into a place that does not move is a horizontal one
outlined    a serial loop in a function of its own: nothing of it is hoisted past its caller's registers
"""

from __future__ import annotations

from typing import Any, Protocol

from ...ir.loops import Apply, Barrier, Buffer, Let, Loop, Prefetch, Store
from ...ir.loops.intrinsics import combine, identity
from ...ir.loops.nest import Size
from ...ir.sizes import poly
from ...ir.target import Target
from .emit import Value
from .expressions import Expressions
from .registers import Key, Open
from .scalar import WRITE

Body = tuple[Any, ...]


class Functions(Protocol):
    """Where finished functions go."""

    functions: list[str]
    target: Target

    def define(self, name: str, parameters: list[str], writer: Any, attributes: str) -> None:
        """Keep one finished function."""

    def apart(self, b: Buffer) -> str:
        """The attribute of a pointer that shares memory with no other, or nothing."""


class Writer(Expressions):
    """One function while it is written."""

    def __init__(self, module: Functions, symbol: str) -> None:
        super().__init__(module.target.features.split(","))
        self.module, self.symbol = module, symbol

    def derive(self, sizes: tuple[Size, ...]) -> None:
        """The derived sizes of the kernel's head, rounded down."""
        for s in sizes:
            if s.numerator is not None:
                n = self.number(s.numerator)
                if any(c < 0 for c in poly(s.numerator).terms.values()):
                    n = n.compare("slt", 0).select(n - (s.divisor - 1), n)
                self.env[s.name] = n / s.divisor

    def block(self, body: Body) -> None:
        """Statements, and the end of what they declare."""
        names = None
        for s in body:
            kind = type(s)
            if kind is Store:
                self.store(s)
            elif kind is Loop:
                self.loop(s)
            elif kind is Let:
                self.declare(s.buffer)
                names = {s.buffer.name} if names is None else names | {s.buffer.name}
            elif kind is Prefetch:
                self.prefetch(s)
            else:
                assert kind is Barrier
        if names is not None:
            self.forget(names)

    def loop(self, s: Loop) -> None:
        """A loop by its kind."""
        if s.kind == "unrolled":
            self.unrolled(s)
        elif s.kind == "vector":
            self.vector(s)
        elif s.kind == "outlined":
            self.outlined(s)
        else:
            self.loop_over(s)

    def times(self, s: Loop) -> int | Value:
        """How often a loop runs."""
        known = self.is_number(s.extent)
        if s.limit is None:
            return known if known is not None else self.number(s.extent)
        limit = self.is_number(s.limit)
        if known is not None and limit is not None:
            return min(known, limit)
        return self.intrinsic("smin", self.number(s.limit), self.number(s.extent))

    def unrolled(self, s: Loop) -> None:
        """The body once per iteration."""
        count = self.times(s)
        assert isinstance(count, int), f"unrolled {s.axis}: its extent is known only at run time"
        for n in range(count):
            self.env[s.axis] = n
            self.block(s.body)

    def vector(self, s: Loop) -> None:
        """The body once, for all lanes."""
        assert self.lane is None, "a vector loop inside a vector loop"
        width = s.width or (s.extent if isinstance(s.extent, int) else 0)
        count = self.times(s)
        mask: Value | None = None
        if isinstance(count, int):
            if count < 1:
                return
            if count != width:
                mask = Value(
                    self,
                    "bool",
                    width,
                    "<"
                    + ", ".join(f"i1 {'true' if n < count else 'false'}" for n in range(width))
                    + ">",
                )
        else:
            mask = self.lane_numbers(width).compare("slt", self.splat(count, width))
        self.lane, self.count = (s.axis, width, mask), count
        self.block(s.body)
        self.lane = None

    def outlined(self, s: Loop) -> None:
        """Call a function that gets every pointer and number in sight."""
        w = Writer(self.module, f"{self.symbol}.{len(self.module.functions)}")
        w.buffers = dict(self.buffers)
        pointers = [b.name for b in self.buffers.values() if b.memory != "registers"]
        around = [n for n, v in self.env.items() if not isinstance(v, int)]
        w.env = {
            n: v if isinstance(v, int) else Value(w, "i64", 0, f"%i.{n}")
            for n, v in self.env.items()
        }
        w.loop_over(s)
        parameters = [f"ptr {self.module.apart(self.buffers[n])}%p.{n}" for n in pointers]
        parameters += [f"i64 %i.{n}" for n in around]
        self.module.define(w.symbol, parameters, w, "noinline")
        operands = [f"ptr %p.{n}" for n in pointers] + [f"i64 {self.env[n].text}" for n in around]  # type: ignore[union-attr]
        self.raw(f"call void @{w.symbol}({', '.join(operands)})")
        self.changed(written(s.body))

    def loop_over(self, s: Loop, low: Value | None = None, high: Value | None = None) -> None:
        """A loop that runs; ``low`` and ``high`` bound a parallel one."""
        count = self.times(s) if high is None else high
        if isinstance(count, int):
            if count < 1:
                return
            if count == 1:
                self.env[s.axis] = 0
                self.block(s.body)
                return
        stored = written(s.body)
        self.changed(stored)
        label, done, before = self.name() + "L", self.name() + "X", self.current
        maybe = None
        if not isinstance(count, int):
            maybe = count.compare("sgt", low if low is not None else 0)
            self.raw(f"br i1 {maybe.text}, label %{label}, label %{done}")
        else:
            self.raw(f"br label %{label}")
        self.apart(stored)
        carried = {k: v for k, v in self.registers.items() if k[0] in stored}
        outer_lines, self.lines, outer = self.lines, [], set(self.registers)
        self.scopes.append([])
        self.current = label
        i = Value(self, "i64", 0, "%" + self.name())
        self.env[s.axis] = i
        phis = {k: Value(self, v.kind, v.lanes, "%" + self.name()) for k, v in carried.items()}
        self.registers.update(phis)
        self.open.append(Open(stored, phis, carried))
        self.block(s.body)
        self.open.pop()
        left = self.settled(phis)
        following = Value(self, "i64", 0, "%" + self.name())
        self.raw(f"{following.text} = add nsw i64 {i.text}, 1")
        end = str(count) if isinstance(count, int) else count.text
        more = following.compare("slt", Value(self, "i64", 0, end))
        self.raw(f"br i1 {more.text}, label %{label}, label %{done}")
        latch, start = self.current, low.text if low is not None else "0"
        heads = [f"  {i.text} = phi i64 [ {start}, %{before} ], [ {following.text}, %{latch} ]"]
        for k, p in phis.items():
            last, was = left[k].text, carried[k].text
            heads.append(f"  {p.text} = phi {p.type} [ {was}, %{before} ], [ {last}, %{latch} ]")
        self.leave()
        self.registers = {k: v for k, v in self.registers.items() if k[0] in stored or k in outer}
        self.lines = [*outer_lines, f"{label}:", *heads, *self.lines, f"{done}:"]
        self.current = done
        if maybe is not None:
            self.join(stored, carried, before, latch)
        del self.env[s.axis]
        self.changed(stored)

    def join(self, stored: set[str], carried: dict[Key, Value], before: str, latch: str) -> None:
        """Registers after a loop that may not have run at all: what was before, or what it left."""
        for k, v in self.registers.items():
            if k[0] not in stored:
                continue
            old = carried.get(k)
            was = old.text if old is not None else "zeroinitializer"
            p = Value(self, v.kind, v.lanes, "%" + self.name())
            self.raw(f"{p.text} = phi {p.type} [ {was}, %{before} ], [ {v.text}, %{latch} ]")
            self.registers[k] = p

    def prefetch(self, s: Prefetch) -> None:
        """A hint."""
        pointer, _, _ = self.address(self.buffers[s.buffer], s.index)
        self.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.raw(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 1, i32 3, i32 1)")

    def store(self, s: Store) -> None:
        """An assignment, or one step of a reduction."""
        b = self.buffers[s.buffer]
        if s.reduce == "fma":
            assert isinstance(s.value, Apply)
            values = [self.value(a) for a in s.value.args]
        else:
            values = [self.value(s.value)]
        if b.memory == "registers" and s.start is None:
            key = self.element(b, s.index)
            if not self.lane or key[2] is not None or b.name in self.per_lane:
                v = self.step(s.reduce, values, self.get(b, key)) if s.reduce else values[0]
                self.set(b, key, self.wide(v) if key[2] is not None else v)
                return
        if self.lane and s.buffer not in self.per_lane and not self.moves(b, s.index):
            self.store_one(s, b, values)
            return
        if s.reduce and self.lane and self.spot(b, s.index).data:
            wide = [self.wide(v) for v in values]
            self.accumulate(
                b,
                s.index,
                lambda n, old: self.step(s.reduce, [self.extract(v, n) for v in wide], old),
            )
            return
        value = self.step(s.reduce, values, self.held(s, b)) if s.reduce else values[0]
        if self.lane and b.name not in self.per_lane:
            value = self.wide(value)
        self.put(b, s.index, value, s.nontemporal)

    def step(self, reduce: str, values: list[Value], held: Value) -> Value:
        """What a reduction holds after one more value."""
        return self.apply(reduce, [*values, held] if reduce == "fma" else [held, *values])

    def store_one(self, s: Store, b: Buffer, values: list[Value]) -> None:
        """All lanes into one place: reduced, or the last one's value."""
        assert self.lane is not None
        if s.reduce:
            self.horizontal(s, b, values[0] if len(values) == 1 else self.apply("mul", values))
            return
        value = values[0]
        if value.lanes:
            last = self.count - 1 if isinstance(self.count, int) else (self.count + -1).text
            text = f"extractelement {value.type} {value.text}, i64 {last}"
            value = self.emit(value.kind, 0, text)
        self.put(b, s.index, value, s.nontemporal)

    def held(self, s: Store, b: Buffer) -> Value:
        """What a reduction goes on from: its identity where it restarts, else what the buffer holds."""
        if s.start is None:
            return self.load(b, s.index)
        conditions = [p for p in s.start if self.is_number(p) != 0]
        if any(self.is_number(p) not in (0, None) for p in s.start):
            return self.load(b, s.index)
        first = self.const(b.dtype.name, 0, identity(s.reduce, b.dtype))
        if not conditions:
            return first
        test: Value | None = None
        for p in conditions:
            here = self.number(p).compare("eq", 0)
            test = here if test is None else test & here
        assert test is not None
        old = self.load(b, s.index)
        return test.select(self.splat(first, old.lanes) if old.lanes else first, old)

    def horizontal(self, s: Store, b: Buffer, value: Value) -> None:
        """All lanes into one place: neighbours first, in a fixed tree."""
        assert self.lane is not None
        _, lanes, mask = self.lane
        value = self.wide(value)
        name = combine(s.reduce)
        if mask is not None:
            value = mask.select(value, self.const(value.kind, lanes, identity(name, b.dtype)))
        if value.lanes & (value.lanes - 1):
            value = self.padded(value, identity(name, b.dtype))
        while value.lanes > 1:
            half = value.lanes // 2
            low = self.shuffle(value, value, list(range(half)))
            high = self.shuffle(value, value, list(range(half, 2 * half)))
            value = WRITE[name](self, low, high)
        value = self.extract(value, 0)
        kept, self.lane = self.lane, None
        held = self.held(s, b)
        self.put(b, s.index, WRITE[name](self, held, value), s.nontemporal)
        self.lane = kept

    def padded(self, value: Value, by: Any) -> Value:
        """A vector with more lanes, a power of two of them."""
        more = 1 << value.lanes.bit_length()
        last = self.const(value.kind, value.lanes, by)
        return self.shuffle(value, last, [min(n, value.lanes) for n in range(more)])


def written(body: Body) -> set[str]:
    """The names of the buffers that statements store to."""
    out: set[str] = set()
    for s in body:
        if isinstance(s, Store):
            out.add(s.buffer)
        elif isinstance(s, Loop):
            out |= written(s.body)
    return out
