"""Recording: one symbolic run of a function, from open trace to finished variant, everything put back as it was."""

from __future__ import annotations

import gc
import operator
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..ir import sizes
from ..ir.errors import LeakedError, TraceError
from ..ir.graph import Graph, Type, Value, building, make_input
from ..ir.sizes import Dim, contiguous_strides
from ..ir.source import explain
from .executable import compile_plain
from .layout import is_contiguous
from .numbers import SPELLED, Number
from .reads import MISSING, OPEN, SCALAR, content, random_states, scalar
from .state import state
from .storage import Storage
from .tape import Memory, Tape
from .tensor import Tensor
from .trace import FIXED, PROMOTED, Read, Retry, Trace, symbolic_type
from .tree import WATCHED, Ref, fields_of, flatten, rebuild
from .variant import Decision, Variant, get, put, view_of

Swaps = dict[int, tuple[Tensor, Storage, Any]]


def record(
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    leaves: list[Any],
    dims: dict[int, dict[int, Dim]],
) -> Variant:
    """Trace one call and compile it; Retry where the trace must be made anew, TraceError where it is refused."""
    hints = {
        str(n): int(leaves[i]._type.shape[d]) for i, names in dims.items() for d, n in names.items()
    }
    trace = Trace(hints)
    swaps: Swaps = {}
    tracked = [isinstance(x, Tensor) and x.requires_grad for x in leaves]
    before = random_states()
    modules = [(cls, cls.__dict__.get("__getattribute__")) for cls in WATCHED]
    state.trace = trace
    try:
        with building(trace), sizes.deciding(trace.decide_size):
            result = _run(trace, function, (args, kwargs), leaves, tracked, dims, swaps)
        state.trace = None
        if trace.refused is not None:
            raise trace.refused
        variant = _finish(trace, result, swaps, leaves)
        result = None
    except Retry:
        _merge(trace, dims)
        raise
    finally:
        state.trace = None
        _put_back(trace, swaps, modules)
        refused = trace.undo()
    if random_states() != before:
        raise TraceError(
            "the traced function drew from Python's or NumPy's random numbers: they would be frozen; use gm.rand"
        )
    if refused is not None:
        raise refused
    _check_leaks(trace)
    return variant


def _run(
    trace: Trace,
    function: Any,
    call: Any,
    leaves: list[Any],
    tracked: list[bool],
    dims: Any,
    swaps: Swaps,
) -> Any:
    """Call the function with symbolic arguments."""
    places = iter(range(len(leaves)))

    def swap(_: Any) -> Any:
        i = next(places)
        x = leaves[i]
        if isinstance(x, Tensor):
            _make_argument(trace, i, x, tracked[i], dims.get(i, {}), swaps)
            return x
        return trace.number(None, i, x) if type(x) in (int, float) else x

    a, k = rebuild(call, swap)
    for cls in WATCHED:
        cls.__getattribute__ = reading  # type: ignore[method-assign, assignment]
    trace.entry = _run.__code__
    for i, x in enumerate(leaves):
        if not isinstance(x, Tensor):
            if isinstance(x, OPEN):
                trace.guard({i: x}, i, f"argument {i}", x, True)
            trace.meet(x)
            trace.enter(x)
    trace_function(trace, function, a)
    before: list[Any] = []
    structure = flatten((a, k), before)
    result = function(*a, **k)
    after: list[Any] = []
    if flatten((a, k), after) != structure or any(map(operator.is_not, before, after)):
        raise TraceError(
            "the traced function changed a container among its arguments: the change would not be repeated; "
            "make a new one, or return what should change"
        )
    return result


def trace_function(trace: Trace, function: Any, args: Any) -> None:
    """Read the code of the function before it runs."""
    if isinstance(function, types.MethodType):
        trace.enter(function)
    elif isinstance(function, types.FunctionType):
        named = zip(function.__code__.co_varnames, args, strict=False)
        trace.enter_function(function, {k: v for k, v in named if not fields_of(v)})
    else:
        trace.enter(function)


def _make_argument(
    trace: Trace, i: int, x: Tensor, tracked: bool, names: dict[int, Dim], swaps: Swaps
) -> None:
    """Give an argument a symbolic storage of its own for the time of the trace."""
    if id(x) in swaps:
        return
    old = x._storage
    swaps[id(x)] = x, old, (x._steps, x._type, x._strides, x._offset)
    type_ = symbolic_type(x._type, names)
    strides = (
        contiguous_strides(type_.shape) if is_contiguous(x._type.shape, x._strides) else x._strides
    )
    storage = Storage(type_, strides, None, make_input("placeholder", type_), trace)
    storage.leaf = old.leaf if not x._steps else None
    trace.input("argument", i, type_, storage, tracked)
    trace.arguments.append(storage)
    x._rebind(storage)


def reading(self: Any, name: str) -> Any:
    """``__getattribute__`` of watched classes while some trace is open."""
    value = object.__getattribute__(self, name)
    trace = state.trace
    if trace is None or name[:2] == "__":
        return value
    if name in object.__getattribute__(self, "__dict__"):
        return trace.read(self, name, value)
    return trace.read_class(self, name, value)


def _put_back(trace: Trace, swaps: Swaps, modules: Any) -> None:
    """Everything as it was before the trace."""
    trace.unhook()
    for cls, before in modules:
        if before is None:
            if "__getattribute__" in cls.__dict__:
                del cls.__getattribute__
        else:
            cls.__getattribute__ = before
    for storage, value, version, leaf in trace.saved.values():
        storage.value, storage.owner, storage.leaf = value, None, leaf
        storage.versions[0] = version
    for x, storage, view in swaps.values():
        x._rebind(storage, *view)
    for obj, name, old, _ in trace.journal.values():
        if isinstance(obj, Tensor):
            obj._grad = old
        elif get(obj, name) is not old:
            put(obj, name, old)


def _merge(trace: Trace, dims: dict[int, dict[int, Dim]]) -> None:
    """Sizes found equal get one name (or their number) in the next trace."""
    for names in dims.values():
        for d, n in list(names.items()):
            new = sizes.substitute(n, trace.equalities)
            if type(new) is int or sizes.is_name(new):
                names[d] = new
            else:
                raise TraceError(
                    f"size {n} must be {new}: a size can only be equal to another one or to a number"
                )


# ---- from trace to variant ----


def _finish(trace: Trace, result: Any, swaps: Swaps, leaves: list[Any]) -> Variant:
    v = Variant()
    _check_dtypes(trace)
    _check_stands(trace)
    slots: dict[int, int] = {}
    outputs: list[tuple[Value, Any]] = []
    resolve = _Resolver(trace, swaps, leaves, slots, outputs)
    v.result = rebuild(result, resolve)
    _collect_assigns(trace, v, resolve)
    _effects(trace, v, resolve, swaps, leaves)
    writes = []
    for place, (kind, key, value, storage) in enumerate(trace.inputs):
        if storage is not None and storage.value is not value and _is_written(trace, storage):
            writes.append((value, storage.value))
            v.targets.append((place, kind, key))
        elif storage is not None and storage.value is not value and storage.leaf is not None:
            v.renewed.append((kind, key))
    v.slots = outputs
    v.inputs = trace.inputs
    v.traced = Graph(
        "trace", [i.value for i in trace.inputs], trace.nodes, [o for o, _ in outputs], writes
    )
    _guards(trace, v, leaves)
    _calm(trace, v, outputs)
    v.executable = _executable(v, leaves)
    _gradients(v, resolve.storages, resolve.views)
    return v


def _is_written(trace: Trace, storage: Storage) -> bool:
    """Whether its memory changes: a new value may also be the same memory as a leaf."""
    before = trace.saved[id(storage)][2] if id(storage) in trace.saved else 0
    return storage.version != before


def _effects(trace: Trace, v: Variant, resolve: _Resolver, swaps: Swaps, leaves: list[Any]) -> None:
    """What ``requires_grad_`` changed: of arguments, of captured tensors, and which results are leaves."""
    for x, old, view in swaps.values():
        on = x._storage.leaf is not None
        if on != (old.leaf is not None and not view[0]):
            v.effects.append((next(i for i, leaf in enumerate(leaves) if leaf is x), None, on))
    for storage, _, _, before in trace.saved.values():
        on = storage.leaf is not None
        tensor = (storage.leaf or before or (lambda: None))()
        if on != (before is not None) and tensor is not None:
            v.effects.append((None, tensor, on))
    for k, storage in enumerate(resolve.storages):  # grows while its leaves' gradients are found
        if storage.leaf is not None:
            tensor = storage.leaf()
            grad = None if tensor is None else tensor._grad
            v.made_leaves.append((k, None if grad is None else resolve(grad)))


def _check_dtypes(trace: Trace) -> None:
    """Kernels compute with real numbers: an op on complex ones would run in Python, without a word."""
    for node in trace.nodes:
        found = [v.type for v in (*node.operands, *node.results) if v.dtype.is_complex]
        if found and node.op.name not in ("alias", "detach"):
            raise TraceError(
                explain(
                    f"{node.op.name} computes with complex numbers ({found[0]}), for which there are no kernels",
                    node.site.span,
                    "call it outside of the compiled function, or compute with real and imaginary parts",
                )
            )


def _check_stands(trace: Trace) -> None:
    """A storage reached by an attribute and another way, and changed, must be read without a stand-in."""
    for i, (stand, _, old) in trace.stands.items():
        changed = stand.value.node.op.name != "input"
        if i in trace.saved and (changed or old.value.node.op.name != "input"):
            FIXED.add(old)
            raise Retry("a tensor attribute is also reached another way")


class _Resolver:
    """Maps what the function returned or assigned to where a later call finds it."""

    def __init__(
        self,
        trace: Trace,
        swaps: Swaps,
        leaves: list[Any],
        slots: dict[int, int],
        outputs: list[tuple[Value, Any]],
    ) -> None:
        self.trace, self.leaves, self.slots, self.outputs = trace, leaves, slots, outputs
        self.storages: list[Storage] = []
        self.views: dict[Value, Ref] = {}
        self.arguments = {id(x._storage): x for x, _, _ in swaps.values()}
        self.stands = {id(s): (id(first[0]), first[1]) for s, first, _ in trace.stands.values()}
        self.functions = Functions(trace)

    def __call__(self, x: Any) -> Any:
        """Where a later call finds ``x``."""
        found = self._find(x)
        if type(found) is Ref and found.view and found.kind != "path":
            value = x._cache if x._base is x._storage.value else None
            if value is not None and value.tracked:
                self.views[value] = found
        return found

    def _find(self, x: Any) -> Any:
        if type(x) is Number:
            return Ref("number", self.functions(x.text))
        if not isinstance(x, Tensor):
            self.check_result(x)
            return x
        s = x._storage
        view = view_of(x)
        if s.owner is None or (id(s) in self.trace.saved):
            return Ref("held", s, view) if x._steps else Ref("tensor", x)
        if id(s) in self.arguments:
            owner = self.arguments[id(s)]
            return Ref(
                "argument", next(i for i, leaf in enumerate(self.leaves) if leaf is owner), view
            )
        if id(s) in self.stands:
            return Ref("path", self.stands[id(s)], view if view else None)
        if id(s) not in self.slots:
            self.slots[id(s)] = len(self.slots)
            self.outputs.append((s.value, s.strides))
            self.storages.append(s)
        return Ref("slot", self.slots[id(s)], view)


    def check_result(self, x: Any) -> None:
        """What is no tensor is the same object in every call: that must not show."""
        once = isinstance(x, Iterator)
        if not once and type(x) not in _CHANGEABLE:
            return
        known = [g.value for g in self.trace.guards.values()]
        known += [r.value for r in self.trace.reads.values()]
        if not any(x is y for y in (*self.leaves, *known)):
            what = "can be read only once" if once else "would be the same one"
            raise TraceError(
                f"the traced function returns or keeps a {type(x).__name__} that it made, which {what} in every call: "
                "return a tensor, or a list, tuple or dict"
            )


_CHANGEABLE = (set, bytearray, deque, np.ndarray)
"""Types of objects that are not made anew for each call."""


class Functions:
    """Run-time numbers as functions of the numbers and sizes of a call."""

    def __init__(self, trace: Trace) -> None:
        names = [n for n, _, _ in trace.numbers.values()]
        self.head = ", ".join([*names, *(["*"] if trace.hints else []), *trace.hints])

    def __call__(self, text: str) -> Callable[..., Any]:
        """The function of an expression."""
        return eval(f"lambda {self.head}: {text}", {"__builtins__": SPELLED})  # type: ignore[no-any-return]


def _collect_assigns(trace: Trace, v: Variant, resolve: _Resolver) -> None:
    for obj, name, old, span in trace.journal.values():
        now = get(obj, name)
        known = (obj, name) in PROMOTED or (id(obj), name) in trace.numbers
        same = now is old or (type(now) in SCALAR and scalar(now) == scalar(old))
        if same and not known:  # nothing to repeat as long as it is what it was
            trace.reads.setdefault((id(obj), name), Read(obj, name, old, content(old), span))
            continue
        if type(now) in (int, float) and type(now) is type(old) and not known:
            PROMOTED.add(obj, name)
            raise Retry(
                f"{type(obj).__name__}.{name} is a Python number that the function changes at {span}"
            )
        v.assigns.append((obj, name, now if now is MISSING else rebuild(now, resolve)))


def _guards(trace: Trace, v: Variant, leaves: list[Any]) -> None:
    functions = Functions(trace)

    def feed(kind: str, key: Any, type_: Type) -> tuple[str, Any]:
        return (kind, functions(key)) if kind == "number" else (kind, key)

    v.feeds = [feed(i.kind, i.key, i.value.type) for i in trace.inputs]
    v.numbers = [(holder, key) for _, holder, key in trace.numbers.values()]
    v.decisions = [
        Decision(text, functions(text), outcome, span)
        for text, (outcome, span) in trace.decisions.items()
    ]
    v.guards, v.reads, v.paths = (
        list(trace.guards.values()),
        list(trace.reads.values()),
        trace.paths,
    )
    v.held = trace.held
    v.keep = [x for x in leaves if not isinstance(x, Tensor)]
    _identities(trace, v, leaves)
    v.shared = [
        (next(i for i, leaf in enumerate(leaves) if leaf is x), x)
        for _, x in trace.shared
        if any(leaf is x for leaf in leaves)
    ]
    v.patterns = {i.key: i.value.type.shape for i in trace.inputs if i.kind == "argument"}
    for r in v.reads:
        if isinstance(r.obj, Tensor):
            r.obj._watched = True
        else:
            watched = getattr(r.obj, "__dict__", {}).get("_watched")
            if watched is None and hasattr(r.obj, "__dict__"):
                r.obj.__dict__["_watched"] = watched = set()
            if watched is not None:
                watched.add(r.name)


def _calm(trace: Trace, v: Variant, outputs: list[tuple[Value, Any]]) -> None:
    """Do our own assignments leave our own guards true? Only a tensor of the kind that the path expects does."""

    def is_calm(obj: Any, name: str, spec: Any) -> bool:
        key = id(obj), name
        if key not in trace.reads:
            return True
        if key not in trace.paths or type(spec) is not Ref or spec.kind != "slot":
            return False
        value, strides = outputs[spec.key]
        return (
            trace.paths[key].kind == (value.type, strides, value.tracked, (), value.type)
            and spec.view is None
        )

    v.calm = all(is_calm(*a) for a in v.assigns)


def _identities(trace: Trace, v: Variant, leaves: list[Any]) -> None:
    """Which arguments must be the very same in a later call, and which must stay apart from captured leaves."""
    named = {id(r.obj) for r in v.reads} | {id(obj) for obj, _, _ in v.assigns}
    v.pinned = [(i, x) for i, x in enumerate(leaves) if isinstance(x, Tensor) and id(x) in named]
    fixed = {i for i, _ in (*v.pinned, *v.shared)}
    for i in trace.inputs:
        if i.kind == "argument" and i.value.note.leaf is not None and i.key not in fixed:
            v.distinct.append(i.key)
        if i.kind == "state" and i.storage is not None and i.storage.leaf is not None:
            v.states.add(id(i.key))
        if i.kind in ("state", "path") and i.storage is not None and i.value.note.leaf is None:
            v.histories.append((i.kind, i.key, i.value.tracked))


def _gradients(v: Variant, results: list[Storage], views: dict[Value, Ref]) -> None:
    """Which results and written memories join the eager tape, and which have spent their graph already."""
    written = [place for place, _, _ in v.targets]
    memories = [
        Memory(n, i.storage.value, i.storage.versions)
        for n, i in enumerate(v.inputs)
        if i.storage is not None
    ]
    memories += [Memory(len(v.inputs) + k, s.value, s.versions) for k, s in enumerate(results)]
    if any(m.final.tracked for m in memories if m.number >= len(v.inputs) or m.number in written):
        v.tape = Tape(v.traced, memories, written, views)
        v.made_views = v.tape.views
    ends = [v.inputs[n].value for n in written]
    v.writes_history = bool(v.tape and v.tape.written) or any(
        x.tracked and x.note.leaf is None for x in ends
    )


def _executable(v: Variant, leaves: list[Any]) -> Any:
    """The program of a trace, for the layouts that its inputs have and its outputs must get."""

    def strides(i: Any) -> Any:
        if i.kind == "number":
            return None
        return i.storage.strides if i.storage is not None else i.key.strides

    inputs = [strides(i) for i in v.inputs]
    return compile_plain(v.traced, inputs, [s for _, s in v.slots])


def _check_leaks(trace: Trace) -> None:
    """Every storage made while tracing must be dead by now: one that lives was put where a replay cannot reach."""
    alive = [s for s in (ref() for ref in trace.storages) if s is not None]
    spans = {id(s): s.value.node.site.span for s in alive}
    alive.clear()
    trace.inputs = trace.nodes = trace.stands = trace.paths = trace.arguments = None  # type: ignore[assignment]
    if not spans:
        return
    gc.collect()
    for ref in trace.storages:
        storage = ref()
        if storage is not None and storage.owner is trace:
            raise LeakedError(
                f"a tensor made at {spans.get(id(storage))} outlives the traced function: this would not be repeated; "
                "return it, or assign it to a Module attribute"
            )
