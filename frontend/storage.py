"""Storages: memory together with the graph value it holds now; tensors are views of one.

While a trace is open a storage may be symbolic: it has a value and no memory. A write makes a new value of the whole
storage and advances its version, so that every view read afterwards is derived from what was written.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..ir.dtypes import from_numpy
from ..ir.graph import Node, Type, Value
from ..ir.op import OPS
from ..ir.sizes import Shape, contiguous_strides
from ..ir.source import NOWHERE


class Stamp:
    """Which version of which memory a value is: what a backward checks before it reads the value.

    ``versions`` is the storage's own cell: the value may outlive the storage, and its memory was written all the same.
    ``leaf``: a weak reference to the tensor that gets the cotangent, where the walk ends at this value.
    """

    __slots__ = ("freed", "leaf", "version", "versions")

    def __init__(self, storage: Storage, leaf: Any = None) -> None:
        self.versions = storage.versions
        self.version = storage.versions[0]
        self.leaf = leaf
        self.freed = False

    def is_stale(self) -> bool:
        """Whether the memory has been written since."""
        return self.versions[0] != self.version


class Storage:
    """``type`` and ``strides`` (elements) of the base, ``data`` its array or None, ``value`` what it holds.

    ``owner`` is the trace in which it is symbolic; ``leaf`` a weak reference to the tensor whose ``.grad`` it feeds.
    """

    __slots__ = (
        "__weakref__",
        "_value",
        "address",
        "data",
        "leaf",
        "owner",
        "strides",
        "type",
        "versions",
    )

    def __init__(
        self,
        type: Type,
        strides: Shape,
        data: np.ndarray | None,
        value: Value | None,
        owner: Any = None,
    ) -> None:
        self.type, self.strides, self.data, self.owner = type, strides, data, owner
        self.versions: list[int] = [0]
        self.leaf: Any = None
        self.address = 0
        self._value: Value | None = value
        if value is not None:
            value.note = Stamp(self, self.leaf)

    @property
    def value(self) -> Value:
        """What it holds in the graph; a concrete storage without history gets an input value when it is asked for."""
        if self._value is None:
            settle(self)
        return self._value  # type: ignore[return-value]

    @value.setter
    def value(self, value: Value | None) -> None:
        self._value = value

    @property
    def version(self) -> int:
        """How many writes it has seen (shared by storages on the same memory)."""
        return self.versions[0]

    def advance(self) -> None:
        """Count a write."""
        self.versions[0] += 1

    def pointer(self) -> int:
        """The address of the first element."""
        if not self.address:
            self.address = self.data.__array_interface__["data"][0]  # type: ignore[union-attr]
        return self.address


def has_history(storage: Storage) -> bool:
    """Whether it holds the result of recorded operations (a leaf holds none)."""
    value = storage._value
    return value is not None and value.tracked and storage.leaf is None


def settle(storage: Storage) -> None:
    """Give a concrete storage a fresh input value: it has no history (any more)."""
    node = Node(
        OPS["input"], (), ("storage", "state"), (storage.type,), NOWHERE, storage.leaf is not None
    )
    storage.value = node.results[0]
    storage.value.data = storage.data
    storage.value.note = Stamp(storage, storage.leaf)


class Versions(list[int]):
    """How many writes a piece of memory has seen: one number, shared by all storages on it."""

    __slots__ = ("__weakref__", "owner")

    owner: Any


_foreign: weakref.WeakValueDictionary[int, Versions] = weakref.WeakValueDictionary()
"""By the identity of what owns the memory (which a storage keeps alive)."""


def from_array(array: np.ndarray) -> Storage:
    """A storage on the memory of an array, which is shared, with the array's own strides."""
    dtype = from_numpy(array.dtype)
    strides: Shape = tuple(s // array.itemsize for s in array.strides)
    if array.flags.c_contiguous:
        strides = contiguous_strides(array.shape)
    storage = Storage(Type(dtype, array.shape), strides, array, None)
    storage.versions = versions_of(array)
    return storage


def versions_of(array: np.ndarray) -> Versions:
    """The count of writes that all arrays on the same memory share."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    found = _foreign.get(id(owner))
    if found is None:
        found = _foreign[id(owner)] = Versions((0,))
        found.owner = owner
    return found
