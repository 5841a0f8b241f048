"""Row kernels (softmax, normalization, row sums): rows in parallel, each in vectors that stay in L1."""

from __future__ import annotations

from ...ir.errors import ScheduleError
from ...ir.loops.nest import Let, Loop
from ...ir.loops.walk import Body, lets, loops_of, reads, stores
from .plan import (
    Plan,
    cost,
    elements,
    innermost,
    is_contiguous,
    large_outputs,
    spread,
    vectorize_loop,
)
from .reduction import cut_long_rows

STACK = 1 << 14  # elements of a local row that may lie on a thread's stack


def schedule_rows(plan: Plan) -> None:
    """Join loops over a row where that is legal, keep its intermediate in the output, use vectors.

    An output that is written past the caches holds no intermediate: each element is stored once.
    """
    _join_loops(plan)
    cut_long_rows(plan)
    streamed = _streamed(plan)
    _reuse_outputs(plan, streamed)
    hoist_open(plan)
    for axis in dict.fromkeys(loop.axis for loop in innermost(plan.kernel.body)):
        _vectorize(plan, axis)
    for loop in [s for s in plan.kernel.body if type(s) is Loop]:
        spread(plan, loop.axis)
    for name in streamed:
        plan.attempt("stream", name)


def _vectorize(plan: Plan, axis: str) -> None:
    """Vectors along one loop, or scalars where its elements do not lie side by side."""
    mine = [x for x in innermost(plan.kernel.body) if x.axis == axis and x.kind == "for"]
    if any(x.extent == 1 or not is_contiguous(plan.kernel, x.body, axis) for x in mine):
        return
    if not mine:
        return
    before = plan.kernel, list(plan.steps)
    try:
        vectorize_loop(plan, axis, 4 if max(cost(x.body) for x in mine) < 60 else 2)
    except ScheduleError:
        plan.kernel, plan.steps = before


def _join_loops(plan: Plan) -> None:
    """Neighbors of equal extent become one loop: a value is used while it is in a register."""
    again = True
    while again:
        again = any(
            plan.attempt("fuse", first, second) for first, second in _neighbors(plan.kernel.body)
        )


def _neighbors(body: Body) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    last: Loop | None = None
    for s in body:
        if type(s) is Loop:
            out += _neighbors(s.body)
            if last is not None and last.extent == s.extent and _innermost(last) and _innermost(s):
                out.append((last.axis, s.axis))
            last = s
        elif type(s) is not Let:
            last = None
    return out


def _innermost(loop: Loop) -> bool:
    return not any(type(s) is Loop for s in loop.body)


def _streamed(plan: Plan) -> list[str]:
    """The outputs to write past the caches: large ones whose rows fit on a stack meanwhile."""
    large = large_outputs(plan)
    return [
        b.name for b in plan.kernel.params if b.name in large and elements(b.shape[-1:]) <= STACK
    ]


def _reuse_outputs(plan: Plan, but: list[str]) -> None:
    """A local row that an output is made from lives in that output."""
    outputs = [b.name for b in plan.kernel.params if b.role == "out" and b.name not in but]
    for let in _row_lets(plan.kernel.body):
        made = [
            s.buffer
            for s in stores(plan.kernel.body)
            if s.buffer in outputs and any(e.buffer == let for e in reads(s))
        ]
        if made:
            plan.attempt("reuse", let, made[-1])


def hoist_open(plan: Plan) -> None:
    """A row of unknown length cannot lie on a stack: it gets a place in the workspace."""
    for b in list(lets(plan.kernel.body)):
        top = any(type(s) is Let and s.buffer.name == b.name for s in plan.kernel.body)
        if not top and b.memory == "local" and elements(b.shape) > STACK:
            plan.step("hoist", b.name)


def _row_lets(body: Body) -> list[str]:
    """Locals with a dimension, declared inside a loop."""
    return [
        s.buffer.name
        for loop in loops_of(body)
        for s in loop.body
        if type(s) is Let and s.buffer.shape and s.buffer.memory == "local"
    ]
