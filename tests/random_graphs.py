"""Random graphs over all ops and dtypes, for every test that compares two ways to run a graph.

pytest puts ``tests/`` on the path: ``from random_graphs import random_graph, random_arrays, random_sizes``. A seed
gives the same graph on every run. ``exact`` keeps to ops whose compiled form is bit-equal to the reference. ``shrink``
cuts a failing graph down to the first value that fails. ``differences`` says why two arrays are not the same bits.

    graph = random_graph(7, symbolic=True)
    sizes = random_sizes(graph, 7)
    outputs, written = interpret(graph, random_arrays(graph, 7, sizes), sizes)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np

from gristmill.ir import ops, sizes
from gristmill.ir.dtypes import (
    COMPLEX,
    DTYPES,
    FLOATS,
    INTEGERS,
    bool_,
    float32,
    float64,
    int64,
)
from gristmill.ir.errors import OpError
from gristmill.ir.graph import Builder, Graph, Value, building
from gristmill.ir.op import OPS
from gristmill.ir.ops.elementwise import ElementwiseOp
from gristmill.ir.ops.random import blocks
from gristmill.ir.sizes import Shape

ELEMENTWISE = [op for op in OPS.values() if isinstance(op, ElementwiseOp)]
LARGEST = 400
COMMON = (float32, float32, float32, float32, float64, int64, bool_, *DTYPES)


def random_graph(seed: int, *, nodes: int | None = None, symbolic: bool = False, exact: bool = False) -> Graph:
    """A graph of about 5 to 40 nodes; with ``symbolic``, in the sizes ``n`` and ``m``."""
    return Maker(random.Random(seed), symbolic, exact).graph(nodes)


def random_sizes(graph: Graph, seed: int) -> dict[str, int]:
    """Numbers for the named sizes of a graph."""
    rng = random.Random(seed)
    return {name: rng.choice((2, 3, 4, 5)) for name in graph.sizes}


def random_arrays(graph: Graph, seed: int, values: Mapping[str, int] | None = None) -> list[np.ndarray]:
    """Inputs for a graph: mostly small numbers, some special ones."""
    rng = np.random.default_rng(seed)
    return [random_array(rng, v.dtype, tuple(sizes.evaluate(n, values or {}) for n in v.shape)) for v in graph.inputs]


def random_array(rng: np.random.Generator, dtype, shape: tuple[int, ...], special: float = 0.1) -> np.ndarray:
    """Small numbers; a share of NaN, infinities, zeros of both signs and extremes (``special``)."""
    count = int(np.prod(shape, dtype=np.int64))
    if dtype is bool_:
        return rng.random(shape) < 0.5
    if dtype in INTEGERS:
        info = np.iinfo(dtype.numpy)
        low, extremes = (0 if info.min == 0 else -6), np.array([info.min, info.max, 0, 1], dtype.numpy)
        out = rng.integers(low, 7, count).astype(dtype.numpy)
    else:
        extremes = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0]).astype(dtype.numpy)
        values = rng.normal(size=count) * 2 + (1j * rng.normal(size=count) if dtype in COMPLEX else 0)
        out = values.astype(dtype.numpy)
    where = rng.random(count) < special
    out[where] = rng.choice(extremes, int(where.sum()))
    return out.reshape(shape)


def differences(a: np.ndarray, b: np.ndarray) -> str:
    """Why two arrays are not the same bits (but for the bits of NaN), or nothing."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{a.dtype.name}{a.shape} is not {b.dtype.name}{b.shape}"
    if a.dtype.kind == "c":
        return differences(a.real, b.real) or differences(a.imag, b.imag)
    same = _bits(a) == _bits(b)
    if a.dtype.kind not in "biu":
        same |= np.isnan(a) & np.isnan(b)
    if same.all():
        return ""
    at = np.unravel_index(np.argmin(same), a.shape)
    return f"{(~same).sum()} of {a.size} differ; at {tuple(map(int, at))}: {a[at]!r} is not {b[at]!r}"


def _bits(a: np.ndarray) -> np.ndarray:
    return np.array(a, order="C").view(f"u{a.dtype.itemsize}")


def shrink(graph: Graph, fails: Callable[[Graph], bool]) -> Graph:
    """The graph that ends with the first value that fails alone (or ``graph`` where none does)."""
    for at, node in enumerate(graph.nodes):
        for value in node.results:
            cut = _only_needed(graph.replace(nodes=graph.nodes[: at + 1], outputs=[value], writes=()))
            if fails(cut):
                return cut
    return graph


def _only_needed(graph: Graph) -> Graph:
    live, kept = set(graph.roots), []
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.results):
            kept.append(node)
            live.update(node.operands)
    return graph.replace(nodes=kept[::-1])


class Maker:
    """Grows a pool of values; each step applies a random op to random members of it."""

    def __init__(self, rng: random.Random, symbolic: bool, exact: bool) -> None:
        self.rng, self.symbolic, self.exact = rng, symbolic, exact
        self.builder = Builder("random")
        self.pool: list[Value] = []
        self.dims = [1, 2, 3, 5]
        if symbolic:
            self.dims += [sizes.name("n"), sizes.name("m")] * 2
        elif rng.random() < 0.1:
            self.dims.append(0)
        self.states: list[Value] = []

    def graph(self, count: int | None) -> Graph:
        rng = self.rng
        count = count or rng.randint(5, 40)
        with building(self.builder):
            self.inputs()
            while len(self.builder.nodes) < count:
                self.step()
        used = {v for node in self.builder.nodes for v in node.operands}
        made = [v for v in self.pool if v.node in self.builder.nodes]
        outputs = [v for v in made if v not in used and rng.random() < 0.7]
        outputs += rng.sample(made, min(2, len(made)))
        writes = []
        for state in self.states:
            fits = [v for v in self.pool if v.type == state.type and v is not state]
            if fits and rng.random() < 0.7:
                writes.append((state, rng.choice(fits)))
        return self.builder.graph(outputs, writes)

    def inputs(self) -> None:
        rng = self.rng
        for i in range(rng.randint(1, 4)):
            kind = rng.choice(("argument", "argument", "state"))
            self.pool.append(self.builder.input(f"x{i}", rng.choice(COMMON), self.shape(), kind))
        for i in range(rng.randint(0, 2)):
            dtype = rng.choice((float64, float64, int64, float32, bool_))
            self.pool.append(self.builder.input(f"number{i}", dtype, (), "number"))
        if self.symbolic:
            self.pool.append(self.builder.input("sized", "f32", ("n", "m")))
        self.pool.append(self.builder.input("rng", "i64", (2,), "state"))
        self.states = [v for v in self.builder.inputs if v.node.attributes[1] == "state"]

    def step(self) -> None:
        make = self.rng.choices(MAKERS, [weight for _, weight in WEIGHTS])[0]
        try:
            found = make(self)
        except (OpError, sizes.SizeError):
            return
        if found is not None:
            self.pool.append(found)

    # ---- choices ----

    def shape(self) -> Shape:
        while True:
            shape = tuple(self.rng.choices(self.dims, k=self.rng.choice((0, 1, 1, 2, 2, 2, 3, 4))))
            if self.small(shape):
                return shape

    def small(self, shape: Shape) -> bool:
        return sizes.evaluate(sizes.product(shape), {"n": 4, "m": 4}) <= LARGEST

    def value(self, dtypes=None, rank: int = 0) -> Value:
        """A member of the pool of the given dtypes, cast where there is none; of at least ``rank`` dimensions."""
        rng = self.rng
        fits = [v for v in self.pool if len(v.shape) >= rank]
        exactly = [v for v in fits if dtypes is None or v.dtype in dtypes]
        if exactly and rng.random() < 0.9:
            return rng.choice(exactly[-12:] if rng.random() < 0.6 else exactly)
        dtype = rng.choice(dtypes or DTYPES)
        source = rng.choice(fits) if fits else ops.broadcast(rng.choice(self.pool), shape=(3, 2)[:rank])
        return source if source.dtype is dtype else ops.cast(source, dtype=dtype)

    def like(self, x: Value, dtype=None) -> Value:
        """A value of the type of ``x``: from the pool, stretched, or a constant."""
        dtype, rng = dtype or x.dtype, self.rng
        same = [v for v in self.pool if v.shape == x.shape and v.dtype is dtype]
        if same and rng.random() < 0.7:
            return rng.choice(same)
        stretch = [v for v in self.pool if v.dtype is dtype and _stretches(v.shape, x.shape)]
        if stretch and rng.random() < 0.6:
            return ops.broadcast(rng.choice(stretch), shape=x.shape)
        return self.number(dtype, x.shape)

    def number(self, dtype, shape: Shape) -> Value:
        value = self.rng.choice((0, 1, 2, -1, 3))
        if dtype in FLOATS:
            value = self.rng.choice((0.0, -0.0, 1.0, 2.0, 0.5, -1.0, 0.1, 3.0, float("inf"), float("nan")))
        elif dtype is bool_:
            value = self.rng.random() < 0.5
        elif dtype.kind == "u":
            value = abs(value)
        return ops.constant(value=value, dtype=dtype, shape=shape)

    def index(self, shape: Shape, size: sizes.Dim) -> Value | None:
        """Places below ``size``: some integers by remainder."""
        if size == 0:
            return None
        source = self.like(ops.constant(value=0, dtype=int64, shape=shape))
        limit = ops.broadcast(ops.size(value=size), shape=shape)
        return ops.remainder(source, limit)

    # ---- makers ----

    def elementwise(self) -> Value:
        op = self.rng.choice(ELEMENTWISE)
        dtypes = [d for d in op.dtypes if not self.exact or _is_exact(op, d)]
        if not dtypes:
            return ops.neg(self.value(FLOATS))
        x = self.value(dtypes)
        operands = [x, *(self.like(x) for _ in op.operands[1:])]
        self.rng.shuffle(operands)
        return op(*operands)

    def select(self) -> Value:
        x = self.value()
        return ops.select(self.like(x, bool_), x, self.like(x))

    def cast(self) -> Value:
        return ops.cast(self.value(), dtype=self.rng.choice(COMMON))

    def identity(self) -> Value:
        x = self.value()
        return self.rng.choice((ops.alias, ops.detach, lambda v: ops.overwrite(self.like(v), v)))(x)

    def broadcast(self) -> Value | None:
        x = self.value()
        shape = self.stretched(x.shape)
        return ops.broadcast(x, shape=shape) if self.small(shape) else None

    def stretched(self, shape: Shape) -> Shape:
        """A shape that ``shape`` broadcasts to."""
        own = tuple(self.rng.choice(self.dims) if n == 1 else n for n in shape)
        return (*self.rng.choices(self.dims, k=self.rng.choice((0, 0, 1, 2))), *own)

    def permute(self) -> Value:
        x = self.value(rank=1)
        return ops.permute(x, order=self.order(len(x.shape)))

    def order(self, rank: int) -> tuple[int, ...]:
        return tuple(self.rng.sample(range(rank), rank))

    def reshape(self) -> Value:
        x = self.value()
        return ops.reshape(x, shape=self.reshaped(x.shape))

    def reshaped(self, shape: Shape) -> Shape:
        """Another shape of as many elements."""
        rng, out = self.rng, list(shape)
        kind = rng.choice(("flatten", "one", "join", "squeeze"))
        if kind == "flatten":
            return (sizes.product(out),)
        if kind == "one" or len(out) < 2:
            out.insert(rng.randint(0, len(out)), 1)
        elif kind == "squeeze":
            out = [n for n in out if n != 1]
        else:
            at = rng.randrange(len(out) - 1)
            out[at : at + 2] = [sizes.dim(out[at] * out[at + 1])]
        return tuple(out)

    def axes(self, rank: int) -> tuple[int, ...]:
        return tuple(d for d in range(rank) if self.rng.random() < 0.5)

    def cut(self, shape: Shape) -> dict[str, tuple]:
        """Attributes of a slice that lies inside ``shape``."""
        starts, stops, steps = [], [], []
        for n in shape:
            low = sizes.least(n) or 0
            start = self.rng.choice((0, 0, 0, min(1, low)))
            stop = sizes.dim(n - self.rng.choice((0, 0, 1))) if low - start >= 1 else n
            step = self.rng.choice((1, 1, 1, 2)) if isinstance(n, int) else 1
            starts.append(start), stops.append(stop), steps.append(step)
        return {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)}

    def slice(self) -> Value:
        x = self.value(rank=1)
        return ops.slice_(x, **self.cut(x.shape))

    def put(self) -> Value:
        x = self.value(rank=1)
        at = self.cut(x.shape)
        place = ops.slice_(x, **at)
        return ops.put(x, self.like(place), **at)

    def concatenate(self) -> Value | None:
        x = self.value(rank=1)
        axis = self.rng.randrange(len(x.shape))
        xs = [x] + [self.like(x) for _ in range(self.rng.randint(0, 2))]
        if self.rng.random() < 0.4 and sizes.least(x.shape[axis]):
            at = [(0, n, 1) if d != axis else (0, 1, 1) for d, n in enumerate(x.shape)]
            starts, stops, steps = zip(*at, strict=True)
            xs.append(ops.slice_(x, starts=starts, stops=stops, steps=steps))
        found = ops.concatenate(*xs, axis=axis)
        return found if self.small(found.shape) else None

    def reduce(self) -> Value:
        op = self.rng.choice((ops.sum_, ops.sum_, ops.amax, ops.argmax))
        if op is ops.argmax:
            x = self.value((*INTEGERS, *FLOATS), rank=1)
            return op(x, axis=self.rng.randrange(len(x.shape)))
        dtypes = INTEGERS if self.exact else (*INTEGERS, *FLOATS, *FLOATS, *COMPLEX)
        x = self.value(dtypes if op is ops.sum_ else (bool_, *INTEGERS, *FLOATS))
        return op(x, axes=self.axes(len(x.shape)))

    def contract(self) -> Value | None:
        x = self.value(INTEGERS if self.exact else (*INTEGERS, *FLOATS, *FLOATS, *FLOATS, *COMPLEX))
        y = self.rng.choice([v for v in self.pool if v.dtype is x.dtype] + [self.like(x)])
        found = ops.contract(x, y, spec=self.spec(x.shape, y.shape))
        return found if self.small(found.shape) else None

    def spec(self, x: Shape, y: Shape) -> str:
        """Letters for a contraction of two shapes: equal sizes mostly meet."""
        rng, free = self.rng, list("zyxwvutsrq")
        a = "abcdefgh"[: len(x)]
        b, rest = "", list(zip(a, x, strict=True))
        for n in y:
            meets = [(letter, m) for letter, m in rest if m == n]
            if meets and rng.random() < 0.8:
                rest.remove(meets[0])
                b += meets[0][0]
            else:
                b += free.pop()
        out = [c for c in dict.fromkeys(a + b) if not (c in a and c in b) or rng.random() < 0.4]
        rng.shuffle(out)
        return f"{a},{b}->{''.join(out)}"

    def gather(self) -> Value | None:
        x = self.value(rank=1)
        axis = self.rng.randrange(len(x.shape))
        shape = tuple(self.rng.choice((1, 2, 4)) if d == axis else n for d, n in enumerate(x.shape))
        index = self.index(shape, x.shape[axis])
        return None if index is None else ops.gather(x, index, axis=axis)

    def scatter_add(self) -> Value | None:
        x = self.value(INTEGERS if self.exact else (*INTEGERS, *FLOATS), rank=1)
        axis = self.rng.randrange(len(x.shape))
        shape = tuple(self.rng.choice((1, 2, 4)) if d == axis else n for d, n in enumerate(x.shape))
        index = self.index(shape, x.shape[axis])
        if index is None:
            return None
        return ops.scatter_add(x, index, self.like(index, x.dtype), axis=axis)

    def argsort(self) -> Value:
        x = self.value((bool_, *INTEGERS, *FLOATS), rank=1)
        return ops.argsort(x, axis=self.rng.randrange(len(x.shape)), descending=self.rng.random() < 0.5)

    def draw(self) -> Value:
        states = [v for v in self.pool if v.type == self.states[-1].type]
        state, shape = self.rng.choice(states), self.shape()
        if self.rng.random() < 0.4:
            return ops.random_advance(state, count=blocks(sizes.product(shape)))
        if self.rng.random() < 0.5:
            return ops.random_bits(state, shape=shape, bits=self.rng.choice((32, 64)))
        return ops.uniform(state, shape, self.rng.choice(FLOATS))

    def create(self) -> Value:
        shape = self.shape()
        if shape and self.rng.random() < 0.5:
            axis = self.rng.randrange(len(shape))
            return ops.iota(shape=shape, axis=axis, dtype=self.rng.choice(INTEGERS))
        if self.rng.random() < 0.3:
            return ops.size(value=self.rng.choice(self.dims))
        return self.number(self.rng.choice(COMMON), shape)


WEIGHTS = (
    (Maker.elementwise, 16), (Maker.select, 2), (Maker.cast, 3), (Maker.identity, 2), (Maker.broadcast, 3),
    (Maker.permute, 3), (Maker.reshape, 3), (Maker.slice, 2), (Maker.put, 2), (Maker.concatenate, 1),
    (Maker.reduce, 4), (Maker.contract, 3), (Maker.gather, 1), (Maker.scatter_add, 1), (Maker.argsort, 1),
    (Maker.draw, 1), (Maker.create, 1),
)
MAKERS = [make for make, _ in WEIGHTS]


def _stretches(shape: Shape, to: Shape) -> bool:
    lead = len(to) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, to[lead:], strict=True))


def _is_exact(op: ElementwiseOp, dtype) -> bool:
    if dtype in COMPLEX:
        return op.name in ("add", "sub", "mul", "neg", "conj", "eq", "ne")
    return dtype in (bool_, *INTEGERS) or not op.ulp
