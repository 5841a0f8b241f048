"""From a task of the fused graph to a naive nest: one entry for all kinds."""

from __future__ import annotations

from ..ir.graph import Value
from ..ir.loops import loops
from ..ir.sizes import Poly, Shape, name
from .lower_contract import lower_columns, lower_contract
from .lower_index import lower_check, lower_scatter
from .lower_layout import ZERO, Layout, merge_plan, merged, squeezed, squeezed_strides
from .lower_nest import Group, Lowered, Nest, Places, Scope
from .lower_rows import lower_argmax, lower_rows
from .tasks import Task


def lower(task: Task, places: Places) -> Lowered:
    """The naive nest of a task that is no host step."""
    kind, group = task.kind, task.group
    if kind == "copy":
        assert task.value is not None and task.target is not None
        return lower_copy(task.value, task.target, places)
    if kind == "check":
        assert task.value is not None and task.target is not None
        return lower_check(task.value, task.size, task.target.root, places)
    if kind == "contract":
        return lower_contract(group, places)
    if kind == "scatter":
        return lower_scatter(group, places)
    if kind == "argmax":
        return lower_argmax(group, places)
    if kind == "columns":
        return lower_columns(group, places)
    return lower_rows(group, places)


def lower_copy(value: Value, target: Layout, places: Places) -> Lowered:
    """Element by element; what lies side by side in both is one loop."""
    nest = Nest(Group("copy", [], ()), places)
    base = places.base(value)
    shape: Shape = squeezed(value.shape)
    if base.node in places.inline:
        axes = [(f"i{d}", n) for d, n in enumerate(value.shape)]
        at: tuple[Poly, ...] = tuple([name(a) if n != 1 else ZERO for a, n in axes])
        e = nest.read(value, at, Scope((), None))
        at = tuple([i for i, n in zip(at, value.shape, strict=True) if n != 1])
        axes = [(a, n) for a, n in axes if n != 1]
    else:
        layout = places.layouts[value]
        strides = [squeezed_strides(layout), squeezed_strides(target)]
        nest.plan = merge_plan(strides, shape, -1)
        shape = merged(shape, nest.plan)
        if len(shape) == 1:
            nest.count = ("count", shape[0])
        axes = [(f"i{d}", n) for d, n in enumerate(nest.sized(shape))]
        at = tuple([name(a) for a, _ in axes])
        e = nest.operand(value, at, Scope(at, None))
    places.homes[target.root] = target
    return nest.finish("copy", loops(axes, nest.store(target.root, at, e)))
