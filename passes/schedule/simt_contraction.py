"""Contractions on blocks and threads: tiles of both operands in shared memory, of results in registers.

Source: Volkov and Demmel, SC 2008.
"""

from __future__ import annotations

from ...ir.errors import ScheduleError
from ...ir.loops.expr import Load
from ...ir.loops.nest import Loop
from ...ir.loops.walk import buffers, loops_of
from ...ir.sizes import Dim, Poly
from .contraction import Contraction, join_epilogue
from .plan import Plan, stride

SIDE = 16  # threads along each side of a tile
DEPTH = 16  # products between two barriers
MOST = 4  # results of a thread along each side


def schedule_tiles(plan: Plan, c: Contraction) -> None:
    """A block to each tile, of ``SIDE * SIDE`` threads."""
    if len(c.sums) != 1 or not c.rows or not c.columns:
        raise ScheduleError("tiles need rows, columns and one sum")
    fused = join_epilogue(plan, c)
    i, j, k = c.rows[-1], c.columns[-1], c.sums[0]
    around = [*c.batch, *(x for x in (*c.rows, *c.columns) if x not in (i, j))]
    for axis in (i, j):
        each = _each(c.extent(axis))
        plan.step("split", axis, SIDE * each, axis + "0", axis + "r", "clamp")
        plan.step("split", axis + "r", each, axis + "1", axis + "2", "clamp")
    plan.step("split", k, DEPTH, k + "0", k + "1", "clamp")
    every = [*around, i + "0", j + "0"]
    runs = {x.axis: x.extent for x in loops_of(plan.kernel.body)}
    head = [x for x in every if runs[x] != 1]
    tile = [i + "1", j + "1", k + "1", i + "2", j + "2"]
    plan.step("reorder", *head, *(x for x in every if runs[x] == 1), k + "0", *tile)
    plan.step("accumulate", c.out, k + "0")
    if fused:
        for axis in (i + "1", j + "1", i + "2", j + "2"):
            plan.step("fuse", axis)
        plan.step("forward", c.out)
    _stage(plan, c.a, k + "0", 1)
    _stage(plan, c.b, k + "0", 0)
    for axis in (i + "2", j + "2"):
        plan.attempt("relax", axis, f"{c.out}_{k}0")
    for axis in (i + "1", j + "1"):
        plan.step("bind", axis, "thread")
    for axis in (k + "1", i + "2", j + "2"):
        plan.step("unroll", axis)
    for axis in head:
        plan.step("bind", axis, "block")


def _each(extent: Dim) -> int:
    """Results of a thread along a side: fewer where the whole side is short."""
    return MOST if type(extent) is not int else max(1, min(MOST, -(-extent // SIDE)))


def _stage(plan: Plan, operand: Load, at: str, pad: int) -> None:
    """Copy a tile to shared memory, neighboring threads along what lies side by side."""
    source = operand.buffer
    name = f"{source}_near"
    plan.step("stage", source, at, None, "shared", pad, name)
    copy = [x for x in loops_of(plan.kernel.body) if x.axis.startswith(f"{name}_")]
    side = _beside(plan, source, name, copy)
    other = [x for x in copy if x is not side]
    if len(other) != 1 or type(side.extent) is not int or type(other[0].extent) is not int:
        raise ScheduleError(f"the tile of {source!r} is no matrix")
    (down,) = other
    rest = SIDE * SIDE // side.extent
    first, second = down.axis, side.axis
    if 1 < rest < down.extent and SIDE * SIDE % side.extent == 0:  # type: ignore[operator]
        plan.step("split", first, rest, first + "o", first + "i", "clamp")
        plan.step("reorder", first + "o", first + "i", second)
        plan.step("unroll", first + "o")
        first += "i"
    else:
        plan.step("reorder", first, second)
    for axis in (first, second):
        plan.step("bind", axis, "thread")


def _beside(plan: Plan, source: str, name: str, copy: list[Loop]) -> Loop:
    """The loop of a copy that moves its source by one element, or its last."""
    b = buffers(plan.kernel)[source]
    for x in copy:
        d = int(x.axis.rpartition("_")[2])
        if stride(b, _unit(len(b.shape), d), "%") == 1:
            return x
    return copy[-1]


def _unit(rank: int, d: int) -> tuple[Poly, ...]:
    return tuple(Poly({("%",): 1}) if n == d else Poly({}) for n in range(rank))
