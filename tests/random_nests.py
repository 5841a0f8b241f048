"""Random kernels of the loop language that a writer must take, with arrays to run them on.

They keep to what a schedule may leave behind: the lanes of a vector loop do not depend on each
other, and what is read was written. Where sums may be taken in another order, they are exact.
"""

import random

import numpy as np

from gristmill.ir.dtypes import REAL, DType, bool_, by_name, int64
from gristmill.ir.loops import (
    Apply,
    Barrier,
    Const,
    Index,
    Kernel,
    Let,
    Loop,
    Prefetch,
    Store,
    Where,
    buffer,
)
from gristmill.ir.loops.expr import Expr, Load, const
from gristmill.ir.loops.nest import Buffer, Size, Stmt
from gristmill.ir.sizes import Poly, evaluate, poly

HALVES = ("f16", "bf16")
WHOLE = [d for d in REAL if d.name not in HALVES]
UNARY = {"f": "neg abs floor ceil trunc round sqrt rsqrt", "i": "neg abs not", "u": "abs not", "b": "not"}
BINARY = {
    "f": "add sub mul div min max floordiv rem",
    "i": "add sub mul min max floordiv rem and or xor shl shr pow",
    "u": "add sub mul min max floordiv rem and or xor shl shr pow",
    "b": "and or xor min max add mul",
}
REDUCE = {"f": "add mul max min fma", "i": "add mul max min and or fma", "u": "add max and or fma", "b": "and or max min"}
ORDER = ["eq", "ne", "lt", "le", "gt", "ge"]
FAR = 1 << 40


class Nests:
    """Draws one kernel; the shapes of its buffers follow from how they were indexed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        n = self.rng.choice([1, 2, 3, 7, 16, 19])
        self.known = {"n": n, "q": -(-n // 16), "z": (n - 4) // 3}
        self.spans: dict[str, tuple[DType, list[int], str]] = {}
        self.most: dict[str, int] = dict(self.known)
        """The largest value of each axis and size in sight."""
        self.tiles: dict[str, Buffer] = {}
        self.per_lane: dict[str, Buffer] = {}
        self.locals: dict[str, Buffer] = {}
        self.fixed: set[str] = set()
        self.lane = ""
        self.count = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    # ---- indices ----

    def axes(self) -> list[str]:
        return [a for a in self.most if a not in self.known]

    def place(self, lane: bool) -> tuple[Poly, int]:
        """An index that is never negative, and its largest value; ``lane`` says whether the lane is in it."""
        some = [a for a in self.axes() if a != self.lane]
        out, most = poly(self.rng.choice([0, 0, 0, 1, 3])), 0
        for a in self.rng.sample(some, min(len(some), self.rng.randint(0, 2))) + [self.lane] * bool(lane and self.lane):
            c = self.rng.choice([1, 1, 1, 2, 3, -1])
            if c < 0:
                out, most = out + self.most[a] - poly(a), most + self.most[a]
            elif self.chance(0.12):
                out, most = out + poly(a) * poly("n"), most + self.most[a] * self.known["n"]
            else:
                out, most = out + poly(a) * c, most + self.most[a] * c
        return out, most + int(out.terms.get((), 0))

    def dimension(self, lane: bool, data: bool) -> tuple[Poly | Expr, int]:
        """One entry of an index."""
        if not data:
            return self.place(lane)
        dtype = by_name(self.rng.choice(["i64", "i32", "u8", "i8"]))
        inner, most = self.place(lane)
        at = self.read(f"at_{dtype.name}", dtype, [(inner, most)])
        if self.chance(0.3):
            return Apply("add", (at, Const(3, dtype)), dtype), 7 + 3
        if dtype is int64 and self.chance(0.3):
            return Apply("rem", (Index(inner), Const(5, int64)), int64), 4
        return at, 7

    def index(self, rank: int, lane: bool, data: float = 0.15) -> list[tuple[Poly | Expr, int]]:
        """An index; the lane, if any, is in one dimension."""
        at = self.rng.randrange(rank)
        return [self.dimension(lane and d == at, self.chance(data)) for d in range(rank)]

    def spanned(self, name: str, dtype: DType, at: list, role: str) -> tuple[Poly | Expr, ...]:
        """Make a buffer large enough for an index."""
        _, span, _ = self.spans.setdefault(name, (dtype, [1] * len(at), role))
        for d, (_, most) in enumerate(at):
            span[d] = max(span[d], most + 1)
        return tuple(i for i, _ in at)

    def read(self, name: str, dtype: DType, at: list) -> Load:
        return Load(name, self.spanned(name, dtype, at, "in"), dtype)

    # ---- expressions ----

    def leaf(self, dtype: DType, lane: bool) -> Expr:
        """A constant, an input, an earlier result, or a register."""
        kind = self.rng.random()
        if kind < 0.12:
            return const(self.rng.choice([0, 1, 2, 5]), dtype)
        near = [b for b in self.per_lane.values() if b.dtype is dtype] if lane or not self.lane else []
        if near and kind < 0.5:
            return Load(self.rng.choice(near).name, (), dtype)
        room = [b for b in self.locals.values() if b.dtype is dtype and b.name not in self.fixed]
        if room and kind < 0.7:
            return self.inside(self.rng.choice(room), lane)
        done = [n for n, (d, _, role) in self.spans.items() if role == "out" and d is dtype and n not in self.fixed]
        if done and kind < 0.7:
            name = self.rng.choice(done)
            return Load(name, self.spanned(name, dtype, self.index(len(self.spans[name][1]), lane), "out"), dtype)
        rank = self.rng.randint(1, 2)
        return self.read(f"x{rank}_{dtype.name}", dtype, self.index(rank, lane and self.chance(0.8)))

    def inside(self, b: Buffer, lane: bool) -> Load:
        """An element of a local, whose size is fixed."""
        fits = [a for a in self.axes() if self.most[a] < b.shape[0] and (lane or a != self.lane)]
        return Load(b.name, (poly(self.rng.choice(fits)) if fits else poly(0),), b.dtype)

    def value(self, dtype: DType, depth: int, lane: bool) -> Expr:
        """An expression; without ``lane`` it is the same in all lanes."""
        if depth == 0:
            return self.leaf(dtype, lane)
        if self.chance(0.2):
            return self.where(dtype, depth, lane)
        if dtype.name in HALVES or self.chance(0.15):
            source = self.rng.choice([d for d in REAL if d is not dtype])
            return Apply("cast", (self.value(source, depth - 1, lane),), dtype)
        one = lambda: self.value(dtype, self.rng.randint(0, depth - 1), lane)  # noqa: E731
        if dtype is int64 and self.chance(0.3):
            return Index(self.place(lane)[0]) if self.chance(0.7) else Apply("philox", (one(), one(), one()), int64)
        if dtype is bool_ and self.chance(0.5):
            other = self.rng.choice(WHOLE)
            pair = (self.value(other, depth - 1, lane), self.value(other, depth - 1, lane))
            return Apply(self.rng.choice(ORDER), pair, bool_)
        if self.chance(0.2):
            return Apply("select", (self.value(bool_, depth - 1, lane), one(), one()), dtype)
        if self.chance(0.25):
            return Apply(self.rng.choice(UNARY[dtype.kind].split()), (one(),), dtype)
        return Apply(self.rng.choice(BINARY[dtype.kind].split()), (one(), one()), dtype)

    def where(self, dtype: DType, depth: int, lane: bool) -> Expr:
        """A choice by index; what is read in one branch may lie outside in the other."""
        at, most = self.place(lane and self.chance(0.7))
        low = self.rng.randint(0, most)
        high = self.rng.randint(low, most + 2)
        conds = [(at, low, high)]
        other = self.value(dtype, depth - 1, lane)
        if self.chance(0.5):
            step = FAR if high == low + 1 else self.rng.choice([1, 2])
            far = Load(name := f"x1_{dtype.name}", self.spanned(name, dtype, [(at * step - low * step, max(0, high - 1 - low) * (step % FAR))], "in"), dtype)
            inner: Expr = far
        else:
            inner = self.value(dtype, depth - 1, lane)
        if self.chance(0.3):
            also, top = self.place(lane and self.chance(0.5))
            conds.append((also, self.rng.choice([0, 1]), poly("n") if self.chance(0.4) else top))
        return Where(tuple(conds), inner, other)

    # ---- statements ----

    def outcome(self, lane: bool) -> list:
        """Store to a place of its own in each lane (or wherever, outside of vector loops)."""
        dtype = self.rng.choice(REAL)
        rank = self.rng.randint(1, 2)
        target = self.name("y")
        value = self.value(dtype, self.rng.randint(0, 3), lane)
        at = self.index(rank, lane, 0.12)
        self.fixed.add(target)
        streams = self.chance(0.1)
        return [Store(target, self.spanned(target, dtype, at, "out"), value, nontemporal=streams, source=self.rng.choice([None, "here"]))]

    def exact(self, dtype: DType, reduce: str, lane: bool) -> Expr:
        """What may be reduced in any order."""
        kind = {"add": "sum", "fma": "sum", "mul": "one"}.get(reduce, "") if dtype.kind == "f" else ""
        if not kind:
            return self.value(dtype, self.rng.randint(0, 2), lane)
        x: Expr = self.read(f"{kind}_{dtype.name}", dtype, self.index(1, lane and self.chance(0.9)))
        if self.chance(0.2):
            at, most = self.place(lane)
            x = Where(((at, 0, self.rng.randint(0, most + 1)),), x, Const(1.0, dtype))
        return x

    def summed(self, target: str, at: tuple, dtype: DType, lane: bool) -> Store:
        """One step of a reduction into a place."""
        reduce = self.rng.choice(REDUCE[dtype.kind].split())
        value = self.exact(dtype, reduce, lane)
        if reduce == "fma":
            value = Apply("mul", (value, self.exact(dtype, reduce, lane)), dtype)
        return Store(target, at, value, reduce)

    def reduction(self, lane: bool) -> list:
        """Into a place for all lanes, one for each, or one that data gives."""
        dtype = self.rng.choice(WHOLE)
        target, how = self.name("s"), self.rng.random()
        at = self.index(self.rng.randint(1, 2), lane and how < 0.5, 0.4 if how > 0.75 else 0)
        self.fixed.add(target)
        return [self.summed(target, self.spanned(target, dtype, at, "inout"), dtype, lane)]

    def register(self, lane: bool) -> list:
        """One per lane or iteration, perhaps summed in unrolled steps."""
        dtype = self.rng.choice(REAL)
        b = buffer(self.name("t"), dtype, [], "registers")
        out = [Let(b), Store(b.name, (), self.value(dtype, 2, lane))]
        if dtype in WHOLE and dtype.kind != "f" and self.chance(0.4):
            axis = self.name("u")
            self.most[axis] = 2
            out.append(Loop(axis, 3, (self.summed(b.name, (), dtype, lane),), "unrolled"))
            del self.most[axis]
        self.per_lane[b.name] = b
        return out

    def statements(self, lane: bool, count: int) -> list:
        out = []
        for _ in range(count):
            kind = self.rng.choice(["outcome", "outcome", "reduction", "register"])
            out += getattr(self, kind)(lane)
            if self.chance(0.05):
                out.append(Barrier())
            if self.chance(0.08):
                at = self.index(1, False, 0)
                out.append(Prefetch("x1_f32", self.spanned("x1_f32", by_name("f32"), at, "in")))
        return out

    def scoped(self, make, *args) -> list:
        """Statements whose registers and locals end with them."""
        kept = dict(self.per_lane), dict(self.tiles), dict(self.locals)
        out = make(*args)
        self.per_lane, self.tiles, self.locals = kept
        return out

    def local(self) -> list:
        """Room of its own, filled by number or by lane."""
        dtype = self.rng.choice(REAL)
        b = buffer(self.name("l"), dtype, [self.rng.choice([4, 16, 19])], "local")
        axis, n = self.name("z"), b.shape[0]
        kind = "vector" if n == 16 and self.chance(0.7) else self.rng.choice(["for", "for", "outlined"])
        kept, self.most, self.lane = (dict(self.most), self.lane), {**self.most, axis: n - 1}, axis if kind == "vector" else ""
        near, self.per_lane = self.per_lane, {}
        fill = Store(b.name, (poly(axis),), self.value(dtype, 1, True))
        (self.most, self.lane), self.per_lane = kept, near
        self.locals[b.name] = b
        return [Let(b), Loop(axis, n, (fill,), kind, n if kind == "vector" else 0)]

    def vector(self) -> Loop | list:
        """A loop whose lanes are all on, some on, or as many as a size says."""
        axis, width = self.name("v"), self.rng.choice([1, 2, 3, 4, 6, 8, 16, 16, 16])
        how, limit, extent, outer = self.rng.random(), None, width, ""
        if how < 0.3:
            extent = self.rng.randint(1, width)
        elif how < 0.5:
            limit, extent = poly("n") - self.rng.randint(0, 3), width
        elif how < 0.65:
            width = extent = 16
            outer = self.name("b")
            limit = poly("n") - poly(outer) * 16
            self.most[outer] = self.known["q"] - 1
        self.most[axis], self.lane = extent - 1, axis
        before, self.fixed = self.fixed, set(self.fixed)
        body = self.scoped(self.statements, True, self.rng.randint(1, 4))
        self.fixed, self.lane = before, ""
        del self.most[axis]
        made = Loop(axis, extent, tuple(body), "vector", width, limit)
        if outer:
            del self.most[outer]
            return Loop(outer, poly("q"), (made,))
        return made

    def accumulator(self) -> list:
        """A single register that vector loops, of which some have no lanes, are reduced into or set."""
        dtype = self.rng.choice(WHOLE)
        b = buffer(self.name("c"), dtype, [], "registers")
        out: list = [Let(b), Store(b.name, (), const(1, dtype))]
        for _ in range(self.rng.randint(1, 3)):
            axis, lanes = self.name("v"), self.rng.choice([1, 2, 3, 4, 6, 8, 16])
            limit = poly("n") - self.rng.randint(0, 4) if self.chance(0.5) else None
            on = lanes if self.chance(0.6) else self.rng.randint(1, lanes)
            self.most[axis], self.lane = on - 1, axis
            if self.chance(0.7):
                body = [self.summed(b.name, (), dtype, True)]
            else:
                body = [Store(b.name, (), self.exact(dtype, "add", False))]
            del self.most[axis]
            self.lane = ""
            made: Stmt = Loop(axis, on, tuple(body), "vector", lanes, limit)
            times = self.rng.choice([1, 2, "z"])
            out.append(Loop(self.name("k"), poly(times) if times == "z" else times, (made,)))
        target = self.name("y")
        self.spans[target] = (dtype, [1], "out")
        return [*out, Store(target, (poly(0),), Load(b.name, (), dtype))]

    def tile(self) -> list:
        """Registers by place: all of them set, then read and written in loops, by number and by lane."""
        dtype = self.rng.choice(WHOLE)
        b = buffer(self.name("r"), dtype, self.rng.choice([(1, 16), (2, 16), (3, 8), (4, 4), (8, 8)]), "registers")
        usual = self.form(b) if self.chance(0.4) else None
        out: list = [Let(b), *self.touch(b, "set", None)]
        out += self.touches(b, usual, self.rng.randint(0, 2))
        return [*out, *self.touch(b, "get", None)]

    def touches(self, b: Buffer, usual: tuple | None, depth: int) -> list:
        """Some accesses of a tile, in loops of which some run not at all."""
        out: list = []
        for _ in range(self.rng.randint(1, 3)):
            if depth and self.chance(0.5):
                k, times = self.name("k"), self.rng.choice([2, 3, "n", "z"])
                self.most[k] = max(0, (self.known[times] if isinstance(times, str) else times) - 1)
                inner = self.touches(b, usual, depth - 1)
                del self.most[k]
                out.append(Loop(k, poly(times) if isinstance(times, str) else times, tuple(inner)))
            else:
                out += self.touch(b, self.rng.choice(["sum", "sum", "put", "get"]), usual or self.form(b))
        return out

    def form(self, b: Buffer) -> tuple[int | None, int, int, int]:
        """How to go through a tile: the dimension of the lane or None, the lanes, how many are on, the first."""
        d = self.rng.choice([None, 0, 1, 1, 1])
        if d is None:
            return None, 0, 0, 0
        size = int(b.shape[d])
        lanes = self.rng.choice([n for n in (1, 2, 3, 4, 8, 16) if n <= size])
        on = lanes if self.chance(0.7) else self.rng.randint(1, lanes)
        return d, lanes, on, self.rng.choice([0, 0, self.rng.randint(0, size - on)])

    def touch(self, b: Buffer, what: str, form: tuple | None) -> list:
        """Loops over a tile, or over the part of it that a form reaches; all of it without one."""
        i, j, v = self.name("i"), self.name("j"), self.name("v")
        kept, shape = dict(self.most), [int(n) for n in b.shape]
        whole = form is None
        d, lanes, on, first = form or (*self.rng.choice([(None, 0, 0), (1, 4, 4), (1, shape[1], shape[1]), (0, shape[0], shape[0])]), 0)
        if d is None:
            self.most |= {i: shape[0] - 1, j: shape[1] - 1}
            return self.around([(i, shape[0]), (j, shape[1])], self.access(b, what, (poly(i), poly(j))), kept)
        other = poly(i)
        along = poly(v) + first
        self.most |= {i: shape[1 - d] - 1, v: on - 1}
        axes = [(i, shape[1 - d])]
        if whole and lanes < shape[d]:
            along, axes = poly(v) + poly(j) * lanes, [*axes, (j, shape[d] // lanes)]
            self.most[j] = shape[d] // lanes - 1
        self.lane = v
        limit = poly("n") - self.rng.randint(0, 2) if not whole and self.chance(0.15) else None
        body = self.access(b, what, (other, along) if d else (along, other))
        self.lane = ""
        return self.around(axes, [Loop(v, on, tuple(body), "vector", lanes, limit)], kept)

    def around(self, axes: list, body: list, kept: dict) -> list:
        """Unrolled loops around a body."""
        self.most = kept
        for axis, count in reversed(axes):
            body = [Loop(axis, count, tuple(body), "unrolled")]
        return body

    def access(self, b: Buffer, what: str, at: tuple) -> list:
        """One element: set, summed into, overwritten or stored elsewhere."""
        lane = bool(self.lane)
        if what == "get":
            name = self.name("y")
            self.spans[name] = (b.dtype, [int(n) for n in b.shape], "out")
            return [Store(name, at, Load(b.name, at, b.dtype))]
        if what == "sum" and b.dtype.kind == "f":
            return [Store(b.name, at, self.exact(b.dtype, "add", lane), "add")]
        if what == "sum":
            return [self.summed(b.name, at, b.dtype, lane)]
        if b.dtype.kind == "f":
            return [Store(b.name, at, self.exact(b.dtype, "add", lane) if self.chance(0.5) else const(0, b.dtype))]
        return [Store(b.name, at, self.value(b.dtype, 1, lane))]

    def block(self, depth: int) -> list:
        """Statements of a loop's body."""
        out = []
        for _ in range(self.rng.randint(1, 2)):
            kind = self.rng.random()
            if kind < 0.3 and depth:
                out.append(self.loop(depth - 1))
            elif kind < 0.45:
                out += self.local()
            elif kind < 0.6:
                out += self.scoped(self.statements, False, self.rng.randint(1, 2)) if not self.chance(0.5) else self.statements(False, 2)
            elif kind < 0.72:
                out += self.tile() if self.chance(0.7) else self.accumulator()
            else:
                out.append(self.vector())
        return out

    def loop(self, depth: int, kind: str = "") -> Loop:
        """A loop that is no vector loop."""
        kind = kind or self.rng.choice(["for", "for", "unrolled", "outlined"])
        axis, size = self.name("a"), self.rng.choice([1, 2, 3, "n"])
        if kind == "unrolled" and size == "n":
            size = 2
        self.most[axis] = (self.known["n"] if size == "n" else size) - 1
        kept, tiles = dict(self.per_lane), dict(self.tiles)
        if kind in ("outlined", "parallel"):
            self.per_lane, self.tiles = {}, {}
        body = self.scoped(self.block, depth)
        self.per_lane, self.tiles = kept, tiles
        del self.most[axis]
        return Loop(axis, poly("n") if size == "n" else size, tuple(body), kind)

    def kernel(self) -> Kernel:
        body: list = []
        for _ in range(self.rng.randint(1, 2)):
            if self.chance(0.4):
                self.per_lane = {}
                body.append(self.loop(1, "parallel"))
            else:
                body += self.block(2)
        params = [self.param(n, *rest) for n, rest in self.spans.items()]
        sizes = (Size("n"), Size("q", poly("n") + 15, 16), Size("z", poly("n") - 4, 3))
        return Kernel("random", tuple(params), sizes, tuple(body))

    def param(self, name: str, dtype: DType, span: list[int], role: str) -> Buffer:
        """A parameter, perhaps with gaps, transposed or of a size known only when it runs."""
        strides = None
        if len(span) == 2 and self.chance(0.3):
            a, b = span[0] + self.rng.randint(0, 2), span[1] + self.rng.randint(0, 2)
            strides = self.rng.choice([(b, 1), (1, a), (2 * b, 2), (poly("n") * b, 1)])
        elif role == "in" and self.chance(0.1):
            strides = [0] * len(span)
        return buffer(name, dtype, span, role=role, strides=strides)


MARGIN = 16
"""Elements before and after each buffer, to be left as they are."""


def arrays_for(kernel: Kernel, sizes: dict[str, int], seed: int) -> tuple[dict, dict]:
    """Arrays with the parameters' own strides, and the memory in which each of them lies."""
    rng = np.random.default_rng(seed)
    arrays, memory = {}, {}
    for b in kernel.params:
        shape, steps = [[evaluate(n, sizes) for n in of] for of in (b.shape, b.strides)]
        span = 1 + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
        memory[b.name] = np.ones(span + 2 * MARGIN, b.dtype.numpy)
        inside = memory[b.name][MARGIN : MARGIN + span]
        inside[...] = values(rng, b, span)
        steps = [s * b.dtype.itemsize for s in steps]
        arrays[b.name] = np.lib.stride_tricks.as_strided(inside, shape, steps)
    return arrays, memory


def values(rng: np.random.Generator, b: Buffer, count: int) -> np.ndarray:
    """Numbers for a parameter, by its name."""
    stem = b.name.split("_")[0]
    if stem == "at":
        return rng.integers(0, 8, count)
    if stem == "one" or (b.role == "inout" and b.dtype.kind == "f"):
        return rng.choice([-1, 1], count)
    if stem == "sum":
        return rng.integers(-4, 5, count)
    if b.role == "out":
        return np.full(count, 1)
    if b.dtype.kind == "f":
        odd = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3e38], count)
        with np.errstate(over="ignore"):
            return np.where(rng.random(count) < 0.15, odd, np.round(rng.standard_normal(count) * 4, 2)).astype(b.dtype.numpy)
    if b.dtype.kind == "b":
        return rng.random(count) < 0.5
    info = np.iinfo(b.dtype.numpy)
    few = np.maximum(rng.integers(-5, 9, count), info.min)
    return np.where(rng.random(count) < 0.2, rng.choice([info.min, info.max], count), few).astype(b.dtype.numpy)
