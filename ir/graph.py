"""The graph language: values, the nodes that make them, and graphs: pure programs with write-backs.

    graph  = "graph" name "(" input,* ")" "{" node* "return" value,* [";" write,*] "}"
    input  = "%"name ":" type ["state" | "number"]         -- an argument, a captured storage, a run-time number
    node   = result,* "=" op "(" value,* ")" attribute* [region] ["#" source]
    result = "%"name ":" type
    type   = dtype "[" dim,* "]"                            -- f32[n, 784]: dims are polynomials in named sizes
    attribute = name "=" literal
    region = "{" graph "}"
    write  = "write" input "=" value                        -- after the run, the input's storage holds the value

Values and nodes are immutable; a node's number grows, so that sorting by it gives a topological order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from .dtypes import DType, by_name
from .errors import GraphError
from .op import OPS, Op, Type, building, current
from .sizes import Dim, Shape, dim, poly
from .source import NOWHERE, Site
from .text import print_graph

__all__ = ["Builder", "Graph", "Node", "Type", "Value", "building", "current"]

_numbers = itertools.count()


class Value:
    """One result of a node. ``tracked``: a derivative with respect to it (or through it) is wanted.

    ``note`` and ``data`` belong to the floor that builds: its storage's stamp, and the array of an eager value.
    """

    __slots__ = ("data", "index", "node", "note", "tracked", "type")

    def __init__(self, node: Node, index: int, type: Type, tracked: bool = False) -> None:
        self.node, self.index, self.type, self.tracked = node, index, type, tracked
        self.note: Any = None
        self.data: Any = None

    @property
    def shape(self) -> Shape:
        """Its sizes."""
        return self.type.shape

    @property
    def dtype(self) -> Any:
        """Its element type."""
        return self.type.dtype

    def full(self, number: complex) -> Value:
        """A constant of this value's type."""
        return OPS["constant"](value=number, dtype=self.type.dtype, shape=self.type.shape)  # type: ignore[no-any-return]

    def _other(self, other: Any) -> Value:
        return other if isinstance(other, Value) else self.full(other)

    def __add__(self, other: Any) -> Value:
        return OPS["add"](self, self._other(other))  # type: ignore[no-any-return]

    def __radd__(self, other: Any) -> Value:
        return OPS["add"](self._other(other), self)  # type: ignore[no-any-return]

    def __sub__(self, other: Any) -> Value:
        return OPS["sub"](self, self._other(other))  # type: ignore[no-any-return]

    def __rsub__(self, other: Any) -> Value:
        return OPS["sub"](self._other(other), self)  # type: ignore[no-any-return]

    def __mul__(self, other: Any) -> Value:
        return OPS["mul"](self, self._other(other))  # type: ignore[no-any-return]

    def __rmul__(self, other: Any) -> Value:
        return OPS["mul"](self._other(other), self)  # type: ignore[no-any-return]

    def __truediv__(self, other: Any) -> Value:
        return OPS["div"](self, self._other(other))  # type: ignore[no-any-return]

    def __rtruediv__(self, other: Any) -> Value:
        return OPS["div"](self._other(other), self)  # type: ignore[no-any-return]

    def __neg__(self) -> Value:
        return OPS["neg"](self)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<{self.type} of {self.node.op.name}>"


class Node:
    """One use of an op: its operands, attributes (in the op's order) and results."""

    __slots__ = ("attributes", "number", "op", "operands", "results", "site")

    def __init__(
        self,
        op: Op,
        operands: tuple[Value, ...],
        attributes: tuple[Any, ...],
        types: Sequence[Type],
        site: Site = NOWHERE,
        tracked: bool = False,
    ) -> None:
        self.op, self.operands, self.attributes, self.site = op, operands, attributes, site
        self.number = next(_numbers)
        self.results = tuple([Value(self, i, t, tracked) for i, t in enumerate(types)])

    @property
    def value(self) -> Value:
        """Its only result."""
        (result,) = self.results
        return result

    @property
    def named(self) -> dict[str, Any]:
        """Its attributes by name."""
        return self.op.named(self.attributes)

    def __repr__(self) -> str:
        return f"<node {self.number}: {self.op.name}>"


def infer(op: Op, operands: Sequence[Value], attributes: tuple[Any, ...]) -> tuple[Type, ...]:
    """The types of the results, as a tuple; raises the op's own OpError."""
    types = [v.type for v in operands]
    found = op.infer(*types, **op.named(attributes)) if attributes else op.infer(*types)
    return (found,) if type(found) is Type else found


class Graph:
    """A pure program: inputs, nodes in order, outputs, and write-backs ``(input, value)``."""

    __slots__ = ("inputs", "name", "nodes", "outputs", "writes")

    def __init__(
        self,
        name: str,
        inputs: Iterable[Value],
        nodes: Iterable[Node],
        outputs: Iterable[Value],
        writes: Iterable[tuple[Value, Value]] = (),
    ) -> None:
        self.name, self.inputs, self.nodes = name, tuple(inputs), tuple(nodes)
        self.outputs, self.writes = tuple(outputs), tuple(writes)

    @property
    def roots(self) -> tuple[Value, ...]:
        """What the program is run for: outputs, then written values."""
        return (*self.outputs, *(value for _, value in self.writes))

    @property
    def sizes(self) -> list[str]:
        """The names of sizes that occur in the types of its inputs, in order of appearance."""
        found: dict[str, None] = {}
        for value in self.inputs:
            for n in value.shape:
                if not isinstance(n, int):
                    found.update(dict.fromkeys(sorted(n.names)))
        return list(found)

    def needed(self, values: Iterable[Value]) -> tuple[list[Node], set[Value]]:
        """The nodes that ``values`` are computed from, in order, and with ``values`` all that these nodes read."""
        nodes: list[Node] = []
        live = set(values)
        for node in reversed(self.nodes):
            if not live.isdisjoint(node.results):
                nodes.append(node)
                live.update(node.operands)
        return nodes[::-1], live

    def replace(self, **fields: Any) -> Graph:
        """The same graph with other inputs, nodes, outputs or writes."""
        now = {f: getattr(self, f) for f in self.__slots__}
        return Graph(**(now | fields))

    def to_networkx(self) -> Any:
        """The graph as a ``networkx.MultiDiGraph`` of nodes, edges labelled with the value's type."""
        import networkx

        out = networkx.MultiDiGraph(name=self.name)
        for node in (*(v.node for v in self.inputs), *self.nodes):
            out.add_node(node, op=node.op.name)
            for position, value in enumerate(node.operands):
                out.add_edge(value.node, node, operand=position, type=str(value.type))
        return out

    def __str__(self) -> str:
        return print_graph(self)

    def __len__(self) -> int:
        return len(self.nodes)


class Builder:
    """Appends nodes to a list: how passes, parsers and tests make graphs.

    >>> from gristmill.ir import ops
    >>> b = Builder("f")
    >>> with building(b):
    ...     x = b.input("x", "f32", (2, 3))
    ...     g = b.graph([ops.tanh(x) * 2.0])
    """

    def __init__(self, name: str = "main", site: Site = NOWHERE) -> None:
        self.name, self.site = name, site
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []

    def append(self, op: Op, operands: Sequence[Value], attributes: tuple[Any, ...]) -> Any:
        """Add one node; returns its result, or the tuple of its results."""
        operands = tuple(operands)
        node = Node(op, operands, attributes, infer(op, operands, attributes), self.site)
        self.nodes.append(node)
        return node.results[0] if len(node.results) == 1 else node.results

    def input(
        self, name: str, dtype: Any, shape: Sequence[Dim | str], kind: str = "argument"
    ) -> Value:
        """A new input; ``kind`` is ``argument``, ``state`` (captured, may be written) or ``number``."""
        dtype = dtype if isinstance(dtype, DType) else by_name(dtype)
        type = Type(dtype, tuple(dim(poly(n)) for n in shape))
        value = make_input(name, type, kind, self.site)
        self.inputs.append(value)
        return value

    def graph(self, outputs: Iterable[Value], writes: Iterable[tuple[Value, Value]] = ()) -> Graph:
        """What was built so far, as a graph."""
        return Graph(self.name, self.inputs, self.nodes, outputs, writes)


KINDS = ("argument", "state", "number")


def make_input(name: str, type: Type, kind: str = "argument", site: Site = NOWHERE) -> Value:
    """A value that a graph is given."""
    if kind not in KINDS:
        raise GraphError(f"an input is one of {', '.join(KINDS)}, not {kind!r}")
    return Node(OPS["input"], (), (name, kind), (type,), site).results[0]
