"""Steps that move intermediates: ``place``, ``forward``, ``reuse``."""

from __future__ import annotations

from collections.abc import Callable

from ...ir.errors import ScheduleError
from ...ir.loops.expr import Expr, Load, Place, map_expr
from ...ir.loops.nest import Barrier, Buffer, Kernel, Let, Loop, Stmt, Store
from ...ir.loops.nest import buffer as new_buffer
from ...ir.loops.walk import (
    Body,
    accesses,
    axes,
    buffers,
    lets,
    map_stores,
    reads,
    rebuild,
    size_names,
    stores,
    with_value,
)
from ...ir.sizes import Poly
from .legality import index_axes, moving, region, separate
from .split import on_axis

Move = Callable[[tuple[Place, ...]], tuple[Place, ...]]


def redirect(body: Body, old: str, new: str, move: Move) -> Body:
    """Point every access of ``old`` at ``new[move(index)]``."""

    def one(e: Expr) -> Expr:
        return Load(new, move(e.index), e.dtype) if type(e) is Load and e.buffer == old else e

    def store(s: Store) -> tuple[Store, ...]:
        value = map_expr(s.value, one)
        index = tuple([i if type(i) is Poly else map_expr(i, one) for i in s.index])  # type: ignore
        if s.buffer == old:
            return (Store(new, move(index), value, s.reduce, s.start, False, s.source),)
        if value is s.value and index == s.index:
            return (s,)
        return (Store(s.buffer, index, value, s.reduce, s.start, s.nontemporal, s.source),)

    return map_stores(body, store)


def place(kernel: Kernel, buffer: str, at: str, memory: str) -> Kernel:
    """Keep an intermediate for one iteration of ``at``: only the part that the iteration uses.

    let s[R]; for r { s[r] = ..; .. s[r] }   -->   for r { let s[] in registers; s[] = ..; .. s[] }
    """
    here = [s for s in kernel.body if type(s) is Let and s.buffer.name == buffer]
    if not here:
        raise ScheduleError(f"place: {buffer!r} is no intermediate of the whole kernel")
    dtype, names = here[0].buffer.dtype, size_names(kernel)

    def inside(loop: Loop) -> Body:
        mine = [(index, ext) for b, index, _, ext in accesses(loop.body) if b == buffer]
        if not mine:
            return (loop,)
        _check_placed(kernel, loop, buffer)
        within = frozenset(axes(loop.body))
        corner, shape = region(mine, within | names, kernel.sizes)
        kept = moving(mine, within)

        def move(index: tuple[Place, ...]) -> tuple[Place, ...]:
            return tuple([index[d] - corner[d] for d in kept])  # type: ignore[operator]

        local = new_buffer(buffer, dtype, [shape[d] for d in kept], memory)
        return (loop.with_body((Let(local), *redirect(loop.body, buffer, buffer, move))),)

    placed = on_axis(kernel, at, inside)
    body = tuple(s for s in placed.body if not (type(s) is Let and s.buffer.name == buffer))
    if any(b == buffer for b, *_ in accesses(_without(body, at))):
        raise ScheduleError(f"place: {buffer!r} is also used outside {at!r}")
    return placed.with_body(body)


def _check_placed(kernel: Kernel, loop: Loop, buffer: str) -> None:
    if not begins(loop.body, buffer):
        raise ScheduleError(
            f"place: an iteration of {loop.axis!r} uses {buffer!r} before it writes it"
        )
    if not separate(loop.axis, loop.extent, loop.body, kernel.sizes):
        raise ScheduleError(f"place: {buffer!r} is shared between iterations of {loop.axis!r}")


def begins(body: Body, buffer: str) -> bool:
    """Is the first access to ``buffer`` a store that does not need what it held?"""
    for s in stores(body):
        if any(e.buffer == buffer for e in reads(s)):
            return False
        if s.buffer == buffer:
            return not s.reduce or s.start is not None
    return False


def hold(kernel: Kernel, buffer: str, memory: str) -> Kernel:
    """Keep an intermediate elsewhere.

    let t[] in registers   -->   let t[] in local
    """

    def change(body: Body) -> Body:
        return rebuild(body, [_held(s, buffer, memory, change) for s in body])

    body = change(kernel.body)
    if body is kernel.body:
        raise ScheduleError(f"hold: {buffer!r} is no intermediate that is not in {memory} yet")
    return kernel.with_body(body)


def _held(s: Stmt, buffer: str, memory: str, change: Callable[[Body], Body]) -> Stmt:
    if type(s) is Loop:
        return s.with_body(change(s.body))
    if type(s) is Let and s.buffer.name == buffer and s.buffer.memory != memory:
        b = s.buffer
        return Let(new_buffer(b.name, b.dtype, b.shape, memory, strides=b.strides))
    return s


def hoist(kernel: Kernel, buffer: str) -> Kernel:
    """Declare an intermediate once for the whole kernel, with a part for each iteration around it.

    for r { let e[n]; .. e[j] .. }   -->   let e[R, n]; for r { .. e[r, j] .. }
    """
    found = [around for b, around in _with_loops(kernel.body, ()) if b.name == buffer]
    if len(found) != 1 or not found[0]:
        raise ScheduleError(f"hoist: {buffer!r} is not declared in one place inside a loop")
    (around,) = found
    b = buffers(kernel)[buffer]
    outer = tuple(Poly({(loop.axis,): 1}) for loop in around)

    def move(index: tuple[Place, ...]) -> tuple[Place, ...]:
        return (*outer, *index)

    shape = [*(loop.extent for loop in around), *b.shape]
    body = redirect(_drop_let(kernel.body, buffer), buffer, buffer, move)
    return kernel.with_body((Let(new_buffer(buffer, b.dtype, shape, "local")), *body))


def _with_loops(body: Body, around: tuple[Loop, ...]) -> list[tuple[Buffer, tuple[Loop, ...]]]:
    """Every buffer declared below, with the loops around it."""
    out: list[tuple[Buffer, tuple[Loop, ...]]] = []
    for s in body:
        if type(s) is Let:
            out.append((s.buffer, around))
        elif type(s) is Loop:
            out += _with_loops(s.body, (*around, s))
    return out


def _without(body: Body, axis: str) -> Body:
    """What lies outside the loops over ``axis``."""
    return tuple(
        s.with_body(_without(s.body, axis)) if type(s) is Loop else s
        for s in body
        if not (type(s) is Loop and s.axis == axis)
    )


def forward(kernel: Kernel, buffer: str) -> Kernel:
    """Use what was just stored instead of loading it; drop a ``let`` that nothing reads any more.

    t[i] = e; u[i] = f(t[i])   -->   u[i] = f(e)
    """
    body = _forward(kernel.body, buffer)
    private = buffer not in {b.name for b in kernel.params}
    if private and not any(e.buffer == buffer for s in stores(body) for e in reads(s)):
        body = drop(body, buffer)
    if body == kernel.body:
        raise ScheduleError(f"forward: no load of {buffer!r} follows the store of its element")
    return kernel.with_body(body)


def _forward(body: Body, buffer: str) -> Body:
    out: list[Stmt] = []
    known: tuple[Load, Expr] | None = None
    for s in body:
        if type(s) is Loop:
            s = s.with_body(_forward(s.body, buffer))
            known = None
        elif type(s) is Store:
            if known is not None:
                s = with_value(s, _replaced(s.value, *known))
                if s.buffer == buffer or any(e.buffer == s.buffer for e in _loads(known[1])):
                    known = None
            plain = s.buffer == buffer and not s.reduce and all(type(i) is Poly for i in s.index)
            if plain and all(e.buffer != buffer for e in _loads(s.value)):
                known = (Load(s.buffer, s.index, s.value.dtype), s.value)
        out.append(s)
    return rebuild(body, out)


def _replaced(e: Expr, old: Load, new: Expr) -> Expr:
    return map_expr(e, lambda part: new if part == old else part)


def _loads(e: Expr) -> list[Load]:
    return list(reads(Store("", (), e)))


def drop(body: Body, buffer: str) -> Body:
    """Without the declaration of ``buffer`` and the stores to it."""
    out: list[Stmt] = []
    for s in body:
        if type(s) is Loop:
            inner = drop(s.body, buffer)
            if inner:
                out.append(s.with_body(inner))
        elif type(s) is Let:
            if s.buffer.name != buffer:
                out.append(s)
        elif type(s) is Barrier or s.buffer != buffer:  # type: ignore[union-attr]
            out.append(s)
    return rebuild(body, out)


def reuse(kernel: Kernel, buffer: str, by: str) -> Kernel:
    """Let an intermediate live in an output until that is written.

    e[j] = ..; .. e[j] ..; y[r, j] = f(e[j])   -->   y[r, j] = ..; .. y[r, j] ..; y[r, j] = f(y[r, j])
    """
    known = buffers(kernel)
    final = [s for s in stores(kernel.body) if s.buffer == by]
    if buffer not in {b.name for b in lets(kernel.body)} or len(final) != 1:
        raise ScheduleError(f"reuse: {buffer!r} is no intermediate, or {by!r} is not written once")
    (last,) = final
    inside = [e for e in reads(last) if e.buffer == buffer]
    if not inside or last.reduce or any(e.index != inside[0].index for e in inside):
        raise ScheduleError(f"reuse: {by!r} is not made from one element of {buffer!r}")
    _check_reuse(kernel, buffer, by, last)
    dims = _matching(inside[0].index, last.index)
    shapes = [(known[buffer].shape[d], known[by].shape[p]) for d, p in dims.items()]
    if known[buffer].dtype is not known[by].dtype or any(n != m for n, m in shapes):
        raise ScheduleError(f"reuse: {buffer!r} and {by!r} differ in dtype or shape")
    of = {p: d for d, p in dims.items()}
    declared = _declares(kernel.body, buffer)
    free = index_axes([i for p, i in enumerate(last.index) if p not in of])
    if declared is None or not free.isdisjoint(axes(declared)):
        raise ScheduleError(f"reuse: {buffer!r} has fewer dimensions than move in {by!r}")

    def move(index: tuple[Place, ...]) -> tuple[Place, ...]:
        return tuple([index[of[p]] if p in of else i for p, i in enumerate(last.index)])

    return kernel.with_body(_drop_let(redirect(kernel.body, buffer, by, move), buffer))


def _check_reuse(kernel: Kernel, buffer: str, by: str, last: Store) -> None:
    every = list(stores(kernel.body))
    if any(e.buffer == by for s in every for e in reads(s)):
        raise ScheduleError(f"reuse: {by!r} is read")
    after = every[[s is last for s in every].index(True) + 1 :]
    if any(s.buffer == buffer or any(e.buffer == buffer for e in reads(s)) for s in after):
        raise ScheduleError(f"reuse: {buffer!r} is still needed when {by!r} is written")


def _matching(inner: tuple[Place, ...], outer: tuple[Place, ...]) -> dict[int, int]:
    """Which dimension of the output stands for which of the intermediate."""
    out: dict[int, int] = {}
    for d, i in enumerate(inner):
        found = [p for p, o in enumerate(outer) if o == i and p not in out.values()]
        if not found:
            raise ScheduleError("reuse: the output is not indexed as the intermediate is")
        out[d] = found[0]
    return out


def _declares(body: Body, buffer: str) -> Body | None:
    """The body that declares ``buffer``."""
    for s in body:
        if type(s) is Let and s.buffer.name == buffer:
            return body
        found = _declares(s.body, buffer) if type(s) is Loop else None
        if found is not None:
            return found
    return None


def _drop_let(body: Body, buffer: str) -> Body:
    kept = [s for s in body if type(s) is not Let or s.buffer.name != buffer]
    out = [s.with_body(_drop_let(s.body, buffer)) if type(s) is Loop else s for s in kept]
    return rebuild(body, out)
