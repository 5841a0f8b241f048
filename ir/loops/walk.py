"""Walking and rebuilding nests; what a function leaves alone stays the same object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import is_

from ..sizes import Dim, Poly
from .bounds import put
from .expr import Apply, Expr, Index, Load, Place, Where, map_expr
from .nest import Buffer, Kernel, Let, Loop, Prefetch, Stmt, Store

Body = tuple[Stmt, ...]
Access = tuple[str, tuple[Place, ...], bool, dict[str, Dim]]


def rebuild(body: Body, out: list[Stmt]) -> Body:
    """The statements of ``out``; ``body`` itself if they are the same objects."""
    return body if len(out) == len(body) and all(map(is_, out, body)) else tuple(out)


def at_loops(body: Body, axis: str, fn: Callable[[Loop], Body]) -> Body:
    """Replace each loop over ``axis`` by the statements ``fn(loop)``; inner loops first."""
    out: list[Stmt] = []
    for s in body:
        if type(s) is Loop:
            s = s.with_body(at_loops(s.body, axis, fn))
            if s.axis == axis:
                out += fn(s)
                continue
        out.append(s)
    return rebuild(body, out)


def map_loops(body: Body, fn: Callable[[Loop], Loop]) -> Body:
    """Replace every loop by ``fn(loop)``; inner loops first."""
    out = [fn(s.with_body(map_loops(s.body, fn))) if type(s) is Loop else s for s in body]
    return rebuild(body, out)


def map_stores(body: Body, fn: Callable[[Store], Iterable[Stmt]]) -> Body:
    """Replace each store by the statements ``fn(store)``."""
    out: list[Stmt] = []
    for s in body:
        if type(s) is Store:
            out += fn(s)
        elif type(s) is Loop:
            out.append(s.with_body(map_stores(s.body, fn)))
        else:
            out.append(s)
    return rebuild(body, out)


def with_value(s: Store, value: Expr) -> Store:
    """The same store of another value."""
    if value is s.value:
        return s
    return Store(s.buffer, s.index, value, s.reduce, s.start, s.nontemporal, s.source)


def with_start(s: Store, start: tuple[Poly, ...] | None) -> Store:
    """The same store, restarting elsewhere."""
    if start is s.start:
        return s
    return Store(s.buffer, s.index, s.value, s.reduce, start, s.nontemporal, s.source)


def map_indices(body: Body, fn: Callable[[Poly], Poly]) -> Body:
    """Put every polynomial of ``body`` through ``fn``: indices, restarts, conditions, limits."""
    known: dict[int, Poly] = {}

    def quick(at: Poly) -> Poly:
        found = known.get(id(at))
        if found is None:
            found = known[id(at)] = fn(at)
        return found

    return _map_indices(body, quick)


def _map_indices(body: Body, fn: Callable[[Poly], Poly]) -> Body:
    def one(e: Expr) -> Expr:
        return _map_index(e, fn)

    out: list[Stmt] = []
    for s in body:
        if type(s) is Loop:
            inner = _map_indices(s.body, fn)
            limit = s.limit if s.limit is None else fn(s.limit)
            if inner is not s.body or limit is not s.limit:
                s = Loop(s.axis, s.extent, inner, s.kind, s.width, limit)
        elif type(s) is Store:
            value, index = map_expr(s.value, one), map_place(s.index, fn, one)
            start = s.start if s.start is None else map_place(s.start, fn, one)
            if value is not s.value or index is not s.index or start is not s.start:
                s = Store(s.buffer, index, value, s.reduce, start, s.nontemporal, s.source)  # type: ignore
        elif type(s) is Prefetch:
            s = Prefetch(s.buffer, map_place(s.index, fn, one))
        out.append(s)
    return rebuild(body, out)


def map_place(
    index: tuple[Place, ...], fn: Callable[[Poly], Poly], one: Callable[[Expr], Expr]
) -> tuple[Place, ...]:
    """An index with its polynomials through ``fn`` and its expressions through ``one``."""
    new = [fn(i) if type(i) is Poly else map_expr(i, one) for i in index]  # type: ignore
    return index if all(map(is_, new, index)) else tuple(new)


def _map_index(e: Expr, fn: Callable[[Poly], Poly]) -> Expr:
    kind = type(e)
    if kind is Load:
        index = [fn(i) if type(i) is Poly else i for i in e.index]  # type: ignore
        if not all(map(is_, index, e.index)):  # type: ignore
            return Load(e.buffer, tuple(index), e.dtype)  # type: ignore
    elif kind is Where:
        return Where(tuple([(fn(at), lo, hi) for at, lo, hi in e.conds]), e.value, e.other)  # type: ignore
    elif kind is Index:
        return Index(fn(e.at))  # type: ignore
    return e


def substitute(body: Body, axis: str, value: Poly) -> Body:
    """``value`` in the place of ``axis``, everywhere."""
    return map_indices(body, lambda at: put(at, axis, value))


def loads(e: Expr) -> list[Load]:
    """Every load in an expression, those inside indices included."""
    out: list[Load] = []
    _loads(e, out)
    return out


def _loads(e: Expr, out: list[Load]) -> None:
    kind = type(e)
    if kind is Load:
        out.append(e)  # type: ignore[arg-type]
        for i in e.index:  # type: ignore[attr-defined]
            if type(i) is not Poly:
                _loads(i, out)
    elif kind is Apply:
        for a in e.args:  # type: ignore[attr-defined]
            _loads(a, out)
    elif kind is Where:
        _loads(e.value, out)  # type: ignore[attr-defined]
        _loads(e.other, out)  # type: ignore[attr-defined]


def reads(s: Store) -> list[Load]:
    """Every load that a store makes, for its value and for where it goes."""
    out: list[Load] = []
    _loads(s.value, out)
    for i in s.index:
        if type(i) is not Poly:
            _loads(i, out)  # type: ignore[arg-type]
    return out


def stores(body: Iterable[Stmt]) -> Iterator[Store]:
    """Every store below."""
    for s in body:
        if type(s) is Store:
            yield s
        elif type(s) is Loop:
            yield from stores(s.body)


def lets(body: Iterable[Stmt]) -> Iterator[Buffer]:
    """Every buffer declared below."""
    for s in body:
        if type(s) is Let:
            yield s.buffer
        elif type(s) is Loop:
            yield from lets(s.body)


def loops_of(body: Iterable[Stmt]) -> Iterator[Loop]:
    """Every loop below, outer ones first."""
    for s in body:
        if type(s) is Loop:
            yield s
            yield from loops_of(s.body)


def axes(body: Iterable[Stmt]) -> set[str]:
    """The axes of all loops below."""
    return {loop.axis for loop in loops_of(body)}


def accesses(body: Iterable[Stmt]) -> list[Access]:
    """Every access below: buffer, index, is it a store, the extents of the loops between."""
    out: list[Access] = []
    _accesses(body, {}, out)
    return out


def _accesses(body: Iterable[Stmt], extents: dict[str, Dim], out: list[Access]) -> None:
    for s in body:
        if type(s) is Loop:
            _accesses(s.body, {**extents, s.axis: s.extent}, out)
        elif type(s) is Store:
            out.append((s.buffer, s.index, True, extents))
            out += [(e.buffer, e.index, False, extents) for e in reads(s)]


def buffers(kernel: Kernel) -> dict[str, Buffer]:
    """Every buffer by name: parameters, then those declared inside."""
    return {b.name: b for b in (*kernel.params, *lets(kernel.body))}


def size_names(kernel: Kernel) -> frozenset[str]:
    """The names of the sizes that a kernel has."""
    return frozenset(s.name for s in kernel.sizes)
