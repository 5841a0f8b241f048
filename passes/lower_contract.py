"""Contractions with what follows them, and sums along dimensions that are not a row's, as naive nests."""

from __future__ import annotations

from typing import Any

from ..ir.dtypes import DType
from ..ir.graph import Node
from ..ir.loops import Apply, Buffer, Expr, Let, Load, Stmt, Store, buffer, const, identity, loops
from ..ir.loops.walk import stores
from ..ir.lowering import Contract, Reduce
from ..ir.sizes import Dim, name
from .lower_elementwise import rounded, wide_dtype
from .lower_layout import ZERO, is_dense, squeezed
from .lower_nest import Group, Lowered, Nest, Places, Scope
from .lower_rows import reduction_kind


def lower_contract(group: Group, places: Places) -> Lowered:
    """``C fma= A * B``, then one nest over the same places for what follows."""
    nest = Nest(group, places)
    node = next(n for n in group.nodes if type(places.lowerings[n]) is Contract)
    lowering = places.lowerings[node]
    assert isinstance(lowering, Contract)
    letters = _letters(node, lowering)
    result = node.results[0]
    wide = wide_dtype(result.type.dtype)
    alone = len(group.nodes) == 1 and result.type.dtype is wide
    operands = ((node.operands[0], lowering.a), (node.operands[1], lowering.b))
    axes = _axes(lowering)
    factors = [
        nest.read(v, [ZERO if letters[c] == 1 else name(axes[c]) for c in term], Scope((), None))
        for v, term in operands
    ]
    out: Buffer
    if alone and is_dense(places.home(result)):
        out = nest.param(places.home(result), wide, "out")
        body: list[Stmt] = []
    else:
        out = buffer("c", wide, squeezed(result.shape), "local")
        body = [Let(out)]
    body += _product(lowering, letters, factors, out)
    if out.role != "out":
        body += _epilogue(nest, group, node, out)
    return nest.finish(group.kind, body)


def _letters(node: Node, lowering: Contract) -> dict[str, Dim]:
    sizes = dict(zip(lowering.a, node.operands[0].shape, strict=True))
    return sizes | dict(zip(lowering.b, node.operands[1].shape, strict=True))


def _axes(lowering: Contract) -> dict[str, str]:
    """Loops by letter: batch ones b, those of the first operand i, of the second j, summed ones k."""
    axes: dict[str, str] = {}
    for letter in lowering.out:
        both = letter in lowering.a and letter in lowering.b
        kind = "b" if both else "i" if letter in lowering.a else "j"
        axes[letter] = f"{kind}{sum(a[0] == kind for a in axes.values())}"
    return axes | {c: f"k{n}" for n, c in enumerate(c for c in lowering.a if c not in lowering.out)}


def _product(
    lowering: Contract, sizes: dict[str, Dim], factors: list[Expr], out: Buffer
) -> list[Stmt]:
    """The perfect nest."""
    axes = _axes(lowering)
    inner = [c for c in lowering.a if c not in lowering.out]
    order = sorted(lowering.out, key=lambda c: (axes[c][0], axes[c])) + inner
    order = [c for c in order if sizes[c] != 1]
    index = tuple([name(axes[c]) for c in lowering.out if sizes[c] != 1])
    start = tuple([name(axes[c]) for c in inner if sizes[c] != 1])
    value = Apply("mul", tuple(factors), out.dtype)
    nested = [(axes[c], sizes[c]) for c in order]
    if any(sizes[c] == 0 for c in inner):
        zero = const(identity("fma", out.dtype), out.dtype)
        return list(loops([p for p in nested if p[0][0] != "k"], Store(out.name, index, zero)))
    return list(loops(nested, Store(out.name, index, value, "fma", start)))


def _epilogue(nest: Nest, group: Group, node: Node, out: Buffer) -> list[Stmt]:
    """What follows the product, elementwise, reading it from the local.

    Without registers where that is not much longer: the policy brings plain stores into the tile.
    """
    result = node.results[0]
    axes = [(f"e{d}", n) for d, n in enumerate(squeezed(result.shape))]
    at = tuple([name(a) for a, _ in axes])
    product = rounded(Load(out.name, at, out.dtype), result.type.dtype)
    choices: tuple[list[Stmt] | None, ...] = (None, [])
    for statements in choices:
        scope = Scope(at, statements, known={result: product})
        body: list[Stmt] = [] if statements is None else statements
        for v in group.outputs:
            body.append(nest.store(v, at, nest.internal(v, at, scope)))
        if sum(map(_length, stores(body))) < LONG:
            break
    return list(loops(axes, *body))


LONG = 80  # scalar functions of an epilogue that may be spelled out without registers


def _length(s: Store) -> int:
    """How many scalar functions a store applies."""

    def count(e: Expr) -> int:
        return 1 + sum(map(count, e.args)) if type(e) is Apply else 0

    return count(s.value)


def lower_columns(group: Group, places: Places) -> Lowered:
    """A sum (or another reduction) over any dimensions: kept axes outside, reduced ones inside."""
    nest = Nest(group, places)
    node = group.nodes[-1]
    lowering = places.lowerings[node]
    assert isinstance(lowering, Reduce)
    x, result = node.operands[0], node.results[0]
    full = tuple([name(f"r{d}" if d in lowering.axes else f"i{d}") for d in range(len(x.shape))])
    at = tuple([i for i, n in zip(full, x.shape, strict=True) if n != 1])
    extents = [(d, n) for d, n in enumerate(x.shape) if n != 1]
    outer = [(f"i{d}", n) for d, n in extents if d not in lowering.axes]
    inner = [(f"r{d}", n) for d, n in extents if d in lowering.axes]
    scope = Scope(at, [])
    value = nest.operand(x, at, scope)
    kind = reduction_kind(lowering.kind, value.dtype)
    place = tuple([name(a) for a, _ in outer])
    assert scope.statements is not None
    return _reduced(nest, group, (outer, inner), scope.statements, (value, kind, result, place))


def _reduced(
    nest: Nest,
    group: Group,
    axes: tuple[list[tuple[str, Dim]], list[tuple[str, Dim]]],
    before: list[Stmt],
    what: Any,
) -> Lowered:
    """Straight into the output, or by a register where types differ or there may be nothing to reduce."""
    (outer, inner), (value, kind, result, place) = axes, what
    dtype: DType = result.type.dtype
    start = tuple([name(a) for a, _ in inner])
    if value.dtype is dtype and inner and all(n != 0 for _, n in inner):
        out = nest.param(nest.places.home(result), dtype, "out")
        step = Store(out.name, place, value, kind, start)
        return nest.finish(group.kind, loops([*outer, *inner], *before, step))
    m = buffer("m", value.dtype, (), "registers")
    first = Store("m", (), const(identity(kind, value.dtype), value.dtype))
    total = rounded(Load("m", (), m.dtype), dtype)
    body = [
        Let(m),
        first,
        *loops(inner, *before, Store("m", (), value, kind)),
        nest.store(result, place, total),
    ]
    return nest.finish(group.kind, loops(outer, *body))
