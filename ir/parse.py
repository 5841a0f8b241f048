"""Reading graphs back from their text (the grammar heads ``graph``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .dtypes import DTYPES, by_name
from .errors import GraphError
from .graph import Graph, Node, Value, infer, make_input
from .op import Type, op_named
from .sizes import accept_bounds, deciding, dim
from .sizes import parse as parse_size
from .source import NOWHERE, Site

_HEAD = re.compile(r"\s*graph (\S+?)\((.*)\) \{\s*$")
_INPUT = re.compile(r"%(\S+): (\w+\[[^\]]*\])(?: (\w+))?")
_NODE = re.compile(r"\s*(%\S+: .*?) = (\w+)\(([^)]*)\)(.*)$")
_RESULT = re.compile(r"(%\S+?): (\w+\[[^\]]*\])")
_WRITE = re.compile(r"write (%\S+) = (%\S+?)(?:,|$)")
_NAMES = {d.name for d in DTYPES}


def parse_type(text: str) -> Type:
    """``f32[n, 784]`` as a Type."""
    dtype, _, dims = text.rstrip("]").partition("[")
    return Type(by_name(dtype), tuple(dim(parse_size(n)) for n in dims.split(",") if n.strip()))


def parse_graph(text: str) -> Graph:
    """The graph that a text prints; GraphError names the line that is not understood."""
    lines = iter([(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()])
    with deciding(accept_bounds):
        return _Parser(lines).graph(*next(lines, (0, "")))


class _Parser:
    """One pass over the lines; a region is parsed where it stands."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self.lines = lines

    def graph(self, number: int, head: str) -> Graph:
        found = _HEAD.match(head)
        if not found:
            raise GraphError(
                f"line {number}: expected `graph name(inputs) {{`, found {head.strip()!r}"
            )
        values: dict[str, Value] = {}
        inputs = []
        for name, type_, kind in _INPUT.findall(found[2]):
            values[f"%{name}"] = value = make_input(name, parse_type(type_), kind or "argument")
            inputs.append(value)
        nodes: list[Node] = []
        for number, line in self.lines:
            if line.strip().startswith("return"):
                outputs, writes = self.tail(number, line, values)
                self.close()
                return Graph(found[1], inputs, nodes, outputs, writes)
            nodes.append(self.node(number, line, values))
        raise GraphError(f"line {number}: the graph has no return")

    def close(self) -> None:
        number, line = next(self.lines, (0, ""))
        if line.strip() != "}":
            raise GraphError(f"line {number}: expected `}}`, found {line.strip()!r}")

    def tail(
        self, number: int, line: str, values: dict[str, Value]
    ) -> tuple[list[Value], list[tuple[Value, Value]]]:
        head, _, rest = line.partition(";")
        names = [n.strip() for n in head.strip()[len("return") :].split(",") if n.strip()]
        look = lambda n: self.look(number, n, values)  # noqa: E731
        return [look(n) for n in names], [(look(i), look(v)) for i, v in _WRITE.findall(rest)]

    def look(self, number: int, name: str, values: dict[str, Value]) -> Value:
        try:
            return values[name]
        except KeyError:
            raise GraphError(f"line {number}: {name} is not defined above") from None

    def node(self, number: int, line: str, values: dict[str, Value]) -> Node:
        text, site = _split_comment(line)
        found = _NODE.match(text)
        if not found:
            raise GraphError(f"line {number}: not a node: {line.strip()!r}")
        results = _RESULT.findall(found[1])
        try:
            op = op_named(found[2])
        except KeyError as unknown:
            raise GraphError(f"line {number}: {unknown.args[0]}") from None
        operands = tuple(
            self.look(number, n.strip(), values) for n in found[3].split(",") if n.strip()
        )
        attributes = _attributes(found[4])
        if found[4].rstrip().endswith("{"):
            name = next(n for n in op.attributes if n not in attributes)
            attributes[name] = self.graph(*next(self.lines))
            self.close()
        bound = op.bind(attributes)
        types = [parse_type(t) for _, t in results]
        node = Node(op, operands, bound, types, site)
        inferred = infer(op, operands, bound)
        if tuple(types) != inferred:
            raise GraphError(
                f"line {number}: {op.name} gives {', '.join(map(str, inferred))}, not {', '.join(map(str, types))}"
            )
        values.update(zip((n for n, _ in results), node.results, strict=True))
        return node


def _split_comment(line: str) -> tuple[str, Site]:
    text, mark, comment = line.partition("  # ")
    if not mark:
        return text, NOWHERE
    found = re.fullmatch(r"(\S*)(?:  (\S+))?(?:  \((\w+)\))?", comment.strip())
    if not found:
        return text, Site(comment.strip())
    return text, Site(None if found[1] == "-" else found[1], found[2] or "", found[3] or "forward")


def _attributes(text: str) -> dict[str, Any]:
    """`` axes=(1,) dtype=f32`` as values by name."""
    out, at = {}, 0
    while found := re.compile(r"\s+(\w+)=").match(text, at):
        value, at = _literal(text, found.end())
        out[found[1]] = value
    return out


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_ATOM = re.compile(r"[^,()\s]+(?: [+-] [^,()\s]+)*")
_WORDS = {"none": None, "true": True, "false": False}


def _literal(text: str, at: int) -> tuple[Any, int]:
    if text[at] == '"':
        found = _STRING.match(text, at)
        if not found:
            raise GraphError(f"a string is not closed: {text[at:]}")
        return json.loads(found[0]), found.end()
    if text.startswith("complex(", at):
        parts, at = _sequence(text, at + len("complex"))
        return complex(*parts), at
    if text[at] == "(":
        parts, at = _sequence(text, at)
        return tuple(parts), at
    found = _ATOM.match(text, at)
    if not found:
        raise GraphError(f"not a literal: {text[at:]!r}")
    return _atom(found[0]), found.end()


def _sequence(text: str, at: int) -> tuple[list[Any], int]:
    out, at = [], at + 1
    while text[at] != ")":
        value, at = _literal(text, at)
        out.append(value)
        while text[at] in ", ":
            at += 1
    return out, at + 1


def _atom(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    if word in _NAMES:
        return by_name(word)
    if re.fullmatch(r"-?\d+", word):
        return int(word)
    try:
        return float(word)
    except ValueError:
        return dim(parse_size(word))
