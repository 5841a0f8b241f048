"""Reductions to few elements: of everything, or along an axis whose neighbors lie far apart."""

from __future__ import annotations

from ...ir.errors import ScheduleError
from ...ir.loops.nest import Loop
from ...ir.loops.walk import loops_of, stores
from .plan import Plan, innermost, is_contiguous, reduced, spread, vectorize_loop

CHUNK = 8192  # elements that one partial result covers: by shape alone, so that bits never change
ROWS = 8  # rows read at once when summing along the first axis


def schedule_full(plan: Plan, loop: Loop) -> None:
    """Partial results of fixed chunks, in parallel, and their sum at the end.

    for i: o += x[i]   -->   parallel ic: p[ic] = sum of its chunk; for iz: o += p[iz]
    """
    (target,) = {s.buffer for s in stores(loop.body)}
    axis, inner = loop.axis, loop.axis
    if type(loop.extent) is int and not any(type(s) is Loop for s in loop.body):
        if loop.extent >= 2 * CHUNK:
            inner = _chunks(plan, axis, target)
            target = f"{target}_{axis}c"
    else:
        inner = [axis, *(x.axis for x in loops_of(loop.body))][-1]
    if is_contiguous(plan.kernel, (loop,), inner) or inner == axis:
        vectorize_loop(plan, inner, 4)
    if inner != axis:
        spread(plan, axis + "c")


def _chunks(plan: Plan, axis: str, *targets: str) -> str:
    """One partial result for each chunk of the loop: sums of sums lose less, and chunks are independent."""
    chunk, inside = axis + "c", axis + "i"
    plan.step("split", axis, CHUNK, chunk, inside)
    for target in targets:
        plan.step("lanes", target, chunk, "local")
        plan.step("rename", chunk, axis + "z", target)
    plan.attempt("fuse", chunk)
    return inside


def cut_long_rows(plan: Plan) -> None:
    """Loops that reduce many elements are cut into chunks, wherever they stand."""
    for loop in list(innermost(plan.kernel.body)):
        targets = reduced(loop)
        if targets and type(loop.extent) is int and loop.extent >= 2 * CHUNK:
            before = plan.kernel, list(plan.steps)
            try:
                _chunks(plan, loop.axis, *targets)
            except ScheduleError:
                plan.kernel, plan.steps = before


def schedule_columns(plan: Plan, outer: Loop, inner: Loop) -> None:
    """Along the first axis: several rows at once are added to a row of results that stays near.

    for j { for r: o[j] += x[r, j] }   -->   for ro { for jo { ru in 8 { vector jv } } }
    """
    (target,) = {s.buffer for s in stores(outer.body) if s.reduce}
    j, r, width = outer.axis, inner.axis, plan.lanes()
    fixed = type(outer.extent) is int
    block = 32 * width
    blocks = fixed and outer.extent >= 2 * block  # type: ignore[operator]
    if blocks:
        plan.step("split", j, block, j + "b", j)
    plan.step("split", r, ROWS, r + "o", r + "u")
    if fixed:
        plan.step("split", j, width, j + "o", j + "v", "clamp")
    else:
        plan.step("split", j, width, j + "o", j + "v", "mask")
    around = [j + "b"] if blocks else []
    plan.step("reorder", *around, r + "o", j + "o", r + "u", j + "v")
    plan.step("accumulate", target, r + "u")
    plan.step("vectorize", j + "v", width)
    plan.step("unroll", r + "u")
    if blocks:
        spread(plan, j + "b")
