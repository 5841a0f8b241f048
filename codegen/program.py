"""The program table: steps as data, packed once, walked by one native routine.

A phase function is ``void f(ptr args, i64 lo, i64 hi)``: ``args`` is an array of i64 (buffer
addresses, then sizes and scalars), ``lo..hi`` the iterations of its parallel loop to run now.
Iterations are independent, and how a range is cut into calls is not fixed: one thread runs all of
it in one call, several run it by chunks, and the bits must be the same.
What it is called with comes from the program's slots, an array of i64 that the caller fills.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .llvm.load import Code, portable
from .llvm.walk import (
    CHECK,
    END,
    HOST,
    PARALLEL,
    SCRATCH_SEGMENT_WORDS,
    SCRATCH_WORDS,
    SERIAL,
    STEP_WORDS,
)

_UNKNOWN = 1 << 62

CONSTANT = -1
"""In place of a slot: the value is the offset itself."""

Argument = tuple[int, int]
"""(slot, offset): the value ``slots[slot] + offset``; (CONSTANT, value): the value."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One argument list of a step, and how many iterations its parallel loop has for it."""

    arguments: tuple[Argument, ...]
    iterations: int | Argument = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One launch: a phase function at an address, over one or more segments.

    A parallel step is cut into chunks of ``grain`` iterations; the chunks of all segments are
    spread over the threads together. A serial one is called once per segment. ``work`` is an
    estimate in nanoseconds of one thread, None where there is none; ``name`` is for readers.
    """

    function: int
    segments: tuple[Segment, ...]
    parallel: bool = False
    grain: int | Argument = 1
    work: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """Hand control to Python: ``hosts[index](slots)`` runs, then the program goes on."""

    index: int


@dataclass(frozen=True, slots=True)
class Check:
    """Stop when the i64 at the address ``slots[slot] + offset``, an error mailbox, is not 0."""

    slot: int
    offset: int = 0


class Slots:
    """The i64 words that one run of a program reads: ``values`` is a ctypes array to fill.

    ``floats`` are the same words as f64, for scalars that a kernel reads as bits. One set of
    slots serves one run at a time; calls that overlap need a set each.
    """

    __slots__ = ("address", "floats", "values")

    def __init__(self, count: int) -> None:
        self.values = (ctypes.c_int64 * count)()
        self.floats = (ctypes.c_double * count).from_buffer(self.values)
        self.address = ctypes.addressof(self.values)


class Program:
    """Steps packed into one table, with the code that they call.

    ``slot_count`` slots belong to the caller; ``slots()`` makes a set with the walker's own
    words behind them. Raises ``ValueError`` for a step that names a slot beyond them.
    """

    __slots__ = (
        "_end", "_table", "_table_address", "_walk", "codes", "slot_count", "steps", "words",
    )  # fmt: skip

    def __init__(
        self,
        steps: Sequence[Step | Host | Check],
        slot_count: int,
        codes: Sequence[Code] = (),
    ) -> None:
        self.steps = tuple(steps)
        self.codes = tuple(codes)
        self.slot_count = slot_count
        table = _pack(self.steps, slot_count)
        self.words = slot_count + 1 + max((_scratch(step) for step in self.steps), default=0)
        self._table = (ctypes.c_int64 * len(table))(*table)
        self._table_address = ctypes.addressof(self._table)
        self._end = len(self.steps)
        self._walk = _walker()

    def slots(self) -> Slots:
        """A set of slots for this program, all 0."""
        return Slots(self.words)

    def run(self, slots: Slots, hosts: Sequence[Callable[[Slots], Any]] = ()) -> int | None:
        """Run all steps; returns None, or the index of the ``Check`` that stopped the program.

        No Python runs between native steps, and the interpreter lock is released.
        """
        stopped = self._walk(self._table_address, 0, slots.address)
        if stopped == self._end:
            return None
        return self._resume(stopped, slots, hosts)

    def _resume(
        self, stopped: int, slots: Slots, hosts: Sequence[Callable[[Slots], Any]]
    ) -> int | None:
        """Run host steps and go on, until the end or a check."""
        while stopped != self._end:
            step = self.steps[stopped]
            if not isinstance(step, Host):
                return stopped
            hosts[step.index](slots)
            stopped = self._walk(self._table_address, stopped + 1, slots.address)
        return None

    def __str__(self) -> str:
        return "\n".join(f"{i}: {_describe(step)}" for i, step in enumerate(self.steps))


def _describe(step: Step | Host | Check) -> str:
    """One step as a line: name, loop, and the arguments of each segment."""
    if isinstance(step, Host):
        return f"host {step.index}"
    if isinstance(step, Check):
        return f"check {_value((step.slot, step.offset))}"
    kind = f"parallel by {_value(step.grain)}" if step.parallel else "serial"
    calls = (
        f"{_value(segment.iterations)} of ({', '.join(map(_value, segment.arguments))})"
        for segment in step.segments
    )
    return f"{step.name or hex(step.function)} {kind}: {'; '.join(calls)}"


def _value(value: int | Argument) -> str:
    """A number, or a slot and what is added to it."""
    if isinstance(value, int) or value[0] == CONSTANT:
        return str(value if isinstance(value, int) else value[1])
    return f"s{value[0]}" + (f"{value[1]:+d}" if value[1] else "")


def _pack(steps: Sequence[Step | Host | Check], slot_count: int) -> list[int]:
    """The table's words: all steps, the end, then the segments."""
    table: list[int] = []
    segments: list[int] = []
    start = STEP_WORDS * (len(steps) + 1)
    for step, work in zip(steps, _remaining(steps), strict=True):
        if isinstance(step, Host):
            words = [HOST, step.index]
        elif isinstance(step, Check):
            words = [CHECK, *_word(step.slot, step.offset, slot_count)]
        else:
            kind = PARALLEL if step.parallel else SERIAL
            words = [kind, step.function, start + len(segments), len(step.segments)]
            words += [*_pair(step.grain, slot_count), slot_count + 1, work]
            for segment in step.segments:
                segments += _pair(segment.iterations, slot_count)
                segments.append(len(segment.arguments))
                for argument in segment.arguments:
                    segments += _pair(argument, slot_count)
        table += words + [0] * (STEP_WORDS - len(words))
    return [*table, END, *[0] * (STEP_WORDS - 1), *segments]


def _remaining(steps: Sequence[Step | Host | Check]) -> list[int]:
    """For each step the nanoseconds of work to the end; very many from an unknown step on back."""
    totals: list[int] = []
    total = 0
    for step in reversed(steps):
        if isinstance(step, Step):
            total = min(_UNKNOWN, total + (_UNKNOWN if step.work is None else step.work))
        totals.append(total)
    return totals[::-1]


def _pair(value: int | Argument, slot_count: int) -> list[int]:
    return (
        _word(CONSTANT, value, slot_count) if isinstance(value, int) else _word(*value, slot_count)
    )


def _word(slot: int, offset: int, slot_count: int) -> list[int]:
    """A (slot, offset) pair; constants go by the slot behind the caller's, which stays 0."""
    if slot == CONSTANT:
        return [slot_count, offset]
    if not 0 <= slot < slot_count:
        raise ValueError(f"Program: a step names slot {slot}, there are {slot_count}")
    return [slot, offset]


def _scratch(step: Step | Host | Check) -> int:
    """How many words the walker needs behind the slots to prepare a step."""
    if not isinstance(step, Step):
        return 0
    arguments = sum(len(segment.arguments) for segment in step.segments)
    return SCRATCH_WORDS + SCRATCH_SEGMENT_WORDS * len(step.segments) + arguments


@functools.cache
def _walker() -> Callable[[int, int, int], int]:
    """The routine that walks tables: native, or its portable twin."""
    if portable():
        from .portable import walk

        return walk
    from .llvm.threads import native

    signature = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    return signature(native().address("walk"))
