"""Arguments and results as trees: what is compared by structure, and the leaves that a call may change.

Modules and optimizers register their classes here, so that a trace sees what is read from and written to their
attributes; this floor names none of them.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import sysconfig
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from .storage import from_array
from .tensor import Tensor

WATCHED: list[type] = []
"""Classes whose attribute reads an open trace sees (see ``watch``)."""


def watch(cls: type) -> type:
    """Let a trace see which attributes of this class's objects are read: a class decorator."""
    WATCHED.append(cls)
    return cls


def is_watched(x: Any) -> bool:
    """Whether a trace sees the attributes of ``x``."""
    return isinstance(x, tuple(WATCHED))


_HEAP, _IMMUTABLE = 1 << 9, 1 << 8  # type flags of CPython
_PACKAGES = tuple(
    {sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_known: weakref.WeakKeyDictionary[type, tuple[bool, bool]] = weakref.WeakKeyDictionary()


def is_installed(file: str) -> bool:
    """Whether code is of Python's library or of an installed package."""
    return file.startswith(_PACKAGES)


def is_plain(cls: type) -> bool:
    """Whether a class is written in Python, and not by us: a trace may watch its objects."""
    return (_known.get(cls) or _look_at(cls))[0]


def is_open(cls: type) -> bool:
    """Whether a class is the user's: plain, and not from an installed package."""
    return (_known.get(cls) or _look_at(cls))[1]


def _look_at(cls: type) -> tuple[bool, bool]:
    module = cls.__module__
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    plain = (
        cls.__flags__ & _HEAP
        and not cls.__flags__ & _IMMUTABLE
        and module.split(".")[0] not in ("gristmill", *sys.builtin_module_names)
    )
    installed = is_installed(file) and module not in ("argparse", "collections")  # mere data
    if installed:  # not a type that C code makes
        plain = plain and any(type(v) is types.FunctionType for v in vars(cls).values())
    found = _known[cls] = bool(plain), bool(plain and not installed)
    return found


SCALARS = (bool, str, type(None), bytes, complex, range, frozenset, type(Ellipsis))
MAPPINGS = (dict, OrderedDict)


class Ref:
    """Where a result comes from: ``argument``, ``tensor``, ``held``, ``path``, ``slot`` or ``number``."""

    __slots__ = ("key", "kind", "view")

    def __init__(self, kind: str, key: Any, view: Any = None) -> None:
        self.kind, self.key, self.view = kind, key, view


def is_named_tuple(x: Any) -> bool:
    """Whether ``x`` is a namedtuple, which is made from its elements one by one."""
    return isinstance(x, tuple) and hasattr(x, "_fields")


def fields_of(x: Any) -> list[str]:
    """The fields of a dataclass object that holds tensors; of anything else none: it is a leaf."""
    if not dataclasses.is_dataclass(x) or isinstance(x, type):
        return []
    names = [f.name for f in dataclasses.fields(x)]
    return names if any(isinstance(getattr(x, n), Tensor | Ref) for n in names) else []


def flatten(x: Any, leaves: list[Any]) -> Any:
    """The structure of ``x`` as a hashable key; tensors, arrays, numbers and foreign objects go to ``leaves``."""
    kind = type(x)
    if isinstance(x, Tensor):
        leaves.append(x)
        return Tensor
    if kind is float or kind is int:
        leaves.append(x)
        return kind
    if kind in SCALARS:
        return kind, x
    if kind is tuple or kind is list or is_named_tuple(x):
        return (kind, *[flatten(e, leaves) for e in x])
    if kind in MAPPINGS:
        return (kind, *[(k, flatten(e, leaves)) for k, e in x.items()])
    if kind is np.ndarray:
        leaves.append(Tensor(from_array(x)))
        return Tensor
    names = fields_of(x)
    if names:
        return (kind, *[(n, flatten(getattr(x, n), leaves)) for n in names])
    return _foreign(x, kind, leaves)


def _foreign(x: Any, kind: type, leaves: list[Any]) -> Any:
    """A leaf that is no tensor: NumPy's scalars count as numbers, plain functions as their code."""
    if isinstance(x, np.generic) and isinstance(x.item(), int | float):
        leaves.append(x.item())
        return (bool, x.item()) if isinstance(x, np.bool_) else type(x.item())
    leaves.append(x)
    if kind is types.FunctionType and not (x.__closure__ or x.__defaults__ or x.__kwdefaults__):
        return kind, id(x.__code__), id(x.__globals__)
    return kind, id(x)


def rebuild(x: Any, swap: Callable[[Any], Any]) -> Any:
    """The same tree with its leaves replaced, in the order of ``flatten``."""
    kind = type(x)
    if kind in SCALARS:
        return x
    if kind is tuple or kind is list:
        return kind(rebuild(e, swap) for e in x)
    if kind in MAPPINGS:
        return kind((k, rebuild(e, swap)) for k, e in x.items())
    if isinstance(x, Tensor):
        return swap(x)
    if is_named_tuple(x):
        return kind(*(rebuild(e, swap) for e in x))
    names = fields_of(x)
    if names:
        return with_fields(x, **{n: rebuild(getattr(x, n), swap) for n in names})
    return swap(x)


def with_fields(x: Any, /, **fields: Any) -> Any:
    """A copy of a dataclass object with other values of its fields; neither ``__init__`` nor ``__post_init__`` runs."""
    new = copy.copy(x)
    for name, value in fields.items():
        object.__setattr__(new, name, value)
    return new
