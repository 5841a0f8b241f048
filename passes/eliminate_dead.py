"""Dead code: nodes that no output and no write depends on. Random draws go too: their state advances by its own op."""

from __future__ import annotations

from ..ir.graph import Graph


def eliminate_dead(graph: Graph) -> Graph:
    """The graph without nodes that nothing it returns or writes needs; the graph itself if there are none."""
    kept, _ = graph.needed(graph.roots)
    return graph if len(kept) == len(graph.nodes) else graph.replace(nodes=kept)
