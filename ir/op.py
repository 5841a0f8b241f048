"""The record of an op: everything that is true of it, in one place; and the open builder that its use appends to.

An op states its operands and attributes, ``infer`` (types, or an OpError), ``reference`` (its meaning on NumPy arrays),
``vjp`` (one function per operand, written in ops), ``batch`` and ``lower`` (see ``lowering``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .dtypes import DType
from .sizes import Shape

if TYPE_CHECKING:
    from .graph import Value

Vjp = Callable[..., Any] | None


class Type(NamedTuple):
    """What is known of a value: its element type and its shape."""

    dtype: DType
    shape: Shape

    def __str__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"

    def __repr__(self) -> str:
        return str(self)


class Op:
    """One op. Calling it appends a node to the current builder: ``ops.sum(x, axes=(0,))``.

    A subclass states ``name``, ``operands`` (a last one called ``*xs`` takes any number),
    ``attributes``, and the methods:

    - ``infer(*types, **attributes) -> Type`` or a tuple of Types; raises OpError.
    - ``reference(*arrays, **attributes) -> array`` or a tuple of arrays.
    - ``vjp``: per operand None (no derivative) or ``f(g, y, *operands, **attributes) -> Value``. A variadic op gives
      one function ``f(i, g, y, *operands, **attributes)`` that serves operand ``i``.
    - ``batch(*operands, **attributes)``: the op where every operand has a new leading axis.
    - ``lower(*types, **attributes)``: a description out of ``ir.lowering``.
    - ``put(base, new, **attributes)`` for ops that are views: ``base`` with ``new`` written where the view lies.
    """

    name: str = ""
    operands: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}  # noqa: RUF012 (read only)
    vjp: Any = ()
    put: Any = None
    batch: Any = None
    reference: Any
    infer: Any
    lower: Any
    #: largest error of compiled against exact, in units in the last place; 0: bit-equal to the reference
    ulp: float = 0
    #: whether it only places elements (or is otherwise exact to move): True for views
    is_view = False

    def __init__(self) -> None:
        if self.name in OPS:
            raise ValueError(f"there already is an op {self.name!r}")
        self.is_variadic = bool(self.operands) and self.operands[-1].startswith("*")
        OPS[self.name] = self

    def __call__(self, *operands: Value, **attributes: Any) -> Any:
        """Append one use of the op to the current builder."""
        return current().append(self, operands, self.bind(attributes))

    def bind(self, attributes: dict[str, Any]) -> tuple[Any, ...]:
        """Attributes by name, as the tuple that a node holds."""
        names = self.attributes
        if not names and not attributes:
            return ()
        try:
            bound = tuple([attributes[n] if n in attributes else self.defaults[n] for n in names])
        except KeyError as missing:
            raise TypeError(f"{self.name}: attribute {missing} is missing") from None
        if len(attributes) > len(names) or any(n not in names for n in attributes):
            unknown = sorted(set(attributes) - set(names))
            raise TypeError(
                f"{self.name} has no attribute {unknown[0]!r}; it has {', '.join(names) or 'none'}"
            )
        return bound

    def named(self, attributes: tuple[Any, ...]) -> dict[str, Any]:
        """The tuple that a node holds, as attributes by name."""
        return dict(zip(self.attributes, attributes, strict=True)) if attributes else {}

    def vjp_of(self, i: int) -> Vjp:
        """The derivative for operand ``i``, or None."""
        if not self.vjp:
            return None
        if self.is_variadic:
            rule = self.vjp
            return lambda g, y, *rest, **attributes: rule(i, g, y, *rest, **attributes)
        return self.vjp[i]  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return op_named, (self.name,)


OPS: dict[str, Op] = {}


def op_named(name: str) -> Op:
    """The op of a name; KeyError says which there are."""
    try:
        return OPS[name]
    except KeyError:
        raise KeyError(f"no op is called {name!r}; there are {', '.join(sorted(OPS))}") from None


class Appends(Protocol):
    """What ops are appended to: a graph builder, a trace, or eager execution."""

    site: Any

    def append(self, op: Op, operands: Sequence[Value], attributes: tuple[Any, ...]) -> Any:
        """Use ``op``; returns its result, or a tuple of results."""


class _Builders(threading.local):
    def __init__(self) -> None:
        self.stack: list[Appends] = [d() for d in _default]


_default: list[Callable[[], Appends]] = []
_builders = _Builders()


def set_default_builder(make: Callable[[], Appends]) -> None:
    """What each thread appends to while it has entered no builder (eager execution)."""
    _default[:] = [make]
    _builders.stack[:0] = [make()]


def current() -> Appends:
    """The builder that ops are appended to in this thread."""
    try:
        return _builders.stack[-1]
    except IndexError:
        raise RuntimeError("no builder is open: use ops inside `with building(builder)`") from None


@contextmanager
def building(builder: Appends) -> Iterator[Any]:
    """Append to ``builder`` inside the block."""
    _builders.stack.append(builder)
    try:
        yield builder
    finally:
        _builders.stack.pop()
