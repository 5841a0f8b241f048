"""The loop language: buffers, loops, stores, kernels, and how they print (``parse`` reads it).

    kernel = "kernel" name ["[" size "," ... "]"] "(" role buffer "," ... ")" "{" derived* stmt* "}"
    role   = "in" | "out" | "inout"
    buffer = name ":" dtype "[" dim "," ... "]" ["strides" "[" dim "," ... "]"] ["in" memory]
    memory = "memory" | "local" | "registers" | "shared"
    derived = "size" name "=" poly "//" int
    stmt   = kind axis "in" extent ["of" int] "{" stmt* "}"  -- "of": lanes, the rest are off
           | "let" buffer                                    -- alive to the end of the body
           | place op expr ["from" number "at" poly "," ...] ["nontemporal"]
           | "barrier" | "prefetch" place
    extent = dim | "min(" dim "," poly ")"
    kind   = "for" | "parallel" | "vector" | "unrolled" | "outlined" | "block" | "thread"
    op     = "=" | "+=" | "*=" | "max=" | "min=" | "maxnum=" | "minnum=" | "and=" | "or=" | "fma="
    place  = name "[" (poly | expr) "," ... "]"
    expr   = literal | place | "(" expr sign expr ")" | fn ["<" dtype ">"] "(" expr "," ... ")"
           | "where(" (dim "<=" poly "<" dim) "," ... ";" expr ";" expr ")" | "index(" poly ")"
    literal = number "_" dtype | "true" | "false"             -- 0.5_f32, inf_f64, -1_i64

A loop starts at 0. ``from`` restarts a reduction from its identity where every index after ``at``
is 0, so that a contraction is a perfect nest. ``fma=`` accumulates a product that is rounded once
with the sum. A loop's kind never changes what it means: only writers read it. What follows ``#`` is
the user's source line, without meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any, Union

from ..dtypes import DType
from ..sizes import Dim, Poly, Shape, contiguous_strides
from .expr import Expr, Load, Place, places, record
from .intrinsics import SIGNS, identity

KINDS = ("for", "parallel", "vector", "unrolled", "outlined", "block", "thread")
MEMORIES = ("memory", "local", "registers", "shared")
ROLES = ("in", "out", "inout")


@record
class Buffer:
    """Named elements with a shape and strides in elements; only parameters have a ``role``."""

    name: str
    dtype: DType
    shape: Shape
    strides: Shape
    memory: str = "memory"
    role: str = ""

    def __str__(self) -> str:
        dense = self.strides == contiguous_strides(self.shape)
        strides = "" if dense else f" strides [{_list(self.strides)}]"
        where = "" if self.memory == "memory" else f" in {self.memory}"
        return f"{self.name}: {self.dtype.name}[{_list(self.shape)}]{strides}{where}"


def buffer(
    name: str,
    dtype: DType,
    shape: Sequence[Dim],
    memory: str = "memory",
    role: str = "",
    strides: Sequence[Dim] | None = None,
) -> Buffer:
    """A buffer, row-major unless ``strides`` say otherwise."""
    steps = contiguous_strides(shape) if strides is None else tuple(strides)
    return Buffer(name, dtype, tuple(shape), steps, memory, role)


@record
class Loop:
    """``body`` for ``axis`` from 0 to ``extent``, or to ``limit`` where that is less."""

    axis: str
    extent: Dim
    body: tuple[Stmt, ...]
    kind: str = "for"
    width: int = 0
    limit: Poly | None = None

    def lines(self, pad: str) -> Iterator[str]:
        """The text, line by line."""
        count = str(self.extent) if self.limit is None else f"min({self.extent}, {self.limit})"
        of = (
            f" of {self.width}"
            if self.width and (self.width != self.extent or self.limit is not None)
            else ""
        )
        yield f"{pad}{self.kind} {self.axis} in {count}{of} {{"
        yield from body_lines(self.body, pad + "  ")
        yield pad + "}"

    def with_body(self, body: tuple[Stmt, ...]) -> Loop:
        """The same loop around another body; itself if that is the same."""
        if body is self.body:
            return self
        return Loop(self.axis, self.extent, body, self.kind, self.width, self.limit)


@record
class Let:
    """Declares a buffer for the rest of the enclosing body."""

    buffer: Buffer

    def lines(self, pad: str) -> Iterator[str]:
        """The text, line by line."""
        yield f"{pad}let {self.buffer}"


@record
class Store:
    """``buffer[index] = value``, or with ``reduce`` one step of a reduction.

    ``start``: the reduction begins again from its identity wherever every polynomial in it is 0;
    ``None``: it goes on from what the buffer holds. ``source`` is the user's line, kept by every
    step, and no part of equality.
    """

    buffer: str
    index: tuple[Place, ...]
    value: Expr
    reduce: str = ""
    start: tuple[Poly, ...] | None = None
    nontemporal: bool = False
    source: Any = field(default=None, compare=False)

    def lines(self, pad: str) -> Iterator[str]:
        """The text, line by line."""
        start = ""
        if self.start is not None:
            at = f" at {_list(self.start)}" if self.start else ""
            start = f" from {identity(self.reduce, self.value.dtype)}{at}"
        end = " nontemporal" if self.nontemporal else ""
        value = _product(self.value) if self.reduce == "fma" else str(self.value)
        text = f"{pad}{self.buffer}[{_list(self.index)}] {SIGNS[self.reduce]} {value}{start}{end}"
        yield f"{text}  # {self.source}" if self.source else text


def _product(value: Any) -> str:
    """``a * b`` without parentheses: the two factors of ``fma=`` are no rounded product."""
    return " * ".join(map(str, value.args))


@record
class Barrier:
    """Every thread of a block waits here for the others."""

    def lines(self, pad: str) -> Iterator[str]:
        """The text, line by line."""
        yield pad + "barrier"


@record
class Prefetch:
    """Bring an element's cache line near; no effect on values."""

    buffer: str
    index: tuple[Place, ...]

    def lines(self, pad: str) -> Iterator[str]:
        """The text, line by line."""
        yield f"{pad}prefetch {self.buffer}[{_list(self.index)}]"


Stmt = Union[Loop, Let, Store, Barrier, Prefetch]  # noqa: UP007


@record
class Size:
    """A named size of a kernel: free (an argument of the call), or ``numerator // divisor``."""

    name: str
    numerator: Dim | None = None
    divisor: int = 0

    def __str__(self) -> str:
        if self.numerator is None:
            return self.name
        text = str(self.numerator)
        return f"size {self.name} = {f'({text})' if ' ' in text else text} // {self.divisor}"


@record
class Kernel:
    """Parameters in the order of the call, free and derived sizes, and the statements."""

    name: str
    params: tuple[Buffer, ...]
    sizes: tuple[Size, ...]
    body: tuple[Stmt, ...]

    def __str__(self) -> str:
        return "\n".join(kernel_lines(self))

    def with_body(self, body: tuple[Stmt, ...]) -> Kernel:
        """The same kernel with other statements; itself if they are the same."""
        return self if body is self.body else Kernel(self.name, self.params, self.sizes, body)


def kernel_lines(kernel: Kernel) -> Iterator[str]:
    """The text of a kernel, line by line."""
    free = [s.name for s in kernel.sizes if s.numerator is None]
    params = ", ".join(f"{b.role} {b}" for b in kernel.params)
    yield f"kernel {kernel.name}{f'[{_list(free)}]' if free else ''}({params}) {{"
    for size in kernel.sizes:
        if size.numerator is not None:
            yield f"  {size}"
    yield from body_lines(kernel.body, "  ")
    yield "}"


def body_lines(body: Iterable[Stmt], pad: str) -> Iterator[str]:
    """The text of statements, line by line."""
    for s in body:
        yield from s.lines(pad)


def load(source: Buffer, *index: Dim | str | Expr) -> Load:
    """An element of a buffer, its dtype from there."""
    return Load(source.name, places(*index), source.dtype)


def loops(axes: Iterable[tuple[str, Dim]], *body: Stmt) -> tuple[Stmt, ...]:
    """``loops([("i", 3), ("j", 4)], S)`` is ``for i in 3 { for j in 4 { S } }``."""
    for axis, extent in reversed(list(axes)):
        body = (Loop(axis, extent, tuple(body)),)
    return tuple(body)


def _list(items: Iterable[Any]) -> str:
    return ", ".join(map(str, items))
