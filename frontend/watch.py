"""Plain objects that a traced function meets: while a trace is open, reads of their attributes become guards.

An object is met where a chain leads to it, in a container that is met, or as an attribute of an object that is watched;
from then on its class has a ``__getattribute__`` of ours, which is taken off when the trace ends. Objects that are born
inside are never met: what they hold is remade by the trace.
"""

from __future__ import annotations

import enum
import sys
import types
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.errors import TraceError
from ..ir.source import is_own
from .consumed import is_used_up, mark, position, put_back
from .reads import LARGE, MISSING, SCALAR, Reads, look
from .state import state
from .tensor import Tensor
from .tree import WATCHED, is_installed, is_open, is_plain, is_watched

_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_IGNORED = (*SCALAR, types.ModuleType, types.FunctionType, Tensor)
_METHODS = (types.MethodType, types.BuiltinFunctionType)
_UNWATCHED = (type, BaseException, enum.Enum, np.ndarray, Tensor)


class Slots:
    """The attributes of an object that are in no dict, looked up as if they were."""

    def __init__(self, obj: Any, read: Any = object.__getattribute__) -> None:
        self.obj, self.read = obj, read

    def __getitem__(self, name: str) -> Any:
        try:
            return self.read(self.obj, name)
        except AttributeError:
            raise KeyError(name) from None

    def get(self, name: str, default: Any) -> Any:
        """What a slot holds, or ``default``."""
        try:
            return self[name]
        except KeyError:
            return default

    def __setitem__(self, name: str, value: Any) -> None:
        object.__setattr__(self.obj, name, value)

    def __delitem__(self, name: str) -> None:
        object.__delattr__(self.obj, name)


class Watch(Reads):
    """The objects that were met, the hooks on their classes, and what was read from them."""

    def __init__(self) -> None:
        super().__init__()
        self.met: dict[int, Any] = {}
        self.plain: dict[int, Any] = {}
        self.slots: dict[int, Slots] = {}
        self.noticed: set[Any] = set()
        self.hooked: dict[type, dict[str, Any]] = {}
        self.drawn: list[tuple[Any, Any, Any]] = []

    # ---- meeting ----

    def meet(self, value: Any, inside: bool = False) -> None:
        """Watch a plain object from outside; go through containers, and note how far iterators were read."""
        kind = type(value)
        if kind in _IGNORED or id(value) in self.met:
            return
        if kind in _METHODS:
            self.meet(value.__self__)
        elif isinstance(value, _CONTAINERS):
            self.met[id(value)] = value
            if len(value) <= LARGE:
                for e in list(dict.values(value) if isinstance(value, dict) else value):
                    self.meet(e, True)
        elif is_used_up(value):
            before = mark(value)
            if before is not None or not inside:  # what lies in a container may not be meant
                self.met[id(value)] = value
                self.drawn.append((value, before, position(value)))
        if is_plain(kind) and not is_watched(value) and not isinstance(value, _UNWATCHED):
            self.met[id(value)] = self.plain[id(value)] = value
            self.hook(kind)

    def meet_class(self, cls: type) -> None:
        """A class that objects may be made of inside: their methods are read, and what they find on the class."""
        if cls not in self.hooked and is_open(cls):
            functions = [f for f in vars(cls).values() if type(f) is types.FunctionType]
            for f in functions:
                self.enter_function(f)
            if not functions:
                self._meet_namespace(cls)
            if not issubclass(cls, (*WATCHED, *_UNWATCHED)):
                self.hook(cls)

    def _meet_namespace(self, cls: type) -> None:
        """A class of mere data (``class cfg: lr = 0.1``) that is passed on: nobody sees what is read from it."""
        for c in filter(is_open, cls.__mro__):
            for name, value in list(vars(c).items()):
                if name[:2] != "__" and not callable(value):
                    self.guard(self.entries(c), name, f"{c.__name__}.{name}", value, True)
                    self.meet(value)

    def hook(self, cls: type) -> None:
        """Let the trace see what is read from and written to the objects of a class, and read its operators' code."""
        if cls in self.hooked:
            return
        self.hooked[cls] = {name: vars(cls).get(name, MISSING) for name in _MAKERS}
        for name, maker in _MAKERS.items():
            type.__setattr__(cls, name, maker(self._before(cls, name), is_open(cls)))
        for c in filter(is_open, cls.__mro__):
            for name, f in list(vars(c).items()):
                if name[:2] == "__" and name not in _PASSIVE and type(f) is types.FunctionType:
                    self.enter_function(f)

    def _before(self, cls: type, name: str) -> Callable[..., Any]:
        """What a class did before it was hooked."""
        for c in cls.__mro__:
            found = self.hooked[c][name] if c in self.hooked else vars(c).get(name, MISSING)
            if found is not MISSING:
                return found  # type: ignore[no-any-return]
        raise TypeError(f"{cls.__name__} has no {name}")

    def unhook(self) -> None:
        """All classes as they were."""
        for cls, before in self.hooked.items():
            for name, found in before.items():
                if found is MISSING:
                    type.__delattr__(cls, name)
                else:
                    type.__setattr__(cls, name, found)
        self.hooked = {}

    # ---- reads and writes ----

    def notice(self, obj: Any, name: str, value: Any, frame: Any) -> None:
        """An attribute of a plain object was read: guard where it came from, and go on to what it is."""
        key = id(obj), name
        if key in self.noticed:
            return
        kind, values = type(obj), _dict_of(obj)
        text = f"{kind.__name__}.{name}"
        found = next((vars(c)[name] for c in kind.__mro__ if name in vars(c)), MISSING)
        self.noticed.add(key)
        if name in _WHOLE:
            value = values
            self.guard({name: value}, name, f"{kind.__name__}.__dict__", value, True)
        elif isinstance(found, types.MemberDescriptorType):
            self.guard(self._slots(obj), name, text, value, True)
        elif _is_data(found):  # what its code reads is noticed in turn
            self.guard_class(kind, name)
            if isinstance(found, property) and found.fget is not None:
                self.enter(types.MethodType(found.fget, obj))
            return
        elif values is not None and name in values:
            last = (id(frame.f_code), frame.f_lasti, id(values)) not in self.passed
            if not last:
                self.noticed.discard(key)  # another place may read all of it
            self.guard(values, name, text, values[name], last)
        else:
            if values is not None:
                self.guard(values, name, text, MISSING, False)
            if self.guard_class(kind, name) is MISSING and value is not MISSING:
                self.guard(Slots(obj, getattr), name, text, value, True)  # from its class's code
        self.meet(value)
        self.enter(value)

    def notice_class(self, obj: Any, name: str) -> None:
        """An attribute of an object that was born inside was read: its class may be from outside."""
        kind = type(obj)
        if (0, kind, name) in self.noticed or name in (_dict_of(obj) or ()):
            return
        self.noticed.add((0, kind, name))
        found = self.guard_class(kind, name)
        self.meet(found)
        self.enter(found)

    def write(self, obj: Any, name: str) -> None:
        """An attribute of a plain object is about to change: when the trace ends it must be what it is now."""
        found = next((vars(c)[name] for c in type(obj).__mro__ if name in vars(c)), MISSING)
        values, text = _dict_of(obj), f"{type(obj).__name__}.{name}"
        if isinstance(found, types.MemberDescriptorType):
            slots = self._slots(obj)
            self.guard(slots, name, text, look(slots, name), True)
        elif values is not None and not _is_data(found):
            self.guard(values, name, text, values.get(name, MISSING), True)

    def _slots(self, obj: Any) -> Slots:
        return self.slots.setdefault(id(obj), Slots(obj))

    def undo(self) -> TraceError | None:
        """Put back what the function changed outside of tensors and Module attributes; the refusal of the first."""
        error = super().undo()
        for x, before, kept in self.drawn:
            if before is None or mark(x) != before:
                error = error or TraceError(
                    f"the traced function draws from a {type(x).__name__} made outside of it: what it gives would be "
                    "frozen; pass its next value as an argument"
                )
                put_back(x, kept)
        return error


def _dict_of(obj: Any) -> Any:
    try:
        return object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return None


def _is_data(found: Any) -> bool:
    """Whether what a class holds answers before the object's own names: a property, or the like of it."""
    return isinstance(found, property) or hasattr(type(found), "__set__")


# ---- what is put on the classes ----


_WHOLE = {"__dict__", "__reduce__", "__reduce_ex__", "__getstate__"}
"""Names by which all attributes are read: ``vars`` and ``copy`` ask for them."""


def _is_seen(obj: Any, frame: Any, own: bool) -> bool:
    """Whether what a frame does to an object is the user's doing; the objects of packages have secrets of their own."""
    trace = state.trace
    if trace is None or id(obj) not in trace.plain or is_own(frame):
        return False
    return own or not is_installed(frame.f_code.co_filename)


def _reading(before: Callable[..., Any], own: bool) -> Any:
    def __getattribute__(self: Any, name: str) -> Any:
        if state.trace is None or (name[:2] == "__" and name not in _WHOLE):
            return before(self, name)
        frame = sys._getframe(1)
        if not _is_seen(self, frame, own):
            if own and not is_own(frame):
                state.trace.notice_class(self, name)
            return before(self, name)
        try:
            value = before(self, name)
        except AttributeError:
            state.trace.notice(self, name, MISSING, frame)
            raise
        state.trace.notice(self, name, value, frame)
        return value

    return __getattribute__


def _writing(before: Callable[..., Any], own: bool) -> Any:
    def __setattr__(self: Any, name: str, value: Any) -> None:
        if _is_seen(self, sys._getframe(1), own):
            state.trace.write(self, name)
        before(self, name, value)

    return __setattr__


def _deleting(before: Callable[..., Any], own: bool) -> Any:
    def __delattr__(self: Any, name: str) -> None:
        if _is_seen(self, sys._getframe(1), own):
            state.trace.write(self, name)
        before(self, name)

    return __delattr__


_MAKERS = {"__getattribute__": _reading, "__setattr__": _writing, "__delattr__": _deleting}
_PASSIVE = {*_MAKERS, "__init__", "__new__", "__repr__", "__str__", "__del__", "__reduce__"}
"""Methods of a class that no operator and no attribute of its objects leads to."""
