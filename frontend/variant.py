"""One compiled form of a function: when it may be used, how it is run, and what it assigns afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..codegen.forks import held_at_fork
from ..ir.dtypes import default_float
from ..ir.errors import TraceError
from ..ir.graph import Graph, Value
from ..ir.sizes import Dim, evaluate
from ..ir.source import Span
from .executable import run
from .reads import MISSING, Guard, content, is_same, look, scalar, short
from .state import epoch
from .storage import Storage, has_history
from .tape import Tape, rewrite
from .tensor import Tensor, make_leaf
from .trace import PROMOTED, Input, Path, Read, concrete_shape, kind_of
from .tree import Ref, rebuild

writing = held_at_fork(threading.RLock(), "write")
"""Programs that write captured state run one at a time."""


def get(obj: Any, name: str) -> Any:
    """An attribute, entry or gradient as it is; MISSING where there is none."""
    if isinstance(obj, Tensor):
        return obj._grad
    if isinstance(obj, dict):
        return dict.get(obj, name, MISSING)
    return getattr(obj, name, MISSING)


def put(obj: Any, name: str, value: Any) -> None:
    """Assign an attribute, entry or gradient; MISSING deletes it."""
    if isinstance(obj, Tensor):
        obj.grad = value
    elif isinstance(obj, dict):
        if value is MISSING:
            dict.pop(obj, name, None)
        else:
            dict.__setitem__(obj, name, value)
    elif value is MISSING:
        if get(obj, name) is not MISSING:
            delattr(obj, name)
    else:
        setattr(obj, name, value)


class Decision(NamedTuple):
    """A decision of the trace: its text, a function of the run-time numbers and sizes, the outcome, the user's line."""

    text: str
    test: Callable[..., bool]
    outcome: bool
    span: Span | None


class Variant:
    """Guards, executable and assignments of one trace. ``why`` says what failed the last guard check."""

    def __init__(self) -> None:
        self.why = ""
        self.reason = ""
        self.shown = ""
        self.notes: list[str] = []
        self.found: dict[str, int] = {}
        self.seconds = 0.0
        self.epoch = -1
        self.default = default_float()
        self.inputs: list[Input] = []
        self.feeds: list[tuple[str, Any]] = []
        self.targets: list[tuple[int, str, Any]] = []
        self.slots: list[tuple[Value, Any]] = []
        self.assigns: list[tuple[Any, str, Any]] = []
        self.result: Any = None
        self.guards: list[Guard] = []
        self.reads: list[Read] = []
        self.paths: dict[tuple[int, str], Path] = {}
        self.held: list[tuple[Tensor, Storage, bool]] = []
        self.shared: list[tuple[int, Tensor]] = []
        self.numbers: list[tuple[Any, Any]] = []
        self.kinds: list[type] | None = None
        self.checked: Any = None
        self.decisions: list[Decision] = []
        self.patterns: dict[int, tuple[Dim, ...]] = {}
        self.traced: Graph
        self.executable: Any = None
        self.calm = False
        self.tape: Tape | None = None
        self.renewed: list[tuple[str, Any]] = []
        self.made_leaves: list[tuple[int, Any]] = []
        self.made_views: dict[Value, Ref] = {}
        self.effects: list[tuple[int | None, Any, bool]] = []
        self.histories: list[tuple[str, Any, bool]] = []
        self.pinned: list[tuple[int, Tensor]] = []
        self.distinct: list[int] = []
        self.states: set[int] = set()
        self.writes_history = False
        self.keep: Any = None

    # ---- guards ----

    def match(self, leaves: Sequence[Any]) -> dict[str, int] | None:
        """The sizes under which the arguments' shapes fit this variant, or None."""
        values: dict[str, int] = {}
        later = []
        for i, shape in self.patterns.items():
            found = leaves[i]._type.shape
            if len(found) != len(shape):
                return None
            for n, m in zip(shape, found, strict=True):
                if isinstance(n, int):
                    if n != m:
                        return None
                elif len(n.names) == 1 and str(n) in n.names:
                    if m < 2 or values.setdefault(str(n), m) != m:
                        return None
                else:
                    later.append((n, m))
        return values if all(evaluate(n, values) == m for n, m in later) else None

    def holds(self, leaves: Sequence[Any], sizes: dict[str, int]) -> bool:
        """Whether this variant may serve a call with these leaves; ``why`` says what does not hold."""
        for i, x in self.shared:
            if leaves[i] is not x:
                self.why = f"argument {i} is no longer the {x._type} that the function also reaches by itself"
                return False
        for i, x in self.pinned:
            if leaves[i] is not x:
                self.why = f"argument {i} is another {x._type}, and the function reads or writes its attributes"
                return False
        for i in self.distinct:
            if id(leaves[i]._storage) in self.states:
                self.why = f"argument {i} is a tensor that the function also reaches by itself"
                return False
        if epoch.count != self.epoch:
            why = self.changed()
            if why:
                self.why = why
                return False
            self.epoch = epoch.count
        return self._guards_hold() and self._numbers_hold(leaves, sizes)

    def changed(self) -> str:
        """What is no longer as it was read, by name; empty if nothing."""
        if default_float() is not self.default:
            return f"the default dtype changed from {self.default!r} to {default_float()!r}"
        for r in self.reads:
            now = get(r.obj, r.name)
            if now is r.value if r.content is None else content(now) == r.content:
                continue
            path = self.paths.get((id(r.obj), r.name))
            if (
                path
                and isinstance(now, Tensor)
                and now._storage.leaf is None
                and kind_of(now) == path.kind
            ):
                first = get(*path.first)
                if isinstance(first, Tensor) and now._storage is first._storage:
                    continue
            if type(now) is type(r.value) and type(now) in (int, float):
                PROMOTED.add(r.obj, r.name)
            name = f"{type(r.obj).__name__}{f'.{r.name}' if isinstance(r.name, str) else '[...]'}"
            if now is r.value:
                tensor = isinstance(now, Tensor)
                return (
                    f"{'memory or requires_grad' if tensor else 'the contents'} of {name} changed"
                )
            return f"{name} changed from {short(r.value)} to {short(now)} (read at {r.span})"
        for t, s, leaf in self.held:
            if t._storage is not s:
                return f"memory or requires_grad of a captured {s.type} changed (.data = ...)"
            if (s.leaf is not None) != leaf:
                return f"memory or requires_grad of a captured {s.type} changed"
        for kind, key, tracked in self.histories:
            s = key if kind == "state" else get(*key)._storage
            if has_history(s) is not tracked:
                return f"requires_grad of a captured {s.type} changed"
        return ""

    def _guards_hold(self) -> bool:
        for g in self.guards:
            now = look(g.holder, g.key)
            if is_same(now, g):
                continue
            was = f"{g.text} changed from {short(g.value)} to {short(now)}"
            self.why = was if now is not g.value else f"the contents of {g.text} changed"
            return False
        return True

    def _values(self, leaves: Sequence[Any]) -> list[Any]:
        """The run-time numbers of a call (other threads' calls have others)."""
        return [leaves[k] if h is None else get(h, k) for h, k in self.numbers]

    def _numbers_hold(self, leaves: Sequence[Any], sizes: dict[str, int]) -> bool:
        values = self._values(leaves)
        kinds = list(map(type, values))
        if self.kinds is None:
            self.kinds = kinds
        elif kinds != self.kinds:
            k = next(i for i, kind in enumerate(kinds) if kind is not self.kinds[i])
            holder, key = self.numbers[k]
            what = f"argument {key}" if holder is None else f"{type(holder).__name__}.{key}"
            self.why = f"{what} changed from {self.kinds[k].__name__} to {kinds[k].__name__}"
            return False
        if not self.decisions:
            return True
        state_now = list(map(scalar, values)), sizes
        if state_now == self.checked:
            return True
        for d in self.decisions:
            if bool(d.test(*values, **sizes)) != d.outcome:
                self.why = f"{d.text} is no longer {d.outcome} (decided at {d.span})"
                return False
        self.checked = state_now
        return True

    def reread(self) -> bool:
        """Whether everything is still as it was read, after something somewhere changed."""
        self.why = self.changed()
        if self.why:
            return False
        self.epoch = epoch.count
        return True

    # ---- the call ----

    def storage(self, kind: str, key: Any, leaves: Sequence[Any]) -> Storage:
        """The storage behind an input."""
        if kind == "argument":
            return leaves[key]._storage  # type: ignore[no-any-return]
        return get(*key)._storage if kind == "path" else key  # type: ignore[no-any-return]

    def run(self, leaves: Sequence[Any], sizes: dict[str, int]) -> Any:
        """Run the program, then repeat the assignments; an exception in the run changes nothing."""
        if self.targets:
            with writing:
                self._check_targets(leaves)
                return self._run(leaves, sizes)
        return self._run(leaves, sizes)

    def _run(self, leaves: Sequence[Any], sizes: dict[str, int]) -> Any:
        arrays: list[Any] = []
        values = self._values(leaves)
        for kind, key in self.feeds:
            if kind == "argument":
                arrays.append(leaves[key]._array())
            elif kind == "number":
                arrays.append(key(*values, **sizes))
            else:
                arrays.append(self.storage(kind, key, leaves).data)
        tape = self.tape
        call = tape.open(self, leaves, values, sizes) if tape and tape.parts else None
        outputs = run(self.executable, arrays, sizes)
        slots = [self._slot(i, array, sizes) for i, array in enumerate(outputs)]
        self._written(leaves)
        made = self._make_leaves(leaves, slots, sizes)
        if tape is not None:
            tape.mark_spent(slots)
            if call is not None:
                call.views = {v: made[r.kind, r.key, r.view[0]] for v, r in self.made_views.items()}
                tape.close(self, call, slots, leaves)
        return self._assign(leaves, slots, sizes, made, values)

    def _written(self, leaves: Sequence[Any]) -> None:
        """Memory that the program wrote has lost its history; what is written with a new one joins the tape later."""
        for place, kind, key in self.targets:
            if self.tape is not None and place in self.tape.written:
                continue
            storage = self.storage(kind, key, leaves)
            if has_history(storage):
                rewrite(leaves[key] if kind == "argument" else Tensor(storage))
            else:
                storage.advance()
                storage._value = None

    def _make_leaves(
        self, leaves: Sequence[Any], slots: list[Storage], sizes: dict[str, int]
    ) -> dict[Any, Tensor]:
        """Repeat ``requires_grad_()``: on tensors from outside, then on results, which are tensors from here on.

        Views of which other results are made are tensors from here on, too.
        """
        for (
            kind,
            key,
        ) in self.renewed:  # no leaf for a while: what was made before is not made from it
            self.storage(kind, key, leaves)._value = None
        for place, tensor, on in self.effects:
            make_leaf(tensor if place is None else leaves[place], on)
        made: dict[Any, Tensor] = {}
        for k, _ in self.made_leaves:
            made["slot", k, None] = tensor = Tensor(slots[k])
            make_leaf(tensor, True)
        for spec in self.made_views.values():
            self._resolve(spec, leaves, slots, sizes, made, {}, ())
        return made

    def _slot(self, i: int, array: np.ndarray, sizes: dict[str, int]) -> Storage:
        value, strides = self.slots[i]
        type_ = value.type._replace(shape=array.shape)
        return Storage(type_, concrete_shape(strides, sizes), array, None)

    def _assign(
        self,
        leaves: Sequence[Any],
        slots: list[Storage],
        sizes: dict[str, int],
        made: dict[Any, Tensor],
        values: Sequence[Any],
    ) -> Any:
        paths = {
            (id(o), n): get(o, n) for (o, n) in [key for kind, key in self.feeds if kind == "path"]
        }

        def out(spec: Any) -> Any:
            return self._resolve(spec, leaves, slots, sizes, made, paths, values)

        before = epoch.count
        for obj, name, spec in self.assigns:
            put(obj, name, rebuild(spec, out))
        for k, grad in self.made_leaves:
            if grad is not None:
                made["slot", k, None]._grad = out(grad)
        if self.calm and self.epoch == before:
            self.epoch = epoch.count
        return rebuild(self.result, out)

    def _resolve(
        self, spec: Any, leaves: Any, slots: Any, sizes: Any, made: Any, paths: Any, values: Any
    ) -> Any:
        if type(spec) is not Ref:
            return spec
        kind, key, view = spec.kind, spec.key, spec.view
        if kind == "number":
            return key(*values, **sizes)
        if kind == "tensor":
            return key
        if kind == "argument" and view is None:
            return leaves[key]
        if kind == "path":
            x = paths[key]
            return x if view is None or x._steps == view[0] else Tensor(x._storage, *view)
        place = (kind, key, view and view[0])
        if place not in made:
            storage = (
                slots[key]
                if kind == "slot"
                else leaves[key]._storage
                if kind == "argument"
                else key
            )
            base = leaves[key] if kind == "argument" else None
            made[place] = self._view(storage, view, sizes, base)
        return made[place]

    def _view(
        self, storage: Storage, view: Any, sizes: dict[str, int], base: Tensor | None
    ) -> Tensor:
        if view is None:
            return Tensor(storage)
        steps, type_, strides, offset = view
        if sizes:
            type_ = type_._replace(shape=concrete_shape(type_.shape, sizes))
            strides, offset = concrete_shape(strides, sizes), evaluate(offset, sizes)
            steps = tuple((op, _concrete(a, sizes)) for op, a in steps)
        if base is not None:
            return Tensor(storage, base._steps + steps, type_, strides, offset)
        return Tensor(storage, steps, type_, strides, offset)

    def view_of_slot(self, storage: Storage, view: Any, sizes: dict[str, int]) -> Tensor:
        """A view of an output."""
        return self._view(storage, view, sizes, None)

    def resolve(self, spec: Ref, leaves: Sequence[Any], sizes: dict[str, int]) -> Any:
        """A result that is no output of the program: a view of an argument or of captured state, a number."""
        paths = {
            (id(o), n): get(o, n) for (o, n) in [key for kind, key in self.feeds if kind == "path"]
        }
        return self._resolve(spec, leaves, [], sizes, {}, paths, self._values(leaves))

    def _check_targets(self, leaves: Sequence[Any]) -> None:
        """What is written must be writable, and share memory with no other input."""
        for place, kind, key in self.targets:
            data = self.storage(kind, key, leaves).data
            if data is not None and not data.flags.writeable:
                what = self.inputs[place].value.node.attributes[0]
                raise ValueError(
                    f"{what} lies in read-only memory and the function changes it: pass a copy"
                )
        storages = [
            None if kind == "number" else self.storage(kind, key, leaves)
            for kind, key in self.feeds
        ]
        for i, _, _ in self.targets:
            for j, other in enumerate(storages):
                if j != i and other is not None and share_memory(storages[i], other):
                    a, b = (self.inputs[k].value.node.attributes[0] for k in (i, j))
                    raise TraceError(
                        f"{a} and {b} share memory and the function changes one of them: pass a copy"
                    )
        if self.tape is not None:
            self.tape.check(self, leaves)


def share_memory(a: Any, b: Storage) -> bool:
    """Whether a write to one storage may be seen in another."""
    if a.versions is not b.versions:
        return False
    return a.data is b.data or np.may_share_memory(a.data, b.data)


def _concrete(value: Any, sizes: dict[str, int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_concrete(v, sizes) for v in value)
    return evaluate(value, sizes) if hasattr(value, "evaluate") else value


def view_of(x: Tensor, base: tuple[Any, ...] = ()) -> Any:
    """What distinguishes ``x`` from its storage's base: None for the base itself."""
    if not x._steps:
        return None
    return x._steps[len(base) :], x._type, x._strides, x._offset
