"""Steps that move loops past each other: ``reorder``, ``fuse``, ``distribute``, ``rename``."""

from __future__ import annotations

from ...ir.errors import ScheduleError
from ...ir.loops.nest import Barrier, Kernel, Let, Loop, Size, Stmt
from ...ir.loops.walk import Body, axes, rebuild, stores, substitute
from ...ir.sizes import poly
from .legality import separate
from .split import on_axis


def reorder(kernel: Kernel, *order: str) -> Kernel:
    """Sort nested loops by ``order``; one that must pass several statements goes to each of them.

    for i { for j { for k: S; T } }   -- k, i, j -->   for k { for i { for j: S } }
                                                       for i { for j: T }
    """
    rank = {a: n for n, a in enumerate(order)}
    known = axes(kernel.body)
    missing = [a for a in order if a not in known]
    if missing:
        raise ScheduleError(f"reorder: {kernel.name} has no loop {missing[0]!r}")
    return kernel.with_body(_sorted(kernel.body, rank, kernel.sizes))


def _sorted(body: Body, rank: dict[str, int], sizes: tuple[Size, ...]) -> Body:
    out: list[Stmt] = []
    for s in body:
        if type(s) is Loop:
            out += _sink(s.with_body(_sorted(s.body, rank, sizes)), rank, sizes)
        else:
            out.append(s)
    return rebuild(body, out)


def _sink(loop: Loop, rank: dict[str, int], sizes: tuple[Size, ...]) -> Body:
    """Move one loop inward, past those that come before it in the order."""
    mine = rank.get(loop.axis, -1)
    through = [type(s) is Loop and rank.get(s.axis, 1 << 30) < mine for s in loop.body]
    if not any(through):
        return (loop,)
    _check_sink(loop, through, sizes)
    out: list[Stmt] = []
    for s, passes in zip(loop.body, through, strict=True):
        last = out[-1] if out else None
        if passes:
            assert type(s) is Loop
            out.append(s.with_body(_sink(loop.with_body(s.body), rank, sizes)))
        elif type(last) is Loop and last.axis == loop.axis:
            out[-1] = last.with_body((*last.body, s))
        else:
            out.append(loop.with_body((s,)))
    return tuple(out)


def _check_sink(loop: Loop, through: list[bool], sizes: tuple[Size, ...]) -> None:
    for s, passes in zip(loop.body, through, strict=True):
        if passes and type(s) is Loop and s.limit is not None and loop.axis in s.limit.names:
            raise ScheduleError(f"reorder: how far {s.axis!r} runs depends on {loop.axis!r}")
    if any(type(s) is Let or type(s) is Barrier for s in loop.body):
        raise ScheduleError(
            f"reorder: {loop.axis!r} may not move inward past a declaration or a barrier"
        )
    if separate(loop.axis, loop.extent, loop.body, sizes, reductions=True):
        return
    inner = loop.body[0]
    alone = len(loop.body) == 1 and type(inner) is Loop
    if not (alone and separate(inner.axis, inner.extent, inner.body, sizes)):  # type: ignore
        raise ScheduleError(
            f"reorder: {loop.axis!r} may not move inward: its iterations depend on each other"
        )


def fuse(kernel: Kernel, axis: str, other: str = "") -> Kernel:
    """Join neighboring loops over ``axis`` (or over ``axis`` and ``other``) wherever that is legal.

    for i: S(i); for i: T(i)   -->   for i { S(i); T(i) }
    """
    names = (axis, other or axis)
    body, count = _fuse(kernel.body, names, kernel.sizes)
    if not count:
        raise ScheduleError(f"fuse: no two neighboring loops {names[0]!r}, {names[1]!r} may join")
    return kernel.with_body(body)


def _fuse(body: Body, names: tuple[str, str], sizes: tuple[Size, ...]) -> tuple[Body, int]:
    count = 0
    out: list[Stmt] = []
    for s in body:
        if type(s) is Loop:
            inner, below = _fuse(s.body, names, sizes)
            s, count = s.with_body(inner), count + below
        last = next((n for n in reversed(range(len(out))) if type(out[n]) is not Let), None)
        joined = None if last is None else _join(out[last], s, names, sizes)
        if joined is not None and last is not None:
            out.pop(last)
            out.append(joined)
            count += 1
        else:
            out.append(s)
    return tuple(out), count


def _join(
    first: Stmt, second: Stmt, names: tuple[str, str], sizes: tuple[Size, ...]
) -> Loop | None:
    """Two loops as one, or None if they may not be."""
    if type(first) is not Loop or type(second) is not Loop:
        return None
    if (first.axis, second.axis) != names or first.extent != second.extent:
        return None
    tail = second.body
    limit = second.limit
    if first.axis != second.axis:
        if first.axis in axes(tail) or second.axis in axes(first.body):
            return None
        tail = substitute(tail, second.axis, poly(first.axis))
    if first.limit != limit or first.kind != second.kind or _has_barrier((*first.body, *tail)):
        return None
    both = first.body + tail
    # Never as if it ran once: the shape of the nest must not depend on a size of 1.
    if not separate(first.axis, 2, both, sizes, reductions=True):
        return None
    return first.with_body(both)


def _has_barrier(body: Body) -> bool:
    return any(type(s) is Barrier or (type(s) is Loop and _has_barrier(s.body)) for s in body)


def distribute(kernel: Kernel, axis: str) -> Kernel:
    """Give each statement of a loop a loop of its own.

    for i { S; T }   -->   for i: S; for i: T
    """

    def apart(loop: Loop) -> Body:
        if len(loop.body) == 1:
            return (loop,)
        held = any(type(s) in (Let, Barrier) for s in loop.body)
        if held or not separate(axis, loop.extent, loop.body, kernel.sizes):
            raise ScheduleError(
                f"distribute: what follows needs all of the same iteration of {axis!r}"
            )
        return tuple(loop.with_body((s,)) for s in loop.body)

    return on_axis(kernel, axis, apart)


def rename(kernel: Kernel, axis: str, new: str, buffer: str = "") -> Kernel:
    """Name loops anew; with ``buffer`` only those that store to nothing else.

    for i: s[i] = ..   -->   for r: s[r] = ..
    """
    if new in axes(kernel.body) and not buffer:
        raise ScheduleError(f"rename: {kernel.name} already has a loop {new!r}")

    def one(loop: Loop) -> Body:
        if buffer and {s.buffer for s in stores(loop.body)} != {buffer}:
            return (loop,)
        if new in axes(loop.body):
            raise ScheduleError(f"rename: {new!r} is a loop inside {axis!r}")
        body = substitute(loop.body, axis, poly(new))
        return (Loop(new, loop.extent, body, loop.kind, loop.width, loop.limit),)

    return on_axis(kernel, axis, one)
