"""Long reductions: chunks of rows that are long, and sums along an axis whose neighbors lie far apart."""

from __future__ import annotations

import math

from ...ir.errors import ScheduleError
from ...ir.loops.nest import Loop
from ...ir.loops.walk import stores
from .plan import Plan, innermost, reduced, spread, vectorize_loop

CHUNK = 8192  # elements that one partial result covers: by shape alone, so that bits never change
CHUNK_ROWS = 1024  # rows of one partial result
ROWS = 8  # rows read at once when summing along the first axis


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
    target, chunks = _chunks_of_rows(plan, target, j, inner)
    block = 32 * width
    blocks = fixed and outer.extent >= 2 * block  # type: ignore[operator]
    if blocks:
        plan.step("split", j, block, j + "b", j)
    plan.step("split", r, ROWS, r + "o", r + "u")
    if fixed:
        plan.step("split", j, width, j + "o", j + "v", "clamp")
    else:
        plan.step("split", j, width, j + "o", j + "v", "mask")
    around = [*chunks, *([j + "b"] if blocks else [])]
    plan.step("reorder", *around, r + "o", j + "o", r + "u", j + "v")
    plan.step("accumulate", target, r + "u")
    plan.step("vectorize", j + "v", width)
    plan.step("unroll", r + "u")
    if around:
        spread(plan, around[0])


def _chunks_of_rows(plan: Plan, target: str, j: str, rows: Loop) -> tuple[str, list[str]]:
    """Many rows are summed in chunks first: about as many rows in a chunk as there are chunks."""
    r, count = rows.axis, rows.extent
    if type(count) is not int or count < 2 * CHUNK_ROWS:
        return target, []
    size = max(CHUNK_ROWS, 1 << (math.isqrt(count).bit_length() - 1))
    plan.step("split", r, size, r + "c", r)
    plan.step("reorder", r + "c", j, r)
    plan.step("lanes", target, r + "c", "local")
    plan.step("rename", r + "c", r + "z", target)
    plan.step("rename", j, j + "z", target)
    plan.attempt("fuse", r + "c")
    vectorize_loop(plan, j + "z")
    return f"{target}_{r}c", [r + "c"]
