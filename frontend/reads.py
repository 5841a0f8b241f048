"""What the user's functions read from globals, closures and plain objects, found in their bytecode.

One pass over the bytecode of each function that runs lists chains like ``net``, ``cfg.lr`` or
``table["x"]``; every link is guarded, the last by content. What such a chain ends in (functions,
methods, callables) is read in turn. After the trace the guards are compared again: what the
function changed outside of tensors and Module attributes is refused by name.
"""

from __future__ import annotations

import builtins
import copy
import dis
import functools
import gc
import os
import random
import sys
import time
import types
import warnings
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from ..ir.errors import TraceError
from .state import state
from .tensor import Tensor
from .tree import is_watched

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "nothing"})()
SCALAR = (int, float, bool, str, type(None))
OPEN = (list, dict, OrderedDict, set)
"""Containers that a function may change in place."""

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


def content(v: Any, depth: int = 3) -> Any:
    """What a guard compares: scalars by type and value, containers by content, tensors and all else by identity."""
    kind = type(v)
    if kind in SCALAR:
        return kind, v
    if isinstance(v, Tensor):
        return id(v), id(v._storage), v._storage.leaf is None
    if kind is np.ndarray:
        return kind, v.shape, v.dtype.str, v.tobytes() if v.size <= 4096 else id(v)
    if isinstance(v, list | tuple) or kind in (dict, OrderedDict, set):
        if not depth or len(v) > LARGE:
            return id(v), len(v)
        inner = depth - 1 if len(v) <= 64 else 0
        if kind is set:
            return kind, frozenset(content(e, inner) for e in v)
        if kind in (dict, OrderedDict):
            return (kind, *[(k, content(e, inner)) for k, e in v.items()])
        return (kind, *[content(e, inner) for e in v])
    return id(v)


def is_same(now: Any, guard: Guard) -> bool:
    """Whether a link still holds what it held."""
    if guard.content is None:
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
    return repr(v) if type(v) in SCALAR else f"a {type(v).__name__}"


def is_foreign(code: types.CodeType, module: str) -> bool:
    """Whether code is Python's, NumPy's or our own rather than the user's."""
    return (
        module == "gristmill"
        or module.startswith("gristmill.")
        or code.co_filename.startswith(_FOREIGN)
    )


class Reads:
    """The guards that a trace collects, by (holder, key)."""

    def __init__(self) -> None:
        self.guards: dict[tuple[int, Any], Guard] = {}
        self.seen: dict[Any, Any] = {}
        self.codes: dict[int, types.CodeType] = {}
        self.arguments: list[Any] = []
        self.shared: list[tuple[int, Tensor]] = []
        self.refused: TraceError | None = None

    # ---- functions ----

    def enter_function(self, f: Any, arguments: dict[str, Any] | None = None) -> None:
        """Read what a Python function reads."""
        code = f.__code__
        cells = dict(zip(code.co_freevars, f.__closure__ or (), strict=False))
        self.enter_code(code, f.__globals__, cells, self._defaults(f) | (arguments or {}))

    def _defaults(self, f: Any) -> dict[str, Any]:
        """Default arguments; containers among them are guarded, they live as long as the function."""
        code, values = f.__code__, f.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
        named = dict(zip(names, values, strict=True)) | (f.__kwdefaults__ or {})
        if not is_foreign(code, f.__globals__.get("__name__") or ""):
            for holder, keys in ((values, names), (f.__kwdefaults__, f.__kwdefaults__ or ())):
                for i, key in enumerate(keys):
                    at = i if holder is values else key
                    if isinstance(named[key], OPEN):
                        self.guard(holder, at, key, named[key], True)
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
        plain = (dict, list, tuple, Tensor, int, float)
        arguments = {k: v for k, v in arguments.items() if k in roots and not isinstance(v, plain)}
        key = (id(code), *map(id, cells.values()), *map(id, arguments.values()))
        if key in self.seen:
            return
        self.seen[key] = cells, arguments  # kept: an id must not be used again
        for kind, root, steps in chains:
            self._enter_chain(kind, root, steps, globals_, cells, arguments)
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                self.enter_code(inner, globals_, cells, {})

    def _enter_chain(
        self, kind: str, root: str, steps: Any, globals_: Any, cells: Any, arguments: Any
    ) -> None:
        if kind == "global":
            found = self.follow(root, globals_, root, steps, True)
            if found is MISSING and not steps:
                found = getattr(builtins, root, None)
        elif kind == "free":
            if root not in cells:
                return
            found = self.follow(root, cells[root], None, steps, True)
        elif root in arguments:
            found = self.follow(root, {root: arguments[root]}, root, steps, False)
        else:
            return
        self.enter(found)

    def enter(self, f: Any) -> None:
        """Go on to what a chain ends in, if it is called."""
        if isinstance(f, types.FunctionType):
            self.enter_function(f)
        elif isinstance(f, types.MethodType):
            self._enter_method(f)
        elif isinstance(f, list | tuple):
            for e in f:
                if callable(e):
                    self.enter(e)
        elif isinstance(getattr(f, "__wrapped__", None), types.FunctionType):
            self.enter_function(f.__wrapped__)
        elif isinstance(f, functools.partial):
            self.enter(f.func)
        elif isinstance(f, types.BuiltinFunctionType):
            self._enter_builtin(f)
        elif (
            not isinstance(f, type | types.ModuleType)
            and not is_watched(f)
            and isinstance(type(f).__dict__.get("__call__"), types.FunctionType)
        ):
            self.enter(f.__call__)

    def _enter_method(self, f: types.MethodType) -> None:
        function = f.__func__
        if isinstance(function, types.FunctionType) and function.__code__.co_argcount:
            self.enter_function(function, {function.__code__.co_varnames[0]: f.__self__})

    def _enter_builtin(self, f: Any) -> None:
        if f in _FROZEN:
            self.refused = TraceError(
                f"{f.__name__}() in a traced function would be frozen; pass its value as an argument"
            )
        elif f is print:
            warnings.warn("print() in a traced function runs only while tracing", stacklevel=2)

    # ---- chains ----

    def follow(self, text: str, holder: Any, key: Any, steps: Any, guarded: bool) -> Any:
        """Guard each link of a chain, the last that can be reached by content; returns the value at its end."""
        value = look(holder, key)
        links = [(holder, key, text, value)] if guarded else []
        for how, step in steps:
            inner = plain(value, step) if how == "attribute" and is_watched(value) else MISSING
            if inner is not MISSING:  # the trace guards which object it is, when it is read
                text, value = f"{text}.{step}", inner
                continue
            if isinstance(value, Tensor) or (is_watched(value) and how == "attribute"):
                found = getattr(type(value), step, None) if how == "attribute" else None
                value = (
                    types.MethodType(found, value)
                    if isinstance(found, types.FunctionType) and not isinstance(value, Tensor)
                    else MISSING
                )
                break
            if how == "attribute" and isinstance(value, types.ModuleType):
                links = []
            if how == "attribute" and hasattr(value, "__dict__") and step in vars(value):
                holder, text = vars(value), f"{text}.{step}"
            elif how == "item" and isinstance(value, dict | list | tuple):
                holder, text = value, f"{text}[{step!r}]"
            else:
                value = self._descriptor(value, how, step)
                break
            value = look(holder, step)
            if value is MISSING:
                break
            links.append((holder, step, text, value))
        for link in links:
            self.guard(*link, link is links[-1])
        return value

    def _descriptor(self, value: Any, how: str, step: Any) -> Any:
        found = getattr(type(value), step, None) if how == "attribute" else None
        if isinstance(found, property) and found.fget is not None:
            self.enter(types.MethodType(found.fget, value))
        return types.MethodType(found, value) if isinstance(found, types.FunctionType) else MISSING

    def guard(self, holder: Any, key: Any, text: str, value: Any, last: bool) -> None:
        """Remember one link: the middle of a chain by identity, its end by content."""
        if value is MISSING or isinstance(value, types.ModuleType):
            return
        if isinstance(value, Tensor):
            place = next((i for i, s in enumerate(self.arguments) if s is value._storage), None)
            if place is not None:
                self.shared.append((place, value))
                last = False
        where = (id(holder), key)
        if where not in self.guards or (last and self.guards[where].content is None):
            kept = copy.copy(value) if isinstance(value, OPEN) else value
            self.guards[where] = Guard(
                holder, key, text, value, content(value) if last else None, kept
            )

    def guard_container(self, obj: Any, name: str, value: Any) -> None:
        """A container held by a watched object may change in place, unseen: its content is compared at each call."""
        if isinstance(obj, dict) or name in getattr(type(obj), "_announced", ()):
            return
        places = [vars(obj), *map(vars, type(obj).__mro__)]
        for place in places:
            if place.get(name) is value:
                self.guard(place, name, f"{type(obj).__name__}.{name}", value, True)
                return

    def check_unchanged(self) -> None:
        """Refuse by name, and put back, what the traced function changed."""
        for g in self.guards.values():
            now = look(g.holder, g.key)
            if is_same(now, g):
                continue
            restore(g, now)
            raise TraceError(
                f"{g.text} was changed by the traced function: the change would not be repeated; make it a tensor or a "
                "Module attribute, or return it"
            )


def restore(g: Guard, now: Any) -> None:
    """Put back what a link held before the trace."""
    if now is g.value and isinstance(now, list):
        now[:] = g.copy
    elif now is g.value and isinstance(now, dict | set):
        now.clear()
        now.update(g.copy)
    elif g.key is None:
        g.holder.cell_contents = g.value
    elif isinstance(g.holder, dict | list):
        g.holder[g.key] = g.value


def random_states() -> tuple[Any, Any]:
    """Python's and NumPy's random states, to see whether a trace drew from them."""
    state = np.random.get_state()
    return random.getstate(), (state[1].tobytes(), state[2])  # type: ignore[index, union-attr]


# ---- bytecode ----

Chain = tuple[str, str, list[tuple[str, Any]]]
_chains: dict[types.CodeType, list[Chain]] = {}


def chains_of(code: types.CodeType) -> list[Chain]:
    """Chains that code reads from globals, free variables and its own arguments, found once."""
    found = _chains.get(code)
    if found is None:
        found = _chains[code] = [c for c in _scan(code) if c[0] != "argument" or c[2]]
    return found


_LOADS_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"}
_LOADS_CELL = {"LOAD_DEREF", "LOAD_CLASSDEREF", "STORE_DEREF", "LOAD_FROM_DICT_OR_DEREF"}
_LOADS_LOCAL = {"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_SKIPPED = {"CACHE", "COPY", "PUSH_NULL", "PRECALL", "RESUME", "EXTENDED_ARG"}


def _scan(code: types.CodeType) -> list[Chain]:
    chains: list[Chain] = []
    arguments = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    now: Chain | None = None
    constant: Any = MISSING
    for i in dis.get_instructions(code):
        name, value = i.opname, i.argval
        if name in _SKIPPED:
            continue
        if name in _ATTRIBUTES and now is not None:
            now[2].append(("attribute", value))
            continue
        if name == "LOAD_CONST" and now is not None:
            constant = value
            continue
        if name == "BINARY_SUBSCR" and now is not None and constant is not MISSING:
            now[2].append(("item", constant))
            constant = MISSING
            continue
        now, constant = _root(name, value, code, arguments), MISSING
        if now is not None:
            chains.append(now)
    return chains


def _root(name: str, value: Any, code: types.CodeType, arguments: set[str]) -> Chain | None:
    if name in _LOADS_GLOBAL:
        return ("global", value, [])
    if name in _LOADS_CELL and value in code.co_freevars:
        return ("free", value, [])
    if (name in _LOADS_LOCAL or name in _LOADS_CELL) and value in arguments:
        return ("argument", value, [])
    if name.startswith("LOAD_FAST_") and isinstance(value, tuple) and value[-1] in arguments:
        return ("argument", value[-1], [])
    return None


def closure_of(code: types.CodeType) -> dict[str, Any]:
    """The cells of a function that runs ``code`` (a frame does not tell; the collector does)."""
    for f in gc.get_referrers(code):
        if isinstance(f, types.FunctionType) and f.__code__ is code and f.__closure__:
            return dict(zip(code.co_freevars, f.__closure__, strict=True))
    return {}


def frame_of(code: types.CodeType, outermost: types.CodeType | None) -> Any:
    """The innermost frame that runs ``code``; None where it lies outside of ``outermost``."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = None if frame.f_code is outermost else frame.f_back
    return frame
