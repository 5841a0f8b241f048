"""Steps that say how a loop runs: ``parallel``, ``vectorize``, ``unroll``, ``outline``, ``bind``, ``stream``."""

from __future__ import annotations

from ...ir.errors import ScheduleError
from ...ir.loops.nest import Kernel, Loop, Prefetch, Store
from ...ir.loops.walk import Body, map_stores
from .legality import index_axes, separate
from .split import on_axis


def _mark(kernel: Kernel, axis: str, kind: str, width: int, reductions: bool) -> Kernel:
    def one(loop: Loop) -> Body:
        if loop.extent == 1:
            return (loop,)
        if not separate(axis, loop.extent, loop.body, kernel.sizes, reductions):
            raise ScheduleError(f"{kind}: iterations of {axis!r} depend on each other")
        return (Loop(loop.axis, loop.extent, loop.body, kind, width, loop.limit),)

    return on_axis(kernel, axis, one)


def parallel(kernel: Kernel, axis: str) -> Kernel:
    """Let iterations run on any thread (a loop that runs once stays as it is).

    for i: S   -->   parallel i: S
    """
    return _mark(kernel, axis, "parallel", 0, False)


def vectorize(kernel: Kernel, axis: str, width: int = 0) -> Kernel:
    """One lane per iteration, of ``width`` (its extent if 0); lanes past the extent are off.

    for j in 5: S   -->   vector j in 5 of 16: S
    """

    def one(loop: Loop) -> Body:
        if type(loop.extent) is not int:
            raise ScheduleError(f"vectorize: {axis!r} runs {loop.extent} times, not a number")
        lanes = width or loop.extent
        if loop.extent > lanes:
            raise ScheduleError(f"vectorize: {axis!r} runs {loop.extent} times, more than {lanes}")
        if not separate(axis, loop.extent, loop.body, kernel.sizes, True):
            raise ScheduleError(f"vectorize: iterations of {axis!r} depend on each other")
        return (Loop(loop.axis, loop.extent, loop.body, "vector", lanes, loop.limit),)

    return on_axis(kernel, axis, one)


def unroll(kernel: Kernel, axis: str) -> Kernel:
    """The body once for each iteration.

    for j in 4: S   -->   unrolled j in 4: S
    """

    def one(loop: Loop) -> Body:
        if type(loop.extent) is not int:
            raise ScheduleError(f"unroll: {axis!r} runs {loop.extent} times, not a number")
        return (Loop(loop.axis, loop.extent, loop.body, "unrolled", 0, loop.limit),)

    return on_axis(kernel, axis, one)


def outline(kernel: Kernel, axis: str) -> Kernel:
    """A function of its own, so that its constants do not take the registers around it.

    for i: S   -->   outlined i: S
    """

    def one(loop: Loop) -> Body:
        return (Loop(loop.axis, loop.extent, loop.body, "outlined", 0, loop.limit),)

    return on_axis(kernel, axis, one)


def bind(kernel: Kernel, axis: str, to: str) -> Kernel:
    """Spread iterations over the blocks, or the threads of a block, of a SIMT machine.

    for i: S   -->   block i: S      (or: thread i: S)
    """
    if to not in ("block", "thread"):
        raise ScheduleError(f"bind: {to!r} is neither 'block' nor 'thread'")
    return _mark(kernel, axis, to, 0, False)


def stream(kernel: Kernel, buffer: str) -> Kernel:
    """Write a parameter past the caches, for what is too large to be found there again.

    y[i] = e   -->   y[i] = e nontemporal
    """
    if buffer not in {b.name for b in kernel.params}:
        raise ScheduleError(f"stream: {buffer!r} is no parameter of {kernel.name}")

    def one(s: Store) -> tuple[Store, ...]:
        if s.buffer != buffer or s.reduce or s.nontemporal:
            return (s,)
        return (Store(s.buffer, s.index, s.value, "", None, True, s.source),)

    body = map_stores(kernel.body, one)
    if body is kernel.body:
        raise ScheduleError(f"stream: nothing is stored to {buffer!r} but reductions")
    return kernel.with_body(body)


def prefetch(kernel: Kernel, buffer: str, at: str) -> Kernel:
    """Bring what each iteration of ``at`` will store to ``buffer`` near, before it begins.

    for i { S; C[i] = c }   -->   for i { prefetch C[i]; S; C[i] = c }
    """

    def one(loop: Loop) -> Body:
        for s in loop.body:
            if type(s) is Store and s.buffer == buffer and at in index_axes(s.index):
                return (loop.with_body((Prefetch(buffer, s.index), *loop.body)),)
        return (loop,)

    return on_axis(kernel, at, one)
