"""Elementwise kernels: vectors along the axis that lies side by side in memory, the rest in parallel."""

from __future__ import annotations

from ...ir.loops.nest import Loop
from ...ir.loops.walk import Body
from ...ir.sizes import Dim
from .plan import Plan, cost, innermost, is_contiguous, large_outputs, spread, vectorize_loop


def schedule_elementwise(plan: Plan) -> None:
    """Each top-level nest by itself: its best axis inward, in vectors; its outermost in parallel."""
    for nest in [s for s in plan.kernel.body if type(s) is Loop]:
        axes, body = _perfect(nest)
        inner = _vector_axis(plan, axes, body)
        if inner is None:
            spread(plan, axes[0][0])
            continue
        rest = [axis for axis, _ in axes if axis != inner]
        if rest and axes[-1][0] != inner:
            plan.step("reorder", *rest, inner)
        unroll = 4 if cost(body) < 60 else 2 if cost(body) < 120 else 1
        vectorize_loop(plan, inner, unroll)
        spread(plan, rest[0] if rest else inner + "o")
    _stream_outputs(plan)


def _perfect(loop: Loop) -> tuple[list[tuple[str, Dim]], Body]:
    """The axes of a perfect nest, and what it holds."""
    axes = [(loop.axis, loop.extent)]
    while len(loop.body) == 1 and type(loop.body[0]) is Loop:
        loop = loop.body[0]
        axes.append((loop.axis, loop.extent))
    return axes, loop.body


def _vector_axis(plan: Plan, axes: list[tuple[str, Dim]], body: Body) -> str | None:
    """The last axis along which every access moves by one element or not at all."""
    if any(type(s) is Loop for s in body):
        return None
    for axis, extent in reversed(axes):
        if extent != 1 and is_contiguous(plan.kernel, body, axis):
            return axis
    return None


def _stream_outputs(plan: Plan) -> None:
    """Outputs too large for the caches are written past them, where all stores are of vectors."""
    if all(x.kind == "vector" for x in innermost(plan.kernel.body)):
        for name in large_outputs(plan):
            plan.attempt("stream", name)
