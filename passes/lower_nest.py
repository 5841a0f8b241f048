"""What lowering a group collects: parameters and the memory they are, and expressions for values at places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..ir.graph import Node, Value
from ..ir.loops import (
    Buffer,
    Const,
    Expr,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Size,
    Stmt,
    Store,
    Where,
    apply,
    buffer,
)
from ..ir.loops.walk import axes, lets, map_indices
from ..ir.lowering import Elementwise, Lowering, Pointwise, Reduce, ScatterAdd, View
from ..ir.sizes import Dim, Poly, Shape, name
from .lower_elementwise import literal, narrow, rounded, scalar, widen
from .lower_layout import (
    ZERO,
    Layout,
    dense,
    merged,
    merged_strides,
    pull,
    squeezed,
    squeezed_strides,
)

COSTLY = frozenset(
    (
        "exp",
        "log",
        "tanh",
        "sigmoid",
        "erf",
        "sin",
        "cos",
        "pow",
        "div",
        "sqrt",
        "random_bits",
        "floordiv",
        "remainder",
    )
)


class Argument(NamedTuple):
    """The memory that a parameter is: ``offset`` elements into that of ``root``."""

    root: Value
    offset: Dim
    role: str


@dataclass
class Group:
    """Nodes that become one kernel: ``outputs`` are the values that others need.

    ``rows``: of a row kernel, how many leading dimensions of the domain are rows. ``domain`` is without sizes of 1.
    """

    kind: str
    nodes: list[Node]
    domain: Shape
    outputs: list[Value] = field(default_factory=list)
    rows: int | None = None
    reasons: list[str] = field(default_factory=list)


@dataclass
class Places:
    """What fusion knows of a graph's values: how each is made, which are views, where each lies."""

    lowerings: dict[Node, Lowering]
    views: dict[Node, int]
    layouts: dict[Value, Layout]
    inline: set[Node]
    homes: dict[Value, Layout] = field(default_factory=dict)
    in_place: set[Value] = field(default_factory=set)

    def base(self, value: Value) -> Value:
        """What a value is a view of."""
        views = self.views
        while value.node in views:
            value = value.node.operands[views[value.node]]
        return value

    def home(self, value: Value) -> Layout:
        """Where a value that is stored lies."""
        return self.homes.get(value) or dense(value)


@dataclass(frozen=True)
class Lowered:
    """A group as a naive nest; ``arguments`` go with its parameters, ``sizes`` with its free sizes."""

    kernel: Kernel
    arguments: tuple[Argument, ...]
    sizes: tuple[Dim, ...]


@dataclass
class Scope:
    """Expressions known at one place of the domain, and where statements for more of them go."""

    at: tuple[Any, ...]
    statements: list[Stmt] | None
    level: int = 0
    known: dict[Value, Expr] = field(default_factory=dict)


class Nest:
    """The kernel that a group becomes, while it is made.

    Places ``at`` run over a value's dimensions but those of size 1. With a ``plan`` all operands are read where the
    result stands, and neighboring dimensions that lie in memory as one are one.
    """

    def __init__(self, group: Group, places: Places, plan: list[int] | None = None) -> None:
        self.group, self.places, self.plan = group, places, plan
        self.inside = {v for n in group.nodes for v in n.results}
        self.params: dict[tuple[Any, ...], tuple[Buffer, Argument]] = {}
        self.count: tuple[str, Dim] | None = None
        self.names = 0
        self.uses = self.count_uses()
        self.row: Scope | None = None
        self.rank = 0
        self.locals: dict[Value, Buffer] = {}

    def fresh(self, letter: str) -> str:
        """A name that no other buffer has."""
        self.names += 1
        return f"{letter}{self.names - 1}"

    def count_uses(self) -> dict[Value, int]:
        """How often each value of the group is read in it (twice where an op may read it at several places)."""
        uses: dict[Value, int] = dict.fromkeys(self.inside, 0)
        base = self.places.base
        for node in self.group.nodes:
            for v in node.operands:
                v = base(v)
                if v in uses:
                    uses[v] += 1 if type(self.places.lowerings[node]) is not Pointwise else 2
        for v in self.group.outputs:
            uses[v] += 1
        return uses

    # ---- parameters ----

    def param(self, layout: Layout, dtype: Any, role: str) -> Buffer:
        """The parameter for a piece of memory, in the shape in which it is read.

        What is read has no dimensions along which it repeats.
        """
        shape, strides = squeezed(layout.shape), squeezed_strides(layout)
        if self.plan is not None:
            strides = merged_strides(strides, self.plan)
            shape = self.sized(merged(shape, self.plan[: len(shape)]))
        if role == "in":
            moving = [(n, s) for n, s in zip(shape, strides, strict=True) if s != 0]
            shape, strides = tuple([n for n, _ in moving]), tuple([s for _, s in moving])
        key = (layout.root, layout.offset, shape, strides, role)
        found = self.params.get(key)
        if found is None:
            b = buffer(f"a{len(self.params)}", dtype, shape, "memory", role, strides)
            found = self.params[key] = b, Argument(layout.root, layout.offset, role)
        return found[0]

    def sized(self, shape: Shape) -> Shape:
        """The shape with the free size in the place of a single flattened dimension."""
        if self.count is not None and len(shape) == 1:
            return (name(self.count[0]),)
        return shape

    def store(self, value: Value, at: Sequence[Any], e: Expr) -> Store:
        """The store of an output."""
        b = self.param(self.places.home(value), value.type.dtype, "out")
        return Store(b.name, tuple(at), narrow(e, value.type.dtype))

    def finish(self, label: str, body: Iterable[Stmt]) -> Lowered:
        """The kernel: its parameters in the order in which they were met."""
        params = tuple([b for b, _ in self.params.values()])
        body = tuple(body)
        names: dict[str, Dim] = {}
        if self.count is not None:
            names[self.count[0]] = self.count[1]
        for n in sorted(size_names(params, body)):
            names.setdefault(n, name(n))
        kernel = Kernel(label, params, tuple(map(Size, names)), body)
        return Lowered(kernel, tuple([a for _, a in self.params.values()]), tuple(names.values()))

    # ---- values ----

    def operand(self, value: Value, at: tuple[Any, ...], scope: Scope) -> Expr:
        """An operand of an op that reads it where its result stands."""
        if self.plan is None:
            return self.read(value, self.full(value.shape, at), scope)
        base = self.places.base(value)
        if base in self.inside:
            return self.internal(base, at[: self.rank] if self.is_row(base) else at, scope)
        if base.node in self.places.inline:
            return self.compute(base.node, (), scope)
        return self.load(value, at)

    def full(self, shape: Shape, at: tuple[Any, ...]) -> tuple[Any, ...]:
        """A place with 0 along dimensions of size 1."""
        if len(at) == len(shape):
            return at
        rest = iter(at)
        return tuple([ZERO if n == 1 else next(rest) for n in shape])

    def read(self, value: Value, at: Sequence[Any], scope: Scope) -> Expr:
        """Any value at a place that has all of its dimensions."""
        base = self.places.base(value)
        internal = base in self.inside
        if internal or base.node in self.places.inline:
            base, at = pull(value, at, self.places.lowerings, self.places.views)
            place = tuple([i for i, n in zip(at, base.shape, strict=True) if n != 1])
            return (
                self.internal(base, place, scope)
                if internal
                else self.compute(base.node, place, scope)
            )
        return self.load(value, tuple([i for i, n in zip(at, value.shape, strict=True) if n != 1]))

    def load(self, value: Value, at: Sequence[Any]) -> Expr:
        """A value in memory, at a place without dimensions of size 1."""
        layout = self.places.layouts[value]
        b = self.param(layout, value.type.dtype, "in")
        strides = squeezed_strides(layout)
        if self.plan is not None:
            strides = merged_strides(strides, self.plan)
        index = tuple([i for i, s in zip(at, strides, strict=False) if s != 0])
        return widen(Load(b.name, index, b.dtype))

    def is_row(self, value: Value) -> bool:
        """Whether a value of the group has one element a row."""
        return len(squeezed(value.shape)) <= self.group_rank

    @property
    def group_rank(self) -> int:
        """How many dimensions of the domain are rows, before any are merged."""
        rows = self.group.rows
        return len(self.group.domain) if rows is None else rows

    def internal(self, value: Value, at: tuple[Any, ...], scope: Scope) -> Expr:
        """A value of the group: known here, kept, or computed now."""
        if self.row is not None and self.is_row(value):
            scope = self.row
            at = scope.at
        if at == scope.at:
            found = scope.known.get(value)
            if found is not None:
                return found
        local = self.locals.get(value)
        if local is not None:
            return Load(local.name, at[self.rank :], local.dtype)
        if at != scope.at:
            return self.compute(value.node, at, Scope(at, None, scope.level))
        e = self.compute(value.node, at, scope)
        if (
            scope.statements is not None
            and not _is_plain(e)
            and (self.uses[value] > 1 or scope is self.row)
        ):
            e = self.keep(e, scope)
        scope.known[value] = e
        return e

    def keep(self, e: Expr, scope: Scope) -> Expr:
        """A register that holds an expression."""
        assert scope.statements is not None
        t = buffer(self.fresh("t"), e.dtype, (), "registers")
        scope.statements += [Let(t), Store(t.name, (), e)]
        return Load(t.name, (), t.dtype)

    def compute(self, node: Node, at: tuple[Any, ...], scope: Scope) -> Expr:
        """One op at one place."""
        lowering = self.places.lowerings[node]
        result = node.results[0]
        if node.op.name == "constant":
            return literal(node.attributes[0], result.type.dtype)
        if type(lowering) is Elementwise:
            return scalar(
                node, lowering.scalar, [self.operand(v, at, scope) for v in node.operands]
            )
        if type(lowering) is Pointwise:
            return self.pointwise(node, lowering, at, scope)
        if type(lowering) is ScatterAdd:
            return self.one_hot(node, lowering, at, scope)
        if type(lowering) is View:
            full = self.full(result.shape, at)
            return self.read(node.operands[0], tuple(lowering.index(full)), scope)
        assert type(lowering) is Reduce, lowering  # of dimensions of size 1 alone
        return self.operand(node.operands[0], at, scope)

    def pointwise(self, node: Node, lowering: Pointwise, at: tuple[Any, ...], scope: Scope) -> Expr:
        """An op that reads its operands where it likes."""

        def reader(value: Value) -> Any:
            return lambda index: self.read(value, tuple([as_place(i) for i in index]), scope)

        full = self.full(node.results[0].shape, at)
        e = lowering.element(full, *[reader(v) for v in node.operands])
        return widen(e)

    def one_hot(self, node: Node, lowering: ScatterAdd, at: tuple[Any, ...], scope: Scope) -> Expr:
        """A scatter of one element along its axis: every place looks whether it is meant."""
        x, index, source = node.operands
        full, axis = self.full(x.shape, at), lowering.axis
        there = (*full[:axis], ZERO, *full[axis + 1 :])
        here = apply("eq", Index(_poly(full[axis])), self.read(index, there, scope))
        old = self.read(x, full, scope)
        added = rounded(apply("add", old, self.read(source, there, scope)), x.type.dtype)
        return apply("select", here, added, old)


def as_place(i: Any) -> Any:
    """An entry of an index: a polynomial wherever it is one."""
    if type(i) is Const:
        i = i.value
    elif type(i) is Index:
        i = i.at
    return i if isinstance(i, Poly | Expr) else Poly({(): i}) if i else ZERO


def _poly(i: Any) -> Poly:
    assert isinstance(i, Poly)
    return i


def _is_plain(e: Expr) -> bool:
    """Whether an expression costs nothing to repeat."""
    kind = type(e)
    if kind is Load:
        return all(isinstance(i, Poly) for i in e.index)  # type: ignore[attr-defined]
    return not hasattr(e, "args") and kind is not Where


def size_names(params: Iterable[Buffer], body: Iterable[Stmt]) -> set[str]:
    """Every name in shapes, extents and indices that is no axis."""
    found: set[str] = set()

    def note(n: Any) -> Any:
        if type(n) is Poly:
            found.update(n.names)
        return n

    body = tuple(body)
    for b in (*params, *lets(body)):
        for n in (*b.shape, *b.strides):
            note(n)
    map_indices(body, note)

    def extents(statements: Iterable[Stmt]) -> None:
        for s in statements:
            if type(s) is Loop:
                note(s.extent)
                extents(s.body)

    extents(body)
    return found - axes(body)
