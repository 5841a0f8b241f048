"""Tracing: run a function once with symbolic storages and append what it does to a graph.

While a trace is open it is the builder of its thread. An op that meets a concrete storage makes
it an input; user-visible objects keep their identity while this side table says what was done to
them; attribute writes are journalled.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, MethodType
from typing import Any, NamedTuple

import numpy as np

from ..ir import sizes
from ..ir.dtypes import DType, float64, int64
from ..ir.errors import OpError, TraceError
from ..ir.graph import Node, Type, Value, building, infer, make_input
from ..ir.op import OPS, Op
from ..ir.sizes import Dim, Poly, Shape
from ..ir.source import Site, Span, caller, explain
from .bytecode import closure_of, frame_of
from .consumed import is_used_up
from .eager import Eager, Residuals, is_tracked, located
from .numbers import Number
from .reads import MISSING, OPEN, SCALAR, content
from .state import state
from .storage import Stamp, Storage
from .tensor import Tensor, value_of
from .tree import is_open, is_plain
from .watch import Watch


class Input(NamedTuple):
    """One input: ``argument`` (its leaf), ``state`` (its storage), ``path`` (object, name), ``number`` (its text)."""

    kind: str
    key: Any
    value: Value
    storage: Storage | None


class Read(NamedTuple):
    """An attribute that the trace read: whose, what it was, and what must stay true of it."""

    obj: Any
    name: str
    value: Any
    content: Any
    span: Span | None


class Path(NamedTuple):
    """A tensor attribute read through a stand-in: any tensor of this kind may come by the path."""

    storage: Storage
    first: tuple[Any, str]
    kind: Any


class Retry(Exception):
    """Trace again: something turned out to be a run-time input, or two sizes to be one."""


class Promoted:
    """Attributes that were seen changing: run-time numbers of later traces. Forgotten with their objects."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Any, set[str]]] = {}

    def add(self, obj: Any, name: str) -> None:
        """Remember an attribute."""
        key = id(obj)
        if key not in self._names:
            self._names[key] = weakref.ref(obj, lambda _: self._names.pop(key, None)), set()
        self._names[key][1].add(name)

    def __contains__(self, attribute: tuple[Any, str]) -> bool:
        found = self._names.get(id(attribute[0]))
        return found is not None and attribute[1] in found[1]


PROMOTED = Promoted()

FIXED: weakref.WeakSet[Storage] = weakref.WeakSet()
"""Storages reached by an attribute and another way, and changed: read without a stand-in."""


class Trace(Watch):
    """The open trace. ``site`` overrides the search for the user's line (a backward sets it)."""

    def __init__(self, hints: dict[str, int]) -> None:
        super().__init__()
        self.site: Site | None = None
        self.residuals = Residuals()
        self.hints = hints
        self.entry: CodeType | None = None
        self.nodes: list[Node] = []
        self.inputs: list[Input] = []
        self.saved: dict[int, tuple[Storage, Value, int, Any]] = {}
        self.held: list[tuple[Tensor, Storage, bool]] = []
        self.journal: dict[tuple[int, str], tuple[Any, str, Any, Span | None]] = {}
        self.reads: dict[tuple[int, str], Read] = {}
        self.paths: dict[tuple[int, str], Path] = {}
        self.stands: dict[int, tuple[Storage, tuple[Any, str], Storage]] = {}
        self.numbers: dict[tuple[int, Any], tuple[str, Any, Any]] = {}
        self.scalars: dict[tuple[str, DType], Value] = {}
        self.decisions: dict[str, tuple[bool, Span | None]] = {}
        self.equalities: dict[str, Dim] = {}
        self.storages: list[weakref.ref[Storage]] = []
        self.ours: set[tuple[type, str]] = set()
        self.module_names: dict[int, str] = {}

    # ---- ops ----

    def append(self, op: Op, operands: Sequence[Value], attributes: tuple[Any, ...]) -> Any:
        """Add a node; returns its result, or the tuple of its results."""
        operands = tuple(operands)
        if self.residuals.node is not None:
            self.residuals.check(operands)
        try:
            types = infer(op, operands, attributes)
        except OpError as error:
            raise located(error, caller(2)) from None
        tracked = is_tracked(op, operands)
        node = Node(op, operands, attributes, types, self.site or self.here(), tracked)
        if tracked:
            for value in node.results:
                value.tracked = value.dtype.is_floating_point or value.dtype.is_complex
        self.nodes.append(node)
        return node.results[0] if len(node.results) == 1 else node.results

    def here(self) -> Site:
        """The user's place; code that was not read yet is read now."""
        span = caller(3)
        if span is not None and id(span.code) not in self.codes:
            frame = frame_of(span.code, self.entry)
            if frame is not None:
                self.codes[id(span.code)] = span.code
                # what is born inside is not from outside, though a helper gets it as an argument
                known = {
                    k: v
                    for k, v in frame.f_locals.items()
                    if id(v) in self.met or not (is_plain(type(v)) or is_used_up(v))
                }
                self.enter_code(span.code, frame.f_globals, closure_of(span.code, frame), known)
        return Site(span, state.path[-1] if state.path else "")

    # ---- storages ----

    def input(
        self, kind: str, key: Any, type: Type, storage: Storage | None = None, tracked: bool = False
    ) -> Value:
        """A new input; a storage that is given holds it from now on."""
        names = {"argument": "x", "state": "s", "path": "a", "number": "n"}
        word = "state" if kind == "path" else kind
        value = make_input(f"{names[kind]}{len(self.inputs)}", type, word, Site(caller(3)))
        value.tracked = tracked
        self.inputs.append(Input(kind, key, value, storage))
        if storage is not None:
            storage.value, storage.owner = value, self
            value.note = Stamp(storage, storage.leaf)
        return value

    def capture(self, storage: Storage, tensor: Tensor | None = None) -> None:
        """A concrete storage is met: it becomes an input, and is put back when the trace ends."""
        if tensor is not None:
            self.held.append((tensor, storage, storage.leaf is not None))
        self.saved[id(storage)] = storage, storage.value, storage.version, storage.leaf
        self.input("state", storage, storage.type, storage, storage.value.tracked)

    def fixed(self, storage: Storage) -> Value:
        """A storage made from data inside the trace: the same in every call."""
        return self.append(OPS["alias"], (self.input("state", storage, storage.type),), ())  # type: ignore[no-any-return]

    def mark(self, value: Value, leaf: Any) -> Value:
        """``value`` as a leaf: a backward ends at it."""
        out: Value = self.append(OPS["alias"], (value,), ())
        out.tracked = True
        return out

    def check_new(self, t: Tensor) -> None:
        """A view becomes a leaf on memory of its own: refused where the user has that view already."""
        known = [g.value for g in self.guards.values()] + [r.value for r in self.reads.values()]
        if any(value is t for value in known):
            self.refuse(
                "requires_grad_() inside a traced function, on a view that was made outside",
                "call it outside of the compiled function, or on a clone()",
            )

    def make_leaf(self, t: Tensor, on: bool) -> None:
        """Let ``t`` be a leaf from here on, or none; a later call repeats it."""
        storage = t._storage
        for stand, _, old in self.stands.values():
            if stand is storage:
                FIXED.add(old)
                raise Retry("a tensor attribute becomes a leaf")
        value = value_of(t)
        storage.leaf = weakref.ref(t) if on else None
        if on:
            storage.value = self.mark(value, storage.leaf)
        else:
            storage.value = self.append(OPS["detach"], (value,), ())
        storage.value.note = Stamp(storage, storage.leaf)

    def made(self, storage: Storage) -> None:
        """A symbolic storage was made; it must not outlive the trace."""
        self.storages.append(weakref.ref(storage))

    def holds_concrete(self, tensor: Tensor) -> bool:
        """Whether the values of a tensor may be read: never inside a trace."""
        return False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside the block ops run eagerly: how an optimizer makes its state while it is traced."""
        state.trace = None
        try:
            with building(Eager()):
                yield
        finally:
            state.trace = self

    # ---- refusals ----

    def refuse(self, what: str, way_out: str) -> Any:
        """A TraceError with the user's line; remembered, so that a bare ``except`` cannot hide it."""
        self.refused = TraceError(explain(what, caller(2), way_out))
        raise self.refused

    def item(self, tensor: Tensor) -> Any:
        """``.item()`` would be the value of one call only."""
        return self.refuse(
            "item() needs the value of a tensor inside a traced function",
            "keep it as a tensor (arithmetic works), return it, or run with gm.compile(f, disable=True)",
        )

    # ---- numbers ----

    def number(self, holder: Any, key: Any, now: Any) -> Any:
        """A Python number of an argument, a param group or an attribute, as a run-time number until it is written."""
        if (id(holder), key) in self.journal:
            return now
        name = self.numbers.setdefault((id(holder), key), (f"n{len(self.numbers)}", holder, key))[0]
        return Number(now, name, self)

    def size(self, n: Poly) -> Number:
        """A named size as a run-time number."""
        return Number(n.evaluate(self.hints), f"({n})", self, n)

    def scalar(self, number: Number, dtype: DType) -> Value:
        """A run-time number as a 0-d value of the graph."""
        key = number.text, dtype
        if key not in self.scalars:
            if number.size is not None:
                value = self.append(OPS["size"], (), (number.size,))
            else:
                value = self.input("number", number.text, Type(self.kind_of(number, dtype), ()))
            self.scalars[key] = (
                value if value.dtype is dtype else self.append(OPS["cast"], (value,), (dtype,))
            )
        return self.scalars[key]

    def kind_of(self, number: Number, dtype: DType) -> DType:
        """The type in which a number travels: an int of more than 64 bits as a float."""
        if type(number.now) is float:
            return float64
        least = -(1 << 63)
        fits = self.decide(f"({least} <= {number.text} < {-least})", least <= number.now < -least)
        if not fits and not (dtype.is_floating_point or dtype.is_complex):
            raise OverflowError(explain(f"{number.now} does not fit into {dtype}", caller()))
        return int64 if fits else float64

    def decide(self, text: str, outcome: bool) -> bool:
        """A decision on run-time numbers: it holds for this variant only."""
        self.decisions.setdefault(text, (outcome, caller(2)))
        return outcome

    def decide_size(self, a: Dim, relation: str, b: Dim) -> bool:
        """A decision on sizes; two that are equal become one, in a trace anew."""
        x, y = sizes.evaluate(a, self.hints), sizes.evaluate(b, self.hints)
        outcome = x == y if relation == "==" else x >= y
        if relation == "==" and outcome:
            name, other = (a, b) if sizes.is_name(a) else (b, a)
            if sizes.is_name(name):
                self.equalities[str(name)] = other
                raise Retry(f"size {name} is {other}")
        return self.decide(f"({a}) {relation} ({b})", outcome)

    # ---- attributes ----

    def own(self, obj: Any) -> bool:
        """Whether an object was made by this trace, so that nobody outside can see it."""
        if not isinstance(obj, Tensor):
            return False
        s = obj._storage
        return s.owner is self and s.data is None and not any(s is a for a in self.arguments)

    def read(self, obj: Any, name: str, value: Any) -> Any:
        """An attribute is read: remember what it was; a tensor that is no leaf is read through a stand-in."""
        key = id(obj), name
        if self.own(obj):
            return value
        if type(value) in (int, float) and (obj, name) in PROMOTED:
            return self.number(obj, name, value)
        if key not in self.reads and key not in self.journal:
            argument = isinstance(value, Tensor) and any(
                value._storage is s for s in self.arguments
            )
            if argument:
                self.shared.append((0, value))
            self.reads[key] = Read(
                obj, name, value, None if argument else content(value), caller(2)
            )
            if isinstance(value, OPEN) or type(value) is np.ndarray:
                self.guard_container(obj, name, value)
            if isinstance(value, Tensor):
                return self.stand_in(obj, name, value) if self._may_stand_in(value) else value
            if type(value) not in SCALAR:
                self.meet(value)
                self.enter(value)
        elif key in self.paths and key not in self.journal:
            return same_view(self.paths[key].storage, value)
        return value

    def read_class(self, obj: Any, name: str, value: Any) -> Any:
        """A name of a watched object's class is read, or of none (MISSING)."""
        kind = type(obj)
        if (kind, name) in self.ours:
            return value
        owner = next((c for c in kind.__mro__ if name in vars(c)), None)
        found = vars(owner)[name] if owner is not None else MISSING
        if owner is not None and callable(value) and not is_open(owner):
            self.ours.add((kind, name))  # our own methods stay what they are
            return value
        self.guard_class(kind, name)
        if isinstance(found, property):  # what its code reads is seen in turn
            self.enter(MethodType(found.fget, obj) if found.fget is not None else None)
            return value
        return self.read(obj, name, value)

    def _may_stand_in(self, value: Tensor) -> bool:
        s = value._storage
        return s.owner is None and s.leaf is None and s not in FIXED

    def stand_in(self, obj: Any, name: str, value: Tensor) -> Tensor:
        """What reaches it by this path is known, so another tensor may come by it in the next call."""
        old = value._storage
        if id(old) not in self.stands:
            tracked = old.value.tracked
            s = Storage(old.type, old.strides, None, make_input("placeholder", old.type), self)
            self.input("path", (obj, name), old.type, s, tracked)
            self.stands[id(old)] = s, (obj, name), old
        s, first, _ = self.stands[id(old)]
        self.paths[id(obj), name] = Path(s, first, kind_of(value))
        return same_view(s, value)

    def assign(self, obj: Any, name: str, old: Any) -> None:
        """An attribute is written: its value before the trace is put back at the end."""
        if not self.own(obj):
            self.journal.setdefault((id(obj), name), (obj, name, old, caller(2)))


def same_view(storage: Storage, like: Tensor) -> Tensor:
    """The view that ``like`` is, of another storage."""
    return Tensor(storage, like._steps, like._type, like._strides, like._offset)


def kind_of(t: Tensor) -> Any:
    """What a path expects of a tensor: its storage's type and layout, whether it is tracked, and which view it is."""
    s = t._storage
    return s.type, s.strides, s.value.tracked, t._steps, t._type


def symbolic_type(type: Type, names: dict[int, Dim]) -> Type:
    """A type with names in the place of some sizes."""
    return Type(type.dtype, tuple(names.get(d, n) for d, n in enumerate(type.shape)))


def concrete_shape(shape: Shape, values: dict[str, int]) -> Shape:
    """Sizes as numbers."""
    return tuple(sizes.evaluate(n, values) for n in shape)
