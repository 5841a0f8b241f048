"""The derivative of a compiled call: a program made from the traced graph itself, compiled at its first use.

The walk follows what the trace recorded, so that ``no_grad``, leaves and writes inside the function count as they do
eagerly. Each value that eager backward would read is remembered: it must not have been overwritten or freed.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ir.dtypes import by_name, from_numpy
from ..ir.errors import GradError
from ..ir.graph import Builder, Graph, Node, Type, Value, building, current
from ..ir.interpret import concrete
from ..ir.op import OPS, Op
from ..ir.source import explain
from ..passes.differentiate import differentiate, reachable
from .eager import overwritten, spent
from .executable import compile_plain, run
from .state import state
from .storage import Storage
from .tensor import grad_mode

History = dict[Value, tuple[int, int, int | None]]
"""Of traced values: the version that they are, the last one of their memory in the trace, and the memory's cell."""


class Call:
    """One call, as its backward needs it: inputs as they were, and the version of every memory when it returned.

    ``freed``: the traced nodes that earlier backwards have passed.
    """

    __slots__ = ("arrays", "before", "cells", "freed", "memories", "sizes", "versions", "views")

    def __init__(self, fixed: Fixed, sizes: dict[str, int]) -> None:
        self.sizes = sizes
        self.arrays, self.memories = fixed.arrays.copy(), fixed.memories.copy()
        self.views: dict[Value, Any] = {}
        self.before: dict[Value, Value] = {
            v: s.value if s._value is None else s._value for v, s in fixed.states
        }
        self.cells: list[list[int]] = []
        self.versions: list[int] = []
        self.freed: set[Node] = set()

    def finish(self) -> None:
        """The call returns: note every memory's version, and hold the memories themselves no longer."""
        self.cells = [s.versions for s in self.memories]
        self.versions = [cell[0] for cell in self.cells]
        self.memories, self.before, self.views = [], {}, {}


NOTHING = Storage(Type(by_name("f32"), ()), (), None, None)
"""In the place of a memory, where the input is a number."""


class Fixed:
    """What is the same in every call: captured memories. ``others`` are the inputs that each call brings."""

    def __init__(
        self,
        feeds: Sequence[tuple[str, Any]],
        tracked: Sequence[tuple[int, Value]],
    ) -> None:
        is_state = [kind == "state" for kind, _ in feeds]
        self.memories = [key if kind == "state" else NOTHING for kind, key in feeds]
        self.arrays: list[Any] = [s.data for s in self.memories]
        self.others = [(i, kind, key) for i, (kind, key) in enumerate(feeds) if not is_state[i]]
        self.states = [(v, self.memories[i]) for i, v in tracked if is_state[i]]
        self.tracked = [(i, v) for i, v in tracked if not is_state[i]]


class CompiledCall(Op):
    """The op of one part of one call: operands are where the part's derivative ends, results what it made."""

    name = "compiled_call"

    def __init__(self, part: Part, call: Call) -> None:
        self.part, self.call = part, call
        self.is_variadic = True
        self.found: tuple[Any, tuple[Value | None, ...]] | None = None
        self.results: list[Value | None] | None = None
        self.wrong: list[tuple[Node, str]] = []

    def vjp(self, i: int, g: Any, y: Any, *xs: Value) -> Value | None:
        """The derivative for operand ``i``; all of them are computed together."""
        if self.found is None or self.found[0] is not g:
            weights = g if isinstance(g, tuple) else (g,)
            self.found, self.results = (g, weights), None
            self.wrong = self.part.wrong(self.call, weights)
        weights = self.found[1]
        if self.wrong:
            self.part.check(i, weights, self.wrong)
        if self.results is None:
            pull = self.part.inline if state.grad_enabled else self.part.run
            self.results = pull(self.call, weights, xs)
        return self.results[i]

    def vjp_of(self, i: int) -> Any:
        """Every operand is there because a derivative reaches it."""
        return lambda g, y, *xs: self.vjp(i, g, y, *xs)

    def leave(self, retain: bool) -> None:
        """A backward is over: forget what it computed, and unless retained free what it passed."""
        if self.found is not None and not retain:
            self.call.freed |= self.part.derivative(self.found[1]).nodes
        self.found = self.results = None


class Spent(Op):
    """The op of a result whose graph a backward inside the compiled function has used up."""

    name = "spent_call"

    def __init__(self, part: Part) -> None:
        self.part = part

    def vjp_of(self, i: int) -> Any:
        """Says what was freed."""
        return lambda *_: self.part.refuse()


class Derivative(NamedTuple):
    """Forward and backward in one graph, for some of a part's results.

    ``reached``: the ends that get a cotangent. ``reads``: a forward node, a value that its derivative reads, and the
    node that reads it. ``nodes``: the forward nodes that are walked.
    """

    graph: Graph
    reached: list[int]
    reads: list[tuple[Node, Value, Node]]
    nodes: set[Node]


class Part:
    """Results that join the tape together, and the ends of the walk back from them (see ``tape``)."""

    def __init__(
        self,
        graph: Graph,
        roots: Sequence[Value],
        cuts: Collection[Value],
        history: History,
        saved: Collection[int],
    ) -> None:
        self.graph, self.roots, self.cuts, self.history = graph, tuple(roots), cuts, history
        self.saved = saved
        self.leaves: list[Value] = []
        self._derivatives: dict[tuple[int, ...], Derivative] = {}
        self._programs: dict[tuple[int, ...], tuple[Any, list[int]]] = {}

    def stops(self, value: Value) -> bool:
        """Whether the walk ends here: at a leaf, or at a result that joins the tape by itself."""
        return value in self.cuts or is_leaf(value)

    @functools.cached_property
    def ends(self) -> list[Value]:
        """The inputs, leaves and cuts that the derivative reaches."""
        ends: list[Value] = []
        seen: set[Value] = set()
        todo = list(self.roots)
        while todo:
            value = todo.pop()
            if value in seen or not value.tracked:
                continue
            seen.add(value)
            if value.node.op.name == "input" or self.stops(value):
                ends.append(value)
            else:
                todo += value.node.operands
        return ends

    # ---- the derivative ----

    def derivative(self, weights: Sequence[Value | None]) -> Derivative:
        """Of the results that have a weight."""
        given = tuple(k for k, w in enumerate(weights) if w is not None)
        found = self._derivatives.get(given)
        if found is None:
            found = self._derivatives[given] = self._derive(given)
        return found

    def _derive(self, given: Sequence[int]) -> Derivative:
        recorder = Recorder(self.graph)
        with building(recorder):
            seeds: dict[Value, Value] = {}
            for k in given:
                root = self.roots[k]
                seed = recorder.input(f"g{k}", root.dtype, root.shape)
                seeds[root] = seeds[root] + seed if root in seeds else seed
            found = differentiate(seeds, None, self.stops, recorder.enter)
        reached = [i for i, v in enumerate(self.ends) if v in found]
        graph = recorder.graph([found[self.ends[i]] for i in reached])
        return Derivative(graph, reached, recorder.reads, set(recorder.walked))

    def _program(self, weights: Sequence[Value | None]) -> tuple[Any, list[int]]:
        """The executable of a derivative, and which of the call's inputs it reads."""
        given = tuple(k for k, w in enumerate(weights) if w is not None)
        found = self._programs.get(given)
        if found is None:
            program = compile_plain(self.derivative(weights).graph)
            last = list(program.graphs.values())[-1]
            found = self._programs[given] = program, inputs_read(last, last.roots)
        return found

    def run(
        self, call: Call, weights: Sequence[Value | None], xs: Sequence[Value]
    ) -> list[Value | None]:
        """Run the derivative's program; None for operands that it does not reach."""
        found = self.derivative(weights)
        out: list[Value | None] = [None] * len(xs)
        if not found.reached:
            return out
        program, used = self._program(weights)
        self._check_inputs(call, used)
        arrays = [*call.arrays, *(w.data for w in weights if w is not None)]
        arrays = [
            np.asarray(a, None, order="C") if isinstance(a, np.ndarray) else a for a in arrays
        ]
        for i, array in zip(found.reached, run(program, arrays, call.sizes), strict=True):
            out[i] = eager_value(array)
        return out

    # ---- what it must not read ----

    def wrong(self, call: Call, weights: Sequence[Value | None]) -> list[tuple[Node, str]]:
        """What eager backward would find freed or overwritten: the node that reads it, and the message."""
        out = []
        for node, value, reader in self.derivative(weights).reads:
            if (node in call.freed or is_freed(node)) and is_kept(value, node):
                out.append((reader, spent(node)))
            known = self.history.get(value)
            if known is None:
                continue
            needed, now, place = known
            if place is not None:
                needed, now = needed + call.versions[place] - now, call.cells[place][0]
            if needed != now:
                span = node.site.span if value.node.op.name == "input" else None
                out.append((reader, overwritten(value, needed, now, span)))
        return out

    def check(
        self, i: int, weights: Sequence[Value | None], wrong: Sequence[tuple[Node, str]]
    ) -> None:
        """GradError if the cotangent of operand ``i`` needs one of the nodes that read what they must not."""
        found = self.derivative(weights)
        if i not in found.reached:
            return
        needed, _ = found.graph.needed([found.graph.outputs[found.reached.index(i)]])
        for reader, message in wrong:
            if reader in needed:
                raise GradError(message)

    def _check_inputs(self, call: Call, used: Sequence[int]) -> None:
        """The program computes values again that eager execution has kept: from inputs that must still be the same."""
        for i, value in enumerate(self.graph.inputs):
            if i in used and i not in self.saved and call.cells[i][0] != call.versions[i]:
                raise GradError(
                    explain(
                        f"an input of a compiled function was overwritten in place before backward, which computes "
                        f"again from it: {value.type}",
                        next(n.site.span for n in self.graph.nodes if value in n.operands),
                        "run backward first, write into a clone(), or make the change out of place",
                    )
                )

    def is_spent(self) -> bool:
        """Whether every gradient of the first root would read what a backward inside has freed."""
        if not any(map(is_freed, reachable(dict.fromkeys(self.roots, self.roots[0]), is_leaf))):
            return False
        found = self.derivative([self.roots[0]])
        lost = {
            reader
            for node, value, reader in found.reads
            if is_freed(node) and is_kept(value, node)
        }
        values: set[Value] = set()
        for node in found.graph.nodes:
            if node in lost or not values.isdisjoint(node.operands):
                values.update(node.results)
        return values.issuperset(found.graph.outputs)

    def refuse(self) -> Any:
        """The error of a backward where one inside the function has freed what it needs."""
        for node, value, _ in self.derivative([self.roots[0]]).reads:
            if is_freed(node) and is_kept(value, node):
                raise GradError(spent(node))
        raise GradError(
            explain(
                "backward through a result of a compiled function that has run backward from it already",
                self.roots[0].node.site.span,
                "pass retain_graph=True to the backward inside",
            )
        )

    # ---- op by op, where the derivative itself is recorded ----

    def inline(
        self, call: Call, weights: Sequence[Value | None], xs: Sequence[Value]
    ) -> list[Value | None]:
        """Compute the call again op by op on the current builder and differentiate that."""
        found = self.derivative(weights)
        self._check_inputs(call, inputs_read(found.graph, found.graph.roots))
        builder: Any = current()
        before, builder.residuals.node = builder.residuals.node, None
        try:
            env = self._again(call, dict(zip(self.ends, xs, strict=True)))
            seeds: dict[Value, Value] = {}
            for root, w in zip(self.roots, weights, strict=True):
                if w is not None:
                    there = env[root]
                    seeds[there] = seeds[there] + w if there in seeds else w
            ends = [env[v] for v in self.ends]
            cotangents = differentiate(seeds, ends)
        finally:
            builder.residuals.node = before
        return [cotangents.get(v) for v in ends]

    def _again(self, call: Call, ends: dict[Value, Value]) -> dict[Value, Value]:
        """The traced nodes on the current builder; ``ends`` are what its derivative ends at."""
        env: dict[Value, Value] = {}
        append = current().append

        def join(traced: Value, data: np.ndarray) -> None:
            """An end is its operand on the tape, with the data that it had in the call."""
            with grad_mode(True):
                env[traced] = append(OPS["alias"], (ends[traced],), ())
            env[traced].data = data

        for v, array in zip(self.graph.inputs, call.arrays, strict=True):
            if v in ends:
                join(v, array)
            else:
                env[v] = eager_value(np.asarray(array))
        for node in self.graph.nodes:
            attributes = tuple(concrete(a, call.sizes) for a in node.attributes)
            stops = any(map(self.stops, node.results))
            with grad_mode(not stops and any(v.tracked for v in node.results)):
                made = append(node.op, [env[v] for v in node.operands], attributes)
            results = made if isinstance(made, tuple) else (made,)
            for v, value in zip(node.results, results, strict=True):
                if v in ends:
                    join(v, value.data)
                else:
                    env[v] = value
        return env


class Recorder(Builder):
    """Appends a derivative to the graph that it is of, and remembers which of its values the derivative reads."""

    def __init__(self, graph: Graph) -> None:
        super().__init__("pullback")
        self.inputs, self.nodes = list(graph.inputs), list(graph.nodes)
        self.values = {*graph.inputs, *(v for node in graph.nodes for v in node.results)}
        self.reads: list[tuple[Node, Value, Node]] = []
        self.walked: list[Node] = []

    def enter(self, node: Node) -> None:
        """The derivative of ``node`` is written next."""
        self.walked.append(node)

    def append(self, op: Op, operands: Sequence[Value], attributes: tuple[Any, ...]) -> Any:
        """Add a node of the derivative."""
        made = super().append(op, operands, attributes)
        if self.walked:
            here = self.walked[-1], self.nodes[-1]
            self.reads += [(here[0], v, here[1]) for v in operands if v in self.values]
        return made


def is_leaf(value: Value) -> bool:
    """Whether the trace made it a leaf."""
    return value.note is not None and value.note.leaf is not None


def is_freed(node: Node) -> bool:
    """Whether a backward inside the trace has freed its values."""
    return any(v.note is not None and v.note.freed for v in node.results)


def is_kept(value: Value, node: Node) -> bool:
    """Whether it is one that the node keeps for its derivative: a result or an operand of its own."""
    return value.node is node or value in node.operands


def inputs_read(graph: Graph, values: Iterable[Value]) -> list[int]:
    """Which inputs the values are computed from."""
    _, live = graph.needed(values)
    return [i for i, v in enumerate(graph.inputs) if v in live]


def eager_value(array: np.ndarray, kind: str = "argument") -> Value:
    """An array as a value without history."""
    value = Node(
        OPS["input"], (), ("value", kind), (Type(from_numpy(array.dtype), array.shape),)
    ).results[0]
    value.data = array
    return value
