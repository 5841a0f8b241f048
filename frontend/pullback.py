"""A compiled call on the eager tape: one node, whose derivative is a program compiled at its first use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.dtypes import from_numpy
from ..ir.graph import Builder, Graph, Node, Type, Value, building, current
from ..ir.interpret import concrete
from ..ir.op import OPS, Op
from ..passes.differentiate import differentiate
from .executable import compile_plain, run
from .state import state
from .storage import Stamp, Storage
from .tensor import grad_mode


class CompiledCall(Op):
    """The op of one call: operands are the program's inputs, results the outputs that need gradients."""

    name = "compiled_call"

    def __init__(self, pullback: Pullback, sizes: dict[str, int], taken: tuple[int, ...]) -> None:
        self.pullback, self.sizes, self.taken = pullback, sizes, taken
        self.is_variadic = True
        self.found: tuple[Any, list[Value | None]] | None = None

    def vjp(self, i: int, g: Any, y: Any, *xs: Value) -> Value | None:
        """The derivative for operand ``i``; all of them are computed together."""
        if self.found is None or self.found[0] is not g:
            weights = g if isinstance(g, tuple) else (g,)
            pull = self.pullback.inline if state.grad_enabled else self.pullback.run
            self.found = g, pull(weights, xs, self.taken, self.sizes)
        return self.found[1][i]

    def vjp_of(self, i: int) -> Any:
        """None where no cotangent of an output reaches the input."""
        return (lambda g, y, *xs: self.vjp(i, g, y, *xs)) if i in self.pullback.reached else None


class Pullback:
    """The derivative of one variant's program with respect to its tracked inputs."""

    def __init__(self, graph: Graph, outputs: Sequence[int]) -> None:
        self.graph, self.outputs = graph, tuple(outputs)
        self.reached = [i for i, v in enumerate(graph.inputs) if v.tracked]
        self.programs: dict[Any, Any] = {}

    def attach(
        self, slots: list[Storage], operands: Sequence[Value], sizes: dict[str, int]
    ) -> None:
        """Make the outputs results of one node on the tape."""
        values = [self.graph.outputs[i] for i in self.outputs]
        types = [slots[i].type for i in self.outputs]
        op = CompiledCall(self, sizes, self.outputs)
        node = Node(op, tuple(operands), (), types, values[0].node.site, True)
        for i, result in zip(self.outputs, node.results, strict=True):
            slot = slots[i]
            result.data = slot.data
            slot.value = result
            result.note = Stamp(slot)

    # ---- compiled ----

    def run(
        self,
        weights: Sequence[Value | None],
        xs: Sequence[Value],
        taken: Sequence[int],
        sizes: dict[str, int],
    ) -> list[Value | None]:
        """Run the derivative's program (compiled for the outputs that have a cotangent)."""
        given = tuple(k for k, w in enumerate(weights) if w is not None)
        program = self.programs.get(given)
        if program is None:
            program = self.programs[given] = self._compile([taken[k] for k in given])
        values: list[Any] = [*xs, *(weights[k] for k in given)]
        arrays = [np.asarray(v.data, None, order="C") for v in values]
        results = iter(run(program, arrays, sizes))
        out: list[Value | None] = [None] * len(xs)
        for i in self.reached:
            out[i] = eager_value(next(results))
        return out

    def _compile(self, outputs: Sequence[int]) -> Any:
        builder = Builder("pullback")
        with building(builder):
            env = {
                v: builder.input(f"x{i}", v.dtype, v.shape) for i, v in enumerate(self.graph.inputs)
            }
            copy_nodes(self.graph, env, builder.append)
            seeds: dict[Value, Value] = {}
            for k, i in enumerate(outputs):
                value = self.graph.outputs[i]
                seed = builder.input(f"g{k}", value.dtype, value.shape)
                there = env[value]
                seeds[there] = seeds[there] + seed if there in seeds else seed
            wrt = [env[self.graph.inputs[i]] for i in self.reached]
            found = differentiate(seeds, wrt)
            results = [found[w] if w in found else w.full(0) for w in wrt]
            graph = builder.graph(results)
        return compile_plain(graph)

    # ---- op by op, where the derivative itself is recorded ----

    def inline(
        self,
        weights: Sequence[Value | None],
        xs: Sequence[Value],
        taken: Sequence[int],
        sizes: dict[str, int],
    ) -> list[Value | None]:
        """Recompute the program op by op on the current builder and differentiate that."""
        builder = current()
        with grad_mode(True):
            fresh = [builder.append(OPS["alias"], (x,), ()) for x in xs]
            env = dict(zip(self.graph.inputs, fresh, strict=True))
            copy_nodes(self.graph, env, builder.append, sizes)
        seeds = {
            env[self.graph.outputs[i]]: w
            for i, w in zip(taken, weights, strict=True)
            if w is not None
        }
        found = differentiate(seeds, fresh)
        return [found.get(f) for f in fresh]


def copy_nodes(
    graph: Graph, env: dict[Value, Value], append: Any, sizes: dict[str, int] | None = None
) -> None:
    """Append the nodes of a graph anew; ``env`` maps its values to the new ones."""
    for node in graph.nodes:
        attributes = (
            tuple(concrete(a, sizes) for a in node.attributes) if sizes else node.attributes
        )
        with grad_mode(any(v.tracked for v in node.results)):
            made = append(node.op, [env[v] for v in node.operands], attributes)
        results = made if isinstance(made, tuple) else (made,)
        env.update(zip(node.results, results, strict=True))


def eager_value(array: np.ndarray) -> Value:
    """An array as a value without history."""
    value = Node(
        OPS["input"], (), ("value", "argument"), (Type(from_numpy(array.dtype), array.shape),)
    ).results[0]
    value.data = array
    return value


def spent_value(traced: Value, slot: Storage) -> Value:
    """The value of an output whose graph a backward inside the compiled function has used up."""
    source = eager_value(np.zeros((), np.float32))
    source.tracked = True
    node = Node(OPS["alias"], (source,), (), (slot.type,), traced.node.site, True)
    value = node.results[0]
    value.data = slot.data
    value.note = Stamp(slot)
    value.note.freed = True
    return value
