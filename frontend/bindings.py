"""What a compiled function knows of its calls: variants by their keys, and which sizes were seen to differ.

A binding joins an executable to the objects that a call captures. Bindings of a method, or of a function whose first
argument is a module, live with that object and are freed with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ..ir.sizes import Dim, name
from .layout import is_contiguous
from .tensor import Tensor
from .tree import is_watched
from .variant import Variant

ATTRIBUTE = "_compiled_calls"


class Structure:
    """What is known of one structure of arguments: its variants, and which sizes were seen to differ."""

    def __init__(self) -> None:
        self.variants: list[Variant] = []
        self.seen: dict[tuple[int, int], int] = {}
        self.differ: set[tuple[int, int]] = set()

    def symbolic(self, leaves: list[Any], dynamic: bool | None) -> dict[int, dict[int, Dim]]:
        """Names for sizes that differ from an earlier call (all of them with ``dynamic``), by leaf and dimension."""
        groups: dict[Any, str] = {}
        out: dict[int, dict[int, Dim]] = {}
        for i, x in enumerate(leaves):
            if not isinstance(x, Tensor):
                continue
            for d, n in enumerate(x._type.shape):
                assert isinstance(n, int)
                before = self.seen.get((i, d), n)
                if (before != n or dynamic) and n >= 2 and dynamic is not False:
                    self.differ.add((i, d))
                if (i, d) in self.differ and n >= 2 and is_contiguous(x._type.shape, x._strides):
                    group = groups.setdefault((before, n), f"s{len(groups)}")
                    out.setdefault(i, {})[d] = name(group)
                self.seen.setdefault((i, d), n)
        return out


class Bindings:
    """The variants of a function for one set of captured objects, and the quick functions tried first."""

    def __init__(self) -> None:
        self.quick: list[Callable[..., Any]] = []
        self.table: dict[Any, list[tuple[Variant, dict[str, int]]]] = {}
        self.structures: dict[Any, Structure] = {}


class Attached(weakref.WeakKeyDictionary[Any, Bindings]):
    """Bindings by compiled function, kept on an object; a copy of the object starts without any."""

    def __deepcopy__(self, memo: Any) -> Attached:
        return Attached()

    def __reduce__(self) -> Any:
        return Attached, ()


def bindings_of(function: Any, first: Any, own: Bindings) -> Bindings:
    """Those that live with the first argument of a call, if it is a module or the method's ``self``; else ``own``."""
    values = getattr(first, "__dict__", None)
    if values is None or isinstance(first, Tensor | type):
        return own
    attached = values.get(ATTRIBUTE)
    if attached is None:
        if not is_watched(first) and getattr(type(first), function.__name__, None) is not function:
            return own
        values[ATTRIBUTE] = attached = Attached()
    found = attached.get(function)
    if found is None:
        found = attached[function] = Bindings()
    return found
