"""An executable for concrete sizes: a program table, a memory plan, and which slot takes what."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..ir import sizes
from ..ir.dtypes import DType
from ..ir.errors import IndexRangeError
from ..ir.graph import Value
from ..ir.interpret import concrete
from ..ir.loops import interpret
from ..ir.source import explain
from ..passes.lower_layout import Layout
from ..passes.lower_nest import Lowered
from ..passes.plan_memory import Lifetime, Plan, plan_memory
from ..passes.tasks import Fused, Task
from .launch import Launch
from .memory import Block, allocate
from .program import CONSTANT, Argument, Check, Host, Program, Segment, Slots, Step

SELF, ARENA, FIRST = 0, 1, 2
"""Slots with a fixed meaning: the slots' own address, the arena's; the inputs begin at ``FIRST``."""


class Output(NamedTuple):
    """Where an output goes: its slot, and what to allocate (strides in bytes)."""

    slot: int
    nbytes: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass
class Stage:
    """Tasks that run as one step: equal kernels that do not wait for each other, or one host task."""

    tasks: list[tuple[Task, Lowered | None]]
    launch: Launch | None
    name: str


class Instance:
    """One executable at concrete sizes.

    ``input_slots[i]`` takes the address of input ``i``, or the number itself (``put_number``); ``outputs`` say what to
    allocate and which slot takes its address. ``new_slots`` gives slots with an arena; ``run`` runs them.
    """

    def __init__(self, fused: Fused, stages: Sequence[Stage], known: Mapping[str, int]) -> None:
        self.fused, self.known = fused, dict(known)
        self.inputs = fused.graph.inputs
        self.input_slots = tuple(range(FIRST, FIRST + len(self.inputs)))
        self.outputs = tuple(
            [self._output(FIRST + len(self.inputs) + k, v) for k, v in enumerate(fused.outputs)]
        )
        self.slot_of = dict(zip(self.inputs, self.input_slots, strict=True))
        self.slot_of |= {v: o.slot for v, o in zip(fused.outputs, self.outputs, strict=True)}
        self.slot_count = FIRST + len(self.inputs) + len(self.outputs)
        self.plan = self._plan(stages)
        self.hosts: list[Callable[[Slots], None]] = []
        self.checks: dict[int, Task] = {}
        self.steps: list[Step | Host | Check] = []
        for k, stage in enumerate(stages):
            self._stage(k, stage)
        codes = [s.launch.code for s in stages if s.launch is not None]
        self.program = Program(self.steps, self.slot_count, codes)

    # ---- memory ----

    def _output(self, slot: int, v: Value) -> Output:
        layout = self.fused.places.homes.get(v)
        for home in self.fused.places.homes.values():
            if home.root is v:
                layout = home
        shape = self._shape(v.shape)
        own = layout is not None and layout.shape == v.shape
        steps = layout.strides if own and layout is not None else sizes.contiguous_strides(v.shape)
        strides = self._shape(steps)
        span = (
            1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if all(shape) else 0
        )
        itemsize = v.type.dtype.itemsize
        return Output(
            slot, span * itemsize, v.type.dtype.numpy, shape, tuple([s * itemsize for s in strides])
        )

    def _shape(self, shape: Sequence[sizes.Dim]) -> tuple[int, ...]:
        return tuple([sizes.evaluate(n, self.known) for n in shape])

    def _root(self, value: Value) -> Value:
        return self.fused.places.home(value).root

    def _plan(self, stages: Sequence[Stage]) -> Plan:
        """When each value of the arena is alive."""
        spans: dict[Any, list[int]] = {}
        bytes_of: dict[Any, int] = {}
        for k, stage in enumerate(stages):
            for task, lowered in stage.tasks:
                for v in _memory(task, lowered):
                    root = self._root(v)
                    if root in self.slot_of:
                        continue
                    spans.setdefault(root, [k, k])[1] = k
                    count = sizes.evaluate(sizes.product(root.shape), self.known)
                    bytes_of[root] = count * root.type.dtype.itemsize
                if stage.launch is not None and lowered is not None:
                    for n, nbytes in enumerate(stage.launch.workspace):
                        key = (id(task), n)
                        spans[key] = [k, k]
                        bytes_of[key] = sizes.evaluate(nbytes, self._free(stage.launch, lowered))
        return plan_memory([Lifetime(r, bytes_of[r], a, b) for r, (a, b) in spans.items()])

    def _free(self, launch: Launch, lowered: Lowered) -> dict[str, int]:
        names = [s.name for s in lowered.kernel.sizes]
        values = [sizes.evaluate(n, self.known) for n in lowered.sizes]
        return launch.known(dict(zip(names, values, strict=True)))

    def place(self, value: Value, offset: int = 0) -> Argument:
        """Where a value lies, as (slot, bytes)."""
        home = self.fused.places.home(value)
        root = home.root
        offset += sizes.evaluate(home.offset, self.known) * root.type.dtype.itemsize
        slot = self.slot_of.get(root)
        if slot is None:
            return ARENA, self.plan.offsets[root] + offset
        if root.node.op.name == "input" and root.node.attributes[1] == "number":
            return SELF, 8 * slot + offset
        return slot, offset

    # ---- steps ----

    def _stage(self, k: int, stage: Stage) -> None:
        task = stage.tasks[0][0]
        if task.kind == "host":
            self._host(lambda slots: self.run_reference(task, slots))
        elif stage.launch is None:
            for one, lowered in stage.tasks:
                assert lowered is not None
                self._host(lambda slots, one=lowered: self.run_nest(one, slots))  # type: ignore[misc]
        else:
            self._launch(stage, stage.launch)
        if task.kind == "check":
            for one, _ in stage.tasks:
                assert one.target is not None
                self.checks[len(self.steps)] = one
                self.steps.append(Check(*self.place(one.target.root)))

    def _host(self, function: Callable[[Slots], None]) -> None:
        self.steps.append(Host(len(self.hosts)))
        self.hosts.append(function)

    def _launch(self, stage: Stage, launch: Launch) -> None:
        """A step for each phase; the segments are the tasks with anything to do."""
        work = [self.work(t, lowered) for t, lowered in stage.tasks if lowered is not None]
        for n, phase in enumerate(launch.phases):
            segments, most = [], 0
            for task, lowered in stage.tasks:
                assert lowered is not None
                free = self._free(launch, lowered)
                count = sizes.evaluate(phase.iterations, free)
                if count <= 0:
                    continue
                most = max(most, count)
                segments.append(Segment(self._arguments(task, lowered, launch), count))
            if not segments:
                continue
            total = sum(work)
            parallel = phase.parallel and total > SMALL
            chunk = max(CHUNK, total // CHUNKS)
            grain = max(1, -(-most * chunk * len(segments) // max(total, 1)))
            self.steps.append(
                Step(phase.address, tuple(segments), parallel, grain, total, f"{stage.name}.{n}")
            )

    def _arguments(self, task: Task, lowered: Lowered, launch: Launch) -> tuple[Argument, ...]:
        out = []
        for a in lowered.arguments:
            offset = sizes.evaluate(a.offset, self.known) * a.root.type.dtype.itemsize
            out.append(self.place(a.root, offset))
        out += [(ARENA, self.plan.offsets[(id(task), n)]) for n in range(len(launch.workspace))]
        out += [(CONSTANT, sizes.evaluate(n, self.known)) for n in lowered.sizes]
        return tuple(out)

    def work(self, task: Task, lowered: Lowered) -> int:
        """An estimate in nanoseconds of one thread: 50 multiply-adds and 30 bytes a nanosecond."""
        moved = sum(self.moved(lowered).values())
        total = moved / 30 + 0.05 * len(task.group.nodes) * moved / 8
        return int(total + self.multiplications(task) / 50)

    def moved(self, lowered: Lowered) -> dict[str, int]:
        """Bytes read and written, each parameter once."""
        names = [s.name for s in lowered.kernel.sizes]
        free = dict(zip(names, self._shape(lowered.sizes), strict=True))
        out = {"read": 0, "written": 0}
        for b in lowered.kernel.params:
            steps = zip(b.shape, b.strides, strict=True)
            count = sizes.product([n for n, step in steps if step != 0])
            nbytes = sizes.evaluate(count, free) * b.dtype.itemsize
            out["read" if b.role == "in" else "written"] += nbytes
        return out

    def multiplications(self, task: Task) -> int:
        """How many products a contraction sums."""
        node = next((n for n in task.group.nodes if n.op.name == "contract"), None)
        if node is None:
            return 0
        terms, _, out = node.named["spec"].partition("->")
        letters = dict(zip(terms.split(",")[0], node.operands[0].shape, strict=True))
        depth = sizes.product([n for c, n in letters.items() if c not in out])
        return sizes.evaluate(sizes.product([depth, *node.value.shape]), self.known)

    def cost(self, stage: Stage) -> dict[str, int]:
        """Bytes read and written, floating-point operations of products, and the estimated time of a stage."""
        out = {"read": 0, "written": 0, "flops": 0, "estimated_ns": 0}
        for task, lowered in stage.tasks:
            if lowered is not None:
                out["flops"] += 2 * self.multiplications(task)
                out["estimated_ns"] += self.work(task, lowered)
                for key, nbytes in self.moved(lowered).items():
                    out[key] += nbytes
        return out

    # ---- running ----

    def new_slots(self) -> tuple[Slots, Block]:
        """Slots that know themselves and an arena; the arena lives as long as the block is held."""
        slots, arena = self.program.slots(), allocate(self.plan.nbytes)
        slots.values[SELF], slots.values[ARENA] = slots.address, arena.address
        return slots, arena

    def put_number(self, slots: Slots, slot: int, number: Any, dtype: DType) -> None:
        """A run-time number into its slot, as the bits of its type."""
        if dtype.name == "f64":
            slots.floats[slot] = number
        else:
            data = np.asarray(number).astype(dtype.numpy).tobytes()
            slots.values[slot] = struct.unpack("<q", data.ljust(8, b"\0"))[0]

    def run(self, slots: Slots) -> None:
        """Run the program; IndexRangeError where a check fails (nothing is written then)."""
        stopped = self.program.run(slots, self.hosts)
        if stopped is not None:
            self._refuse(self.checks[stopped], slots)

    def _refuse(self, task: Task, slots: Slots) -> None:
        assert task.value is not None and task.node is not None and task.target is not None
        slot, offset = self.place(task.target.root)
        position = ctypes.c_int64.from_address(slots.values[slot] + offset).value - 1
        found = self.array(task.value, slots).reshape(-1)[position]
        size = sizes.evaluate(task.size, self.known)
        message = f"{task.node.op.name}: index {found} is outside of a dimension of size {size}"
        raise IndexRangeError(explain(message, task.node.site.span))

    def array(self, value: Value, slots: Slots) -> np.ndarray:
        """A value that lies in memory now (a view of one included), as an array."""
        base = self.fused.places.base(value)
        if base.node in self.fused.places.inline:
            operands = [self.array(v, slots) for v in base.node.operands]
            found = base.node.op.reference(*operands, **concrete(base.node.named, self.known))
            return self._view(value, np.asarray(found))
        return self._array(self.fused.places.layouts[value], slots)

    def _view(self, value: Value, array: np.ndarray) -> np.ndarray:
        """Apply the views between an inlined value and what is wanted."""
        node, chain = value.node, []
        while node in self.fused.places.views:
            chain.append(node)
            node = node.operands[self.fused.places.views[node]].node
        for node in reversed(chain):
            operands = [array] * len(node.operands)
            array = node.op.reference(*operands, **concrete(node.named, self.known))
        return array

    def _array(self, layout: Layout, slots: Slots) -> np.ndarray:
        itemsize = layout.root.type.dtype.itemsize
        slot, offset = self.place(layout.root, sizes.evaluate(layout.offset, self.known) * itemsize)
        strides = tuple([s * itemsize for s in self._shape(layout.strides)])
        return memory_at(
            slots.values[slot] + offset, layout.root.type.dtype, self._shape(layout.shape), strides
        )

    def run_reference(self, task: Task, slots: Slots) -> None:
        """A host step: the op's reference on arrays, or a copy."""
        if task.value is not None and task.target is not None:
            self._array(task.target, slots)[...] = np.reshape(
                self.array(task.value, slots), self._shape(task.target.shape)
            )
            return
        node = task.group.nodes[0]
        operands = [self.array(v, slots) for v in node.operands]
        with np.errstate(all="ignore"):
            results = node.op.reference(*operands, **concrete(node.named, self.known))
        for v, found in zip(
            node.results, results if len(node.results) > 1 else (results,), strict=True
        ):
            if v in task.group.outputs:
                home = self.fused.places.home(v)
                self._array(Layout(v, v.shape, home.strides, 0), slots)[...] = np.reshape(
                    found, self._shape(v.shape)
                )

    def run_nest(self, lowered: Lowered, slots: Slots) -> None:
        """A kernel step without machine code: the loop interpreter on the naive nest."""
        names = [s.name for s in lowered.kernel.sizes]
        free = {n: sizes.evaluate(s, self.known) for n, s in zip(names, lowered.sizes, strict=True)}
        arrays = {}
        for b, a in zip(lowered.kernel.params, lowered.arguments, strict=True):
            shape = tuple([sizes.evaluate(n, free) for n in b.shape])
            strides = tuple([sizes.evaluate(n, free) * b.dtype.itemsize for n in b.strides])
            slot, offset = self.place(
                a.root, sizes.evaluate(a.offset, self.known) * b.dtype.itemsize
            )
            arrays[b.name] = memory_at(slots.values[slot] + offset, b.dtype, shape, strides)
        interpret(lowered.kernel, arrays, free)


SMALL = 3000  # nanoseconds below which a step stays on one thread
CHUNK = 5000  # nanoseconds of work that one chunk should hold at least
CHUNKS = 128  # chunks of one step: enough to share evenly, each long enough to read memory ahead


def _memory(task: Task, lowered: Lowered | None) -> list[Value]:
    """The values in memory that a task touches."""
    if lowered is not None:
        return [a.root for a in lowered.arguments]
    target = [] if task.target is None else [task.target.root]
    return [*task.reads, *task.group.outputs, *target]


def memory_at(
    address: int, dtype: DType, shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray:
    """An array over memory that someone else keeps alive."""
    if not all(shape):
        return np.empty(shape, dtype.numpy)
    span = dtype.itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    raw = (ctypes.c_char * span).from_address(address)
    return np.ndarray(shape, dtype.numpy, memoryview(raw), 0, strides)
