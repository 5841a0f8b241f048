"""Reverse-mode differentiation: walk the ops backwards and ask each for its derivative, which is written in ops.

The derivative is appended to the current builder: a trace records it, eager execution computes it. Applied twice it
gives second derivatives. Source: Griewank and Walther, Evaluating Derivatives, 2nd ed., chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..ir.graph import Node, Value


def never(value: Value) -> bool:
    """No value is a leaf but inputs."""
    return False


def differentiate(
    seeds: Mapping[Value, Value],
    wrt: Collection[Value] | None = None,
    is_leaf: Callable[[Value], bool] = never,
    enter: Callable[[Node], Any] | None = None,
) -> dict[Value, Value]:
    """The cotangents of the leaves, given those of some values (``seeds``).

    ``wrt``: only these are wanted; without it, every tracked leaf. A leaf is an input, or what ``is_leaf`` says: the
    walk ends there. ``enter(node)`` is called before the derivative of a node is written.
    """
    nodes = reachable(seeds, is_leaf)
    needed = needed_values(nodes, seeds, wrt, is_leaf)
    cotangents = dict(seeds)
    found: dict[Value, Value] = {}
    for node in sorted(nodes, key=lambda n: n.number, reverse=True):
        given = [cotangents.pop(v, None) for v in node.results]
        if all(g is None for g in given):
            continue
        ends = _collect(node, given, wrt, is_leaf, found)
        if ends or not node.operands:
            continue
        if enter is not None:
            enter(node)
        _pull_back(node, given, needed, cotangents)
    return found


def reachable(seeds: Mapping[Value, Value], is_leaf: Callable[[Value], bool] = never) -> set[Node]:
    """The nodes that the seeds were made from, up to the leaves."""
    found: set[Node] = set()
    todo = [v.node for v in seeds]
    while todo:
        node = todo.pop()
        if node in found:
            continue
        found.add(node)
        if not any(is_leaf(v) for v in node.results):
            todo += [v.node for v in node.operands]
    return found


def needed_values(
    nodes: Collection[Node],
    seeds: Mapping[Value, Value],
    wrt: Collection[Value] | None,
    is_leaf: Callable[[Value], bool],
) -> Callable[[Value], bool]:
    """Whether a cotangent of a value is needed: it is tracked, or (with ``wrt``) depends on one of these."""
    if wrt is None:
        return lambda v: v.tracked
    wanted = set(wrt)
    depends = set(wanted)
    for node in sorted(nodes, key=lambda n: n.number):
        if not depends.isdisjoint(node.operands) and not any(is_leaf(v) for v in node.results):
            depends.update(node.results)
    return depends.__contains__


def _collect(
    node: Node,
    given: list[Value | None],
    wrt: Collection[Value] | None,
    is_leaf: Callable[[Value], bool],
    found: dict[Value, Value],
) -> bool:
    """Keep the cotangents of leaves and wanted values; True where the walk ends."""
    ends = False
    for value, g in zip(node.results, given, strict=True):
        leaf = is_leaf(value) or (not node.operands and (wrt is None or value in wrt))
        ends = ends or leaf
        if g is not None and (leaf if wrt is None else value in wrt):
            found[value] = g
    return ends


def _pull_back(
    node: Node,
    given: list[Value | None],
    needed: Callable[[Value], bool],
    cotangents: dict[Value, Value],
) -> None:
    """Add to the operands' cotangents what this node passes on."""
    single = len(node.results) == 1
    g: Any = given[0] if single else tuple(given)
    y: Any = node.results[0] if single else node.results
    attributes = node.named
    for i, operand in enumerate(node.operands):
        if not needed(operand):
            continue
        rule = node.op.vjp_of(i)
        if rule is None:
            continue
        part = rule(g, y, *node.operands, **attributes)
        if part is None:  # a compiled call, of which other results depend on this operand
            continue
        have = cotangents.get(operand)
        cotangents[operand] = part if have is None else have + part
