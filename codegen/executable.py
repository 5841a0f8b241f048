"""From a graph to something that runs: fuse, lower, find kernels, and per set of sizes a program with a memory plan."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.graph import Graph, Value
from ..ir.interpret import learn_sizes
from ..ir.sizes import Dim, Shape
from ..ir.target import Target
from ..passes.fuse import fuse
from ..passes.lower import lower
from ..passes.lower_nest import Lowered
from ..passes.pipeline import run_passes
from ..passes.tasks import Task
from . import launch
from .detect import host
from .instance import Instance, Stage
from .memory import allocate

Strides = Sequence[Sequence[Dim] | None] | None


def compile_graph(
    graph: Graph,
    *,
    input_strides: Strides = None,
    output_strides: Strides = None,
    target: Target | None = None,
    options: Mapping[str, Any] | None = None,
) -> Executable:
    """Kernels for a graph, which run for any value of its named sizes.

    ``input_strides[i]``: strides in elements of input ``i``, None if contiguous; ``output_strides[i]`` likewise for the
    layout that output ``i`` gets. ``options``: ``interpret`` runs naive nests by the loop interpreter instead of
    machine code; ``fuse=False`` makes one kernel of each op.
    """
    return Executable(graph, input_strides, output_strides, target or host(), dict(options or {}))


class Executable:
    """A compiled graph; ``instance`` gives it for concrete sizes, a call runs it on NumPy arrays."""

    def __init__(
        self,
        graph: Graph,
        input_strides: Strides,
        output_strides: Strides,
        target: Target,
        options: dict[str, Any],
    ) -> None:
        self.graph, self.target, self.options = graph, target, options
        self.times: dict[str, int] = {}
        self.graphs: dict[str, Graph] = {"graph": graph}
        graph = run_passes(graph, self.times, self.graphs, options.get("verify", False))
        begin = time.perf_counter_ns()
        self.fused = fuse(
            graph,
            input_strides=_tuples(input_strides),
            output_strides=_tuples(output_strides),
            merge=options.get("fuse", True),
        )
        self._took("fuse", begin)
        self.stages = self._stages()
        self._instances: dict[tuple[tuple[str, int], ...], Instance] = {}

    def _took(self, stage: str, begin: int) -> None:
        self.times[stage] = self.times.get(stage, 0) + time.perf_counter_ns() - begin

    def _stages(self) -> list[Stage]:
        """One stage a task; equal kernels that do not wait for each other share one."""
        stages: list[Stage] = []
        idle: dict[str, Stage] = {}
        for task, lowered in self._in_order():
            begin = time.perf_counter_ns()
            text = "" if lowered is None else str(lowered.kernel)
            self._took("build", begin)
            if task.idle and text in idle:
                idle[text].tasks.append((task, lowered))
                continue
            code = None
            if lowered is not None and not self.options.get("interpret"):
                code = launch.find(lowered.kernel, text, self.target, self.times)
            stages.append(Stage([(task, lowered)], code, f"{len(stages)}.{task.kind}"))
            if task.idle and lowered is not None:
                idle[text] = stages[-1]
        return stages

    def _in_order(self) -> list[tuple[Task, Lowered | None]]:
        """Tasks with their naive nests (a host step has none)."""
        begin = time.perf_counter_ns()
        out: list[tuple[Task, Lowered | None]] = []
        for task in self.fused.tasks:
            out.append((task, None if task.kind == "host" else lower(task, self.fused.places)))
        self._took("lower", begin)
        return out

    # ---- running ----

    def instance(self, sizes: Mapping[str, int]) -> Instance:
        """The program for concrete sizes; made once, nothing is compiled."""
        key = tuple(sorted(sizes.items()))
        found = self._instances.get(key)
        if found is None:
            found = self._instances[key] = Instance(self.fused, self.stages, sizes)
        return found

    def __call__(
        self,
        arrays: Sequence[Any],
        numbers: Sequence[Any] = (),
        sizes: Mapping[str, int] | None = None,
    ) -> list[np.ndarray]:
        """Run on arrays in the order of the inputs; writes happen in place, outputs are new arrays.

        Inputs of kind ``number`` stand among the arrays, or apart in ``numbers``. Named sizes are
        read off the arrays' shapes; ``sizes`` gives those that stand in no shape alone.
        """
        given = _joined(self.graph.inputs, arrays, numbers)
        known: dict[str, int] = dict(sizes or {})
        for v, a in zip(self.graph.inputs, given, strict=True):
            if v.shape:
                learn_sizes(v.shape, a.shape, known)
        instance = self.instance(known)
        slots, arena = instance.new_slots()
        for v, slot, a in zip(self.graph.inputs, instance.input_slots, given, strict=True):
            if v.node.attributes[1] == "number":
                instance.put_number(slots, slot, a, v.type.dtype)
            else:
                slots.values[slot] = a.ctypes.data
        outputs = []
        for o in instance.outputs:
            block = allocate(o.nbytes)
            slots.values[o.slot] = block.address
            outputs.append(block.array(o.dtype, o.shape, o.strides))
        instance.run(slots)
        del arena
        return outputs

    # ---- looking inside ----

    def explain(self, sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Kernels with ops, source lines and schedule, reasons of fusion, nanoseconds by stage.

        With ``sizes`` (empty for a graph without names) also bytes moved, estimated time and memory.
        """
        out: dict[str, Any] = {
            "kernels": [_explained(stage) for stage in self.stages],
            "reasons": self.fused.reasons,
            "times": dict(self.times),
        }
        if sizes is not None or not self.graph.sizes:
            instance = self.instance(sizes or {})
            for found, stage in zip(out["kernels"], self.stages, strict=True):
                found |= instance.cost(stage)
            plan = instance.plan
            out["memory"] = {
                "arena": plan.nbytes,
                "live": plan.live,
                "offsets": list(plan.offsets.values()),
            }
        return out

    def dump(self, stage: str) -> str:
        """A text of one stage: graph, a pass's name, fused, loops (naive), schedule, nests (scheduled), llvm, asm."""
        if stage in self.graphs:
            return str(self.graphs[stage])
        unique = {str(p.kernel): p.kernel for s in self.stages for _, p in s.tasks if p is not None}
        if stage == "fused":
            return "\n".join(self._lines())
        if stage == "loops":
            return "\n\n".join(unique)
        makers: dict[str, Any] = {
            "schedule": lambda k: launch.scheduled(k, self.target)[1],
            "nests": lambda k: str(launch.scheduled(k, self.target)[0]),
            "llvm": lambda k: launch.llvm(k, self.target),
            "asm": lambda k: launch.machine_code(k, self.target),
        }
        if stage not in makers:
            raise ValueError(
                f"no stage is called {stage!r}; there are {', '.join((*self.graphs, 'fused', 'loops', *makers))}"
            )
        return "\n\n".join(makers[stage](k) for k in unique.values())

    def _lines(self) -> list[str]:
        out = []
        for stage in self.stages:
            for task, _ in stage.tasks:
                ops = " ".join(n.op.name for n in task.group.nodes)
                out.append(f"{stage.name}: {ops}".rstrip(": "))
        return out


def _explained(stage: Stage) -> dict[str, Any]:
    """What a stage is, as data."""
    nodes = [n for task, _ in stage.tasks for n in task.group.nodes]
    return {
        "name": stage.name,
        "kind": stage.tasks[0][0].kind,
        "segments": len(stage.tasks),
        "ops": [(n.op.name, str(n.site)) for n in nodes],
        "results": [str(v.type) for task, _ in stage.tasks for v in task.group.outputs],
        "steps": stage.launch.steps if stage.launch else "",
    }


def _tuples(strides: Strides) -> list[Shape | None] | None:
    return None if strides is None else [None if s is None else tuple(s) for s in strides]


def _joined(inputs: Sequence[Value], arrays: Sequence[Any], numbers: Sequence[Any]) -> list[Any]:
    """Arrays and numbers in the order of the inputs."""
    if len(arrays) == len(inputs):
        given = list(arrays)
    else:
        rest, apart = iter(arrays), iter(numbers)
        given = [next(apart if v.node.attributes[1] == "number" else rest) for v in inputs]
    return [
        a if v.node.attributes[1] == "number" else np.asarray(a)
        for v, a in zip(inputs, given, strict=True)
    ]
