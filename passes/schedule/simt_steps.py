"""Steps for blocks of threads: ``publish``, ``relax``, ``synchronize``."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.errors import ScheduleError
from ...ir.loops.bounds import bounds, is_nonnegative
from ...ir.loops.nest import Barrier, Kernel, Let, Loop, Size, Stmt, Store
from ...ir.loops.walk import Body, accesses, buffers, loops_of, reads, stores
from ...ir.sizes import Dim, Poly, dim
from .accumulate import fresh
from .split import on_axis
from .stage import stage
from .threads import SEEN, Touch, is_owned, touches, width


def publish(kernel: Kernel, buffer: str, at: str, memory: str = "shared") -> Kernel:
    """Copy what the whole loop ``at`` reads of ``buffer``, so that other threads may read it there.

    for u: s += p[u]   -->   let q[16] in shared; for q_0: q[q_0] = p[q_0]; for u: s += q[u]
    """
    known = buffers(kernel)
    if buffer not in known:
        raise ScheduleError(f"publish: {kernel.name} has no buffer {buffer!r}")
    stem, count = fresh(kernel, f"{buffer}_seen"), 0
    rest = tuple(b for b in known.values() if b.name != buffer)

    def around(loop: Loop) -> Body:
        nonlocal count
        if not any(b == buffer for b, *_ in accesses((loop,))):
            return (loop,)
        if any(s.buffer == buffer for s in stores((loop,))):
            raise ScheduleError(f"publish: {buffer!r} is written in loop {at!r}")
        count += 1
        name = stem if count == 1 else f"{stem}_{count}"
        alone = Kernel("", (known[buffer], *rest), kernel.sizes, (loop,))
        return stage(alone, buffer, None, None, memory, 0, name).body

    return on_axis(kernel, at, around)


def relax(kernel: Kernel, axis: str, buffer: str) -> Kernel:
    """Drop the limit of loops that reduce into ``buffer``: what they do past it, nobody reads.

    for i in min(4, n): c[i] += a[i]      -->   for i in 4: c[i] += a[i]
    for i in min(4, n): y[i] = c[i]             for i in min(4, n): y[i] = c[i]
    """
    known = buffers(kernel)
    outside = {b.name for b in kernel.params}
    around = {x.axis: x.extent for x in loops_of(kernel.body)}

    def one(loop: Loop) -> Body:
        inner = list(stores(loop.body))
        if loop.limit is None or any(s.buffer != buffer or not s.reduce for s in inner):
            return (loop,)
        free = Loop(loop.axis, loop.extent, loop.body, loop.kind, loop.width)
        for name, index, _, inside in accesses((free,)):
            shape = known[name].shape
            if name in outside or not _fits(index, shape, {**around, **inside}, kernel.sizes):
                raise ScheduleError(f"relax: past its limit, {axis!r} leaves {name!r}")
        _check_unread(kernel.body, loop, buffer, [s for s in inner if s.buffer == buffer])
        return (free,)

    return on_axis(kernel, axis, one)


def _fits(
    index: Sequence[object], shape: Sequence[Dim], inside: dict[str, Dim], sizes: Sequence[Size]
) -> bool:
    """Does an index stay inside a shape, whatever the loops outside do?"""
    for i, n in zip(index, shape, strict=True):
        if type(i) is not Poly:
            return False
        low, high = bounds(i, inside)
        if not (is_nonnegative(low, sizes) and is_nonnegative(dim(n - high - 1), sizes)):
            return False
    return True


def _check_unread(body: Body, loop: Loop, buffer: str, mine: list[Store]) -> None:
    """Every other read of ``buffer`` stands under the same limit, at the same index."""
    places = {tuple(i for i in s.index if type(i) is Poly and loop.axis in i.names) for s in mine}
    if len(places) != 1 or places == {()}:
        raise ScheduleError(f"relax: {loop.axis!r} does not tell elements of {buffer!r} apart")
    (where,) = places
    held = [x for x in loops_of(body) if x.axis == loop.axis and x.limit == loop.limit]
    good = {id(s) for x in held for s in stores(x.body)}
    for s in stores(body):
        for e in reads(s):
            if e.buffer != buffer:
                continue
            if id(s) not in good or not all(i in e.index for i in where):
                raise ScheduleError(f"relax: {buffer!r} is read past the limit of {loop.axis!r}")


def synchronize(kernel: Kernel) -> Kernel:
    """Let the threads of a block wait for each other where one needs what another has done.

    thread t: p[t] = ..; for t: s += p[t]   -->   thread t: p[t] = ..; barrier; for t: s += p[t]
    """
    memories = {b.name: b.memory for b in buffers(kernel).values()}
    memories |= {s.buffer.name: "memory" for s in kernel.body if type(s) is Let
                 and s.buffer.memory == "local"}  # fmt: skip
    out: list[Stmt] = []
    serial: list[Touch] = []
    for s in kernel.body:
        if type(s) is Loop and s.kind == "block":
            out.append(_in_block(s, memories))
            serial = []
        else:
            within = width(kernel.body)
            new, serial = _ordered((s,), within, memories, serial, {})
            out += new
    body = tuple(out)
    return kernel if body == kernel.body else kernel.with_body(body)


def _in_block(loop: Loop, memories: dict[str, str]) -> Loop:
    inner = loop.body[0]
    if len(loop.body) == 1 and type(inner) is Loop and inner.kind == "block":
        return loop.with_body((_in_block(inner, memories),))
    return loop.with_body(_ordered(loop.body, width(loop.body), memories, [], {})[0])


def _ordered(
    body: Body,
    within: int,
    memories: dict[str, str],
    open_: list[Touch],
    around: dict[str, Dim],
) -> tuple[Body, list[Touch]]:
    """The statements with barriers, and what was touched since the last one; ``open_``: before."""
    out: list[Stmt] = []
    for s in body:
        if type(s) is Barrier:
            open_ = []
        elif type(s) is Loop and s.kind != "thread":
            moving = {**around, s.axis: s.extent}
            inner, after = _ordered(s.body, within, memories, [], moving)
            if _meets(inner, open_, within, memories, moving):
                out.append(Barrier())
                open_ = []
            inner, after = _ordered(inner, within, memories, after, moving)
            s = s.with_body(inner)
            open_ = [*open_, *after]
        else:
            here = _seen(s, within, memories, around)
            if any(_clash(a, b) for a in open_ for b in here):
                out.append(Barrier())
                open_ = []
            open_ = [*open_, *here]
        out.append(s)
    return tuple(out), open_


def _meets(
    body: Body, open_: list[Touch], within: int, memories: dict[str, str], around: dict[str, Dim]
) -> bool:
    """Does something before the first barrier of ``body`` clash with what is open?"""
    for s in body:
        if type(s) is Barrier:
            return False
        if type(s) is Loop and s.kind != "thread":
            if _meets(s.body, open_, within, memories, {**around, s.axis: s.extent}):
                return True
            if any(type(x) is Barrier for x in s.body):
                return False
        elif any(_clash(a, b) for a in open_ for b in _seen(s, within, memories, around)):
            return True
    return False


def _seen(s: Stmt, within: int, memories: dict[str, str], around: dict[str, Dim]) -> list[Touch]:
    """The accesses of a statement to what all threads see."""
    found = touches((s,), within, memories, around)
    return [t for t in found if memories.get(t.buffer) in SEEN]


def _clash(a: Touch, b: Touch) -> bool:
    """May two threads touch one element, one of them writing?"""
    return a.buffer == b.buffer and (a.written or b.written) and not is_owned([a, b])
