"""Run a list of steps on a nest: ``[("split", "i", 6, "i0", "i1"), ("unroll", "i1")]``, printable and replayable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...ir.errors import ScheduleError
from ...ir.loops.nest import Kernel
from ...ir.loops.verify import verify
from ...ir.loops.walk import stores
from .accumulate import accumulate, explicit_start, lanes
from .kinds import bind, outline, parallel, prefetch, stream, unroll, vectorize
from .order import distribute, fuse, rename, reorder
from .place import forward, hoist, hold, place, reuse
from .simt_steps import publish, relax, synchronize
from .split import cut, simplify, split
from .stage import stage

Step = tuple[Any, ...]

_ALL: tuple[Callable[..., Kernel], ...] = (
    split, cut, simplify, reorder, fuse, distribute, rename, parallel, vectorize, unroll, outline, bind,
    stream, prefetch, place, hold, hoist, forward, reuse, accumulate, explicit_start, lanes, stage,
    publish, relax, synchronize,
)  # fmt: skip

STEPS: dict[str, Callable[..., Kernel]] = {step.__name__: step for step in _ALL}


def take(kernel: Kernel, step: Step) -> Kernel:
    """One step; its refusal names it."""
    name, *arguments = step
    if name not in STEPS:
        raise ScheduleError(f"no step is called {name!r}; there are {', '.join(STEPS)}")
    try:
        return STEPS[name](kernel, *arguments)
    except ScheduleError as error:
        raise ScheduleError(f"{step_text(step)}: {error}") from None


def schedule(kernel: Kernel, steps: Iterable[Step]) -> Kernel:
    """Take the steps in order, spell every restart of a reduction as a store, and verify."""
    for step in steps:
        kernel = take(kernel, step)
    return finish(kernel)


def finish(kernel: Kernel) -> Kernel:
    """Spell every restart of a reduction as a store, and verify."""
    for s in list(stores(kernel.body)):
        if s.start is not None:
            kernel = explicit_start(kernel, s.buffer)
    verify(kernel)
    return kernel


def step_text(step: Step) -> str:
    """A step as a call.

    >>> step_text(("split", "i", 6, "i0", "i1"))
    'split(i, 6, i0, i1)'
    """
    return f"{step[0]}({', '.join(map(str, step[1:]))})"


def steps_text(steps: Iterable[Step]) -> str:
    """A schedule as text, its steps divided by semicolons."""
    return "; ".join(map(step_text, steps))
