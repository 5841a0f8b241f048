"""Policies for machines of blocks and threads: elements, rows, tiles of contractions.

Every number of threads depends on shapes alone, so that bits never change.
"""

from __future__ import annotations

from ...ir.errors import ScheduleError
from ...ir.loops.nest import Kernel, Let, Loop
from ...ir.loops.walk import axes, buffers, loops_of, stores
from ...ir.sizes import Dim
from ...ir.target import Target
from .contraction import find_contraction
from .plan import Plan, elements, innermost, is_contiguous, reduced
from .rows import hoist_open
from .schedule import Step
from .simt_contraction import schedule_tiles
from .threads import width

THREADS = 256
LONG = 1 << 15  # elements from which a sum is shared out to blocks
PARTS = 256  # blocks that share it
HELD = 32  # elements of a row that a thread holds between its loops


def schedule_simt(kernel: Kernel, target: Target) -> tuple[Kernel, list[Step]]:
    """The nest for blocks and threads, and the steps that made it.

    Each top-level nest by itself; where its policy does not apply, its outermost loops are spread
    over threads, and the rest of it runs in each of them. Where nothing applies, the steps begin
    with ``("plain", reason)`` and one thread runs the naive nest.
    """
    plan = Plan(kernel, target)
    try:
        _apply(plan)
        return plan.finish(), plan.steps
    except ScheduleError as error:
        reason = str(error)
    plan = Plan(kernel, target)
    hoist_open(plan)
    return plan.finish(), [("plain", reason), *plan.steps]


def _apply(plan: Plan) -> None:
    """The policies of all nests, and barriers between what their threads do."""
    _name_apart(plan)
    _cut_sums(plan)
    for nest in [s for s in plan.kernel.body if type(s) is Loop]:
        if nest not in plan.kernel.body or any(x.extent == 0 for x in loops_of((nest,))):
            continue
        before = plan.kernel, list(plan.steps)
        try:
            _schedule_nest(plan, nest)
        except ScheduleError:
            plan.kernel, plan.steps = before
            _spread_elements(plan, nest, False)
    for name in dict.fromkeys(s.buffer for s in stores(plan.kernel.body) if s.start is not None):
        plan.step("explicit_start", name)
    plan.step("synchronize")
    if width(plan.kernel.body) > plan.target.max_threads:
        raise ScheduleError(f"a block would have more threads than {plan.target.name} allows")


def _name_apart(plan: Plan) -> None:
    """Give loops of later nests names of their own: a step takes all loops of a name."""
    taken: set[str] = set()
    for n, nest in enumerate([s for s in plan.kernel.body if type(s) is Loop]):
        stored = {s.buffer for s in stores((nest,))}
        for axis in sorted(axes((nest,)) & taken):
            if len(stored) != 1:
                raise ScheduleError(f"two nests run over {axis!r}")
            plan.step("rename", axis, f"{axis}_{n}", *stored)
        taken |= axes((nest,))


def _schedule_nest(plan: Plan, nest: Loop) -> None:
    """The policy for what a top-level nest does."""
    whole = plan.kernel
    top = tuple(s for s in whole.body if type(s) is Let)
    alone = Kernel(whole.name, whole.params, whole.sizes, (*top, nest))
    found = find_contraction(alone)
    if found is not None and found.rows and found.columns:
        schedule_tiles(plan, found)
    elif _is_columns(plan, nest):
        _spread_elements(plan, nest, False)
    elif any(s.reduce for s in stores((nest,))):
        _schedule_row(plan, nest)
    else:
        _spread_elements(plan, nest, True)


def _perfect(loop: Loop) -> tuple[list[tuple[str, Dim]], Loop]:
    """The axes of a perfect nest, and its innermost loop."""
    axes = [(loop.axis, loop.extent)]
    while len(loop.body) == 1 and type(loop.body[0]) is Loop:
        loop = loop.body[0]
        axes.append((loop.axis, loop.extent))
    return axes, loop


def _is_columns(plan: Plan, nest: Loop) -> bool:
    """Is it a sum along an axis whose neighbors lie far apart, unlike those of an axis that stays?"""
    axes, last = _perfect(nest)
    if not reduced(last) or is_contiguous(plan.kernel, last.body, last.axis):
        return False
    kept = _free(plan, axes)
    return any(n != 1 and is_contiguous(plan.kernel, last.body, a) for a, n in kept)


# ---- elements ----


def _spread_elements(plan: Plan, nest: Loop, whole: bool) -> None:
    """An iteration of the outer loops to each thread, neighbors in memory to neighbors.

    ``whole``: all loops of the nest; else those whose iterations do not depend on each other.
    """
    axes, last = _perfect(nest)
    if not whole:
        axes = _free(plan, axes)
    side = [a for a, n in axes if n != 1 and is_contiguous(plan.kernel, last.body, a)]
    order = [a for a, _ in axes if a not in side[-1:]] + side[-1:]
    extents = dict(axes)
    threads: list[str] = []
    blocks: list[str] = []
    need = THREADS
    for axis in reversed(order):
        extent = extents[axis]
        if extent == 1:
            continue
        if type(extent) is int and extent <= need:
            threads.insert(0, axis)
            need //= extent
        elif need > 1:
            plan.step("split", axis, need, axis + "b", axis + "t", "clamp")
            threads.insert(0, axis + "t")
            blocks.insert(0, axis + "b")
            need = 1
        else:
            blocks.insert(0, axis)
    ones = [a for a in order if extents[a] == 1]
    if len([*blocks, *threads, *ones]) > 1:
        plan.step("reorder", *blocks, *threads, *ones)
    for axis in blocks:
        plan.attempt("bind", axis, "block")
    for axis in threads:
        plan.step("bind", axis, "thread")


def _free(plan: Plan, axes: list[tuple[str, Dim]]) -> list[tuple[str, Dim]]:
    """The outer loops that threads may share out."""
    out = []
    for axis, extent in axes:
        trial = Plan(plan.kernel, plan.target)
        if extent != 1 and not trial.attempt("bind", axis, "thread"):
            break
        out.append((axis, extent))
    return out


# ---- sums of everything ----


def _cut_sums(plan: Plan) -> None:
    """A long sum to few elements becomes partial sums of even parts, one for each block."""
    for nest in [s for s in plan.kernel.body if type(s) is Loop]:
        axes, last = _perfect(nest)
        axis, extent = axes[0]
        if (
            any(n == 0 for _, n in axes)
            or _free(plan, axes)
            or type(extent) is not int
            or elements([n for _, n in axes]) < LONG
        ):
            continue
        names = reduced(last)
        if len(names) != 1 or any(type(n) is not int for _, n in axes):
            continue
        before = plan.kernel, list(plan.steps)
        part, all_parts = axis + "p", axis + "z"
        try:
            plan.step("split", axis, -(-extent // min(extent, PARTS)), part, axis + "i", "clamp")
            plan.step("lanes", names[0], part, "local")
            plan.step("rename", part, all_parts, names[0])
            plan.step("fuse", part)
        except ScheduleError:
            plan.kernel, plan.steps = before


# ---- rows ----


def _schedule_row(plan: Plan, nest: Loop) -> None:
    """A block to each row, whose threads share out its loops and combine what they found."""
    free = _free(plan, _perfect(nest)[0])
    rows = [a for a, n in free if n != 1]
    if rows and len(free) > len(rows):
        plan.step("reorder", *rows, *(a for a, n in free if n == 1))
    inner = [x for x in innermost((nest,)) if x.axis not in rows]
    if not inner:
        raise ScheduleError(f"{nest.axis!r} holds no loops over a row")
    threads = _row_threads([x.extent for x in inner])
    _reuse_outputs(plan, nest, threads)
    for axis in dict.fromkeys(x.axis for x in inner):
        _share_loop(plan, axis, threads, _first_sum(nest, rows, axis))
    for axis in rows:
        plan.step("bind", axis, "block")


def _first_sum(nest: Loop, rows: list[str], axis: str) -> str:
    """The outermost loop around ``axis``, below the rows, that holds nothing but one sum."""
    for x in loops_of((nest,)):
        if x.axis == axis or x.axis in rows or axis not in axes(x.body):
            continue
        if x.extent != 1 and len(list(stores(x.body))) == 1 and reduced(x):
            return x.axis
    return axis


def _row_threads(extents: list[Dim]) -> int:
    """Enough for the longest loop, in whole warps."""
    threads = 32
    while threads < THREADS and any(type(n) is not int or n > threads for n in extents):
        threads *= 2
    return threads


def _reuse_outputs(plan: Plan, nest: Loop, threads: int) -> None:
    """An intermediate row too long for the registers of its threads lives in an output."""
    outputs = [b.name for b in plan.kernel.params if b.role == "out"]
    for loop in loops_of((nest,)):
        for s in loop.body:
            if type(s) is Let and s.buffer.shape and s.buffer.memory == "local":
                extent = s.buffer.shape[-1]
                if type(extent) is int and extent <= threads * HELD:
                    continue
                if not any(plan.attempt("reuse", s.buffer.name, out) for out in outputs):
                    plan.step("hoist", s.buffer.name)


def _share_loop(plan: Plan, axis: str, threads: int, first: str) -> None:
    """Neighboring iterations to neighboring threads; what they reduce is combined in two rounds.

    for j: s += x[j]   -->   for j0 { thread jt: p[jt] += x[.. + jt] }; for jc: s += p[jc]
    """
    loop = next(x for x in loops_of(plan.kernel.body) if x.axis == axis)
    sums = [_in_register(plan, name, first) for name in reduced(loop)]
    if type(loop.extent) is int and loop.extent <= threads:
        plan.step("rename", axis, axis + "t")
    else:
        plan.step("split", axis, threads, axis + "0", axis + "t", "clamp")
    for name in sums:
        _combine(plan, name, axis + "t", axis + "c")
        if threads > 32:
            plan.step("split", axis + "c", 16, axis + "u", axis + "v", "clamp")
            _combine(plan, name, axis + "u", axis + "w")
            plan.step("bind", axis + "u", "thread")
            plan.step("rename", axis + "v", f"{name}_v")
            plan.step("rename", axis + "u", f"{name}_u")
            plan.step("rename", axis + "w", f"{name}_w")
        else:
            plan.step("rename", axis + "c", f"{name}_c")
    plan.step("bind", axis + "t", "thread")


def _in_register(plan: Plan, name: str, axis: str) -> str:
    """The name of what is reduced, brought to a register if it is in memory."""
    if buffers(plan.kernel)[name].memory == "registers":
        return name
    plan.step("accumulate", name, axis)
    return f"{name}_{axis}"


def _combine(plan: Plan, name: str, lane: str, over: str) -> None:
    """A partial result for each thread along ``lane``; all threads see them and combine them."""
    plan.step("lanes", name, lane)
    plan.step("rename", lane, over, name)
    plan.step("publish", f"{name}_{lane}", over)
    plan.step("bind", f"{name}_{lane}_seen_0", "thread")
