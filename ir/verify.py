"""The laws of a graph: every value is made before its use, types are what the ops say, writes fit their inputs."""

from __future__ import annotations

from .errors import GraphError, OpError
from .graph import Graph, Node, Value, infer
from .sizes import SizeError, accept_bounds, deciding


def verify(graph: Graph) -> Graph:
    """The graph itself, or GraphError naming the first law that it breaks."""
    with deciding(accept_bounds):
        _verify(graph)
    return graph


def _verify(graph: Graph) -> None:
    known: set[Value] = set()
    for value in graph.inputs:
        if value.node.op.name != "input":
            raise GraphError(
                f"{graph.name}: {value!r} stands among the inputs but was made by {value.node.op.name}"
            )
        if value in known:
            raise GraphError(f"{graph.name}: input %{value.node.attributes[0]} stands twice")
        known.add(value)
    for node in graph.nodes:
        _verify_node(graph, node, known)
        if not known.isdisjoint(node.results):
            raise GraphError(f"{graph.name}: {node.op.name} stands twice ({node.site})")
        known.update(node.results)
    for value in graph.roots:
        if value not in known:
            raise GraphError(f"{graph.name}: returns a {value.type} that it does not make")
    _verify_writes(graph)


def _verify_node(graph: Graph, node: Node, known: set[Value]) -> None:
    for value in node.operands:
        if value not in known:
            raise GraphError(
                f"{graph.name}: {node.op.name} uses a {value.type} before it is made ({node.site})"
            )
    try:
        types = infer(node.op, node.operands, node.attributes)
    except (OpError, SizeError) as wrong:
        raise GraphError(f"{graph.name}: {node.op.name}: {wrong}") from None
    found = tuple(v.type for v in node.results)
    if types != found:
        raise GraphError(
            f"{graph.name}: {node.op.name} is {', '.join(map(str, found))}, its rule says {', '.join(map(str, types))}"
        )
    for attribute in node.attributes:
        if isinstance(attribute, Graph):
            _verify(attribute)


def _verify_writes(graph: Graph) -> None:
    written: set[Value] = set()
    for target, value in graph.writes:
        if target not in graph.inputs or target in written:
            raise GraphError(
                f"{graph.name}: a write goes to something that is no input, or twice to one"
            )
        if target.type != value.type:
            raise GraphError(
                f"{graph.name}: writes {value.type} to %{target.node.attributes[0]}: {target.type}"
            )
        written.add(target)
