"""Optimizer: groups of parameters with their numbers, and state for each parameter.

The numbers of a group are run-time inputs of a trace: a schedule changes them without compiling again. State is made
concretely, also while a trace is open, so that the first two calls of a compiled step share one variant.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from ...frontend.reads import MISSING
from ...frontend.state import bump, state
from ...frontend.tensor import Tensor, grad_mode
from ...frontend.tree import watch


class Watched(dict):  # type: ignore[type-arg]
    """A dict whose entries a trace sees: what it reads is guarded, what it writes is repeated after each call."""

    _announces = True  # compiled functions look again after a change, whichever method made it

    def __getitem__(self, key: Any) -> Any:
        value = dict.__getitem__(self, key)
        return value if state.trace is None else state.trace.read(self, key, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        if state.trace is not None:
            state.trace.assign(self, key, dict.get(self, key, MISSING))
        else:
            bump()
        dict.__setitem__(self, key, value)

    def __delitem__(self, key: Any) -> None:
        before = dict.__getitem__(self, key)
        if state.trace is not None:
            state.trace.assign(self, key, before)
        else:
            bump()
        dict.__delitem__(self, key)

    def pop(self, key: Any, *default: Any) -> Any:
        """Take an entry out."""
        if default and not dict.__contains__(self, key):
            return default[0]
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Take the last entry out."""
        key = next(reversed(self))
        return key, self.pop(key)

    def clear(self) -> None:
        """Take all entries out."""
        for key in list(dict.keys(self)):
            del self[key]

    def update(self, *others: Any, **more: Any) -> None:
        """Set the entries of a mapping, of pairs and of keywords."""
        for key, value in dict(*others, **more).items():
            self[key] = value

    def __ior__(self, other: Any) -> Watched:  # type: ignore[override, misc]
        self.update(other)
        return self

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The entry, made if there is none."""
        if not dict.__contains__(self, key):
            self[key] = default
        return self[key]

    def get(self, key: Any, default: Any = None) -> Any:
        """The entry, or ``default``."""
        return self[key] if dict.__contains__(self, key) else default

    def __iter__(self) -> Iterator[Any]:  # also what ``**group`` goes through
        return iter(dict.keys(self))

    def items(self) -> Any:
        """Keys and entries."""
        return [(k, self[k]) for k in self]

    def values(self) -> Any:
        """The entries."""
        return [self[k] for k in self]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        out = type(self)()
        memo[id(self)] = out
        for k, v in dict.items(self):
            dict.__setitem__(out, k, copy.deepcopy(v, memo))
        return out


class ParamGroup(Watched):
    """One entry of ``param_groups``; its numbers are run-time numbers inside a trace."""

    def __getitem__(self, key: Any) -> Any:
        value = dict.__getitem__(self, key)
        if state.trace is None:
            return value
        if type(value) in (int, float):
            return state.trace.number(self, key, value)
        return state.trace.read(self, key, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        if (
            state.trace is None
            and type(value) in (int, float)
            and type(dict.get(self, key)) is type(value)
        ):
            dict.__setitem__(self, key, value)  # a number is read anew at each call
        else:
            Watched.__setitem__(self, key, value)


def _announcing(name: str) -> Any:
    """A method of lists that changes the list, and lets compiled functions look again."""
    method = getattr(list, name)

    @functools.wraps(method)
    def change(self: Any, *args: Any, **kwargs: Any) -> Any:
        if state.trace is not None:
            state.trace.refuse(
                "changing the groups of an optimizer in a traced function", "do it outside"
            )
        bump()
        return method(self, *args, **kwargs)

    return change


class Groups(list):  # type: ignore[type-arg]
    """The list of groups, or of the parameters of a group; a compiled step looks again when it changes."""

    _announces = True

    append, extend, insert = map(_announcing, ("append", "extend", "insert"))
    remove, pop, clear = map(_announcing, ("remove", "pop", "clear"))
    sort, reverse, __iadd__ = map(_announcing, ("sort", "reverse", "__iadd__"))
    __setitem__, __delitem__, __imul__ = map(
        _announcing, ("__setitem__", "__delitem__", "__imul__")
    )


@watch
class Optimizer:
    """The base class: subclasses define ``init_state(p, group)`` and ``update(p, grad, group, state)``.

    ``params``: tensors, (name, tensor) pairs, or dicts with ``params`` and numbers of their own.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params should be an iterable of tensors or dicts, but it is one Tensor"
            )
        _check_ordered(params)
        self.defaults = defaults
        self.state: dict[Any, Any] = Watched()
        self.param_groups: Any = Groups()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with numbers of their own; what is left out comes from the defaults."""
        if not isinstance(param_group, Mapping):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        given = dict(param_group)
        params = given["params"]
        _check_ordered(params)
        params = [params] if isinstance(params, Tensor) else list(params)
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        known = {id(p) for group in self.param_groups for p in dict.__getitem__(group, "params")}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is a {type(p).__name__}"
                )
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group")
        if len({id(p) for p in params}) < len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters: each is updated twice",
                stacklevel=2,
            )
        self.param_groups.append(ParamGroup({**self.defaults, **given, "params": Groups(params)}))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients (or make them zero)."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; ``closure`` computes the loss anew first."""
        loss = None
        if closure is not None:
            with grad_mode(True):
                loss = closure()
        with grad_mode(False):
            for group in self.param_groups:
                for p in group["params"]:
                    grad = p.grad
                    if grad is not None:
                        self.update(p, grad, group, self.state_of(p, group))
        return loss

    def state_of(self, p: Tensor, group: Any) -> Any:
        """The state of a parameter, made when it is first asked for."""
        found = dict.get(self.state, p)
        if found is None or any(not dict.__contains__(found, n) for n in self.entries(group)):
            plain = {k: dict.__getitem__(group, k) for k in dict.keys(group)}
            with nullcontext() if state.trace is None else state.trace.paused():
                fresh = self.complete(found or {}, p, plain)
            if found is None:
                found = Watched()
                dict.__setitem__(self.state, p, found)
            for name, value in fresh.items():
                dict.setdefault(found, name, value)
        return found if state.trace is None else state.trace.read(self.state, p, found)

    def entries(self, group: Any) -> tuple[str, ...]:
        """What state must hold for the numbers that a group has now, where that depends on them."""
        return ()

    def complete(self, found: Mapping[str, Any], p: Tensor, group: Any) -> dict[str, Any]:
        """The entries that join what state there is."""
        return self.init_state(p, group)

    def init_state(self, p: Tensor, group: Any) -> dict[str, Any]:
        """The state that a parameter starts with."""
        return {}

    def update(self, p: Tensor, grad: Tensor, group: Any, state: Any) -> None:
        """Write the new value of one parameter, and its state."""
        raise TypeError(f"{type(self).__name__} defines no update")

    # ---- copies ----

    def __getstate__(self) -> dict[str, Any]:
        """Everything in plain containers, parameters with their state as pairs: for ``copy`` and ``pickle``."""
        plain = {k: v for k, v in self.__dict__.items() if k != "_watched"}
        plain["state"] = [(p, dict(dict.items(s))) for p, s in dict.items(self.state)]
        plain["param_groups"] = [
            dict(dict.items(group)) for group in list.__iter__(self.param_groups)
        ]
        return plain

    def __setstate__(self, plain: dict[str, Any]) -> None:
        self.__dict__.update(plain)
        self.state, self.param_groups = Watched(), Groups()
        for p, entries in plain["state"]:
            dict.__setitem__(self.state, p, Watched(entries))
        list.extend(self.param_groups, map(ParamGroup, plain["param_groups"]))
        bump()

    # ---- state dict ----

    def state_dict(self) -> dict[str, Any]:
        """State by the number of each parameter, and the groups with these numbers, as PyTorch's."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            plain = {k: dict.__getitem__(group, k) for k in dict.keys(group)}
            for p in plain["params"]:
                numbers.setdefault(id(p), len(numbers))
            groups.append({**plain, "params": [numbers[id(p)] for p in plain["params"]]})
        packed = {
            numbers[id(p)]: dict(dict.items(s))
            for p, s in dict.items(self.state)
            if id(p) in numbers
        }
        return {"state": packed, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict; ValueError where groups or their lengths differ, nothing is changed then."""
        groups, saved = self.param_groups, list(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError(
                f"loaded state dict has {len(saved)} parameter groups, the optimizer has {len(groups)}"
            )
        for i, (group, other) in enumerate(zip(groups, saved, strict=True)):
            mine, theirs = len(dict.__getitem__(group, "params")), len(other["params"])
            if mine != theirs:
                raise ValueError(
                    f"loaded state dict has {theirs} parameters in group {i}, the optimizer has {mine}"
                )
        fresh = Watched()
        for group, other in zip(groups, saved, strict=True):
            params = dict.__getitem__(group, "params")
            for number, p in zip(other["params"], params, strict=True):
                entry = state_dict["state"].get(number, state_dict["state"].get(str(number)))
                if entry is not None:
                    taken = {k: _taken(v, p, k) for k, v in entry.items() if v is not None}
                    dict.__setitem__(fresh, p, Watched(taken))
            for k, v in other.items():
                if k != "params":
                    dict.__setitem__(group, k, copy.deepcopy(v))
        self.state = fresh
        bump()

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [
                f"    {k}: {dict.__getitem__(group, k)}"
                for k in sorted(dict.keys(group))
                if k != "params"
            ]
        return "\n".join([*lines, ")"])


def _taken(value: Any, p: Tensor, key: str) -> Any:
    """A state entry of its own, in the parameter's dtype (``step`` keeps its own)."""
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    out = value.detach().clone()
    return out if key == "step" or not out.is_floating_point() else out.to(p.dtype)


def _check_ordered(params: Any) -> None:
    if isinstance(params, set | frozenset):
        raise TypeError("params should be in an order: give a list of tensors, not a set")


def check(what: str, value: Any, ok: Callable[[Any], bool]) -> None:
    """TypeError for what is no number, ValueError for a number out of its range."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"invalid {what}: a tensor of {value.numel()} elements, expected one")
    elif not hasattr(value, "__float__"):
        raise TypeError(f"invalid {what}: expected a number, not {type(value).__name__}")
    elif not ok(value):
        raise ValueError(f"invalid {what}: {value}")
