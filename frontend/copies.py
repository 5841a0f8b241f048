"""Tensors copied and pickled: their numbers as an array, their class with what it adds, and whether they are leaves."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..ir.errors import GradError
from .storage import from_array
from .tensor import Tensor


def deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A tensor with memory and a gradient of its own; of recorded results only a detached one can be copied."""
    if self.requires_grad and not self.is_leaf:
        raise GradError("deepcopy of a tensor that is no leaf: copy its detach() instead")
    array = np.array(self._array("deepcopy"), order="K")
    out = rebuild(type(self), array, self.requires_grad, self._recorded)
    memo[id(self)] = out
    values, slots = _added(self)
    for name, value in {**values, **slots}.items():
        object.__setattr__(out, name, copy.deepcopy(value, memo))
    out._grad = copy.deepcopy(self._grad, memo)
    return out


def shallow(self: Tensor) -> Tensor:
    """Another tensor on the same memory, with the same history; the copy of a leaf is a leaf of its own."""
    if self.requires_grad and self.is_leaf and self._storage.owner is None:
        out = rebuild(type(self), self._array("copy"), True, self._recorded)
    else:
        out = type(self).__new__(type(self))
        Tensor.__init__(out, self._storage, self._steps, self._type, self._strides, self._offset)
        out._recorded = self._recorded
    values, slots = _added(self)
    for name, value in {**values, **slots}.items():
        object.__setattr__(out, name, value)
    return out


def reduce(self: Tensor, protocol: Any) -> tuple[Any, ...]:
    """How a tensor is pickled; its gradient and its history are left behind."""
    array = self._array("pickling")
    values, slots = _added(self)
    made = rebuild, (type(self), array, self.requires_grad, self._recorded)
    return (*made, (values or None, slots)) if values or slots else made


def rebuild(cls: type[Tensor], array: np.ndarray, requires_grad: bool, recorded: bool) -> Tensor:
    """A tensor of a class on the memory of an array."""
    out = cls.__new__(cls)
    Tensor.__init__(out, from_array(array))
    out._recorded = recorded
    if requires_grad:
        out.requires_grad_()
    return out


def _added(t: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the class of a tensor adds to Tensor: attributes, and slots."""
    classes = type(t).__mro__[: type(t).__mro__.index(Tensor)]
    names = [n for c in classes for n in c.__dict__.get("__slots__", ())]
    slots = {n: getattr(t, n) for n in names if hasattr(t, n)}
    return dict(getattr(t, "__dict__", {})), slots
