"""Scatters and index checks as naive nests."""

from __future__ import annotations

from typing import Any

from ..ir.dtypes import int64
from ..ir.graph import Value
from ..ir.loops import Apply, Index, Let, Load, Stmt, Store, apply, buffer, const, loops
from ..ir.lowering import ScatterAdd
from ..ir.sizes import Dim, Poly, contiguous_strides, name, poly
from .lower_elementwise import narrow, wide_dtype
from .lower_layout import ZERO, Layout
from .lower_nest import Group, Lowered, Nest, Places, Scope, as_place


def lower_scatter(group: Group, places: Places) -> Lowered:
    """A copy of the first operand, then one addition after the other, in the order of the index."""
    (node,) = group.nodes
    lowering = places.lowerings[node]
    assert isinstance(lowering, ScatterAdd)
    x, index, source = node.operands
    nest, scope, result = Nest(group, places), Scope((), None), node.results[0]
    wide = wide_dtype(x.type.dtype)
    direct = wide is x.type.dtype
    out = (
        nest.param(places.home(result), wide, "out")
        if direct
        else buffer("c", wide, _kept(x.shape), "local")
    )
    body: list[Stmt] = [] if direct else [Let(out)]
    here = [(f"i{d}", n) for d, n in enumerate(x.shape)]
    at = tuple([name(a) for a, _ in here])
    body += loops(here, Store(out.name, _squeeze(at, x), nest.read(x, at, scope)))
    axes = [(f"s{d}", n) for d, n in enumerate(index.shape)]
    there = tuple([name(a) for a, _ in axes])
    place: list[Any] = list(there)
    place[lowering.axis] = as_place(nest.read(index, there, scope))
    added = nest.read(source, there, scope)
    body += loops(axes, Store(out.name, _squeeze(tuple(place), x), added, "add"))
    if not direct:
        last = [(f"o{d}", n) for d, n in enumerate(x.shape)]
        end = tuple([name(a) for a, _ in last])
        inner = _squeeze(end, x)
        body += loops(
            last, nest.store(result, inner, narrow(Load(out.name, inner, wide), x.type.dtype))
        )
    return nest.finish(group.kind, body)


def _kept(shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    return tuple([n for n in shape if n != 1])


def _squeeze(at: tuple[Any, ...], x: Value) -> tuple[Any, ...]:
    return tuple([i for i, n in zip(at, x.shape, strict=True) if n != 1])


def lower_check(index: Value, size: Dim, mailbox: Value, places: Places) -> Lowered:
    """Into ``mailbox``: 0, or one more than the last place where an index is outside of ``0 <= i < size``."""
    group = Group("check", [], ())
    nest = Nest(group, places)
    axes = [(f"r{d}", n) for d, n in enumerate(index.shape) if n != 1]
    at = tuple([ZERO if n == 1 else name(f"r{d}") for d, n in enumerate(index.shape)])
    i = nest.read(index, at, Scope((), None))
    wrong = apply("or", apply("lt", i, 0), apply("ge", i, Index(poly(size))))
    position: Any = Poly({})
    for a, step in zip(at, contiguous_strides(index.shape), strict=True):
        position = position + a * step
    place = Apply("select", (wrong, Index(position + 1), const(0, int64)), int64)
    out = nest.param(Layout(mailbox, (), (), 0), int64, "out")
    start = tuple([name(a) for a, _ in axes])
    return nest.finish(
        "check",
        loops(axes, Store(out.name, (), place, "max" if axes else "", start if axes else None)),
    )
