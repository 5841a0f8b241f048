"""The laws of the loop language: what must hold of every nest, and what a writer may rely on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import GraphError, ScheduleError
from ..sizes import Dim, Poly
from .bounds import factor
from .expr import Apply, Const, Expr, Index, Load, Place, Where
from .intrinsics import INTRINSICS, SIGNS, is_index_dtype, result_dtype
from .nest import KINDS, MEMORIES, ROLES, Buffer, Kernel, Let, Loop, Prefetch, Stmt, Store
from .walk import Body


def verify(kernel: Kernel, ready: bool = True) -> None:
    """Raise for a nest that breaks a law: ``GraphError`` if it has no meaning.

    With ``ready``, also ``ScheduleError`` for one that a writer could not spell: a reduction whose
    restart is not yet a store, a register whose place is not a number, lanes in lanes.
    """
    checker = _Checker(kernel, ready)
    checker.head()
    checker.body(kernel.body, 0)


class _Checker:
    """One walk: what is declared and which loops are around."""

    def __init__(self, kernel: Kernel, ready: bool) -> None:
        self.kernel, self.ready = kernel, ready
        self.sizes = {s.name for s in kernel.sizes}
        self.buffers: dict[str, tuple[Buffer, int]] = {}
        self.loops: list[Loop] = []
        self.around = set(self.sizes)
        self.lane = ""
        self.phase = 0
        self.born: dict[str, int] = {}

    def broken(self, what: str) -> GraphError:
        """A nest without meaning."""
        return GraphError(f"{self.kernel.name}: {what}")

    def unready(self, what: str) -> ScheduleError:
        """A nest that means something, but is not what a writer takes."""
        return ScheduleError(f"{self.kernel.name}: {what}")

    def head(self) -> None:
        """Parameters and sizes."""
        known: set[str] = set()
        for size in self.kernel.sizes:
            if size.name in known:
                raise self.broken(f"size {size.name!r} is declared twice")
            if size.numerator is not None:
                self.in_sizes(size.numerator, known, f"size {size.name!r}")
                if size.divisor < 1:
                    raise self.broken(f"size {size.name!r} is divided by {size.divisor}")
            known.add(size.name)
        for b in self.kernel.params:
            if b.role not in ROLES or b.memory != "memory":
                raise self.broken(f"parameter {b.name!r} has role {b.role!r}, memory {b.memory!r}")
            self.declare(b)

    def in_sizes(self, value: Dim, known: set[str], what: str) -> None:
        """Only sizes may stand in ``value``."""
        if type(value) is Poly and not value.names <= known:
            name = min(value.names - known)
            raise self.broken(f"{what} depends on {name!r}, which is no size")
        if self.lane and type(value) is Poly and any(m.count(self.lane) > 1 for m in value.terms):
            raise self.unready(f"{what} is not linear in vector loop {self.lane!r}: {value}")

    def declare(self, b: Buffer) -> None:
        """A buffer comes into scope."""
        if b.name in self.buffers:
            raise self.broken(f"buffer {b.name!r} is declared twice")
        if b.memory not in MEMORIES or len(b.shape) != len(b.strides):
            raise self.broken(f"buffer {b} has an unknown memory, or strides that do not fit")
        for n in (*b.shape, *b.strides):
            self.in_sizes(n, self.sizes, f"buffer {b.name!r}")
        if self.ready and b.memory == "registers" and any(type(n) is Poly for n in b.shape):
            raise self.unready(f"{b.name!r} is in registers, but its shape is no number: {b}")
        open_ = any(type(n) is Poly for n in b.shape)
        if self.ready and b.memory == "local" and self.loops and open_:
            raise self.unready(f"{b.name!r} is local to a loop, but its shape is no number: {b}")
        lane = next((o.axis for o in self.loops if o.kind == "vector"), None)
        if self.ready and b.memory == "local" and lane:
            raise self.unready(f"{b.name!r} is one per lane of {lane!r}, but not in registers")
        self.buffers[b.name] = (b, len(self.loops))
        self.born[b.name] = self.phase

    def body(self, body: Body, depth: int) -> None:
        """Statements; what they declare ends with them."""
        before = dict(self.buffers)
        for s in body:
            alone = not depth and type(s) is Loop and s.kind == "parallel"
            self.phase += alone
            self.statement(s, depth)
            self.phase += alone
        self.buffers = before

    def statement(self, s: Stmt, depth: int) -> None:
        """One statement."""
        if type(s) is Loop:
            self.loop(s, depth)
        elif type(s) is Let:
            self.declare(s.buffer)
        elif type(s) is Store:
            self.store(s)
        elif type(s) is Prefetch:
            self.place(s.buffer, s.index)

    def loop(self, s: Loop, depth: int) -> None:
        """Its name, its extent, and where its kind may stand."""
        if s.kind not in KINDS:
            raise self.broken(f"loop {s.axis!r} has kind {s.kind!r}")
        if s.axis in self.around:
            raise self.broken(f"loop {s.axis!r} stands inside a loop, or a size, of that name")
        self.in_sizes(s.extent, self.sizes, f"the extent of {s.axis!r}")
        if s.limit is not None:
            self.in_sizes(s.limit, self.around, f"the limit of {s.axis!r}")
        if self.ready:
            self.kind(s, depth)
        outer = self.lane
        if s.kind == "vector" and self.ready:
            self.lane = s.axis
        self.loops.append(s)
        self.around.add(s.axis)
        self.body(s.body, depth + 1)
        self.around.remove(s.axis)
        self.loops.pop()
        self.lane = outer

    def kind(self, s: Loop, depth: int) -> None:
        """What a writer needs of a kind."""
        if s.kind == "parallel" and depth:
            raise self.unready(f"parallel loop {s.axis!r} is not outermost")
        if s.kind in ("vector", "unrolled") and type(s.extent) is not int:
            raise self.unready(f"{s.kind} loop {s.axis!r} runs {s.extent} times, not a number")
        threads = any(o.kind == "thread" for o in self.loops)
        if s.kind == "unrolled" and s.limit is not None and not threads:
            free = {o.axis for o in self.loops if o.kind != "unrolled"} | self.sizes
            if not free.isdisjoint(s.limit.names):
                raise self.unready(f"how far unrolled {s.axis!r} goes is known only when it runs")
        if s.kind == "vector":
            if any(o.kind == "vector" for o in self.loops):
                raise self.unready(f"vector loop {s.axis!r} stands inside a vector loop")
            if s.limit is not None and any(s.axis in m for m in s.limit.terms):
                raise self.broken(f"the limit of {s.axis!r} depends on itself")
            if any(type(t) is Loop and t.kind not in ("vector", "unrolled") for t in s.body):
                inner = next(t.axis for t in s.body if type(t) is Loop)
                raise self.unready(f"loop {inner!r} runs inside vector loop {s.axis!r}")

    def store(self, s: Store) -> None:
        """Dtypes, the place, and that a reduction's restart is spelled out."""
        if s.reduce not in SIGNS:
            raise self.broken(f"{s.buffer!r} is reduced by {s.reduce!r}, which is no reduction")
        b = self.place(s.buffer, s.index)
        self.expr(s.value)
        if s.value.dtype is not b.dtype:
            raise self.broken(f"{s.buffer!r} is {b.dtype.name}, the value stored is {s.value.dtype.name}")
        if s.reduce and b.dtype.name in ("f16", "bf16"):
            raise self.broken(f"{s.buffer!r} is reduced in {b.dtype.name}: reduce in f32, then cast")
        if b.role == "in":
            raise self.broken(f"parameter {s.buffer!r} is stored to, but its role is 'in'")
        if s.reduce == "fma" and not (type(s.value) is Apply and s.value.fn == "mul"):
            raise self.broken(f"{s.buffer!r} fma= takes a product, not {s.value}")
        if s.start is not None:
            if not s.reduce:
                raise self.broken(f"{s.buffer!r} restarts, but is not reduced into")
            if self.ready:
                raise self.unready(f"the restart of {s.buffer!r} is not spelled as a store")
        if self.ready:
            self.lanes_meet(s, b)

    def lanes_meet(self, s: Store, b: Buffer) -> None:
        """All lanes storing to one element is a reduction, or a value that is equal in all."""
        lane = next((o for o in self.loops if o.kind == "vector"), None)
        if lane is None or s.reduce or self.buffers[s.buffer][1] > self.loops.index(lane):
            return
        moved = any(type(i) is not Poly or factor(i, lane.axis) != 0 for i in s.index)
        if not moved and _varies(s.value, lane.axis):
            raise self.unready(f"the lanes of {lane.axis!r} store to one element of {s.buffer!r}")

    def place(self, name: str, index: Sequence[Place]) -> Buffer:
        """An access: declared, of the right rank, by known names."""
        if name not in self.buffers:
            raise self.broken(f"buffer {name!r} is not declared here")
        b, depth = self.buffers[name]
        if len(index) != len(b.shape):
            raise self.broken(f"{name!r} has {len(b.shape)} dims, its index {len(index)}")
        for i in index:
            if type(i) is Poly:
                self.in_sizes(i, self.around, f"an index of {name!r}")
            else:
                self.expr(i)  # type: ignore[arg-type]
                if not is_index_dtype(i.dtype):  # type: ignore[union-attr]
                    raise self.broken(f"an index of {name!r} is {i.dtype.name}, not an integer")  # type: ignore[union-attr]
        if self.ready and b.memory == "registers":
            self.register(b, index, depth)
        return b

    def register(self, b: Buffer, index: Sequence[Place], depth: int) -> None:
        """Registers have numbers: their indices move with unrolled loops, threads and one lane only."""
        if self.born[b.name] != self.phase:
            raise self.unready(f"register {b.name!r} does not live across a parallel loop")
        for o in self.loops[depth:]:
            if o.kind == "outlined":
                raise self.unready(f"register {b.name!r} does not reach into outlined {o.axis!r}")
        for o in self.loops:
            if o.kind in ("unrolled", "thread") or o.extent == 1:
                continue
            for i in index:
                step = factor(i, o.axis) if type(i) is Poly else 1
                if step == 0 or (o.kind == "vector" and step == 1):
                    continue
                raise self.unready(f"register {b.name}[{i}] moves with {o.kind} loop {o.axis!r}")
        if self.lane and sum([type(i) is Poly and self.lane in i.names for i in index]) > 1:
            raise self.unready(f"{b.name!r} moves with {self.lane!r} along several dimensions")
        if any(type(i) is not Poly or not self.sizes.isdisjoint(i.names) for i in index):
            raise self.unready(f"the place of register {b.name!r} depends on a size, or on data")

    def expr(self, e: Expr) -> None:
        """Dtypes agree; names are known."""
        if type(e) is Load:
            b = self.place(e.buffer, e.index)
            if e.dtype is not b.dtype:
                raise self.broken(f"{e} is {e.dtype.name}, its buffer {b.dtype.name}")
        elif type(e) is Apply:
            for a in e.args:
                self.expr(a)
            if e.fn not in INTRINSICS:
                raise self.broken(f"no intrinsic is called {e.fn!r}")
            if result_dtype(e.fn, [a.dtype for a in e.args], e.dtype) is not e.dtype:
                raise self.broken(f"{e} does not give {e.dtype.name}")
            half = any(a.dtype.name in ("f16", "bf16") for a in e.args)
            if half and e.fn not in ("cast", "bitcast"):
                raise self.broken(f"{e.fn} of {e.args[0].dtype.name}: cast to f32 first")
        elif type(e) is Where:
            for at, _, _ in e.conds:
                self.in_sizes(at, self.around, "a condition")
            self.expr(e.value)
            self.expr(e.other)
            if e.value.dtype is not e.other.dtype:
                raise self.broken(f"{e}: {e.value.dtype.name} or {e.other.dtype.name}")
        elif type(e) is Index:
            self.in_sizes(e.at, self.around, "index(..)")
        elif type(e) is not Const:
            raise self.broken(f"{e!r} is no expression")


def _varies(e: Expr, axis: str) -> bool:
    """Does the value differ from lane to lane?"""
    return any(axis in p.names for p in _polys(e))


def _polys(e: Expr) -> Iterator[Poly]:
    if type(e) is Load:
        for i in e.index:
            if type(i) is Poly:
                yield i
            else:
                yield from _polys(i)  # type: ignore[arg-type]
    elif type(e) is Apply:
        for a in e.args:
            yield from _polys(a)
    elif type(e) is Where:
        yield from (at for at, _, _ in e.conds)
        yield from _polys(e.value)
        yield from _polys(e.other)
    elif type(e) is Index:
        yield e.at
