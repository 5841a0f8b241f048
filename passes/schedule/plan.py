"""A schedule in the making: the nest as it is after each step, and the steps that were taken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ...ir.errors import ScheduleError
from ...ir.loops.bounds import factor
from ...ir.loops.nest import Buffer, Kernel, Let, Loop, Store
from ...ir.loops.walk import Body, accesses, buffers, lets, loops_of, stores
from ...ir.sizes import Dim, Poly, dim
from ...ir.target import Target
from .schedule import Step, finish, take

STREAM = 8 << 20  # bytes from which an output is written past the caches
UNROLL = 4  # vectors in flight: enough to hide the latency of an addition


def elements(shape: Sequence[Dim]) -> float:
    """How many elements a shape has; infinite where a size is open."""
    return math.prod(n if type(n) is int else math.inf for n in shape)


class Plan:
    """Policies call ``step`` and look at ``kernel``; a refused step raises ``ScheduleError``."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.kernel, self.target = kernel, target
        self.steps: list[Step] = []

    def step(self, *step: object) -> None:
        """Take one step."""
        self.kernel = take(self.kernel, step)
        self.steps.append(step)

    def attempt(self, *step: object) -> bool:
        """Take one step if it is legal."""
        try:
            self.step(*step)
        except ScheduleError:
            return False
        return True

    def finish(self) -> Kernel:
        """The verified nest, ready for a writer."""
        return finish(self.kernel)

    def lanes(self) -> int:
        """Vector lanes for the widest element of an array (bool, i8 and halves count as i32)."""
        sizes = [b.dtype.itemsize for b in buffers(self.kernel).values() if b.shape]
        return self.target.lanes(max(4, max(sizes, default=4)))


def is_contiguous(kernel: Kernel, body: Body, axis: str) -> bool:
    """Does every access of ``body`` move by one element with ``axis``, or not at all?"""
    known = buffers(kernel)
    for name, index, written, _ in accesses(body):
        step: Dim = 0
        for i, stride in zip(index, known[name].strides, strict=True):
            if type(i) is not Poly:
                if written or axis in _names(i):
                    return False
                continue
            step = step + factor(i, axis) * stride
        if dim(step) not in (0, 1):
            return False
    return True


def _names(e: object) -> set[str]:
    """The names in all indices inside an expression."""
    out: set[str] = set()
    for part in (*getattr(e, "args", ()), *getattr(e, "index", ())):
        out |= part.names if type(part) is Poly else _names(part)
    at = getattr(e, "at", None)
    return out | (at.names if type(at) is Poly else set())


def stride(b: Buffer, index: tuple[object, ...], axis: str) -> Dim:
    """How many elements an access moves by with ``axis``."""
    out: Dim = 0
    for i, step in zip(index, b.strides, strict=True):
        if type(i) is Poly:
            out = out + factor(i, axis) * step
    return dim(out)


def innermost(body: Body) -> Iterator[Loop]:
    """The loops that hold no loop."""
    for loop in loops_of(body):
        if not any(type(s) is Loop for s in loop.body):
            yield loop


def reduced(loop: Loop) -> list[str]:
    """The buffers that ``loop`` reduces into places that it does not move."""
    out: list[str] = []
    inside = {b.name for b in lets(loop.body)}
    for s in stores(loop.body):
        moved = any(type(i) is not Poly or loop.axis in i.names for i in s.index)
        if s.reduce and not moved and s.buffer not in inside and s.buffer not in out:
            out.append(s.buffer)
    return out


def work(kernel: Kernel) -> float:
    """Roughly how many scalar operations a kernel makes; infinite where sizes are open."""
    total = 0.0
    for s, count in _counted(kernel.body, 1.0):
        total += count * (1 + _cost(s.value))
    return total


def _counted(body: Body, count: float) -> Iterator[tuple[Store, float]]:
    for s in body:
        if type(s) is Loop:
            times = s.extent if type(s.extent) is int else math.inf
            yield from _counted(s.body, count * times)
        elif type(s) is Store:
            yield s, count


SLOW = {"exp", "log", "log1p", "expm1", "sin", "cos", "tanh", "sigmoid", "erf", "pow", "philox"}


def _cost(e: object) -> int:
    here = 15 if getattr(e, "fn", "") in SLOW else 1
    parts = (*getattr(e, "args", ()), getattr(e, "value", None), getattr(e, "other", None))
    return here + sum(_cost(p) for p in parts if hasattr(p, "dtype"))


def cost(body: Body) -> int:
    """Roughly how long the text of one iteration is."""
    return sum(1 + _cost(s.value) for s in stores(body))


def large_outputs(plan: Plan) -> list[str]:
    """The outputs that would push all else out of the caches, of whole vectors along their last dim."""
    width = plan.lanes()
    return [
        b.name
        for b in plan.kernel.params
        if b.role == "out"
        and b.shape
        and elements(b.shape[-1:]) % width == 0
        and STREAM <= elements(b.shape) * b.dtype.itemsize < math.inf
    ]


def vectorize_loop(plan: Plan, axis: str, unroll: int = UNROLL) -> None:
    """Cut a loop into ``unroll`` vectors an iteration, its tail masked.

    for j in 100   -->   for jo { unrolled ju in 4 { vector jv in 16 } }
    """
    width = plan.lanes()
    loop = next(s for s in loops_of(plan.kernel.body) if s.axis == axis)
    fixed = type(loop.extent) is int
    if fixed:
        unroll = max(1, min(unroll, math.ceil(elements([loop.extent]) / width)))
    sums = reduced(loop)
    plan.step("split", axis, width * unroll, axis + "o", axis + "r", "cut" if fixed else "mask")
    plan.step("split", axis + "r", width, axis + "u", axis + "v", "clamp")
    for name in sums:
        plan.step("lanes", name, axis + "v")
        if unroll > 1:
            plan.step("lanes", f"{name}_{axis}v", axis + "u")
    plan.step("vectorize", axis + "v", width)
    plan.step("unroll", axis + "u")


def spread(plan: Plan, axis: str, least: float = 20_000) -> None:
    """Run the loops over ``axis`` on all threads, if there is enough to do and it is legal.

    What is computed once before them goes to memory: registers do not cross threads.
    """
    if work(plan.kernel) < least or not plan.attempt("parallel", axis):
        return
    for s in plan.kernel.body:
        if type(s) is Let and s.buffer.memory == "registers":
            plan.step("hold", s.buffer.name, "local")
