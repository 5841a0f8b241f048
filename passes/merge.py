"""Merge tasks along the edges that carry the most bytes, while the graph of tasks stays acyclic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ir.graph import Node, Value
from ..ir.lowering import Elementwise, Pointwise, Reduce, ScatterAdd
from ..ir.sizes import Dim, contiguous_strides, product
from .lower_layout import squeezed, squeezed_strides
from .lower_nest import Places
from .tasks import Task

VISITS = 64  # how many tasks a search for a cycle may pass: more is taken for a cycle
NODES = 160  # nodes of one kernel
MEMBERS = ("map", "rows", "contract", "columns")


class Grouping:
    """Tasks, the edges between them, and an order in which they may run."""

    def __init__(
        self, tasks: list[Task], places: Places, made: dict[Value, Task], in_place: set[Value]
    ) -> None:
        self.places, self.made, self.in_place = places, made, in_place
        self.at: list[Task | None] = list(tasks)
        self.where: dict[int, int] = {id(t): k for k, t in enumerate(tasks)}
        self.after: dict[int, dict[int, Task]] = {id(t): {} for t in tasks}
        self.before: dict[int, dict[int, Task]] = {id(t): {} for t in tasks}
        self.reasons: list[str] = []
        self.roots: set[Value] = set()
        self.alive = {id(t): t for t in tasks}
        for t in tasks:
            for v in t.reads:
                if v in made and made[v] is not t:
                    self.link(made[v], t)

    def link(self, first: Task, then: Task) -> None:
        """``first`` runs before ``then``."""
        self.after[id(first)][id(then)] = then
        self.before[id(then)][id(first)] = first

    def ordered(self) -> list[Task]:
        """The tasks that are left, in order; those that nothing waits for last."""
        tasks = [t for t in self.at if t is not None]
        busy = [t for t in tasks if self.after[id(t)] or t.kind in ("check", "host")]
        idle = [t for t in tasks if not (self.after[id(t)] or t.kind in ("check", "host"))]
        for t in idle:
            t.idle = True
        return [*busy, *idle]

    # ---- candidates ----

    def merge(self, roots: set[Value]) -> None:
        """Rounds over all edges, those with the most bytes first, until nothing changes.

        First the updates of state take what only feeds them, before a contraction would.
        """
        self.roots = roots
        for only_updates in (True, True, False, False, False, False):
            edges = sorted(self.edges(), key=lambda e: (-e[0], -e[1].node.number, e[2].node.number))
            changed = False
            for _, value, reader in edges:
                p, c = self.made[value], self.made[reader]
                if p is c or (only_updates and not self.writes(c)):
                    continue
                changed = self.try_merge(p, c) or changed
            if not (changed or only_updates):
                break
        self.merge_scalars()

    def edges(self) -> Iterable[tuple[int, Value, Value]]:
        """(bytes, value, a result of the reader) for each value that a task reads from another."""
        out = []
        for t in self.alive.values():
            for v in t.reads:
                p = self.made.get(v)
                if p is not None and p is not t and p.kind in MEMBERS and t.kind in MEMBERS:
                    out.append((_bytes(v), v, t.group.nodes[-1].results[0]))
        return out

    def merge_scalars(self) -> None:
        """Tasks of one element that do not wait for each other become one."""
        first: Task | None = None
        for t in [t for t in self.at if t is not None]:
            if t.kind != "map" or t.group.domain != ():
                continue
            fits = first is not None and len(first.group.nodes) + len(t.group.nodes) <= NODES
            if first is None or not fits or not self.join(first, t):
                first = t

    def try_merge(self, p: Task, c: Task) -> bool:
        """Merge two tasks if that is legal; the reason is kept where it is not."""
        rows = self.legal(p, c)
        if isinstance(rows, str):
            self.note(p, c, rows)
            return False
        if not self.join(p, c):
            self.note(p, c, "a third kernel lies between")
            return False
        kind, count, domain = rows
        p.kind = p.group.kind = kind
        p.group.rows, p.group.domain = count, domain
        self.note(p, c, "")
        return True

    def note(self, p: Task, c: Task, reason: str) -> None:
        """Remember why two tasks are one kernel or are not."""
        names = f"{p.group.nodes[-1].op.name} -> {c.group.nodes[-1].op.name}"
        self.reasons.append(f"{names}: {'apart, ' + reason if reason else 'one kernel'}")

    # ---- legality ----

    def legal(self, p: Task, c: Task) -> tuple[str, int | None, Any] | str:
        """Kind, rows and domain of both as one; or why not."""
        if len(p.group.nodes) + len(c.group.nodes) > NODES:
            return "the kernel would be too large"
        if p.kind == "columns":
            return "its sums are complete only after the kernel"
        updates = self.writes(p) or self.writes(c)
        if p.kind == "contract" or c.kind == "contract":
            return self.legal_epilogue(p, c, updates)
        if c.kind == "columns":
            return self.legal_prologue(p, c, updates)
        return self.legal_rows(p, c, updates)

    def writes(self, t: Task) -> bool:
        """Whether a task writes to an input in place."""
        return bool(self.in_place) and any(n.results[0] in self.in_place for n in t.group.nodes)

    def legal_epilogue(self, p: Task, c: Task, updates: bool) -> tuple[str, int | None, Any] | str:
        """Elementwise ops on the results of a contraction."""
        if p.kind != "contract" or c.kind != "map":
            return "a contraction takes only elementwise ops, behind it"
        if updates:
            return "an update of state stays with the other updates"
        if p.group.domain != c.group.domain:
            return "shapes differ"
        if any(how != "same" for how in self.crossings(p, c)):
            return "it is read in other places than it is made"
        return "contract", None, p.group.domain

    def legal_prologue(self, p: Task, c: Task, updates: bool) -> tuple[str, int | None, Any] | str:
        """Elementwise ops that only one sum reads."""
        if (
            p.kind != "map"
            or updates
            or len(self.after[id(p)]) != 1
            or any(self.is_root(v) for v in _results(p))
        ):
            return "others need it too"
        if p.group.domain != c.group.domain or any(how != "same" for how in self.crossings(p, c)):
            return "shapes differ"
        return "columns", None, c.group.domain

    def is_root(self, value: Value) -> bool:
        """Whether the graph returns or writes a value."""
        return value in self.roots

    def legal_rows(self, p: Task, c: Task, updates: bool) -> tuple[str, int | None, Any] | str:
        """Elementwise ops and reductions along rows that have the same rows."""
        counts = {t.group.rows for t in (p, c)} - {None}
        if len(counts) > 1:
            return "rows differ"
        rows = counts.pop() if counts else None
        if rows is not None and updates:
            return "an update of state stays with the other updates"
        big, small = (p, c) if len(p.group.domain) >= len(c.group.domain) else (c, p)
        domain = big.group.domain
        if rows is None:
            if p.group.domain != domain or c.group.domain != domain:
                return "shapes differ"
        elif any(
            t.group.domain[:rows] != domain[:rows] or len(t.group.domain) < rows for t in (p, c)
        ):
            return "rows differ"
        if rows is not None and any(
            len(t.group.domain) > rows and t.group.domain != domain for t in (p, c)
        ):
            return "the rows have other lengths"
        if rows == 0 and small.group.domain == () and p is small and _count(domain) > 1 << 14:
            return "one long row would run on one core"
        if rows == 0 and p.kind == "rows" and len(c.group.domain) > 0 and _count(domain) > 1 << 14:
            return "one long row would run on one core"
        allowed = ("same", "row") if rows is not None else ("same",)
        for how in self.crossings(p, c, rows):
            if how not in allowed:
                return f"it is read {how}"
        return ("map" if rows is None else "rows"), rows, domain

    def crossings(self, p: Task, c: Task, rows: int | None = None) -> Iterable[str]:
        """How each read of ``c`` from ``p`` goes: ``same`` place, the ``row``'s element, or in other places."""
        mine = {v for n in p.group.nodes for v in n.results}
        for node in c.group.nodes:
            lowering = self.places.lowerings[node]
            for i, v in enumerate(node.operands):
                base = self.places.base(v)
                if base not in mine:
                    continue
                if type(lowering) is Pointwise:
                    own = (
                        node.op.name == "gather"
                        and i == 0
                        and self.picks_in_row(node, base, v, rows)
                    )
                    yield "row" if own else "in other places"
                elif type(lowering) is ScatterAdd and i > 0:
                    short, full = squeezed(base.shape), squeezed(node.results[0].shape)
                    last = node.named["axis"] == len(node.results[0].shape) - 1
                    yield (
                        "row"
                        if last
                        and rows == len(short)
                        and full[: len(short)] == short
                        and squeezed(v.shape) == short
                        else "in other places"
                    )
                else:
                    assert type(lowering) in (Elementwise, Reduce, ScatterAdd), lowering
                    yield self.how(base, v, rows)

    def picks_in_row(self, node: Node, base: Value, v: Value, rows: int | None) -> bool:
        """Whether a gather takes one element of each row, along the last dimension."""
        shape, index = v.shape, node.operands[1].shape
        last = node.named["axis"] == len(shape) - 1 == rows
        return (
            last
            and index == (*shape[:-1], 1)
            and base.shape == shape
            and self.how(base, v, rows) == "same"
        )

    def how(self, base: Value, v: Value, rows: int | None) -> str:
        """Whether a view reads its base in step with the place it is read for."""
        short, shape = squeezed(base.shape), squeezed(v.shape)
        layout = self.places.layouts[v]
        strides, own = squeezed_strides(layout), contiguous_strides(short)
        if layout.offset != 0:
            return "in other places"
        if shape == short:
            return "same" if strides == own else "in other places"
        if (
            rows == len(short)
            and shape[:rows] == short
            and strides[:rows] == own
            and not any(strides[rows:])
        ):
            return "row"
        return "in other places"

    # ---- cycles ----

    def join(self, p: Task, c: Task) -> bool:
        """Make ``c`` part of ``p``; False if a third task lies on a path between them."""
        first, last = (p, c) if self.where[id(p)] < self.where[id(c)] else (c, p)
        reached = self.reach(first, last)
        if reached is None:
            return False
        low, high = self.where[id(first)], self.where[id(last)]
        region = [t for t in self.at[low : high + 1] if t is not None and t is not p and t is not c]
        order = [
            *(t for t in region if id(t) not in reached),
            p,
            *(t for t in region if id(t) in reached),
        ]
        self.at[low : high + 1] = [*order, *([None] * (high + 1 - low - len(order)))]
        for k, t in enumerate(order, low):
            self.where[id(t)] = k
        self.absorb(p, c)
        return True

    def reach(self, first: Task, last: Task) -> set[int] | None:
        """What ``first`` leads to before ``last`` stands; None if that leads to ``last``."""
        limit, seen = self.where[id(last)], set[int]()
        todo = [t for t in self.after[id(first)].values() if t is not last]
        while todo:
            t = todo.pop()
            if id(t) in seen or self.where[id(t)] > limit:
                continue
            if t is last or len(seen) > VISITS:
                return None
            seen.add(id(t))
            todo += self.after[id(t)].values()
        return seen

    def absorb(self, p: Task, c: Task) -> None:
        """Nodes, reads and edges of ``c`` become those of ``p``."""
        p.group.nodes = sorted([*p.group.nodes, *c.group.nodes], key=lambda n: n.number)
        for v in _results(c):
            self.made[v] = p
        p.reads |= c.reads
        p.reads -= set(_results(p))
        for table, back in ((self.after, self.before), (self.before, self.after)):
            for k, t in table.pop(id(c)).items():
                back[k].pop(id(c), None)
                if t is not p:
                    table[id(p)][k] = t
                    back[k][id(p)] = p
            table[id(p)].pop(id(c), None)
        del self.alive[id(c)], self.where[id(c)]


def _results(t: Task) -> list[Value]:
    return [v for n in t.group.nodes for v in n.results]


def _count(shape: Iterable[Dim]) -> int:
    n = product(shape)
    return n if isinstance(n, int) else 1 << 20


def _bytes(v: Value) -> int:
    return _count(v.shape) * v.type.dtype.itemsize
