"""Dead code: nodes that no output and no write depends on. Random draws go too: their state advances by its own op."""

from __future__ import annotations

from ..ir.graph import Graph


def eliminate_dead(graph: Graph) -> Graph:
    """The graph without nodes that nothing it returns or writes needs; the graph itself if there are none."""
    live = set(graph.roots)
    kept = []
    for node in reversed(graph.nodes):
        for result in node.results:
            if result in live:
                kept.append(node)
                live.update(node.operands)
                break
    if len(kept) == len(graph.nodes):
        return graph
    return graph.replace(nodes=kept[::-1])
