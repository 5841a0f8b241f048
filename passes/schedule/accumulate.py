"""Steps for reductions: ``accumulate``, ``explicit_start``, ``lanes``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir.errors import ScheduleError
from ...ir.loops.expr import Const, Expr, Load, Place, Where
from ...ir.loops.intrinsics import combine, identity
from ...ir.loops.nest import Kernel, Let, Loop, Stmt, Store
from ...ir.loops.nest import buffer as new_buffer
from ...ir.loops.walk import (
    Body,
    accesses,
    at_loops,
    axes,
    buffers,
    lets,
    map_stores,
    reads,
    size_names,
    stores,
    substitute,
    with_start,
)
from ...ir.sizes import Dim, Poly, poly, product
from .legality import index_axes, moving, region, with_extents
from .place import redirect
from .split import on_axis, simplify

Make = Callable[[Store], list[Store]]


def fresh(kernel: Kernel, name: str) -> str:
    """A buffer name that is not taken."""
    taken, k = buffers(kernel), 0
    while (new := f"{name}{k or ''}") in taken:
        k += 1
    return new


def skeleton(
    body: Body,
    keep: set[str],
    fn: Make,
    seen: set[tuple[str, tuple[Place, ...]]],
    gone: frozenset[str] = frozenset(),
) -> list[Stmt]:
    """The loops of ``body`` over axes in ``keep``, once per place, around what ``fn(store)`` says."""
    out: list[Stmt] = []
    for s in body:
        if type(s) is Store:
            for new in fn(s):
                if (new.buffer, new.index) not in seen:
                    seen.add((new.buffer, new.index))
                    out.append(new)
        elif type(s) is Loop and s.axis not in keep:
            out += skeleton(s.body, keep, fn, seen, gone | {s.axis})
        elif type(s) is Loop:
            inner = skeleton(s.body, keep, fn, seen, gone)
            limit = s.limit
            if limit is not None and not gone.isdisjoint(limit.names):
                limit = None
            if inner:
                out.append(Loop(s.axis, s.extent, tuple(inner), s.kind, s.width, limit))
    return out


def _check_whole(loop: Loop, buffer: str, kept: list[int]) -> None:
    """A copy over the box of clamped loops may reach elements that no iteration writes."""
    for inner in (loop, *_loops(loop.body)):
        if inner.limit is not None and not inner.limit.names.isdisjoint(axes((loop,))):
            used = {n for s in stores((inner,)) if s.buffer == buffer for n in index_axes(s.index)}
            hidden = inner.limit.names & axes((loop,)) - used
            if inner.axis in used and hidden:
                raise ScheduleError(
                    f"accumulate: how far {inner.axis!r} runs depends on {min(hidden)!r}"
                )


def _loops(body: Body) -> list[Loop]:
    return [x for s in body if type(s) is Loop for x in (s, *_loops(s.body))]


def accumulate(
    kernel: Kernel,
    buffer: str,
    at: str,
    memory: str = "registers",
    back: str = "",
    order: Sequence[int] = (),
) -> Kernel:
    """Reduce into a local copy during loop ``at``, its dims in ``order``.

    for k { for j: C[j] += e from 0 at k }   -->   let c; for j: c[j] = 0
                                                   for k { for j: c[j] += e }; for j: C[j] = c[j]

    If a reduction loop lies outside ``at``, the copy starts from C but in its first iteration.
    ``back`` is added to the names of the axes that write back.
    """
    names = size_names(kernel)
    known = buffers(kernel)
    if buffer not in known:
        raise ScheduleError(f"accumulate: {kernel.name} has no buffer {buffer!r}")

    def around(loop: Loop) -> Body:
        mine = [s for s in stores((loop,)) if s.buffer == buffer]
        if not mine:
            return (loop,)
        _check_reduced(loop, buffer, mine)
        inside = frozenset(axes((loop,)))
        spots = [(index, ext) for b, index, _, ext in accesses((loop,)) if b == buffer]
        corner, shape = region(spots, inside | names, kernel.sizes)
        kept = list(order or moving(spots, inside))
        _check_whole(loop, buffer, kept)
        name = fresh(kernel, f"{buffer}_{at}")

        def move(index: tuple[Place, ...]) -> tuple[Place, ...]:
            return tuple([index[d] - corner[d] for d in kept])  # type: ignore[operator]

        def first(s: Store) -> list[Store]:
            return [Store(name, move(s.index), first_value(s, inside))] if s in mine else []

        def last(s: Store) -> list[Store]:
            if s not in mine:
                return []
            held = Load(name, move(s.index), s.value.dtype)
            return [Store(buffer, s.index, held, source=s.source)]

        keep = {n for s in mine for n in index_axes(s.index)} & inside
        before = skeleton((loop,), keep, first, set())
        after = tuple(skeleton((loop,), keep, last, set()))
        main = map_stores((loop,), lambda s: (with_start(s, None) if s.buffer == buffer else s,))
        local = new_buffer(name, known[buffer].dtype, [shape[d] for d in kept], memory)
        main = redirect(main, buffer, name, move)
        return (Let(local), *before, *main, *(_suffixed(after, back) if back else after))

    done = on_axis(kernel, at, around)
    return simplify(done.with_body(_told_apart(done.body)))


def _told_apart(body: Body) -> Body:
    """Copies of a nest side by side get the same locals: number those after the first."""
    seen: dict[str, int] = {}
    for n, s in enumerate(body):
        if type(s) is Loop:
            inner = _told_apart(s.body)
            if inner is not s.body:
                body = (*body[:n], s.with_body(inner), *body[n + 1 :])
        elif type(s) is Let:
            name = s.buffer.name
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                new = f"{name}_{seen[name]}"
                b = s.buffer
                let = Let(new_buffer(new, b.dtype, b.shape, b.memory, strides=b.strides))
                rest = redirect(body[n + 1 :], name, new, lambda index: index)
                return _told_apart((*body[:n], let, *rest))
    return body


def _check_reduced(loop: Loop, buffer: str, mine: list[Store]) -> None:
    if buffer in {b.name for b in lets(loop.body)}:
        raise ScheduleError(f"accumulate: {buffer!r} lives inside {loop.axis!r}")
    read = any(e.buffer == buffer for s in stores((loop,)) for e in reads(s))
    if read or any(not s.reduce for s in mine) or len({s.reduce for s in mine}) > 1:
        raise ScheduleError(f"accumulate: {buffer!r} is not only reduced into in {loop.axis!r}")


def _suffixed(body: Body, suffix: str) -> Body:
    """Add ``suffix`` to the names of all loops in ``body``."""
    out: list[Stmt] = []
    for s in body:
        if type(s) is Loop:
            new = s.axis + suffix
            inner = _suffixed(substitute(s.body, s.axis, poly(new)), suffix)
            s = Loop(new, s.extent, inner, s.kind, s.width, s.limit)
        out.append(s)
    return tuple(out)


def put_zero(at: Poly, moved: frozenset[str]) -> Poly:
    """``at`` where the axes ``moved`` are 0."""
    return Poly({m: c for m, c in at.terms.items() if moved.isdisjoint(m)})


def first_value(s: Store, moved: frozenset[str]) -> Expr:
    """What a reduction holds before the loops over ``moved`` begin."""
    held = Load(s.buffer, s.index, s.value.dtype)
    start = Const(identity(s.reduce, s.value.dtype), s.value.dtype)
    if s.start is None:
        return held
    outer = [put_zero(at, moved) for at in s.start]
    if any(at.terms.keys() == {()} for at in outer):
        return held
    conds = tuple((at, 0, 1) for at in outer if at.terms)
    return Where(conds, start, held) if conds else start


def explicit_start(kernel: Kernel, buffer: str) -> Kernel:
    """Spell the restart of a reduction as a store of its identity.

    for j: s[r] += e from 0 at j   -->   s[r] = 0; for j: s[r] += e
    """

    def here(group: Body) -> tuple[Body, Body, Body]:
        inside = frozenset(axes(group))
        mine = [s for s in stores(group) if s.buffer == buffer and s.start is not None]
        keep = {n for s in mine for n in index_axes(s.index)} & inside

        def starts(s: Store) -> list[Store]:
            if s not in mine:
                return []
            return [Store(buffer, s.index, first_value(s, inside))]

        before = tuple(skeleton(group, keep, starts, set()))
        kept = map_stores(group, lambda s: (with_start(s, None) if s.buffer == buffer else s,))
        return before, kept, ()

    return simplify(kernel.with_body(_where_reduced(kernel.body, buffer, here)))


def lanes(kernel: Kernel, buffer: str, axis: str, memory: str = "registers") -> Kernel:
    """Give each iteration of reduction loop ``axis`` an accumulator; combine them at the end.

    s = 0; for j0 { for j1: s += e }   -->   s = 0; let p; for j1: p[j1] = 0
                                             for j0 { for j1: p[j1] += e }; for j1: s += p[j1]
    """
    if any(s.buffer == buffer and s.start is not None for s in stores(kernel.body)):
        kernel = explicit_start(kernel, buffer)
    known, names = buffers(kernel), size_names(kernel)
    if buffer not in known:
        raise ScheduleError(f"lanes: {kernel.name} has no buffer {buffer!r}")

    def here(group: Body) -> tuple[Body, Body, Body]:
        pairs = [
            (s, ext)
            for s, ext in with_extents(group)
            if s.buffer == buffer and s.reduce and axis in ext
        ]
        if not pairs:
            return (), group, ()
        mine = [s for s, _ in pairs]
        if any(axis in index_axes(s.index) for s in mine):
            raise ScheduleError(f"lanes: {axis!r} is no reduction loop of {buffer!r}")
        inside = frozenset(axes(group))
        along = poly(axis)
        spots = [((along, *s.index), ext) for s, ext in pairs]
        corner, shape = region(spots, inside | names, kernel.sizes)
        kept = [0, *(d for d in moving(spots, inside) if d)]
        name = fresh(kernel, f"{buffer}_{axis}")
        box = [shape[d] for d in kept]

        def move(index: tuple[Place, ...]) -> tuple[Place, ...]:
            whole = (along, *index)
            return tuple([whole[d] - corner[d] for d in kept])  # type: ignore[operator]

        def widest(fn: Callable[[Store], Store]) -> Body:
            """The copy of the nest that reaches every lane."""
            for part in group:
                for nest in skeleton((part,), keep, lambda s: [fn(s)] if s in mine else [], set()):
                    if len(mine) == 1 or _covers(nest, box):
                        return (nest,)
            raise ScheduleError(f"lanes: no copy of loop {axis!r} reaches all lanes")

        keep = {axis} | {n for s in mine for n in index_axes(s.index)} & inside
        dtype, reduce = known[buffer].dtype, mine[0].reduce
        zero = Const(identity(reduce, dtype), dtype)
        join = combine(reduce)
        start = widest(lambda s: Store(name, move(s.index), zero))
        end = widest(lambda s: Store(buffer, s.index, Load(name, move(s.index), dtype), join))
        group = at_loops(group, axis, lambda loop: redirect((loop,), buffer, name, move))
        local = new_buffer(name, dtype, box, memory)
        return (Let(local), *start), group, end

    body = _where_reduced(kernel.body, buffer, here)
    if body is kernel.body or body == kernel.body:
        raise ScheduleError(f"lanes: no reduction of {buffer!r} runs over {axis!r}")
    return kernel.with_body(_told_apart(body))


def _covers(nest: Stmt, box: Sequence[Dim]) -> bool:
    """Does a perfect nest run once for each element of a box?"""
    total: Dim = 1
    while type(nest) is Loop:
        if len(nest.body) > 1 or nest.limit is not None or type(nest.extent) is not int:
            return False
        total, nest = total * nest.extent, nest.body[0]
    return all(type(n) is int for n in box) and total == product(box)


def _where_reduced(body: Body, buffer: str, fn: Callable[[Body], tuple[Body, Body, Body]]) -> Body:
    """Apply ``fn(group) -> before, group, after`` to the innermost statements that hold a whole reduction."""
    hits = [
        n for n, s in enumerate(body) if any(t.buffer == buffer and t.reduce for t in stores((s,)))
    ]
    if not hits:
        return body
    if all(_is_outside(body[n], body, buffer) for n in hits):
        return tuple(
            s.with_body(_where_reduced(s.body, buffer, fn))  # type: ignore[union-attr]
            if n in hits
            else s
            for n, s in enumerate(body)
        )
    lo, hi = hits[0], hits[-1] + 1
    if _is_read(body[lo:hi], buffer):
        raise ScheduleError(f"{buffer!r} is read inside the loops that reduce into it")
    before, group, after = fn(body[lo:hi])
    return (*body[:lo], *before, *group, *after, *body[hi:])


def _is_outside(s: Stmt, body: Body, buffer: str) -> bool:
    """Does each iteration of ``s`` hold whole reductions into ``buffer``?"""
    if type(s) is not Loop:
        return False
    moved = {n for t in stores(body) if t.buffer == buffer for n in index_axes(t.index)}
    born = buffer in {b.name for b in lets(s.body)}
    return s.axis in moved or born or (s.extent == 1 and _is_read((s,), buffer))


def _is_read(body: Body, buffer: str) -> bool:
    return any(e.buffer == buffer for s in stores(body) for e in reads(s))
