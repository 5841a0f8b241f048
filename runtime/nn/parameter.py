"""Parameter: a tensor that a Module registers when it is assigned to an attribute."""

from __future__ import annotations

from typing import Any

from ...frontend.functions.creation import tensor, zeros
from ...frontend.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that belongs to a module; it shares the memory of ``data`` and requires gradients by default.

    >>> import gristmill as gm
    >>> Parameter(gm.zeros(2))
    Parameter containing:
    tensor([0., 0.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        source = zeros(0) if data is None else data if isinstance(data, Tensor) else tensor(data)
        view = source.detach()
        Tensor.__init__(self, view._storage, view._steps, view._type, view._strides, view._offset)
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return f"Parameter containing:\n{Tensor.__repr__(self)}"


class Buffer(Tensor):
    """A tensor that a module registers as a buffer when it is assigned: part of its state, but not trained."""

    __slots__ = ("persistent",)

    def __init__(self, data: Any = None, persistent: bool = True) -> None:
        source = zeros(0) if data is None else data
        Tensor.__init__(
            self, source._storage, source._steps, source._type, source._strides, source._offset
        )
        self.persistent = persistent
