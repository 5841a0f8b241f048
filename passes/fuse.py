"""Group the ops of a graph into kernels, and decide where each value that is stored lies.

Views cost nothing: they are strides of what they are views of. Groups grow greedily along the edges that carry the
most bytes (``merge``); a group is legal while the graph of groups stays acyclic, tested along a maintained topological
order (Pearce and Kelly, JEA 2006). A write to an input happens in place where every reader of the old value comes
before it, else by a copy at the end; whatever may fail comes before the first write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..ir.dtypes import int64
from ..ir.graph import Graph, Node, Type, Value, make_input
from ..ir.lowering import (
    ArgReduce,
    Contract,
    Elementwise,
    Host,
    Pointwise,
    Reduce,
    Reinterpret,
    ScatterAdd,
    View,
)
from ..ir.sizes import Dim, Shape, contiguous_strides, product
from .lower_layout import Layout, dense, is_dense, lowering_of, squeezed, through
from .lower_nest import Group, Places
from .merge import Grouping
from .tasks import Fused, Task


def fuse(
    graph: Graph,
    *,
    input_strides: Sequence[Shape | None] | None = None,
    output_strides: Sequence[Shape | None] | None = None,
    merge: bool = True,
) -> Fused:
    """Tasks in order, with a place for every value that one task leaves to another."""
    return _Fuser(graph, input_strides, output_strides).run(merge)


class _Fuser:
    def __init__(self, graph: Graph, input_strides: Any, output_strides: Any) -> None:
        self.graph = graph
        self.output_strides = output_strides or (None,) * len(graph.outputs)
        self.places = Places({}, {}, {}, set())
        self.nodes, _ = graph.needed(graph.roots)
        self.position = {n: k for k, n in enumerate(self.nodes)}
        given = input_strides or (None,) * len(graph.inputs)
        for v, strides in zip(graph.inputs, given, strict=True):
            self.places.layouts[v] = (
                dense(v) if strides is None else Layout(v, v.shape, tuple(strides), 0)
            )
        self.outputs = tuple(
            [make_input(f"output{k}", v.type) for k, v in enumerate(graph.outputs)]
        )
        self.tasks: list[Task] = []
        self.made: dict[Value, Task] = {}
        self.in_place: dict[Value, Value] = {}
        self.finals: list[tuple[Value, Value]] = []
        self.firsts: list[Task] = []

    def run(self, merge: bool) -> Fused:
        """Examine, choose places, group, order."""
        for node in self.nodes:
            self.examine(node)
        for node in self.nodes:
            if node not in self.places.views and node not in self.places.inline:
                self.task_of(node)
        self.choose_writes()
        grouping = Grouping(self.tasks, self.places, self.made, set(self.in_place))
        self.order_writes(grouping)
        if merge:
            grouping.merge({self.places.base(v) for v in self.graph.roots})
        tasks = grouping.ordered()
        self.find_outputs(tasks)
        self.settle_in_place(tasks)
        tasks = [*self.firsts, *tasks]
        tasks = self.give_outputs(tasks)
        tasks += [self.copy(v, self.places.layouts[x]) for x, v in self.finals]
        return Fused(self.graph, self.places, tasks, self.outputs, grouping.reasons)

    # ---- what each node is ----

    def examine(self, node: Node) -> None:
        """View, inlined, or computed: and where its results would lie."""
        places = self.places
        lowering = lowering_of(node)
        if any(v.type.dtype.is_complex for v in (*node.operands, *node.results)):
            lowering = Host()
        places.lowerings[node] = lowering
        for v in node.results:
            places.layouts[v] = dense(v)
        if type(lowering) is Host:
            return
        if node.op.name == "gather":
            self.made_in_memory(node.operands[0])
        viewed = {"alias": 0, "detach": 0, "overwrite": 1}.get(node.op.name)
        if type(lowering) in (View, Reinterpret):
            viewed = 0
        if viewed is not None:
            self.examine_view(node, viewed)
        elif (not node.operands and type(lowering) is Pointwise) or (
            node.op.name == "cast" and self.is_number(node.operands[0])
        ):
            places.inline.add(node)

    def made_in_memory(self, value: Value) -> None:
        """Data may name any place of a value: what is counted then lies in memory."""
        base = self.places.base(value).node
        if base.op.name != "constant":
            self.places.inline.discard(base)

    def is_number(self, value: Value) -> bool:
        """Whether a value is a run-time number of the call."""
        node = value.node
        return node.op.name == "input" and node.attributes[1] == "number"

    def examine_view(self, node: Node, operand: int) -> None:
        """A view where strides can say it."""
        places, value = self.places, node.operands[operand]
        found = through(node, places.lowerings[node], places.layouts[value])
        if found is None:
            return
        if type(places.lowerings[node]) is Reinterpret and squeezed(value.shape) != squeezed(
            node.value.shape
        ):
            self.made_in_memory(value)
        places.views[node] = operand
        places.layouts[node.value] = found

    # ---- tasks of single nodes ----

    def task_of(self, node: Node) -> None:
        """The task that a node begins as, after the checks that it needs."""
        lowering, places = self.places.lowerings[node], self.places
        if node.op.name in ("gather", "scatter_add") and type(lowering) is not Host:
            self.check(node)
        shape = squeezed(node.results[0].shape)
        kind, domain, rows = "map", shape, None
        if type(lowering) is Reduce:
            domain = squeezed(node.operands[0].shape)
            kept = [
                d for d, n in enumerate(node.operands[0].shape) if n != 1 and d not in lowering.axes
            ]
            real = [d for d, n in enumerate(node.operands[0].shape) if n != 1]
            kind, rows = ("rows", len(kept)) if kept == real[: len(kept)] else ("columns", None)
            if kept == real:
                kind, rows = "map", None
        elif type(lowering) in _KINDS and not (type(lowering) is ScatterAdd and is_one_hot(node)):
            kind = _KINDS[type(lowering)]
        elif type(lowering) in (View, Reinterpret):
            return self.copy_node(node)
        task = Task(
            kind, Group(kind, [node], domain, rows=rows), node=node, position=self.position[node]
        )
        task.reads = {b for v in node.operands for b in self.leaves(v)}
        assert places is self.places
        self.add(task, node.results)

    def add(self, task: Task, results: Sequence[Value]) -> None:
        """Put a task at the end of the list."""
        self.tasks.append(task)
        for v in results:
            self.made[v] = task

    def leaves(self, value: Value) -> list[Value]:
        """The values in memory that a read of ``value`` reads."""
        base = self.places.base(value)
        if base.node in self.places.inline:
            return [b for v in base.node.operands for b in self.leaves(v)]
        return [base]

    def copy_node(self, node: Node) -> None:
        """A view that strides cannot say: its elements in order."""
        operand, result = node.operands[0], node.value
        target = Layout(result, operand.shape, contiguous_strides(operand.shape), 0)
        task = self.copy(operand, target)
        task.node, task.position = node, self.position[node]
        task.group.nodes.append(node)
        self.add(task, (result,))

    def copy(self, value: Value, target: Layout) -> Task:
        """A task that stores ``value`` elsewhere; complex numbers never reach kernels."""
        kind = "host" if value.type.dtype.is_complex else "copy"
        group = Group(kind, [], squeezed(value.shape))
        return Task(kind, group, value, target, reads=set(self.leaves(value)))

    def check(self, node: Node) -> None:
        """A task that finds an index outside of its dimension."""
        index, size = node.operands[1], node.operands[0].shape[node.named["axis"]]
        if 0 in index.shape:
            return
        if is_safe(index, size) or any(
            t.kind == "check" and t.value is index and t.size == size for t in self.tasks[-8:]
        ):
            return
        mailbox = make_input(f"check{len(self.tasks)}", Type(int64, ()))
        target = Layout(mailbox, (), (), 0)
        task = Task(
            "check", Group("check", [], ()), index, target, size, node, set(self.leaves(index))
        )
        task.position = max([self.position.get(b.node, -1) for b in task.reads], default=-1)
        self.add(task, ())

    # ---- writes ----

    def choose_writes(self) -> None:
        """Which writes happen in place, which by a copy at the end."""
        written = {x for x, _ in self.graph.writes}
        last = self.last_reads(written)
        checked = max((t.position for t in self.tasks if t.kind == "check"), default=-1)
        for x, v in self.graph.writes:
            base = self.places.base(v)
            if self.may_stay(x, v, base) and last.get(x, -1) <= self.position[base.node] > checked:
                self.in_place[base] = x
                continue
            if base in written or (
                base.node in self.places.inline and written & set(self.leaves(v))
            ):
                v = self.keep_old(v)
            self.finals.append((x, v))

    def keep_old(self, v: Value) -> Value:
        """A copy of a written input, made before anything is written."""
        kept = make_input(f"old{len(self.firsts)}", v.type)
        self.places.layouts[kept] = dense(kept)
        self.firsts.append(self.copy(v, dense(kept)))
        return kept

    def last_reads(self, written: set[Value]) -> dict[Value, int]:
        """For each written input where in the order it is last read."""
        last: dict[Value, int] = {}
        for task in self.tasks:
            for v in task.reads:
                if v in written:
                    last[v] = max(last.get(v, -1), task.position)
        return last

    def may_stay(self, x: Value, v: Value, base: Value) -> bool:
        """Whether ``base``, a computed value, may be made in the memory of ``x``."""
        task = self.made.get(base)
        layout = self.places.layouts[v]
        whole = is_dense(layout) and layout.offset == 0 and product(v.shape) == product(base.shape)
        return (
            task is not None
            and task.kind == "map"
            and type(self.places.lowerings[base.node]) in (Elementwise, Pointwise)
            and base not in self.in_place
            and whole
            and is_dense(self.places.layouts[x])
        )

    def order_writes(self, grouping: Grouping) -> None:
        """Readers of the old value, and checks, come before a write in place."""
        readers: dict[Value, list[Task]] = {x: [] for x in self.in_place.values()}
        for task in self.tasks:
            for x in task.reads & readers.keys() if task.kind != "check" else readers:
                readers[x].append(task)
        for base, x in self.in_place.items():
            writer = self.made[base]
            for task in readers[x]:
                if task is not writer:
                    grouping.link(task, writer)

    def settle_in_place(self, tasks: list[Task]) -> None:
        """Write in place where the kernel reads the old value only where it writes the new one."""
        for task in tasks:
            for base in [v for v in task.group.outputs if v in self.in_place]:
                x = self.in_place[base]
                if task.kind == "map" and self.reads_in_step(task, x, base):
                    self.places.homes[base] = Layout(
                        x, base.shape, contiguous_strides(base.shape), 0
                    )
                else:
                    self.finals.append((x, next(v for y, v in self.graph.writes if y is x)))

    def reads_in_step(self, task: Task, x: Value, base: Value) -> bool:
        """Whether every read of ``x`` in the group is of the element that ``base`` is stored to."""
        shape = squeezed(base.shape)
        for node in task.group.nodes:
            for v in node.operands:
                if self.places.base(v) is not x:
                    continue
                layout = self.places.layouts[v]
                if type(self.places.lowerings[node]) is not Elementwise:
                    if node.op.name == "random_advance" and len(task.group.nodes) == 1:
                        continue
                    return False
                if not (is_dense(layout) and layout.offset == 0 and squeezed(v.shape) == shape):
                    return False
        return True

    # ---- outputs ----

    def find_outputs(self, tasks: list[Task]) -> None:
        """The values of each group that something outside of it needs."""
        roots = {self.places.base(v) for v in self.graph.roots}
        outside: set[Value] = set(roots)
        for task in (*tasks, *self.firsts):
            mine = {v for n in task.group.nodes for v in n.results}
            outside |= task.reads - mine
        for task in tasks:
            if task.value is not None:
                continue
            task.group.outputs = [v for n in task.group.nodes for v in n.results if v in outside]

    def give_outputs(self, tasks: list[Task]) -> list[Task]:
        """Make values in the memory of the graph's outputs, or copy them there; old values before any write."""
        early: list[Task] = []
        late: list[Task] = []
        read = {v for t in tasks for v in t.reads} | {self.places.base(v) for _, v in self.finals}
        given = Counter(self.places.base(v) for v in self.graph.outputs)
        read |= {v for v, times in given.items() if times > 1}  # its copies take it for row-major
        for v, out, strides in zip(
            self.graph.outputs, self.outputs, self.output_strides, strict=True
        ):
            base, layout = self.places.base(v), self.places.layouts[v]
            target = dense(out) if strides is None else Layout(out, out.shape, tuple(strides), 0)
            whole = (
                is_dense(layout) and layout.offset == 0 and product(v.shape) == product(base.shape)
            )
            free = (
                base in self.made
                and base not in self.places.homes
                and self.made[base].kind != "copy"
            )
            if free and whole and is_dense(target):
                self.places.homes[base] = Layout(out, base.shape, contiguous_strides(base.shape), 0)
            elif free and v is base and base not in read and self.made[base].kind != "scatter":
                self.places.homes[base] = target
            else:
                (early if base not in self.made else late).append(self.copy(v, target))
        return [*early, *tasks, *late]


_KINDS = {Contract: "contract", ArgReduce: "argmax", ScatterAdd: "scatter", Host: "host"}


def is_one_hot(node: Node) -> bool:
    """Whether a scatter puts one element along its axis, and so is pointwise."""
    x, index, _ = node.operands
    axis = node.named["axis"]
    others = all(
        n == m for d, (n, m) in enumerate(zip(x.shape, index.shape, strict=True)) if d != axis
    )
    return index.shape[axis] == 1 and others


def is_safe(index: Value, size: Dim) -> bool:
    """Whether an index cannot be out of range: a place found by argmax or argsort, counted, or a remainder."""
    node = index.node
    while node.op.is_view and node.operands:
        node = node.operands[0].node
    return False if node.op.name != "argmax" else node.operands[0].shape[node.named["axis"]] == size
