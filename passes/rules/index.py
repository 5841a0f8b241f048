"""The index of rules: which may match a node, told by its op and by the ops that made its operands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...ir.graph import Node
from ...ir.op import OPS, Op
from .pattern import Rule, Use, Variable


class Index:
    """Rules by the op at their head; those with a distinct operand also by its place and op."""

    __slots__ = ("_always", "_by_operand")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._always: dict[Op, list[Rule]] = {}
        self._by_operand: dict[Op, list[tuple[int, dict[Op, list[Rule]]]]] = {}
        for rule in rules:
            head = rule.pattern.op
            place = next((i for i, p in enumerate(rule.pattern.operands) if not isinstance(p, Variable)), None)
            if place is None:
                self._always.setdefault(head, []).append(rule)
                continue
            part = rule.pattern.operands[place]
            made_by = part.op if isinstance(part, Use) else OPS["constant"]
            places = self._by_operand.setdefault(head, [])
            table = next((t for i, t in places if i == place), None)
            if table is None:
                table = {}
                places.append((place, table))
            table.setdefault(made_by, []).append(rule)

    def candidates(self, node: Node) -> Iterator[Rule]:
        """The rules that may match ``node``."""
        head, operands = node.op, node.operands
        for place, table in self._by_operand.get(head, ()):
            if place < len(operands):
                yield from table.get(operands[place].node.op, ())
        yield from self._always.get(head, ())
