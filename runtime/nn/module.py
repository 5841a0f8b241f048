"""Module: an object with parameters, buffers and child modules, found by name.

While a trace is open, reads of attributes are noted as guards and writes as assignments to repeat; otherwise an
assignment to what some compiled function has read makes it look again.
"""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...frontend.reads import MISSING, scalar
from ...frontend.state import bump, state
from ...frontend.tensor import Tensor
from ...frontend.tree import watch
from .parameter import Buffer, Parameter
from .state_dict import LoadsState
from .walk import Walks

_TABLES = ("_parameters", "_buffers", "_modules")
_numbers = itertools.count()  # of hooks: an id would be used again


@watch
class Module(Walks, LoadsState):
    """The base class of all layers: define ``__init__`` (calling ``super().__init__()`` first) and ``forward``.

    >>> import gristmill as gm
    >>> class Double(Module):
    ...     def forward(self, x):
    ...         return x * 2
    >>> Double()(gm.ones(2))
    tensor([2., 2.])
    """

    training: bool

    def _no_forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    forward: Callable[..., Any] = _no_forward
    _announced = frozenset([*_TABLES, "_forward_hooks", "_forward_pre_hooks", "_transient"])
    """Containers whose changes a module tells compiled functions itself."""

    def __init__(self) -> None:
        values = self.__dict__
        values["training"] = True
        values["_parameters"], values["_buffers"], values["_modules"] = {}, {}, {}
        values["_transient"] = set()
        values["_forward_hooks"], values["_forward_pre_hooks"] = OrderedDict(), OrderedDict()

    # ---- attributes ----

    def __getattr__(self, name: str) -> Any:
        values = object.__getattribute__(self, "__dict__")
        for table in _TABLES:
            entries = values.get(table)
            if entries is not None and name in entries:
                value = entries[name]
                return value if state.trace is None else state.trace.read(self, name, value)
        if state.trace is not None and name[:2] != "__":
            state.trace.read_class(self, name, MISSING)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _raw(self, name: str) -> Any:
        """What an attribute holds, unseen by a trace."""
        values = object.__getattribute__(self, "__dict__")
        for table in _TABLES:
            entries = values.get(table)
            if entries is not None and name in entries:
                return entries[name]
        return values.get(name, MISSING)

    def _note(self, name: str, new: Any) -> None:
        old = self._raw(name)
        if state.trace is not None:
            state.trace.assign(self, name, old)
        elif (
            old is MISSING or new is MISSING or name in self.__dict__.get("_watched", ())
        ) and not (old is new or _is_equal(old, new)):
            bump()

    def __setattr__(self, name: str, value: Any) -> None:
        values = self.__dict__
        kind = (
            "_parameters"
            if isinstance(value, Parameter)
            else "_modules"
            if isinstance(value, Module)
            else ""
        )
        kind = "_buffers" if isinstance(value, Buffer) else kind
        if kind and kind not in values:
            raise AttributeError(
                f"cannot assign {type(value).__name__} before Module.__init__() was called: "
                "call super().__init__() first"
            )
        self._note(name, value)
        if kind:
            self._remove(name, kind)
            values[kind][name] = value
            if isinstance(value, Buffer) and not value.persistent:
                values["_transient"].add(name)
        else:
            self._set_plain(name, value)

    def _set_plain(self, name: str, value: Any) -> None:
        """Assign what is neither a Parameter nor a Module; a registered name keeps its table."""
        values = self.__dict__
        if name in values.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign a {type(value).__name__} as parameter {name!r}: assign a Parameter or None"
                )
            values["_parameters"][name] = None
        elif name in values.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign a {type(value).__name__} as buffer {name!r}: assign a Tensor or None"
                )
            values["_buffers"][name] = value
        elif name in values.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign a {type(value).__name__} as child module {name!r}: assign a Module or None"
                )
            values["_modules"][name] = None
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if self._raw(name) is MISSING:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._note(name, MISSING)
        self._remove(name)

    def _remove(self, name: str, kept: str = "") -> None:
        """Take a name out of all tables but ``kept``, where an entry that is replaced stays in its place."""
        values = self.__dict__
        for table in (*(values.get(t, {}) for t in _TABLES if t != kept), values):
            table.pop(name, None)
        values.get("_transient", set()).discard(name)

    def __getstate__(self) -> dict[str, Any]:
        """The attributes; what compiled functions have read of this object says nothing about a copy."""
        return {k: v for k, v in self.__dict__.items() if k != "_watched"}

    def __dir__(self) -> list[str]:
        names = set(super().__dir__())
        return sorted(names.union(*(self.__dict__.get(t, {}) for t in _TABLES)))

    # ---- registration ----

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None reserves the name."""
        _check_entry(self, "_parameters", name, param, Parameter)
        self._note(name, param)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained; it is in the state dict unless ``persistent=False``."""
        _check_entry(self, "_buffers", name, tensor, Tensor)
        self._note(name, tensor)
        self._buffers[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child module under a name."""
        _check_entry(self, "_modules", name, module, Module)
        self._note(name, module)
        self._modules[name] = module

    add_module = register_module

    # ---- the call ----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` with the hooks around it."""
        if state.trace is None:
            return self._call(args, kwargs)
        state.trace.enter(state.trace.read(self, "forward", self.forward))
        with _path(self):
            return self._call(args, kwargs)

    def _call(self, args: Any, kwargs: Any) -> Any:
        for hook in self._hooks("_forward_pre_hooks"):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in self._hooks("_forward_hooks"):
            changed = hook(self, args, result)
            result = result if changed is None else changed
        return result

    def _hooks(self, table: str) -> list[Callable[..., Any]]:
        """The hooks of a table; a trace guards which there are, and reads their code."""
        hooks = self.__dict__[table]
        if state.trace is not None:
            state.trace.read(self, table, hooks)
            for hook in hooks.values():
                state.trace.enter(hook)
        return list(hooks.values())

    def _compiled(self, compile: Callable[[Callable[..., Any]], Any]) -> Any:
        """The module with a compiled call: the same attributes, parameters and state dict."""
        return CompiledModule(self, compile(self.__call__))

    def register_forward_hook(self, hook: Callable[..., Any]) -> Any:
        """Call ``hook(module, args, output)`` after forward; what it returns (not None) replaces the output."""
        return _Handle(self.__dict__["_forward_hooks"], hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """Call ``hook(module, args)`` before forward; what it returns (not None) replaces the arguments."""
        return _Handle(self.__dict__["_forward_pre_hooks"], hook)

    # ---- text ----

    def extra_repr(self) -> str:
        """What a subclass adds between the parentheses of its text."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [
            f"({name}): " + repr(m).replace("\n", "\n  ") for name, m in self._modules.items()
        ]
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = [*([extra] if extra else []), *children]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _is_equal(a: Any, b: Any) -> bool:
    return isinstance(a, int | float | str) and scalar(a) == scalar(b)


def _check_entry(module: Module, table: str, name: str, value: Any, kind: type) -> None:
    """Whether ``value`` can be registered in a table under this name."""
    if not isinstance(name, str):
        raise TypeError(f"a name must be a string, not {type(name).__name__}")
    if "_parameters" not in module.__dict__:
        raise AttributeError(
            "cannot register anything before Module.__init__() was called: call super().__init__() first"
        )
    if "." in name or not name:
        raise KeyError(f"a name must not be empty or hold a dot: {name!r}")
    if hasattr(module, name) and name not in module.__dict__[table]:
        raise KeyError(f"attribute {name!r} exists already")
    if value is not None and not isinstance(value, kind):
        raise TypeError(
            f"cannot register a {type(value).__name__} as {name!r}: expected a {kind.__name__} or None"
        )


class _path:
    """The dotted name of the running module, for the sites of graph nodes."""

    def __init__(self, module: Module) -> None:
        names = state.trace.module_names
        if not state.path:
            names.update({id(m): name for name, m in module.named_modules()})
        self.name = names.get(id(module)) or type(module).__name__

    def __enter__(self) -> None:
        state.path.append(self.name)

    def __exit__(self, *_: object) -> None:
        state.path.pop()


class _Handle:
    """Removes a hook again."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        if state.trace is not None:
            state.trace.refuse("registering a hook inside a traced function", "register it before")
        self.hooks, self.number = hooks, next(_numbers)
        hooks[self.number] = hook
        bump()

    def remove(self) -> None:
        """Take the hook away."""
        self.hooks.pop(self.number, None)
        bump()


class CompiledModule(Module):
    """A module whose call is compiled; everything else is the module's own."""

    def __init__(self, module: Module, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_orig_mod", module)
        object.__setattr__(self, "_compiled_call", call)

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN:
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "_orig_mod"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` with the hooks around it."""
        return self._compiled_call(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModule:
        return again(copy.deepcopy(self._orig_mod, memo), self._compiled_call)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return again, (self._orig_mod, self._compiled_call)

    def __repr__(self) -> str:
        return (
            "CompiledModule(\n  (_orig_mod): " + repr(self._orig_mod).replace("\n", "\n  ") + "\n)"
        )


_OWN = frozenset(("_orig_mod", "_compiled_call", "__class__", "__deepcopy__", "__reduce_ex__"))


def again(module: Module, call: Any) -> CompiledModule:
    """A module compiled as another one is."""
    return CompiledModule(module, call.like(module.__call__))
