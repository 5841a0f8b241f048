"""Put the nodes of called graphs in the place of their calls, so that nothing is fused around a wall."""

from __future__ import annotations

from ..ir.graph import Graph, Node, Value


def inline_calls(graph: Graph) -> Graph:
    """The same program without ``call``."""
    if all(node.op.name != "call" for node in graph.nodes):
        return graph
    nodes: list[Node] = []
    now: dict[Value, Value] = {}
    _append(graph, now, nodes)
    return graph.replace(
        nodes=nodes,
        outputs=[now.get(v, v) for v in graph.outputs],
        writes=[(x, now.get(v, v)) for x, v in graph.writes],
    )


def _append(graph: Graph, now: dict[Value, Value], nodes: list[Node]) -> None:
    """Copies of a graph's nodes; ``now`` says which value stands for which."""
    for node in graph.nodes:
        operands = tuple([now.get(v, v) for v in node.operands])
        if node.op.name == "call":
            called: Graph = node.named["graph"]
            inner = dict(zip(called.inputs, operands, strict=True))
            _append(called, inner, nodes)
            now.update(zip(node.results, [inner.get(v, v) for v in called.outputs], strict=True))
            continue
        types = [v.type for v in node.results]
        copy = Node(node.op, operands, node.attributes, types, node.site)
        nodes.append(copy)
        now.update(zip(node.results, copy.results, strict=True))
