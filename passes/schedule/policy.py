"""Choose a schedule for a kernel by the shape of its nest, and fall back to a plain one where a step is refused."""

from __future__ import annotations

from ...ir.errors import ScheduleError
from ...ir.loops.nest import Kernel, Loop
from ...ir.loops.walk import loops_of, stores
from ...ir.target import Target
from .contraction import find_contraction, schedule_contraction
from .elementwise import schedule_elementwise
from .plan import Plan, is_contiguous, reduced, spread
from .reduction import schedule_columns
from .rows import hoist_open, schedule_rows
from .schedule import Step


def schedule_kernel(kernel: Kernel, target: Target) -> tuple[Kernel, list[Step]]:
    """The nest for a machine, and the steps that made it.

    Where the policy of its class does not apply, the steps begin with ``("plain", reason)`` and
    the nest is the naive one with its outermost loops in parallel.
    """
    plan = Plan(kernel, target)
    try:
        _apply(plan)
        return plan.finish(), plan.steps
    except ScheduleError as error:
        reason = str(error)
    plan = Plan(kernel, target)
    hoist_open(plan)
    for loop in [s for s in kernel.body if type(s) is Loop]:
        spread(plan, loop.axis)
    return plan.finish(), [("plain", reason), *plan.steps]


def classify(kernel: Kernel) -> str:
    """``contraction``, ``columns``, ``rows`` or ``elementwise``: by structure alone."""
    if find_contraction(kernel) is not None:
        return "contraction"
    if not any(s.reduce for s in stores(kernel.body)):
        return "elementwise"
    nests = [s for s in kernel.body if type(s) is Loop]
    if len(nests) == 1 and len(kernel.body) == 1:
        outer = nests[0]
        inner = outer.body[0]
        alone = len(outer.body) == 1 and type(inner) is Loop
        if alone and _is_columns(kernel, outer, inner):  # type: ignore[arg-type]
            return "columns"
    return "rows"


def _is_columns(kernel: Kernel, outer: Loop, inner: Loop) -> bool:
    """Does the axis that is kept, not the one that is summed, move by one element?"""
    if any(type(s) is Loop for s in inner.body) or not reduced(inner):
        return False
    return is_contiguous(kernel, inner.body, outer.axis) and not is_contiguous(
        kernel, inner.body, inner.axis
    )


def _apply(plan: Plan) -> None:
    """The policy of the kernel's class."""
    kernel = plan.kernel
    kind = classify(kernel)
    if kind == "contraction":
        found = find_contraction(kernel)
        assert found is not None
        schedule_contraction(plan, found)
    elif kind == "elementwise":
        schedule_elementwise(plan)
    elif kind == "rows":
        schedule_rows(plan)
    else:
        outer = next(loops_of(kernel.body))
        inner = next(s for s in outer.body if type(s) is Loop)
        schedule_columns(plan, outer, inner)
