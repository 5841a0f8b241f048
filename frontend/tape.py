"""What a compiled call leaves on the eager tape: which of its results join it, in which nodes, and with which operands.

Results and written memories that need gradients are *roots*. Roots (and views) of which others are made come first and
are operands of these (*cuts*), so that a gradient with respect to a result is found as it is eagerly. A leaf that is
made or written inside is an operand too: its storage's value where it is the last one, else a value of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ir.errors import GradError, TraceError
from ..ir.graph import Graph, Node, Value, current
from ..ir.op import OPS
from ..ir.source import explain
from . import inplace
from .pullback import (
    Call,
    CompiledCall,
    Fixed,
    History,
    Part,
    Spent,
    eager_value,
    inputs_read,
    is_leaf,
)
from .state import state
from .storage import Stamp, Storage
from .tensor import Tensor, grad_mode, value_of
from .tree import Ref


class Memory(NamedTuple):
    """One memory of a trace: its number (inputs first, then results), what it holds at the end, and its versions."""

    number: int
    final: Value
    versions: list[int]


class Tape:
    """The roots of one variant, in parts, and what a call must keep for them.

    ``memories``: those that a later call finds again. ``written``: the numbers of inputs whose memory is written.
    """

    def __init__(
        self,
        graph: Graph,
        memories: Sequence[Memory],
        written: Collection[int],
        views: dict[Value, Ref],
    ) -> None:
        self.graph, self.count = graph, len(graph.inputs)
        self.homes = {id(m.versions): m for m in memories}
        self.moved = [
            (m.number - self.count, m.versions[0]) for m in memories if m.number >= self.count
        ]
        self.moved = [(slot, version) for slot, version in self.moved if version]
        self.spent: list[tuple[int, Part]] = []
        self.twins: list[tuple[int, Value]] = []
        roots: dict[Value, int] = {}
        for m in memories:
            joins = m.number >= self.count or m.number in written
            if not joins or not m.final.tracked or is_leaf(m.final):
                continue
            alone = Part(graph, [m.final], (), {}, ())
            if m.number >= self.count and (m.final.note.freed or alone.is_spent()):
                self.spent.append((m.number - self.count, alone))
            elif m.final in roots:
                self.twins.append((m.number - self.count, m.final))
            else:
                roots[m.final] = m.number
        self.roots = roots
        self.written = {n: v for v, n in roots.items() if n < self.count}
        self.saved = frozenset(inputs_read(graph, roots)).intersection(written)
        self.history = self._history() if roots else {}
        self.views = views
        self.parts = self._parts()
        ends = {v for part in self.parts for v in part.ends}
        self.views = {v: ref for v, ref in views.items() if v in ends}
        self.tracked = [(i, v) for i, v in enumerate(graph.inputs) if v in ends]
        self.fixed: Fixed | None = None

    def _history(self) -> History:
        """Which memory every traced value stood for, and whether it was written later in the trace."""
        out: History = {}
        for value in (*self.graph.inputs, *(v for n in self.graph.nodes for v in n.results)):
            stamp = value.note
            if isinstance(stamp, Stamp):
                home = self.homes.get(id(stamp.versions))
                out[value] = stamp.version, stamp.versions[0], None if home is None else home.number
        return out

    def _parts(self) -> list[Part]:
        """The roots by depth: how many others stand one behind the other between them and the inputs."""
        own = depths(self.graph, {*self.roots, *self.views})
        parts = []
        for depth in sorted({own[r] for r in self.roots}):
            here = [r for r in self.roots if own[r] == depth]
            cuts = {v for v, n in own.items() if n < depth and len(v.node.results) == 1}
            part = Part(self.graph, here, cuts, self.history, self.saved)
            part.ends = [v for v in part.ends if self._is_wanted(v)]
            part.leaves = [
                v for v in part.ends if v.node.op.name != "input" and v not in self.roots
            ]
            parts.append(part)
        return parts

    def _is_wanted(self, end: Value) -> bool:
        """A leaf that died in the trace wants no gradient."""
        known = end in self.roots or end in self.views
        return known or end.node.op.name == "input" or self._home(end) is not None

    def _home(self, value: Value) -> Memory | None:
        return self.homes.get(id(value.note.versions)) if isinstance(value.note, Stamp) else None

    # ---- a call ----

    def check(self, variant: Any, leaves: Sequence[Any]) -> None:
        """Refuse what is written in a way that eager execution refuses, or that joins the tape in no way."""
        for i, final in self.written.items():
            kind, key = variant.feeds[i]
            if kind != "argument" or not leaves[key]._steps:
                continue
            x: Tensor = leaves[key]
            if any(op.name == "detach" for op, _ in x._steps):
                raise TraceError(
                    explain(
                        f"the function writes a value that requires grad into an argument that is detached: {x._type}",
                        final.node.site.span,
                        "detach it inside of the compiled function, or pass a clone()",
                    )
                )
            if x._storage.leaf is not None and final.node.op.name != "overwrite":
                raise GradError(
                    explain(
                        "a leaf tensor that requires grad is changed in place while operations are recorded",
                        final.node.site.span,
                        "do it inside `with gm.no_grad():`, or on x.data",
                    )
                )

    def open(
        self, variant: Any, leaves: Sequence[Any], values: Sequence[Any], sizes: dict[str, int]
    ) -> Call:
        """What the backward will need of the inputs, before the program runs."""
        fixed = self.fixed
        if fixed is None:
            fixed = self.fixed = Fixed(variant.feeds, self.tracked)
        call = Call(fixed, sizes)
        for i, kind, key in fixed.others:
            if kind == "number":
                call.arrays[i] = key(*values, **sizes)
                continue
            storage = call.memories[i] = variant.storage(kind, key, leaves)
            call.arrays[i] = leaves[key]._array() if kind == "argument" else storage.data
        for i in self.saved:
            call.arrays[i] = np.array(call.arrays[i], order="C")
        for i, v in fixed.tracked:
            kind, key = variant.feeds[i]
            call.before[v] = value_of(leaves[key]) if kind == "argument" else call.memories[i].value
        return call

    def close(
        self, variant: Any, call: Call, slots: Sequence[Storage], leaves: Sequence[Any]
    ) -> None:
        """Let the roots join the tape, after the program has run."""
        if variant.effects:  # an argument that became a leaf may have a storage of its own
            for i, (kind, key) in enumerate(variant.feeds):
                if kind == "argument":
                    call.memories[i] = leaves[key]._storage
        call.memories += slots
        for slot, version in self.moved:
            slots[slot].versions[0] = version
        made = call.before
        for part in self.parts:
            for end in part.leaves:
                if end in call.views:
                    made[end] = value_of(call.views[end])
                else:
                    made[end] = self._leaf(end, call, variant, leaves)
            tensors = [self._tensor(self.roots[r], call, variant, leaves) for r in part.roots]
            op, types = CompiledCall(part, call), [t._type for t in tensors]
            operands = tuple([made[v] for v in part.ends])
            node = Node(op, operands, (), types, part.roots[0].node.site, True)
            for root, t, result in zip(part.roots, tensors, node.results, strict=True):
                made[root] = result
                if self.roots[root] < self.count:
                    result.data = t._array()
                    rewrite(t, result)
                    made[root] = value_of(t)  # a view: what other roots read comes from its base
                else:
                    hold(t._storage, result)
        for slot, root in self.twins:
            with grad_mode(True):
                hold(slots[slot], current().append(OPS["alias"], (made[root],), ()))
        call.finish()

    def _tensor(self, number: int, call: Call, variant: Any, leaves: Sequence[Any]) -> Tensor:
        """The tensor on the memory of a root."""
        if number < self.count and variant.feeds[number][0] == "argument":
            return leaves[variant.feeds[number][1]]  # type: ignore[no-any-return]
        return Tensor(call.memories[number])

    def _leaf(self, end: Value, call: Call, variant: Any, leaves: Sequence[Any]) -> Value:
        """A leaf that was made or written inside, on the tape."""
        home = self._home(end)
        assert home is not None
        storage: Storage = call.memories[home.number]
        if home.final is end:
            return storage.value
        value = eager_value(storage.data)  # type: ignore[arg-type]
        value.tracked = True
        leaf = end.note.leaf
        if home.number >= self.count:
            leaf = storage.leaf
        elif variant.feeds[home.number][0] == "argument":
            leaf = weakref.ref(leaves[variant.feeds[home.number][1]])
        value.note = Stamp(storage, leaf)
        return value

    def mark_spent(self, slots: Sequence[Storage]) -> None:
        """Results whose graph was used up inside say so."""
        for i, part in self.spent:
            slots[i].value = spent_value(part, slots[i])


def hold(slot: Storage, value: Value) -> None:
    """A result of a call holds ``value`` from its beginning."""
    slot.value, value.data = value, slot.data
    value.note = Stamp(slot)


def rewrite(t: Tensor, value: Value | None = None) -> None:
    """The memory of ``t``, on which a history may end, was written by a program; ``value`` where that is recorded."""
    before = t._storage.value
    recording = state.grad_enabled and all(op.name != "detach" for op, _ in t._steps)
    if value is None:
        inplace.keep(t, before, eager_value(t._array()), recording)
    else:
        with grad_mode(True):
            inplace.keep(t, before, value, True)


def spent_value(part: Part, slot: Storage) -> Value:
    """The value of a result whose graph a backward inside the compiled function has used up."""
    source = eager_value(np.zeros((), np.float32))
    source.tracked = True
    value = Node(Spent(part), (source,), (), (slot.type,), part.roots[0].node.site, True).value
    value.data = slot.data
    value.note = Stamp(slot)
    return value


def depths(graph: Graph, roots: Collection[Value]) -> dict[Value, int]:
    """How many other roots stand one behind the other between each root and the inputs."""
    if len(roots) == 1:
        return dict.fromkeys(roots, 0)
    own = {r: 0 for r in roots if not r.node.operands}
    depth: dict[Value, int] = {}
    for node in graph.nodes:
        here = max([depth.get(v, 0) for v in node.operands if v.tracked], default=0)
        for v in node.results:
            if v in roots:
                own[v] = here
            depth[v] = 0 if is_leaf(v) else here + (v in roots and len(node.results) == 1)
    return own
