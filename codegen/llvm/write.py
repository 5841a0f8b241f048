"""Loop nests to LLVM IR text, one statement for one statement: every choice was made by the schedule.

for         a loop; registers that its body stores are phis
unrolled    the body once per iteration, the axis a number
vector      the axis is the lane: an access that moves by 1 with it is a vector, by 0 a scalar for all lanes, else a
            gather; a reduction into a place that does not move is a horizontal one; lanes past the count are masked
parallel    (outermost only) a phase of its own, called with a range of iterations
outlined    a serial loop in a function of its own, so that nothing of it is hoisted past its caller's registers
registers   one SSA value per element; the index is numbers and at most one lane
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.dtypes import DType
from ...ir.loops import (
    Apply,
    Barrier,
    Buffer,
    Const,
    Expr,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Prefetch,
    Store,
    Where,
)
from ...ir.loops.intrinsics import combine, identity
from ...ir.sizes import Dim, Poly, poly
from ...ir.target import Target
from .emit import SCALARS, Builder, Value, type_of
from .scalar import WRITE, bitcast, cast


@dataclass(frozen=True)
class Phase:
    """One function of a kernel: called with a range of its parallel loop's iterations."""

    symbol: str
    iterations: Dim
    parallel: bool


@dataclass(frozen=True)
class Emitted:
    """The text of a kernel, its phases in order, its workspace (name, bytes) and its arguments in order."""

    text: str
    phases: tuple[Phase, ...]
    workspace: tuple[tuple[str, Dim], ...]
    arguments: tuple[str, ...]


def write(kernel: Kernel, target: Target) -> Emitted:
    """The LLVM IR of a kernel."""
    workspace = [
        s.buffer for s in kernel.body if isinstance(s, Let) and s.buffer.memory != "registers"
    ]
    free = [s.name for s in kernel.sizes if s.numerator is None]
    module = Module(kernel, workspace, free, target)
    phases = [module.phase(k, body) for k, body in enumerate(phases_of(kernel))]
    sizes = tuple((b.name, poly(extent(b)) * b.dtype.itemsize) for b in workspace)
    names = (*(p.name for p in kernel.params), *(b.name for b in workspace), *free)
    return Emitted(
        module.text(), tuple(phases), tuple((n, p if p.names else p.const) for n, p in sizes), names
    )


def extent(b: Buffer) -> Dim:
    """How many elements a buffer spans."""
    out = poly(1)
    for n, s in zip(b.shape, b.strides, strict=True):
        out = out + (poly(n) - 1) * s
    return out


def phases_of(kernel: Kernel) -> list[tuple[Any, ...]]:
    """The statements of each phase: a parallel loop alone, or neighbouring serial statements."""
    out: list[list[Any]] = []
    serial = False
    for s in kernel.body:
        if isinstance(s, Let) and s.buffer.memory != "registers":
            continue
        parallel = isinstance(s, Loop) and s.kind == "parallel"
        if parallel or not serial:
            out.append([])
        out[-1].append(s)
        serial = not parallel
    return [tuple(b) for b in out]


class Module:
    """All functions of one kernel."""

    def __init__(
        self, kernel: Kernel, workspace: list[Buffer], free: list[str], target: Target
    ) -> None:
        self.kernel, self.workspace, self.free, self.target = kernel, workspace, free, target
        self.functions: list[str] = []
        self.declarations: set[str] = set()
        self.buffers = [*kernel.params, *workspace]

    def phase(self, number: int, body: tuple[Any, ...]) -> Phase:
        """Write one phase: an entry that unpacks the arguments, and a body with named, distinct pointers."""
        symbol = f"{self.kernel.name}_{number}"
        first = body[0]
        parallel = isinstance(first, Loop) and first.kind == "parallel"
        parameters = (
            [f"ptr noalias %{b.name}" for b in self.buffers]
            + [f"i64 %{n}" for n in self.free]
            + ["i64 %lo", "i64 %hi"]
        )
        w = Writer(self, symbol)
        for b in self.buffers:
            w.buffers[b.name] = b
        for n in self.free:
            w.env[n] = Value(w, "i64", 0, f"%{n}")
        w.derive()
        if parallel:
            w.loop_over(first, Value(w, "i64", 0, "%lo"), Value(w, "i64", 0, "%hi"))
        else:
            w.block(body)
        self.define(f"{symbol}_body", parameters, w, "noinline")
        self.entry(symbol)
        return Phase(symbol, first.extent if parallel else 1, parallel)

    def entry(self, symbol: str) -> None:
        """``void symbol(ptr args, i64 lo, i64 hi)``: load every argument and go on."""
        lines, operands = [], []
        for i, name in enumerate([*(b.name for b in self.buffers), *self.free]):
            kind = "ptr" if i < len(self.buffers) else "i64"
            lines.append(
                f"  %a{i} = getelementptr i64, ptr %args, i64 {i}\n  %b{i} = load {kind}, ptr %a{i}, align 8"
            )
            operands.append(f"{kind} %b{i}")
            del name
        operands += ["i64 %lo", "i64 %hi"]
        self.functions.append(
            f"define void @{symbol}(ptr %args, i64 %lo, i64 %hi) #0 {{\n"
            + "\n".join(lines)
            + f"\n  call void @{symbol}_body({', '.join(operands)})\n  ret void\n}}\n"
        )

    def define(self, name: str, parameters: list[str], w: Writer, attributes: str) -> None:
        """Keep one finished function."""
        self.declarations |= w.declarations
        fence = "  fence seq_cst\n" if w.nontemporal else ""
        self.functions.append(
            f"define internal void @{name}({', '.join(parameters)}) {attributes} #0 {{\nentry:\n"
            + "\n".join(w.allocas + w.lines)
            + f"\n{fence}  ret void\n}}\n"
        )

    def text(self) -> str:
        """The module."""
        width = self.target.vector_bits
        tail = f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" }}\n!0 = !{{i32 1}}\n'
        return "\n".join(sorted(self.declarations)) + "\n" + "\n".join(self.functions) + tail


Linear = tuple[Value | int, Any, list[tuple[Value | int, Any]]]


class Writer(Builder):
    """One function while it is written."""

    def __init__(self, module: Module, symbol: str) -> None:
        super().__init__()
        self.module, self.symbol = module, symbol
        self.buffers: dict[str, Buffer] = {}
        self.env: dict[str, Value | int] = {}
        self.lane: tuple[str, int, Value | None] | None = None
        self.registers: dict[Any, Value] = {}
        self.alive: dict[Any, str | None] = {}
        self.version: dict[str, int] = {}
        self.allocas: list[str] = []
        self.current = "entry"
        self.nontemporal = False

    # ---- numbers ----

    def derive(self) -> None:
        """The derived sizes of the kernel's head."""
        for s in self.module.kernel.sizes:
            if s.numerator is not None:
                n = self.number(poly(s.numerator))
                self.env[s.name] = self.emit("i64", 0, f"udiv i64 {n.text}, {s.divisor}")

    def number(self, p: Poly) -> Value:
        """A polynomial as a scalar i64 (the lane is not in it)."""
        total: Value | None = None
        constant = 0
        for monomial, c in p.terms.items():
            term: Value | None = None
            for n in monomial:
                v = self.env[n]
                if isinstance(v, int):
                    c *= v
                else:
                    term = v if term is None else term * v
            if term is None:
                constant += c
            elif c:
                term = term if c == 1 else term * c
                total = term if total is None else total + term
        if total is None:
            return self.const("i64", 0, constant)
        return total + constant if constant else total

    def is_number(self, p: Poly) -> int | None:
        """The value of a polynomial if it is known while writing."""
        out = 0
        for monomial, c in p.terms.items():
            for n in monomial:
                v = self.env.get(n)
                if not isinstance(v, int):
                    return None
                c *= v
            out += c
        return out

    def split_lane(self, p: Poly) -> tuple[Poly, Poly]:
        """(what the lane is multiplied with, the rest)."""
        if self.lane is None or self.lane[0] not in p.names:
            return poly(0), p
        axis = self.lane[0]
        factor = poly(p.coefficient(axis))
        return factor, p - factor * Poly({(axis,): 1})

    def index_value(self, p: Poly) -> Value:
        """A polynomial as an i64, per lane where the lane is in it."""
        factor, rest = self.split_lane(p)
        base = self.number(rest)
        if not factor.terms:
            return base
        assert self.lane is not None
        lanes = self.lane[1]
        return self.splat(base, lanes) + self.lane_numbers(lanes) * self.splat(
            self.number(factor), lanes
        )

    def wide(self, v: Value) -> Value:
        """The value in every lane."""
        return v if self.lane is None or v.lanes else self.splat(v, self.lane[1])

    # ---- statements ----

    def block(self, body: tuple[Any, ...]) -> None:
        """Statements, and the end of what they declare."""
        for s in body:
            if isinstance(s, Let):
                self.declare(s.buffer)
            elif isinstance(s, Store):
                self.store(s)
            elif isinstance(s, Loop):
                getattr(
                    self,
                    {"unrolled": "unrolled", "vector": "vector", "outlined": "outlined"}.get(
                        s.kind, "loop_over"
                    ),
                )(s)
            elif isinstance(s, Prefetch):
                self.prefetch(s)
            else:
                assert isinstance(s, Barrier)
        names = {s.buffer.name for s in body if isinstance(s, Let)}
        if names:
            self.registers = {k: v for k, v in self.registers.items() if k[0] not in names}
            self.alive = {k: v for k, v in self.alive.items() if k[0] not in names}

    def declare(self, b: Buffer) -> None:
        """Registers need nothing; a local lies on the stack."""
        self.buffers[b.name] = b
        self.registers = {k: v for k, v in self.registers.items() if k[0] != b.name}
        if b.memory == "registers":
            return
        size = extent(b)
        count = size if isinstance(size, int) else size.const
        memory = memory_type(b.dtype)
        self.allocas.append(f"  %{b.name} = alloca [{count} x {memory}], align 64")

    def count(self, s: Loop) -> int | Value:
        """How often a loop runs."""
        known = self.is_number(poly(s.extent))
        if s.limit is None:
            return known if known is not None else self.number(poly(s.extent))
        limit = self.is_number(s.limit)
        if known is not None and limit is not None:
            return min(known, limit)
        return self.intrinsic("smin", self.number(s.limit), self.number(poly(s.extent)))

    def unrolled(self, s: Loop) -> None:
        """The body once per iteration."""
        count = self.count(s)
        assert isinstance(count, int), f"unrolled {s.axis}: its extent is known only at run time"
        for n in range(count):
            self.env[s.axis] = n
            self.block(s.body)

    def vector(self, s: Loop) -> None:
        """The body once, for all lanes."""
        assert self.lane is None, "a vector loop inside a vector loop"
        width = s.width or (s.extent if isinstance(s.extent, int) else 0)
        count = self.count(s)
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
        self.lane = (s.axis, width, mask)
        self.block(s.body)
        self.lane = None

    def outlined(self, s: Loop) -> None:
        """Call a function that gets every pointer and number in sight."""
        w = Writer(self.module, f"{self.symbol}_{s.axis}{len(self.module.functions)}")
        w.buffers = dict(self.buffers)
        pointers = [b.name for b in self.buffers.values() if b.memory != "registers"]
        around = [n for n, v in self.env.items() if not isinstance(v, int)]
        w.env = {
            n: v if isinstance(v, int) else Value(w, "i64", 0, f"%{n}") for n, v in self.env.items()
        }
        w.loop_over(s)
        parameters = [f"ptr noalias %{n}" for n in pointers] + [f"i64 %{n}" for n in around]
        self.module.define(w.symbol, parameters, w, "noinline")
        operands = [f"ptr %{n}" for n in pointers] + [f"i64 {self.env[n].text}" for n in around]  # type: ignore[union-attr]
        self.raw(f"call void @{w.symbol}({', '.join(operands)})")
        self.changed(written(s.body))

    def changed(self, names: set[str]) -> None:
        """Loads of these buffers from here on are new values."""
        for n in names:
            self.version[n] = self.version.get(n, 0) + 1

    def loop_over(self, s: Loop, low: Value | None = None, high: Value | None = None) -> None:
        """A loop that runs; ``low`` and ``high`` bound a parallel one."""
        count = self.count(s) if high is None else high
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
        carried = {k: v for k, v in self.registers.items() if k[0] in stored}
        outer_lines, self.lines = self.lines, []
        self.scopes.append({})
        self.current = label
        i = Value(self, "i64", 0, "%" + self.name())
        self.env[s.axis] = i
        phis = {k: Value(self, v.kind, v.lanes, "%" + self.name()) for k, v in carried.items()}
        self.registers.update(phis)
        self.block(s.body)
        following = Value(self, "i64", 0, "%" + self.name())
        self.raw(f"{following.text} = add nsw i64 {i.text}, 1")
        end = str(count) if isinstance(count, int) else count.text
        more = following.compare("slt", Value(self, "i64", 0, end))
        self.raw(f"br i1 {more.text}, label %{label}, label %{done}")
        latch, start = self.current, low.text if low is not None else "0"
        heads = [f"  {i.text} = phi i64 [ {start}, %{before} ], [ {following.text}, %{latch} ]"]
        for k, p in phis.items():
            heads.append(
                f"  {p.text} = phi {p.type} [ {carried[k].text}, %{before} ], [ {self.registers[k].text}, %{latch} ]"
            )
        self.scopes.pop()
        self.lines = [*outer_lines, f"{label}:", *heads, *self.lines, f"{done}:"]
        self.current = done
        if maybe is not None:
            for k, v in carried.items():
                p = Value(self, v.kind, v.lanes, "%" + self.name())
                self.lines.append(
                    f"  {p.text} = phi {p.type} [ {v.text}, %{before} ], [ {self.registers[k].text}, %{latch} ]"
                )
                self.registers[k] = p
        del self.env[s.axis]
        self.changed(stored)

    def prefetch(self, s: Prefetch) -> None:
        """A hint."""
        pointer, _ = self.address(self.buffers[s.buffer], s.index)
        self.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.raw(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 1, i32 3, i32 1)")

    def store(self, s: Store) -> None:
        """An assignment, or one step of a reduction."""
        b = self.buffers[s.buffer]
        moves = self.moves(b, s.index)
        if s.reduce == "fma":
            assert isinstance(s.value, Apply)
            factors = [self.value(a) for a in s.value.args]
            value = None
        else:
            factors, value = [], self.value(s.value)
        if s.reduce and self.lane and not moves:
            self.horizontal(s, b, factors, value)
            return
        if s.reduce:
            held = self.held(s, b)
            if value is None:
                value = self.apply("fma", [*factors, held])
            else:
                value = self.apply(s.reduce, [held, value])
        assert value is not None
        if self.lane and moves:
            value = self.wide(value)
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

    def horizontal(self, s: Store, b: Buffer, factors: list[Value], value: Value | None) -> None:
        """All lanes into one place: neighbours first, in a fixed tree."""
        assert self.lane is not None
        _, lanes, mask = self.lane
        if value is None:
            value = self.apply("mul", factors)
        value = self.wide(value)
        name = combine(s.reduce)
        if mask is not None:
            value = mask.select(value, self.const(value.kind, lanes, identity(name, b.dtype)))
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

    # ---- expressions ----

    def value(self, e: Expr) -> Value:
        """An expression."""
        if isinstance(e, Const):
            return self.const(e.dtype.name, 0, e.value)
        if isinstance(e, Load):
            return self.load(self.buffers[e.buffer], e.index)
        if isinstance(e, Index):
            return self.index_value(e.at)
        if isinstance(e, Apply):
            return self.applied(e)
        assert isinstance(e, Where)
        return self.where(e)

    def applied(self, e: Apply) -> Value:
        """An intrinsic."""
        args = [self.value(a) for a in e.args]
        if e.fn == "cast":
            return cast(self, args[0], e.dtype.name)
        if e.fn == "bitcast":
            return bitcast(self, args[0], e.dtype.name)
        return self.apply(e.fn, args)

    def apply(self, fn: str, args: list[Value]) -> Value:
        """An intrinsic of values, all scalar or all lanes."""
        if any(a.lanes for a in args):
            args = [self.wide(a) for a in args]
        return WRITE[fn](self, *args)  # type: ignore[no-any-return]

    def where(self, e: Where) -> Value:
        """One of two values, by where an index lies; loads of the other one are masked off."""
        test: Value | None = None
        for at, low, high in e.conds:
            v = self.index_value(at)
            lowest, highest = self.number(poly(low)), self.number(poly(high))
            if v.lanes:
                lowest, highest = self.splat(lowest, v.lanes), self.splat(highest, v.lanes)
            here = v.compare("sge", lowest) & v.compare("slt", highest)
            if test is not None and test.lanes != here.lanes:
                test, here = self.wide(test), self.wide(here)
            test = here if test is None else test & here
        assert test is not None
        if test.lanes or self.lane is not None:
            return self.where_lanes(e, self.wide(test))
        return self.branch(test, e)

    def where_lanes(self, e: Where, test: Value) -> Value:
        """Both values, each with its own lanes on."""
        assert self.lane is not None
        axis, lanes, mask = self.lane
        inverse = test ^ True
        self.lane = (axis, lanes, test if mask is None else mask & test)
        a = self.wide(self.value(e.value))
        self.lane = (axis, lanes, inverse if mask is None else mask & inverse)
        b = self.wide(self.value(e.other))
        self.lane = (axis, lanes, mask)
        return test.select(a, b)

    def branch(self, test: Value, e: Where) -> Value:
        """A scalar choice: only the chosen value is computed."""
        yes, no, join = self.name() + "Y", self.name() + "N", self.name() + "J"
        self.raw(f"br i1 {test.text}, label %{yes}, label %{no}")
        ends = []
        for label, part in ((yes, e.value), (no, e.other)):
            self.lines.append(f"{label}:")
            self.current = label
            self.scopes.append({})
            ends.append((self.value(part), self.current))
            self.current, last = label, self.current
            self.scopes.pop()
            ends[-1] = (ends[-1][0], last)
            self.raw(f"br label %{join}")
        self.lines.append(f"{join}:")
        self.current = join
        (a, from_a), (b, from_b) = ends
        out = Value(self, a.kind, a.lanes, "%" + self.name())
        self.raw(f"{out.text} = phi {a.type} [ {a.text}, %{from_a} ], [ {b.text}, %{from_b} ]")
        return out

    # ---- places ----

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

    def element(self, b: Buffer, index: tuple[Any, ...]) -> Any:
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
        text = f"call {vector} @{f}(<{lanes} x ptr> align {b.dtype.itemsize} {places}, <{lanes} x i1> {on}, {vector} zeroinitializer)"
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

    def turn(self, b: Buffer, wanted: Any) -> None:
        """A tile written with lanes along one dimension and read along another: shuffle all of it once."""
        assert self.lane is not None
        name, key, dim = wanted
        lanes = self.lane[1]
        at = next((d for n, _, d in self.registers if n == name and d not in (None, dim)), None)
        assert at is not None, f"{name}: read before it is written"
        spot = lambda row, column: tuple(
            {dim: row, at: column}.get(d, key[d]) for d in range(len(key))
        )
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


def memory_kind(dtype: DType) -> str:
    """How an element lies in memory: bools are bytes."""
    return "i8" if dtype.name == "bool" else dtype.name


def memory_type(dtype: DType) -> str:
    """The LLVM type of an element in memory."""
    return SCALARS[memory_kind(dtype)]


def suffix(kind: str) -> str:
    """How an overloaded intrinsic names an element type."""
    return kind if kind in ("f16", "f32", "f64") else SCALARS[kind]


def written(body: tuple[Any, ...]) -> set[str]:
    """The names of the buffers that statements store to."""
    out: set[str] = set()
    for s in body:
        if isinstance(s, Store):
            out.add(s.buffer)
        elif isinstance(s, Loop):
            out |= written(s.body)
    return out
