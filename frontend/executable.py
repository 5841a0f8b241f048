"""From a traced graph to something that runs; graphs that say the same at the same lines share one executable."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from ..codegen.executable import Executable, compile_graph
from ..ir.graph import Graph, Node, Value
from ..ir.sizes import Shape
from ..ir.source import Span
from ..ir.text import literal

Strides = Sequence[Shape | None] | None

_alive: weakref.WeakValueDictionary[Any, Executable] = weakref.WeakValueDictionary()


def compile_plain(
    graph: Graph, input_strides: Strides = None, output_strides: Strides = None
) -> Executable:
    """The executable of a graph, for inputs and outputs of these layouts (None: row-major)."""
    key = identity(graph), _frozen(input_strides), _frozen(output_strides)
    found = _alive.get(key)
    if found is None:
        found = _alive[key] = compile_graph(
            graph, input_strides=input_strides, output_strides=output_strides
        )
    return found


def run(executable: Executable, arrays: Sequence[Any], sizes: dict[str, int]) -> list[Any]:
    """Run on arrays and numbers in the order of the inputs; writes happen in place, outputs are new arrays."""
    return executable(arrays, sizes=sizes)


def identity(graph: Graph) -> tuple[Any, ...]:
    """What two graphs have in common when one executable serves both: ops, operands, attributes, types, lines.

    Lines count because an executable names them in errors. Attributes are compared as text: 0.0 is equal to -0.0.
    """
    numbers: dict[Value, int] = {}
    for v in graph.inputs:
        numbers[v] = len(numbers)
    nodes = [_node(node, numbers) for node in graph.nodes]
    inputs = [(v.node.attributes, v.type) for v in graph.inputs]
    outputs = [numbers[v] for v in graph.outputs]
    writes = [(numbers[i], numbers[v]) for i, v in graph.writes]
    return tuple(inputs), tuple(nodes), tuple(outputs), tuple(writes)


def _node(node: Node, numbers: dict[Value, int]) -> tuple[Any, ...]:
    operands = tuple([numbers[v] for v in node.operands])
    for v in node.results:
        numbers[v] = len(numbers)
    span, path, origin = node.site
    place = (id(span.code), span.instruction) if isinstance(span, Span) else span
    attributes = tuple(
        [identity(a) if isinstance(a, Graph) else literal(a) for a in node.attributes]
    )
    return node.op, operands, attributes, place, path, origin


def _frozen(strides: Strides) -> Any:
    return None if strides is None else tuple([None if s is None else tuple(s) for s in strides])
