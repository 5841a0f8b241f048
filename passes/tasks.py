"""What fusing makes of a graph: tasks in order, and the place of every value that one leaves to another."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ir.graph import Graph, Node, Value
from ..ir.sizes import Dim
from .lower_layout import Layout
from .lower_nest import Group, Places


@dataclass
class Task:
    """A group of nodes, a copy of ``value`` to ``target``, or a check of ``value`` against ``size``.

    ``idle``: nothing waits for it, so that it may run beside any other idle one.
    """

    kind: str
    group: Group
    value: Value | None = None
    target: Layout | None = None
    size: Dim = 0
    node: Node | None = None
    reads: set[Value] = field(default_factory=set)
    after: set[int] = field(default_factory=set)
    position: int = -1
    idle: bool = False


@dataclass
class Fused:
    """A graph as tasks in order; ``outputs`` stand for the memory of the graph's outputs."""

    graph: Graph
    places: Places
    tasks: list[Task]
    outputs: tuple[Value, ...]
    reasons: list[str]
