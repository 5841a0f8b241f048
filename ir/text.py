"""Graphs as text: one line a node, attributes as literals that ``parse`` reads back (the grammar heads ``graph``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .dtypes import DType
from .sizes import Poly

if TYPE_CHECKING:
    from .graph import Graph, Node, Value

COLUMN = 72


def print_graph(graph: Graph, names: dict[Value, str] | None = None, indent: str = "") -> str:
    """The text of a graph; ``names`` gives values other names than the numbers they get."""
    names = dict(names or {})
    return "\n".join(_lines(graph, names, indent))


def _lines(graph: Graph, names: dict[Value, str], indent: str) -> Iterator[str]:
    for value in graph.inputs:
        names.setdefault(value, f"%{value.node.attributes[0]}")
    head = ", ".join(_input(value, names) for value in graph.inputs)
    yield f"{indent}graph {graph.name}({head}) {{"
    numbers = _fresh({names[v] for v in graph.inputs})
    for node in graph.nodes:
        for value in node.results:
            names.setdefault(value, next(numbers))
        yield from print_node(node, names, indent + "  ")
    tail = f"return {', '.join(names[v] for v in graph.outputs)}".rstrip()
    writes = ", ".join(f"write {names[i]} = {names[v]}" for i, v in graph.writes)
    yield f"{indent}  {tail}{'; ' if writes else ''}{writes}"
    yield indent + "}"


def _fresh(taken: set[str]) -> Iterator[str]:
    number = 0
    while True:
        if f"%{number}" not in taken:
            yield f"%{number}"
        number += 1


def _input(value: Value, names: dict[Value, str]) -> str:
    kind = value.node.attributes[1]
    return f"{names[value]}: {value.type}{'' if kind == 'argument' else ' ' + kind}"


def print_node(node: Node, names: dict[Value, str], indent: str = "  ") -> Iterator[str]:
    """The lines of one node (more than one where it holds a graph)."""
    results = ", ".join(f"{names[v]}: {v.type}" for v in node.results)
    operands = ", ".join(names[v] for v in node.operands)
    plain, regions = [], []
    for name, value in zip(node.op.attributes, node.attributes, strict=True):
        if hasattr(value, "nodes"):
            regions.append(value)
        else:
            plain.append(f" {name}={literal(value)}")
    text = (
        f"{indent}{results} = {node.op.name}({operands}){''.join(plain)}{' {' if regions else ''}"
    )
    site = str(node.site)
    yield f"{text.ljust(COLUMN)}  # {site}" if site else text
    for region in regions:
        yield print_graph(region, indent=indent + "  ")
    if regions:
        yield indent + "}"


def literal(value: Any) -> str:
    """An attribute as text: numbers, strings, booleans, None, dtypes, sizes, and tuples of these.

    >>> from gristmill.ir.dtypes import float32
    >>> literal((1, -0.5, None, float32, "bi,oi->bo", True))
    '(1, -0.5, none, f32, "bi,oi->bo", true)'
    """
    if isinstance(value, tuple | list):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(float(value))  # also of NumPy's float64, whose own repr is no literal
    if isinstance(value, complex):
        return f"complex({literal(value.real)}, {literal(value.imag)})"
    if isinstance(value, DType):
        return value.name
    if isinstance(value, Poly | int):
        return str(value)
    raise TypeError(f"an attribute of type {type(value).__name__} has no text: {value!r}")
