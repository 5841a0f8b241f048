"""The step ``stage``: copy what a part of a nest reads into a local buffer of another layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.errors import ScheduleError
from ...ir.loops.bounds import bounds
from ...ir.loops.expr import Condition, Expr, Load, Place, Where, map_expr
from ...ir.loops.nest import Kernel, Let, Loop, Stmt, Store
from ...ir.loops.nest import buffer as new_buffer
from ...ir.loops.walk import (
    Body,
    accesses,
    axes,
    buffers,
    loops_of,
    map_stores,
    size_names,
    stores,
    with_value,
)
from ...ir.sizes import Dim, Poly, contiguous_strides, dim, poly
from .accumulate import fresh
from .legality import moving, region
from .split import on_axis, simplify


def stage(
    kernel: Kernel,
    buffer: str,
    at: str | None = None,
    order: Sequence[int] | None = None,
    memory: str = "local",
    pad: int = 0,
    name: str | None = None,
    block: int = 0,
) -> Kernel:
    """Copy what one iteration of ``at`` (or the whole kernel) reads of ``buffer`` first.

    for j0 { .. B[k, 4*j0 + j1] .. }   -->   for j0 { let b[K, 4]; for b_0 { for b_1:
                                                        b[b_0, b_1] = B[b_0, 4*j0 + b_1] }
                                                      .. b[k, j1] .. }

    ``order``: the dims of the copy, outermost first; a dim named twice is cut into blocks,
    [d // block, .., d % block]. ``pad``: elements added to each row. A ``where`` around the read
    (zero padding) moves into the copy.
    """
    known = buffers(kernel)
    if buffer not in known:
        raise ScheduleError(f"stage: {kernel.name} has no buffer {buffer!r}")
    name = name or fresh(kernel, f"{buffer}_near")
    if name in known:
        raise ScheduleError(f"stage: {name!r} is taken")
    plan = (buffer, name, order, memory, pad, block)

    def inside(loop: Loop) -> Body:
        if not any(b == buffer for b, *_ in accesses(loop.body)):
            return (loop,)
        return (loop.with_body(_staged(kernel, loop.body, at, *plan)),)

    if at is None:
        whole = Loop("", 1, kernel.body)
        return simplify(kernel.with_body(inside(whole)[0].body))  # type: ignore[union-attr]
    return simplify(on_axis(kernel, at, inside))


@dataclass(slots=True)
class _Dim:
    """One dimension of the copy: of which dimension of the buffer, and the loop that fills it."""

    of: int
    axis: str
    extent: Dim
    limit: Poly | None
    outer: bool
    inner: bool


def _staged(
    kernel: Kernel,
    body: Body,
    at: str | None,
    buffer: str,
    name: str,
    order: Sequence[int] | None,
    memory: str,
    pad: int,
    block: int,
) -> Body:
    if any(s.buffer == buffer for s in stores(body)):
        raise ScheduleError(f"stage: {buffer!r} is written in {at!r}")
    within = frozenset(axes(body))
    spots = [(index, ext) for b, index, _, ext in accesses(body) if b == buffer]
    corner, box = region(spots, within | size_names(kernel), kernel.sizes)
    limits = _limits(kernel, body, buffer, spots, corner, box)
    dims = _dims(list(order or moving(spots, within)), name, box, limits, block)
    if len({d.of for d in dims}) < len(moving(spots, within)):
        raise ScheduleError(f"stage: order {order} leaves out a dimension that moves")

    for d in dims:
        if d.inner:
            _check_blocks(spots, d.of, corner[d.of], block, name)

    def local(index: tuple[Place, ...]) -> tuple[Place, ...]:
        out = []
        for d in dims:
            i = index[d.of] - corner[d.of]  # type: ignore[operator]
            if d.outer or d.inner:
                i = _divide(i, block)[d.inner]  # type: ignore[arg-type]
            out.append(i)
        return tuple(out)

    body, guards = _redirected(body, buffer, name, local)
    source = list(corner)
    for d in dims:
        source[d.of] = source[d.of] + poly(d.axis) * (block if d.outer else 1)
    dtype = buffers(kernel)[buffer].dtype
    value: Expr = Load(buffer, tuple(source), dtype)
    if guards:
        conds = tuple((source[d], lo, hi) for d, lo, hi in guards)
        value = Where(conds, value, next(iter(guards.values())))
    shape = [d.extent for d in dims]
    strides = contiguous_strides([*shape[:-1], shape[-1] + pad]) if shape else ()
    copy: Stmt = Store(name, tuple(poly(d.axis) for d in dims), value)
    for d in reversed(dims):
        copy = Loop(d.axis, d.extent, (copy,), limit=d.limit)
    return (Let(new_buffer(name, dtype, shape, memory, strides=strides)), copy, *body)


def _limits(
    kernel: Kernel,
    body: Body,
    buffer: str,
    spots: list[tuple[tuple[Place, ...], dict[str, Dim]]],
    corner: list[Poly],
    box: list[Dim],
) -> list[Poly | None]:
    """A box around clamped loops may reach past the end of the buffer: how far each dim goes."""
    end = buffers(kernel)[buffer].shape
    clamped = {s.axis for s in loops_of(body) if s.limit is not None}
    padded = _guarded(body, buffer)
    out: list[Poly | None] = [None] * len(box)
    for d in range(len(box)):
        if d in padded or not any(not clamped.isdisjoint(i[d].names) for i, _ in spots):  # type: ignore[union-attr]
            continue
        left = dim(end[d] - corner[d])
        if type(left) is int and type(box[d]) is int:
            box[d] = min(box[d], left)  # type: ignore[type-var]
        else:
            out[d] = poly(left)
    return out


def _dims(
    order: list[int], name: str, box: list[Dim], limits: list[Poly | None], block: int
) -> list[_Dim]:
    if any(d not in range(len(box)) or order.count(d) > 2 for d in order):
        raise ScheduleError(f"stage: order {order} does not name dims of {len(box)}")
    out: list[_Dim] = []
    for n, d in enumerate(order):
        outer, inner = order.count(d) == 2 and d in order[n + 1 :], d in order[:n]
        axis = f"{name}_{d}{'o' if outer else ''}"
        if (outer or inner) and (type(box[d]) is not int or block < 1):
            raise ScheduleError(f"stage: dim {d} of {box[d]} elements cannot be cut by {block}")
        if outer:
            out.append(_Dim(d, axis, -(-box[d] // block), None, True, False))  # type: ignore
            continue
        if not inner:
            out.append(_Dim(d, axis, box[d], limits[d], False, False))
            continue
        left = poly(box[d]) if limits[d] is None else limits[d]
        uneven = limits[d] is not None or box[d] % block  # type: ignore[operator]
        limit = left - Poly({(axis + "o",): block}) if uneven else None  # type: ignore[operator]
        out.append(_Dim(d, axis, block, limit, False, True))
    return out


def _redirected(
    body: Body, buffer: str, name: str, local: object
) -> tuple[Body, dict[tuple[int, Dim, Dim], Expr]]:
    """Reads from the copy, and the conditions that stood around them, by dimension."""
    guards: dict[tuple[int, Dim, Dim], Expr] = {}
    came_from: dict[Load, tuple[Place, ...]] = {}
    bare: set[Load] = set()

    def one(e: Expr) -> Expr:
        if type(e) is Load and e.buffer == buffer:
            new = Load(name, local(e.index), e.dtype)  # type: ignore[operator]
            came_from[new] = e.index
            bare.add(new)
            return new
        if type(e) is Where and type(e.value) is Load and e.value in came_from:
            index = came_from[e.value]
            bare.discard(e.value)
            for at, lo, hi in e.conds:
                if at not in index:
                    raise ScheduleError(
                        f"stage: the condition on {at} is on no index of {buffer!r}"
                    )
                guards[index.index(at), lo, hi] = e.other
            return e.value
        return e

    body = map_stores(body, lambda s: (with_value(s, map_expr(s.value, one)),))
    if len(set(guards.values())) > 1 or (guards and bare):
        raise ScheduleError(f"stage: reads of {buffer!r} are padded differently")
    return body, guards


def _guarded(body: Body, buffer: str) -> set[int]:
    """The dimensions of ``buffer`` on which a ``where`` around a read has a condition."""
    found: set[int] = set()

    def look(e: Expr) -> Expr:
        if type(e) is Where and type(e.value) is Load and e.value.buffer == buffer:
            on: list[Condition] = list(e.conds)
            found.update(d for at, _, _ in on for d, i in enumerate(e.value.index) if i == at)
        return e

    for s in stores(body):
        map_expr(s.value, look)
    return found


def _check_blocks(
    spots: list[tuple[tuple[Place, ...], dict[str, Dim]]],
    d: int,
    corner: Poly,
    block: int,
    name: str,
) -> None:
    """Each index must be a multiple of the block plus something below it."""
    for index, extents in spots:
        rest = _divide(index[d] - corner, block)[1]  # type: ignore[operator, arg-type]
        low, high = bounds(rest, extents)
        if type(low) is not int or type(high) is not int or low < 0 or high >= block:
            raise ScheduleError(f"stage: {index[d]} does not move in blocks of {block} in {name!r}")


def _divide(at: Poly, block: int) -> tuple[Poly, Poly]:
    """Quotient and remainder of an index whose other terms stay below ``block``."""
    q = {m: c // block for m, c in at.terms.items() if m and c % block == 0}
    if at.const // block:
        q[()] = at.const // block
    quotient = Poly(q)
    return quotient, at - quotient * block
