"""Arguments and results as trees: what is compared by structure, and the leaves that a call may change.

Modules and optimizers register their classes here, so that a trace sees what is read from and written to their
attributes; this floor names none of them.
"""

from __future__ import annotations

import dataclasses
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


SCALARS = (bool, str, type(None), bytes, complex)


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
    if kind is tuple or kind is list:
        return (kind, *[flatten(e, leaves) for e in x])
    if kind is dict:
        return (kind, *[(k, flatten(e, leaves)) for k, e in x.items()])
    if kind is np.ndarray:
        leaves.append(Tensor(from_array(x)))
        return Tensor
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return (kind, *[flatten(e, leaves) for e in x])
    leaves.append(x)
    return kind, id(x)


def rebuild(x: Any, swap: Callable[[Any], Any]) -> Any:
    """The same tree with its leaves replaced, in the order of ``flatten``."""
    kind = type(x)
    if kind in SCALARS:
        return x
    if kind is tuple or kind is list:
        return kind(rebuild(e, swap) for e in x)
    if kind is dict:
        return {k: rebuild(e, swap) for k, e in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return kind(*(rebuild(e, swap) for e in x))
    if dataclasses.is_dataclass(x) and not isinstance(x, type) and _holds_tensors(x):
        return dataclasses.replace(
            x, **{f.name: rebuild(getattr(x, f.name), swap) for f in dataclasses.fields(x)}
        )
    return swap(x)


def _holds_tensors(x: Any) -> bool:
    return any(isinstance(getattr(x, f.name), Tensor) for f in dataclasses.fields(x))
