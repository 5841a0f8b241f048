"""Ops that compute nothing: inputs, identities that matter to derivatives, and graphs inside graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import OpError, ShapeError
from ..graph import Graph, Value
from ..interpret import interpret
from ..lowering import Elementwise, Lowering, Region
from ..op import Op, Type


def _same(x: Any) -> Any:
    return x


class Input(Op):
    """What a graph is given: never appended, only made by ``make_input``."""

    name, attributes = "input", ("name", "kind")

    def infer(self, name: str, kind: str) -> Type:
        raise OpError("input: an input is not appended; use make_input")


class Identity(Op):
    """``alias`` and ``detach``: the same value; ``detach`` has no derivative."""

    operands, is_view = ("x",), True

    def __init__(self, name: str, vjp: tuple[Any, ...]) -> None:
        self.name, self.vjp = name, vjp
        super().__init__()

    def infer(self, x: Type) -> Type:
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x

    def put(self, base: Value, new: Value) -> Value:
        return new

    def lower(self, x: Type) -> Lowering:
        return Elementwise(_same)


class Overwrite(Op):
    """``overwrite(old, new)``: the value of ``new``, the derivative to ``old``: a write that autograd did not see."""

    name, operands = "overwrite", ("old", "new")
    vjp = (lambda g, y, old, new: g, None)

    def infer(self, old: Type, new: Type) -> Type:
        if old != new:
            raise ShapeError(f"overwrite: old is {old}, new is {new}")
        return new

    def reference(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return new

    def lower(self, old: Type, new: Type) -> Lowering:
        return Elementwise(lambda old, new: new)


class Call(Op):
    """``call(*xs, graph)``: run a graph; its results are the graph's outputs (it writes nothing)."""

    name, operands, attributes = "call", ("*xs",), ("graph",)

    def infer(self, *xs: Type, graph: Graph) -> tuple[Type, ...]:
        if graph.writes:
            raise OpError(f"call: {graph.name} writes to its inputs; a called graph must not")
        wanted = tuple(v.type for v in graph.inputs)
        if xs != wanted:
            takes, given = (", ".join(map(str, types)) for types in (wanted, xs))
            raise ShapeError(f"call: {graph.name} takes ({takes}), not ({given})")
        return tuple(v.type for v in graph.outputs)

    def reference(self, *xs: np.ndarray, graph: Graph) -> tuple[np.ndarray, ...] | np.ndarray:
        outputs, _ = interpret(graph, xs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def lower(self, *xs: Type, graph: Graph) -> Lowering:
        return Region()


input_ = Input()
alias = Identity("alias", (lambda g, y, x: g,))
detach = Identity("detach", ())
overwrite, call = Overwrite(), Call()
