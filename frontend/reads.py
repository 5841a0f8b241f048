"""What the user's functions read from globals, closures and arguments, by the chains in their bytecode.

Chains like ``net``, ``cfg.lr`` or ``table["x"]`` (see ``bytecode.py``) are followed as each function is met; every
link is guarded, the last by content. What such a chain ends in (functions, methods, callables) is read in turn, and
plain objects on the way are watched (``watch.py``). After the trace the guards are compared again: what the function
changed outside of tensors and Module attributes is refused by name.
"""

from __future__ import annotations

import builtins
import functools
import importlib.util
import os
import random
import sys
import time
import types
import warnings
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from ..ir.errors import LeakedError, TraceError
from .bytecode import Step, chains_of
from .state import state
from .tensor import Tensor
from .tree import is_open, is_watched

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "nothing"})()
SCALAR = (int, float, bool, str, type(None))
OPEN = (list, dict, set, deque, bytearray, types.SimpleNamespace)
"""Containers that a function may change in place, with their subclasses."""

LARGE = 4096
"""Longer containers are compared by identity and length."""

_FOREIGN = (os.path.dirname(os.__file__), os.path.dirname(np.__file__), "<frozen")
_FROZEN = {
    time.time,
    time.perf_counter,
    time.monotonic,
    time.time_ns,
    time.perf_counter_ns,
    input,
    os.urandom,
}


class Guard(NamedTuple):
    """One link of a chain: where it is looked up, its name, what was found, its content (None: by identity)."""

    holder: Any
    key: Any
    text: str
    value: Any
    content: Any
    copy: Any


def look(holder: Any, key: Any) -> Any:
    """What a link holds now; MISSING where there is nothing."""
    if key is None:
        try:
            return holder.cell_contents
        except ValueError:
            return MISSING
    if isinstance(holder, dict):
        return dict.get(holder, key, MISSING)
    try:
        return holder[key]
    except (IndexError, KeyError, TypeError):
        return MISSING


def scalar(v: Any) -> Any:
    """A scalar by type and value; -0.0 is not 0.0, and NaN is what it was."""
    if type(v) is float and (not v or v != v):
        return float, repr(v)
    return type(v), v


def content(v: Any, depth: int = 3) -> Any:
    """What a guard compares: scalars by type and value, containers by content, tensors and all else by identity."""
    kind = type(v)
    if kind in SCALAR:
        return scalar(v)
    if isinstance(v, Tensor):
        return id(v), id(v._storage), v._storage.leaf is None
    if kind is np.ndarray:
        return kind, v.shape, v.dtype.str, v.tobytes() if v.size <= 4096 else id(v)
    if kind is types.MethodType:
        return kind, id(v.__func__), id(v.__self__)
    if isinstance(v, list | tuple | dict | set | frozenset | deque):
        if isinstance(v, dict) and is_announced(v):
            return id(v)  # a trace sees which entries are read
        return _elements(v, kind, depth)
    if isinstance(v, bytearray):
        return kind, bytes(v)
    if kind is types.SimpleNamespace:
        return kind, _elements(vars(v), dict, depth)
    return id(v)


def is_announced(v: Any) -> bool:
    """Whether a container tells compiled functions itself when it changes."""
    return getattr(type(v), "_announces", False)


def _elements(v: Any, kind: type, depth: int) -> Any:
    if not depth or len(v) > LARGE:
        return id(v), len(v)
    inner = depth - 1 if len(v) <= 64 else 0
    if isinstance(v, dict):
        return (kind, *[(k, content(e, inner)) for k, e in dict.items(v)])
    if isinstance(v, set | frozenset):
        return kind, frozenset(content(e, inner) for e in v)
    return (kind, *[content(e, inner) for e in v])


def copied(v: Any) -> Any:
    """The elements of a container as they are now, to put them back."""
    if isinstance(v, dict):
        return dict.copy(v)
    if isinstance(v, types.SimpleNamespace):
        return dict(vars(v))
    return list(v) if isinstance(v, list | deque | bytearray) else set(v)


def is_same(now: Any, guard: Guard) -> bool:
    """Whether a link still holds what it held."""
    if guard.content is None or now is MISSING:
        return now is guard.value
    if now is guard.value and type(now) in SCALAR:
        return True
    return bool(content(now) == guard.content)


def plain(obj: Any, name: str) -> Any:
    """An attribute of a watched object itself, read unseen by the trace; MISSING where its class gives it."""
    if hasattr(type(obj), name):
        return getattr(obj, "__dict__", {}).get(name, MISSING)
    before, state.trace = state.trace, None
    try:
        return getattr(obj, name, MISSING)
    finally:
        state.trace = before


def short(v: Any) -> str:
    """A value in an error or a log line."""
    return repr(v) if v is MISSING or type(v) in SCALAR else f"a {type(v).__name__}"


def is_foreign(code: types.CodeType, module: str) -> bool:
    """Whether code is Python's, NumPy's or our own rather than the user's."""
    return (
        module == "gristmill"
        or module.startswith("gristmill.")
        or code.co_filename.startswith(_FOREIGN)
    )


def bound(obj: Any, name: str) -> Any:
    """The function that an object's class gives by a name, bound as the object would; MISSING where there is none."""
    found = next((vars(c)[name] for c in type(obj).__mro__ if name in vars(c)), MISSING)
    if isinstance(found, staticmethod):
        return found.__func__
    if isinstance(found, classmethod):
        return types.MethodType(found.__func__, type(obj))
    return types.MethodType(found, obj) if isinstance(found, types.FunctionType) else found


class Reads:
    """The guards that a trace collects, by (holder, key)."""

    def __init__(self) -> None:
        self.guards: dict[tuple[int, Any], Guard] = {}
        self.seen: dict[Any, Any] = {}
        self.codes: dict[int, types.CodeType] = {}
        self.arguments: list[Any] = []
        self.shared: list[tuple[int, Tensor]] = []
        self.views: dict[type, Any] = {}
        self.passed: set[tuple[int, int, int]] = set()
        self.refused: TraceError | None = None

    # ---- functions ----

    def enter_function(self, f: Any, arguments: dict[str, Any] | None = None) -> None:
        """Read what a Python function reads."""
        code = f.__code__
        if is_foreign(code, f.__globals__.get("__name__") or ""):
            return
        cells = dict(zip(code.co_freevars, f.__closure__ or (), strict=False))
        self.enter_code(code, f.__globals__, cells, self._defaults(f) | (arguments or {}))

    def _defaults(self, f: Any) -> dict[str, Any]:
        """Default arguments; containers among them are guarded, they live as long as the function."""
        code, values = f.__code__, f.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
        named = dict(zip(names, values, strict=True)) | (f.__kwdefaults__ or {})
        for holder, keys in ((values, names), (f.__kwdefaults__, f.__kwdefaults__ or ())):
            for i, key in enumerate(keys):
                at = i if holder is values else key
                if isinstance(named[key], OPEN):
                    self.guard(holder, at, key, named[key], True)
                self.meet(named[key])
        return named

    def enter_code(
        self,
        code: types.CodeType,
        globals_: dict[str, Any],
        cells: dict[str, Any],
        arguments: dict[str, Any],
    ) -> None:
        """Guard the chains of one code object, for these cells and arguments."""
        if is_foreign(code, globals_.get("__name__") or ""):
            return
        self.codes[id(code)] = code
        chains = chains_of(code)
        roots = {root for kind, root, _ in chains if kind == "argument"}
        if any(kind == "super" for kind, _, _ in chains):
            roots |= set(code.co_varnames[:1])
        plain = (dict, list, tuple, Tensor, int, float)
        arguments = {k: v for k, v in arguments.items() if k in roots and not isinstance(v, plain)}
        key = (id(code), *map(id, cells.values()), *map(id, arguments.values()))
        if key in self.seen:
            return
        self.seen[key] = cells, arguments  # kept: an id must not be used again
        for kind, root, steps in chains:
            self._enter_chain(code, kind, root, steps, globals_, cells, arguments)
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                self.enter_code(inner, globals_, cells, {})

    def _enter_chain(
        self,
        code: types.CodeType,
        kind: str,
        root: str,
        steps: list[Step],
        globals_: Any,
        cells: Any,
        arguments: Any,
    ) -> None:
        if kind == "global":
            found = self.follow(code, root, globals_, root, steps, True)
            if found is MISSING and not steps:
                found = getattr(builtins, root, MISSING)
                if found is MISSING:
                    self.guard(globals_, root, root, MISSING, False)
        elif kind == "free" and root in cells:
            found = self.follow(code, root, cells[root], None, steps, True)
        elif kind == "argument" and root in arguments:
            found = self.follow(code, root, {root: arguments[root]}, root, steps, False)
        elif kind == "import":
            found = self.follow(code, root, {root: module_of(root, globals_)}, root, steps, False)
        elif kind == "super" and "__class__" in cells and arguments:
            found = self._inherited(cells["__class__"], next(iter(arguments.values())), steps[0][1])
        else:
            return
        self.enter(found)

    def _inherited(self, cell: Any, obj: Any, name: str) -> Any:
        """What ``super()`` gives, guarded on the class that it is found on."""
        cls = look(cell, None)
        kind = obj if isinstance(obj, type) else type(obj)
        if not isinstance(cls, type) or cls not in kind.__mro__:
            return MISSING
        found = self.guard_class(kind, name, kind.__mro__[kind.__mro__.index(cls) + 1 :])
        if isinstance(found, classmethod):
            return types.MethodType(found.__func__, kind)
        return types.MethodType(found, obj) if isinstance(found, types.FunctionType) else found

    def enter(self, f: Any) -> None:
        """Go on to what a chain ends in, if it is called."""
        if f is MISSING or type(f) in SCALAR:
            return
        if isinstance(f, types.FunctionType):
            self.enter_function(f)
        elif isinstance(f, types.MethodType):
            self._enter_method(f)
        elif isinstance(f, list | tuple | dict):
            for e in dict.values(f) if isinstance(f, dict) else f:
                if callable(e):
                    self.enter(e)
        elif isinstance(f, staticmethod | classmethod):
            self.enter(f.__func__)
        elif isinstance(getattr(f, "__wrapped__", None), types.FunctionType):
            self.enter_function(f.__wrapped__)
        elif isinstance(f, functools.partial):
            self._enter_partial(f)
        elif isinstance(f, types.BuiltinFunctionType):
            self._enter_builtin(f)
        elif isinstance(f, type):
            self.meet_class(f)
        elif callable(f) and not is_watched(f):
            found = self.guard_class(type(f), "__call__")
            if isinstance(found, types.FunctionType):
                self.enter(types.MethodType(found, f))

    def _enter_method(self, f: types.MethodType) -> None:
        function = f.__func__
        self.meet(f.__self__)
        if isinstance(function, types.FunctionType) and function.__code__.co_argcount:
            self.enter_function(function, {function.__code__.co_varnames[0]: f.__self__})

    def _enter_partial(self, f: Any) -> None:
        self.meet(f.args)
        for name, value in f.keywords.items():
            self.guard(f.keywords, name, name, value, True)
            self.meet(value)
        self.enter(f.func)

    def _enter_builtin(self, f: Any) -> None:
        if f in _FROZEN:
            self.refused = TraceError(
                f"{f.__name__}() in a traced function would be frozen; pass its value as an argument"
            )
        elif f is print:
            warnings.warn("print() in a traced function runs only while tracing", stacklevel=2)

    # ---- chains ----

    def follow(
        self,
        code: types.CodeType,
        text: str,
        holder: Any,
        key: Any,
        steps: list[Step],
        guarded: bool,
    ) -> Any:
        """Guard each link of a chain, the last that can be reached by content; returns the value at its end."""
        value = look(holder, key)
        links = [(holder, key, text, value)] if guarded and value is not MISSING else []
        places: list[tuple[int, int, int]] = []
        for how, step, at in steps:
            self.meet(value)
            inner = plain(value, step) if how == "attribute" and is_watched(value) else MISSING
            if inner is not MISSING:  # the trace guards which object it is, when it is read
                text, value = f"{text}.{step}", inner
                continue
            if isinstance(value, Tensor) or (is_watched(value) and how == "attribute"):
                value = MISSING if isinstance(value, Tensor) else self._descriptor(value, how, step)
                break
            if how == "attribute" and isinstance(value, types.ModuleType):
                links = []
            holder = self._holder(value, how, step)
            if holder is None:
                value = self._descriptor(value, how, step)
                break
            text = f"{text}.{step}" if how == "attribute" else f"{text}[{step!r}]"
            owner, value = value, look(holder, step)
            self.passed.update(places[-1:])
            places.append((id(code), at, id(holder)))
            links.append((holder, step, text, value))
            if value is MISSING:
                break
            if isinstance(owner, type) and isinstance(value, classmethod):
                value = types.MethodType(value.__func__, owner)
        for link in links:
            self.guard(*link, link is links[-1])
        self.meet(value)
        return value

    def _holder(self, value: Any, how: str, step: Any) -> Any:
        """The dict (or list) in which a link is found; None where there is none."""
        if how == "item":
            return value if isinstance(value, dict | list | tuple) else None
        if isinstance(value, type):
            owners = [c for c in value.__mro__ if step in vars(c)]
            return self.entries(owners[0]) if owners else None
        values = getattr(value, "__dict__", None)
        return values if values is not None and step in values else None

    def _descriptor(self, value: Any, how: str, step: Any) -> Any:
        found = bound(value, step) if how == "attribute" else MISSING
        if isinstance(found, property) and found.fget is not None:
            self.enter(types.MethodType(found.fget, value))
        return found if isinstance(found, types.FunctionType | types.MethodType) else MISSING

    def guard(self, holder: Any, key: Any, text: str, value: Any, last: bool) -> None:
        """Remember one link: the middle of a chain by identity, its end by content."""
        if isinstance(value, types.ModuleType):
            return
        if isinstance(value, Tensor):
            place = next((i for i, s in enumerate(self.arguments) if s is value._storage), None)
            if place is not None:
                self.shared.append((place, value))
                last = False
        where = (id(holder), key)
        if where not in self.guards or (last and self.guards[where].content is None):
            kept = copied(value) if isinstance(value, OPEN) else value
            self.guards[where] = Guard(
                holder,
                key,
                text,
                value,
                content(value) if last or value is MISSING else None,
                kept,
            )

    def entries(self, cls: type) -> Any:
        """The names of a class, always the same view of them."""
        return self.views.setdefault(cls, vars(cls))

    def guard_class(self, kind: type, name: str, among: Any = None) -> Any:
        """Guard which class an attribute is found on, and what it is there; MISSING where no class has it."""
        for cls in kind.__mro__ if among is None else among:
            view = self.entries(cls)
            value = view.get(name, MISSING)
            if is_open(cls):
                self.guard(view, name, f"{cls.__name__}.{name}", value, True)
            if value is not MISSING:
                return value
        return MISSING

    def meet(self, value: Any, inside: bool = False) -> None:
        """Something from outside of the function is met (in a container): a trace watches it (see ``watch.py``)."""

    def meet_class(self, cls: type) -> None:
        """A class is met, whose objects may be born inside: their class's names are from outside all the same."""

    def guard_container(self, obj: Any, name: str, value: Any) -> None:
        """A container held by a watched object may change in place, unseen: its content is compared at each call."""
        announced = name in getattr(type(obj), "_announced", ()) or is_announced(value)
        if announced or isinstance(obj, dict):
            return
        for place in (vars(obj), *map(self.entries, type(obj).__mro__)):
            if place.get(name) is value:
                self.guard(place, name, f"{type(obj).__name__}.{name}", value, True)
                return

    def undo(self) -> TraceError | None:
        """Put back what the function changed outside of tensors and Module attributes; the refusal of the first."""
        error = None
        for g in self.guards.values():
            now = look(g.holder, g.key)
            if not is_same(now, g):
                error = error or self._refusal(g, now)
                self.restore(g, now)
        return error

    def _refusal(self, g: Guard, now: Any) -> TraceError:
        if isinstance(now, Tensor) and now._storage.owner is self:
            return LeakedError(
                f"a tensor made at {now._storage.value.node.site.span} outlives the traced function in {g.text}: this "
                "would not be repeated; return it, or assign it to a Module attribute"
            )
        return TraceError(
            f"{g.text} was changed by the traced function: the change would not be repeated; make it a tensor or a "
            "Module attribute, or return it"
        )

    def restore(self, g: Guard, now: Any) -> None:
        """Put back what a link held before the trace."""
        if now is g.value and isinstance(now, list | bytearray):
            now[:] = g.copy
        elif now is g.value and isinstance(now, dict | set | deque):
            now.clear()
            (now.extend if isinstance(now, deque) else now.update)(g.copy)
        elif now is g.value and isinstance(now, types.SimpleNamespace):
            vars(now).clear()
            vars(now).update(g.copy)
        elif g.key is None:
            g.holder.cell_contents = g.value
        elif isinstance(g.holder, types.MappingProxyType):
            owner = next(c for c, view in self.views.items() if view is g.holder)
            if g.value is MISSING:
                type.__delattr__(owner, g.key)
            else:
                type.__setattr__(owner, g.key, g.value)
        elif g.value is MISSING:
            del g.holder[g.key]
        elif not isinstance(g.holder, tuple):
            g.holder[g.key] = g.value


def module_of(root: str, globals_: dict[str, Any]) -> Any:
    """The module that an import names; MISSING before it is first imported."""
    name = root
    if root.startswith("."):
        try:
            name = importlib.util.resolve_name(root, globals_.get("__package__") or "")
        except ImportError:
            return MISSING
    return sys.modules.get(name, MISSING)


def random_states() -> tuple[Any, Any]:
    """Python's and NumPy's random states, to see whether a trace drew from them."""
    state = np.random.get_state()
    return random.getstate(), (state[1].tobytes(), state[2])  # type: ignore[index, union-attr]
