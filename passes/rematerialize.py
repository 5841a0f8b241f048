"""Recompute or keep: which values of the forward pass the backward pass keeps, by a minimum cut through the forward.

What is kept is the cheapest set (in bytes) from which everything that the backward reads can be made again by cheap
ops. Run it after ``simplify``, which would merge the copies with their originals. Source: Jain et al., Checkmate,
MLSys 2020, for the question; He and Yu, Transcending runtime-memory tradeoffs, MLSys 2023, for the cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..ir.dtypes import bool_
from ..ir.graph import Graph, Node, Value
from ..ir.ops.elementwise import Cast, ElementwiseOp, Select
from ..ir.sizes import evaluate, product
from .min_cut import minimum_cut

#: what a named size counts as where nobody says better
TYPICAL = 64
_ELEMENTWISE = (ElementwiseOp, Select, Cast)
_GIVEN = frozenset(("input", "constant"))
_MADE_OF_NOTHING = frozenset(("constant", "iota", "size"))

May = Callable[[Node], bool]


def is_cheap(node: Node) -> bool:
    """Whether a node may be redone at no cost that shows: views, constants, elementwise but exp, log, tanh, sqrt ..."""
    op = node.op
    if op.is_view or op.name in _MADE_OF_NOTHING:
        return True
    return isinstance(op, _ELEMENTWISE) and not op.ulp and op.name != "sqrt"


def forward_nodes(graph: Graph) -> set[Node]:
    """The nodes that nothing of the backward pass leads to (an optimizer's update is after it).

    A mask that the backward makes of such values and of constants is one of them: kept, it is a byte an element.
    """
    found: set[Node] = set()
    for node in graph.nodes:
        before = all(v.node.op.name in _GIVEN or v.node in found for v in node.operands)
        if before and (node.site.origin != "backward" or _is_mask(node)):
            found.add(node)
    return found


def _is_mask(node: Node) -> bool:
    return is_cheap(node) and node.op.name not in _GIVEN and node.value.dtype is bool_


def rematerialize(
    graph: Graph,
    forward: Collection[Node] | None = None,
    may_redo: May = is_cheap,
    values: Mapping[str, int] | None = None,
) -> Graph:
    """The graph in which the rest reads copies of cheap forward nodes, made from the values of ``choose_kept``."""
    inside = set(forward_nodes(graph) if forward is None else forward)
    if len(inside) == len(graph.nodes):
        return graph
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
    inside = set(forward)
    after = minimum_cut(_network(graph, inside, may_redo, values or {}), "end", "start")
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


def _network(
    graph: Graph, inside: set[Node], may_redo: May, values: Mapping[str, int]
) -> dict[Any, dict[Any, float]]:
    """Every value is an edge as wide as its bytes, from its end to its start: the nearest cut redoes least."""
    network: dict[Any, dict[Any, float]] = {"end": {}}
    roots = set(graph.roots)
    stored = _read_from_memory(graph, inside)
    for value in _results(graph, inside):
        node = value.node
        network[value, "out"] = {(value, "in"): 0 if value in roots else size_in_bytes(value, values)}
        made_of = {(v, "out"): math.inf for v in node.operands if v.node in inside}
        network[value, "in"] = made_of if may_redo(node) and value not in stored else made_of | {"start": math.inf}
    for node in graph.nodes:
        if node not in inside:
            network["end"] |= {(v, "out"): math.inf for v in node.operands if v.node in inside}
    return network


def _read_from_memory(graph: Graph, inside: set[Node]) -> set[Value]:
    """Forward values that a product of the backward reads: made again, they would be written again."""
    through: dict[Value, Value] = {}
    found: set[Value] = set()
    for node in graph.nodes:
        if node in inside:
            continue
        if node.op.is_view:
            through[node.value] = through.get(node.operands[0], node.operands[0])
        elif node.op.name == "contract":
            found.update([through.get(v, v) for v in node.operands])
    return {v for v in found if v.node in inside}


def size_in_bytes(value: Value, values: Mapping[str, int]) -> int:
    """Its bytes, with ``TYPICAL`` for sizes that ``values`` does not give."""
    count = product(value.shape)
    if isinstance(count, int):
        return count * value.dtype.itemsize  # type: ignore[no-any-return]
    known = {n: values.get(n, TYPICAL) for n in count.names}
    return evaluate(count, known) * value.dtype.itemsize  # type: ignore[no-any-return]
