"""Where the elements of a value lie: views of memory are strides, so that turning and cutting cost nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..ir.graph import Node, Value
from ..ir.lowering import Lowering, Reinterpret, View
from ..ir.sizes import Dim, Poly, Shape, contiguous_strides, dim, name, product

AXES = tuple(name(f"@{d}") for d in range(64))


class Layout(NamedTuple):
    """Elements of ``root``'s memory: element ``i`` lies ``offset + sum(i * strides)`` elements from its start."""

    root: Value
    shape: Shape
    strides: Shape
    offset: Dim


def dense(value: Value) -> Layout:
    """A value's own memory in row-major order."""
    return Layout(value, value.shape, contiguous_strides(value.shape), 0)


def is_dense(layout: Layout) -> bool:
    """Whether the elements lie one after the other in row-major order (sizes of 1 do not matter)."""
    step: Dim = 1
    for n, s in zip(reversed(layout.shape), reversed(layout.strides), strict=True):
        if n == 1:
            continue
        if s != step:
            return False
        step = dim(step * n)
    return True


def squeezed(shape: Iterable[Dim]) -> Shape:
    """A shape without its sizes of 1."""
    return tuple([n for n in shape if n != 1])


def squeezed_strides(layout: Layout) -> Shape:
    """The strides along the dimensions whose size is not 1."""
    return tuple([s for n, s in zip(layout.shape, layout.strides, strict=True) if n != 1])


def lowering_of(node: Node) -> Lowering:
    """What the node's op says of how it is made."""
    types = [v.type for v in node.operands]
    lowering: Lowering = node.op.lower(*types, **node.named)
    return lowering


def through(node: Node, lowering: Lowering, layout: Layout) -> Layout | None:
    """The layout of a view of ``layout``; None where strides cannot say it."""
    shape = node.results[0].type.shape
    if type(lowering) is View:
        return _moved(lowering, layout, shape)
    if type(lowering) is Reinterpret:
        if is_dense(layout):
            return Layout(layout.root, shape, contiguous_strides(shape), layout.offset)
        strides = restride(layout.shape, layout.strides, shape)
        return None if strides is None else Layout(layout.root, shape, strides, layout.offset)
    return Layout(layout.root, shape, layout.strides, layout.offset)


def _moved(view: View, layout: Layout, shape: Shape) -> Layout:
    """Strides are linear in the index, so those of a view are sums of the operand's."""
    names = {f"@{d}": d for d in range(len(shape))}
    strides: list[Any] = [0] * len(shape)
    offset: Any = layout.offset
    for place, step in zip(view.index(AXES[: len(shape)]), layout.strides, strict=True):
        for monomial, c in place.terms.items():
            axis = next((n for n in monomial if n in names), None)
            if axis is None:
                offset = offset + Poly({monomial: c}) * step
                continue
            rest = list(monomial)
            rest.remove(axis)
            strides[names[axis]] = strides[names[axis]] + (
                Poly({tuple(rest): c}) * step if rest else c * step
            )
    return Layout(layout.root, shape, tuple(map(dim, strides)), dim(offset))


def restride(shape: Shape, strides: Shape, new: Shape) -> Shape | None:
    """Strides of the same elements, in row-major order, under another shape; None where there are none."""
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    out: list[Dim] = [0] * len(new)
    at = len(new) - 1
    while at >= 0:
        if new[at] == 1:
            at -= 1
            continue
        if not old:
            return None
        count, step = old.pop()
        first, wanted = at, new[at]
        while count != wanted:
            if not (isinstance(count, int) and isinstance(wanted, int)) or not count or not wanted:
                return None
            if count < wanted:
                if not old or old[-1][1] != dim(step * count):
                    return None
                count = dim(count * old.pop()[0])
            else:
                at -= 1
                if at < 0:
                    return None
                wanted = dim(wanted * new[at])
        for d in range(first, at - 1, -1):
            out[d] = step
            step = dim(step * new[d])
        at -= 1
    return None if old else tuple(out)


def pull(
    value: Value, at: Sequence[Any], lowerings: Mapping[Node, Lowering], views: Mapping[Node, int]
) -> tuple[Value, tuple[Any, ...]]:
    """Follow views down to what they are views of: that value, and the place where it is read.

    A reshape on the way only adds or drops sizes of 1.
    """
    at = tuple(at)
    while value.node in views:
        node = value.node
        lowering = lowerings[node]
        operand = node.operands[views[node]]
        if type(lowering) is View:
            at = tuple(lowering.index(at))
        elif type(lowering) is Reinterpret:
            rest = [i for i, n in zip(at, value.shape, strict=True) if n != 1]
            at = tuple([ZERO if n == 1 else rest.pop(0) for n in operand.shape])
        value = operand
    return value, at


ZERO = Poly({})


def mergeable(layouts: Iterable[Sequence[Dim]], shape: Shape, d: int) -> bool:
    """Whether dimensions ``d`` and ``d + 1`` of ``shape`` are one dimension in all of the strides."""
    n = shape[d + 1]
    return all(s[d] == dim(s[d + 1] * n) for s in layouts)


def merge_plan(layouts: Sequence[Sequence[Dim]], shape: Shape, fixed: int) -> list[int]:
    """For each dimension the merged one that it goes to; dimensions before and after ``fixed`` stay apart."""
    plan, now = [], -1
    for d in range(len(shape)):
        if d == 0 or d == fixed or not mergeable(layouts, shape, d - 1):
            now += 1
        plan.append(now)
    return plan


def merged(shape: Shape, plan: Sequence[int]) -> Shape:
    """The sizes of merged dimensions."""
    count = plan[-1] + 1 if plan else 0
    return tuple(
        [product([n for n, p in zip(shape, plan, strict=False) if p == k]) for k in range(count)]
    )


def merged_strides(strides: Sequence[Dim], plan: Sequence[int]) -> Shape:
    """The strides of merged dimensions: that of the innermost of each."""
    out: dict[int, Dim] = {}
    for s, p in zip(strides, plan, strict=False):
        out[p] = s
    return tuple(out.values())
