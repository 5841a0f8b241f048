"""Elementwise kernels: vectors along the axis that lies side by side in memory, the rest in parallel."""

from __future__ import annotations

import math

from ...ir.loops.nest import Loop
from ...ir.loops.walk import Body
from ...ir.sizes import Dim
from .plan import Plan, cost, elements, innermost, is_contiguous, spread, vectorize_loop

STREAM = 8 << 20  # bytes from which an output is written past the caches


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
    """Outputs too large for the caches are written past them, where whole lines are stored."""
    width = plan.lanes()
    if any(x.kind != "vector" for x in innermost(plan.kernel.body)):
        return
    for b in plan.kernel.params:
        bytes_ = elements(b.shape) * b.dtype.itemsize
        lines = bool(b.shape) and elements(b.shape[-1:]) % width == 0
        if b.role == "out" and lines and STREAM <= bytes_ < math.inf:
            plan.attempt("stream", b.name)
