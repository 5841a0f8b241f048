"""Elementwise groups and row kernels as naive nests: loops over rows, and in each row one loop after the other.

A row kernel's nodes have levels: a reduction of level ``l`` is complete after the row's loop ``l``, and what needs it
is computed in loop ``l + 1``. A value that a later loop reads is computed again if that is cheap, else kept in a local.
"""

from __future__ import annotations

from typing import Any

from ..ir.graph import Node, Value
from ..ir.loops import Const, Index, Let, Load, Stmt, Store, apply, buffer, const, identity, loops
from ..ir.lowering import ArgReduce, Elementwise, Pointwise, Reduce
from ..ir.sizes import Dim, Poly, Shape, name, product
from .lower_elementwise import rounded, wide_dtype
from .lower_layout import merge_plan, merged, squeezed, squeezed_strides
from .lower_nest import COSTLY, Group, Lowered, Nest, Places, Scope

LOCAL_BYTES = 32 << 10
CHAIN = 8


def lower_rows(group: Group, places: Places) -> Lowered:
    """The nest of a group whose nodes share rows (all of their places, if nothing is reduced)."""
    return _Rows(group, places, _plan(group, places)).lower()


def _plan(group: Group, places: Places) -> list[int] | None:
    """Which dimensions are one in memory for all that is read and written; None if some op reads elsewhere."""
    strides: list[Shape] = []
    rank = len(group.domain)
    inside = {v for n in group.nodes for v in n.results}
    for node in group.nodes:
        kind = type(places.lowerings[node])
        if kind is not Elementwise and kind is not Reduce:
            return None
        if any(
            squeezed(v.shape) != group.domain[: len(squeezed(v.shape))]
            for v in (*node.operands, *node.results)
        ):
            return None
        for v in node.operands:
            base = places.base(v)
            if base.node in places.inline and base.shape and base.node.op.name != "constant":
                return None
            if base in inside or base.node in places.inline:
                continue
            strides.append(squeezed_strides(places.layouts[v]))
    strides += [squeezed_strides(places.home(v)) for v in group.outputs]
    rows = rank if group.rows is None else group.rows
    return _merge(strides, group.domain, rows)


def _merge(strides: list[Shape], domain: Shape, rows: int) -> list[int]:
    """As ``merge_plan``, where a layout of fewer dimensions has a say on those that it has."""
    plan, now = [], -1
    for d in range(len(domain)):
        if d == 0 or d == rows:
            now += 1
        else:
            has = [s for s in strides if len(s) > d]
            cut = [s for s in strides if len(s) == d and d != rows]
            if cut or merge_plan([s[d - 1 : d + 1] for s in has], domain[d - 1 : d + 1], 0) != [
                0,
                0,
            ]:
                now += 1
        plan.append(now)
    return plan


class _Rows(Nest):
    def __init__(self, group: Group, places: Places, plan: list[int] | None) -> None:
        super().__init__(group, places, plan)
        self.domain = merged(group.domain, plan) if plan is not None else group.domain
        rows = self.group_rank
        self.rank = rows if plan is None else (plan[rows - 1] + 1 if rows else 0)
        if plan is not None and group.rows is None and self.rank == 1:
            self.count = ("count", self.domain[0])
        self.levels: dict[Value, int] = {}

    def lower(self) -> Lowered:
        """The loops over rows, and in them the loops over a row."""
        axes = tuple([name(f"i{d}") for d in range(self.rank)])
        self.row = Scope(axes, [])
        for node in self.group.nodes:
            self.levels[node.results[0]] = self.level(node)
        kept = self.kept()
        for level in range(max(self.levels.values(), default=0) + 1):
            self.loops_of(level, kept)
        statements = self.row.statements
        assert statements is not None
        statements += self.row_stores(axes)
        extents = self.sized(self.domain[: self.rank])
        names = [(f"i{d}", n) for d, n in enumerate(extents)]
        return self.finish(self.group.kind, loops(names, *statements))

    def row_stores(self, axes: tuple[Poly, ...]) -> list[Stmt]:
        """The stores of a row's values, all after the last load: one may overwrite what another reads."""
        assert self.row is not None
        out: list[Stmt] = []
        overwrites = not self.places.in_place.isdisjoint(self.group.outputs)
        for v in self.group.outputs:
            if self.is_row(v):
                e = self.internal(v, axes, self.row)
                if overwrites and type(e) is not Const:
                    e = self.keep(e, self.row)
                out.append(self.store(v, axes, e))
        return out

    def level(self, node: Node) -> int:
        """In which loop of the row a node is computed."""
        found = 0
        for v in node.operands:
            b = self.places.base(v)
            if b not in self.inside:
                continue
            level = self.levels[b]
            inner = not self.is_row(b)
            if (
                type(self.places.lowerings[b.node]) is Reduce and not inner and self.reduces(b.node)
            ) or (
                inner
                and self.is_row(node.results[0])
                and type(self.places.lowerings[node]) is Pointwise
            ):
                level += 1
            found = max(found, level)
        return found

    def reduces(self, node: Node) -> bool:
        """Whether a reduction has anything to reduce (and not only sizes of 1)."""
        return len(squeezed(node.operands[0].shape)) > len(squeezed(node.results[0].shape))

    # ---- which values a later loop reads ----

    def kept(self) -> set[Value]:
        """Values that a later loop reads and that cost too much to compute again."""
        out: set[Value] = set()
        seen: set[tuple[Value, int]] = set()
        costs: dict[Value, int] = {}
        for node in self.group.nodes:
            v = node.results[0]
            costs[v] = self.cost(node, costs)
            if v in self.group.outputs or self.reduces_here(node):
                self.visit(v, self.levels[v], out, seen, costs)
        return out

    def reduces_here(self, node: Node) -> bool:
        """Whether a node is a reduction along the row."""
        return type(self.places.lowerings[node]) is Reduce and self.reduces(node)

    def cost(self, node: Node, costs: dict[Value, int]) -> int:
        """How much it takes to compute a node's element again."""
        if node.op.name in COSTLY or type(self.places.lowerings[node]) is Reduce:
            return CHAIN + 1
        below = [self.places.base(v) for v in node.operands]
        return 1 + sum(costs[b] for b in below if b in costs and not self.is_row(b))

    def visit(
        self,
        v: Value,
        level: int,
        out: set[Value],
        seen: set[tuple[Value, int]],
        costs: dict[Value, int],
    ) -> None:
        """Follow what ``v`` reads when it is computed in loop ``level``."""
        if (v, level) in seen or v not in self.inside:
            return
        seen.add((v, level))
        if not self.is_row(v) and self.levels[v] < level and costs[v] > CHAIN and self.fits(v):
            out.add(v)
            level = self.levels[v]
        if self.is_row(v):
            level = self.levels[v]
        for operand in v.node.operands:
            self.visit(self.places.base(operand), level, out, seen, costs)

    def fits(self, v: Value) -> bool:
        """Whether a row of ``v`` may be kept beside the stack."""
        shape = self.inner_shape(v)
        count = product(shape)
        return isinstance(count, int) and count * wide_dtype(v.type.dtype).itemsize <= LOCAL_BYTES

    # ---- loops ----

    def inner_shape(self, v: Value) -> Shape:
        """The sizes of a row of ``v``."""
        shape = squeezed(v.shape)
        if self.plan is not None:
            shape = merged(shape, self.plan[: len(shape)])
        return shape[self.rank :]

    def loops_of(self, level: int, kept: set[Value]) -> None:
        """The loops that reductions, outputs and kept values of one level need: one for each shape of a row."""
        by_shape: dict[Shape, list[Node]] = {}
        for node in self.group.nodes:
            v = node.results[0]
            if self.levels[v] != level:
                continue
            if self.reduces_here(node):
                by_shape.setdefault(self.inner_shape(node.operands[0]), []).append(node)
            elif not self.is_row(v) and (v in self.group.outputs or v in kept):
                by_shape.setdefault(self.inner_shape(v), []).append(node)
        for number, (shape, nodes) in enumerate(by_shape.items()):
            self.loop(f"j{level}" if not number else f"j{level}_{number}_", shape, nodes, kept)

    def loop(self, letter: str, shape: Shape, nodes: list[Node], kept: set[Value]) -> None:
        """One loop over a row."""
        assert self.row is not None and self.row.statements is not None
        names = [(f"{letter}{d}" if len(shape) > 1 else letter, n) for d, n in enumerate(shape)]
        axes = tuple([name(a) for a, _ in names])
        scope = Scope((*self.row.at, *axes), [])
        body = scope.statements
        assert body is not None
        before: list[Stmt] = []
        for node in nodes:
            v = node.results[0]
            if self.reduces_here(node):
                before += self.reduction(node, axes, shape, scope)
                continue
            e = self.internal(v, scope.at, scope)
            if v in kept:
                local = buffer(self.fresh("e"), e.dtype, shape, "local")
                before.append(Let(local))
                body.append(Store(local.name, axes, e))
                self.locals[v] = local
            if v in self.group.outputs:
                body.append(self.store(v, scope.at, e))
        self.row.statements += [*before, *loops(names, *body)]
        # a later loop may read what this one kept

    def reduction(
        self, node: Node, axes: tuple[Poly, ...], shape: Shape, scope: Scope
    ) -> list[Stmt]:
        """Accumulate in a register; returns its declaration."""
        lowering = self.places.lowerings[node]
        assert (
            isinstance(lowering, Reduce) and self.row is not None and scope.statements is not None
        )
        v = node.results[0]
        value = self.operand(node.operands[0], scope.at, scope)
        m = buffer(self.fresh("m"), value.dtype, (), "registers")
        start: list[Stmt] = [Let(m)]
        kind = reduction_kind(lowering.kind, value.dtype)
        if any(n == 0 for n in shape):
            start.append(Store(m.name, (), const(identity(kind, value.dtype), value.dtype)))
            scope.statements.append(Store(m.name, (), value, kind))
        else:
            scope.statements.append(Store(m.name, (), value, kind, axes))
        self.row.known[v] = rounded(Load(m.name, (), m.dtype), v.type.dtype)
        return start


def reduction_kind(kind: str, dtype: Any) -> str:
    """The loop language's word for a reduction; of bools it is logic."""
    if dtype.kind == "b":
        return {"max": "or", "min": "and", "add": "or", "mul": "and"}[kind]
    return kind


def lower_argmax(group: Group, places: Places) -> Lowered:
    """The greatest element, then the first place where it (or a NaN) stands."""
    (node,) = group.nodes
    lowering = places.lowerings[node]
    assert isinstance(lowering, ArgReduce)
    nest = Nest(group, places)
    x = node.operands[0]
    extent: Dim = x.shape[lowering.axis]
    out = node.results[0]
    axes = [(f"i{d}", n) for d, n in enumerate(out.shape)]
    rest = [name(a) for a, _ in axes]
    scope = Scope((), None)

    def at(axis: str) -> tuple[Any, ...]:
        place: list[Any] = list(rest)
        place.insert(lowering.axis, name(axis))
        return tuple(place)

    first = nest.read(x, at("j0"), scope)
    again = nest.read(x, at("j1"), scope)
    m = buffer("m", first.dtype, (), "registers")
    p = buffer("p", out.type.dtype, (), "registers")
    held = Load("m", (), m.dtype)
    if first.dtype.kind == "f":
        here = apply("or", apply("eq", again, held), apply("isnan", again))
    else:
        here = apply("eq", again, held)
    far = const((1 << 63) - 1, p.dtype)
    place = apply("select", here, Index(name("j1")), far)
    kept = [i for i, n in zip(rest, out.shape, strict=True) if n != 1]
    body = [
        Let(m), *loops([("j0", extent)], Store("m", (), first, "max", (name("j0"),))),
        Let(p), *loops([("j1", extent)], Store("p", (), place, "min", (name("j1"),))),
        nest.store(out, kept, Load("p", (), p.dtype)),
    ]  # fmt: skip
    return nest.finish(group.kind, loops(axes, *body))
