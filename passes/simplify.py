"""Simplification: one forward sweep that folds constants, applies the rules, and merges equal nodes; then dead code.

Each node is appended again to a builder that simplifies: its operands are simple already, and what a rule builds goes
the same way. A node that stays as it was is kept, nodes are immutable. Each rewrite removes an op or brings it nearer
to the inputs, and a node sets off a bounded number of them, so that the sweep is linear in the size of the graph.
"""

from __future__ import annotations

from typing import Any

from ..ir.graph import Graph, Node, Value, infer
from ..ir.op import OPS, Op
from ..ir.sizes import accept_bounds, deciding
from ..ir.source import NOWHERE, Site
from .eliminate_dead import eliminate_dead
from .fold import fold
from .merge_equal import COMMUTATIVE, key_of
from .rules import RULES
from .rules.index import Index
from .rules.pattern import Bound, Rule, build

_CONSTANT = OPS["constant"]
_INDEX = Index(RULES)

#: how many rewrites one node may set off, one out of the other
DEEPEST = 24


def simplify(graph: Graph, counts: dict[str, int] | None = None, index: Index = _INDEX) -> Graph:
    """The same program in fewer or cheaper ops; ``counts`` collects how often each rule of ``index`` applied."""
    with deciding(accept_bounds):
        return eliminate_dead(Simplifier(counts, index).run(graph))


class Simplifier:
    """A builder that gives simpler values than it is asked for."""

    def __init__(self, counts: dict[str, int] | None = None, index: Index = _INDEX) -> None:
        self.nodes: list[Node] = []
        self.site: Site = NOWHERE
        self.depth = 0
        self.counts, self.index = counts, index
        self._made: dict[Any, tuple[Value, ...]] = {}

    def run(self, graph: Graph) -> Graph:
        """All nodes of a graph, simplified; dead code stays."""
        now: dict[Value, Value] = {}
        look = now.get
        for node in graph.nodes:
            operands = tuple([look(v, v) for v in node.operands])
            self.site = node.site
            found = self.add(node if operands == node.operands else self._rebuilt(node, operands))
            if found is not node.results:
                now.update(zip(node.results, found, strict=True))
        return graph.replace(
            nodes=self.nodes,
            outputs=[look(v, v) for v in graph.outputs],
            writes=[(target, look(v, v)) for target, v in graph.writes],
        )

    def _rebuilt(self, node: Node, operands: tuple[Value, ...]) -> Node:
        tracked = node.results[0].tracked if node.results else False
        types = [v.type for v in node.results]
        return Node(node.op, operands, node.attributes, types, node.site, tracked)

    def append(self, op: Op, operands: tuple[Value, ...], attributes: tuple[Any, ...]) -> Any:
        """The value of an op, simplified; a tuple of values where it has several."""
        found = self.add(Node(op, operands, attributes, infer(op, operands, attributes), self.site))
        return found[0] if len(found) == 1 else found

    def add(self, node: Node) -> tuple[Value, ...]:
        """The values that stand for the results of ``node``."""
        key = key_of(node)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._simpler(node) or self._keep(node)
        return found

    def _keep(self, node: Node) -> tuple[Value, ...]:
        self.nodes.append(node)
        return node.results

    def _simpler(self, node: Node) -> tuple[Value, ...] | None:
        """What a constant, an order or a rule makes of ``node``."""
        folded = fold(node)
        if folded is not None:
            number, type = folded
            return (self.append(_CONSTANT, (), (number, *type)),)
        if node.op in COMMUTATIVE and node.operands[0].node.op is _CONSTANT:
            return (self.append(node.op, node.operands[::-1], node.attributes),)
        if self.depth < DEEPEST:
            for rule in self.index.candidates(node):
                bound = rule.match(node)
                if bound is not None:
                    return (self._rewritten(node, rule, bound),)
        return None

    def _rewritten(self, node: Node, rule: Rule, bound: Bound) -> Value:
        if self.counts is not None:
            self.counts[rule.name] = self.counts.get(rule.name, 0) + 1
        self.depth += 1
        try:
            return build(rule.replacement, bound, node.results[0], self.append)
        finally:
            self.depth -= 1
