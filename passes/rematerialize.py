"""Recompute or keep: which values of the forward pass the backward pass keeps, by a minimum cut through the forward.

What is kept is the cheapest set (in bytes) from which everything that the backward reads can be made again by cheap
ops. Run it after ``simplify``, which would merge the copies with their originals. Source: Jain et al., Checkmate,
MLSys 2020, for the question; He and Yu, Transcending runtime-memory tradeoffs, MLSys 2023, for the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..ir.graph import Graph, Node, Value
from ..ir.ops.elementwise import Cast, ElementwiseOp, Select
from ..ir.sizes import evaluate, product

#: what a named size counts as where nobody says better
TYPICAL = 64
_ELEMENTWISE = (ElementwiseOp, Select, Cast)
_MADE_OF_NOTHING = frozenset(("constant", "iota", "size"))

May = Callable[[Node], bool]


def is_cheap(node: Node) -> bool:
    """Whether a node may be redone at no cost that shows: views, constants, elementwise but exp, log, tanh, sqrt ..."""
    op = node.op
    if op.is_view or op.name in _MADE_OF_NOTHING:
        return True
    return isinstance(op, _ELEMENTWISE) and not op.ulp and op.name != "sqrt"


def forward_nodes(graph: Graph) -> set[Node]:
    """The nodes whose site says that the forward pass made them."""
    return {node for node in graph.nodes if node.site.origin == "forward"}


def rematerialize(
    graph: Graph,
    forward: Collection[Node] | None = None,
    may_redo: May = is_cheap,
    values: Mapping[str, int] | None = None,
) -> Graph:
    """The graph in which the rest reads copies of cheap forward nodes, made from the values of ``choose_kept``."""
    inside = set(forward_nodes(graph) if forward is None else forward)
    kept = choose_kept(graph, inside, may_redo, values)
    order = {node: place for place, node in enumerate(graph.nodes)}
    nodes: list[Node] = []
    copies: dict[Value, Value] = {}
    for node in graph.nodes:
        if node in inside:
            nodes.append(node)
            continue
        for redone in sorted(_to_redo(node, inside, kept, copies), key=order.__getitem__):
            _append_copy(redone, nodes, copies)
        if copies.keys().isdisjoint(node.operands):
            nodes.append(node)
        else:
            _append_copy(node, nodes, copies)
    made = [copies.get(v, v) if v.node not in inside else v for v in graph.roots]
    targets = [target for target, _ in graph.writes]
    count = len(graph.outputs)
    return graph.replace(nodes=nodes, outputs=made[:count], writes=list(zip(targets, made[count:], strict=True)))


def _to_redo(node: Node, inside: set[Node], kept: set[Value], copies: dict[Value, Value]) -> set[Node]:
    """The forward nodes that ``node`` needs again and that are not copied yet."""
    found: set[Node] = set()
    todo = list(node.operands)
    while todo:
        value = todo.pop()
        if value in kept or value in copies or value.node not in inside or value.node in found:
            continue
        found.add(value.node)
        todo += value.node.operands
    return found


def _append_copy(node: Node, nodes: list[Node], copies: dict[Value, Value]) -> None:
    site = node.site._replace(origin="backward") if node.site.origin == "forward" else node.site
    operands = tuple([copies.get(v, v) for v in node.operands])
    copy = Node(node.op, operands, node.attributes, [v.type for v in node.results], site)
    nodes.append(copy)
    copies.update(zip(node.results, copy.results, strict=True))


def choose_kept(
    graph: Graph,
    forward: Collection[Node],
    may_redo: May = is_cheap,
    values: Mapping[str, int] | None = None,
) -> set[Value]:
    """The forward values to keep: fewest bytes, then fewest nodes to redo. What is returned anyway is free."""
    import networkx

    inside = set(forward)
    cut = _cut_graph(graph, inside, may_redo, values or {})
    if "start" not in cut or "end" not in cut:
        return set()
    _, (after, _) = networkx.minimum_cut(cut, "end", "start")
    cheapest = {v for v in _results(graph, inside) if (v, "in") not in after and (v, "out") in after}
    return _reached(graph, inside, cheapest)


def _reached(graph: Graph, inside: set[Node], cheapest: set[Value]) -> set[Value]:
    """Those of ``cheapest`` that what the backward reads is made from."""
    todo = [v for node in graph.nodes if node not in inside for v in node.operands]
    seen: set[Value] = set()
    while todo:
        value = todo.pop()
        if value.node in inside and value not in seen:
            seen.add(value)
            if value not in cheapest:
                todo += value.node.operands
    return seen & cheapest


def _results(graph: Graph, inside: set[Node]) -> list[Value]:
    return [v for node in graph.nodes if node in inside for v in node.results]


def _cut_graph(graph: Graph, inside: set[Node], may_redo: May, values: Mapping[str, int]) -> Any:
    """Every value is an edge as wide as its bytes, from its end to its start: so the first cut found redoes least."""
    import networkx

    cut = networkx.DiGraph()
    roots = set(graph.roots)
    for value in _results(graph, inside):
        node = value.node
        cut.add_edge((value, "out"), (value, "in"), capacity=0 if value in roots else size_in_bytes(value, values))
        if not may_redo(node):
            cut.add_edge((value, "in"), "start")
        for operand in node.operands:
            if operand.node in inside:
                cut.add_edge((value, "in"), (operand, "out"))
    for node in graph.nodes:
        if node not in inside:
            for operand in node.operands:
                if operand.node in inside:
                    cut.add_edge("end", (operand, "out"))
    return cut


def size_in_bytes(value: Value, values: Mapping[str, int]) -> int:
    """Its bytes, with ``TYPICAL`` for sizes that ``values`` does not give."""
    count = product(value.shape)
    if isinstance(count, int):
        return count * value.dtype.itemsize  # type: ignore[no-any-return]
    known = {n: values.get(n, TYPICAL) for n in count.names}
    return evaluate(count, known) * value.dtype.itemsize  # type: ignore[no-any-return]
