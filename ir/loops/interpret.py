"""Run a loop nest as Python over NumPy scalars: slow, and the oracle for steps and writers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..dtypes import DType, by_name
from ..sizes import Dim, Poly
from .expr import Apply, Const, Expr, Index, Load, Place, Where
from .intrinsics import INTRINSICS, identity
from .nest import Buffer, Kernel, Let, Loop, Stmt, Store


def interpret(
    kernel: Kernel, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int] | None = None
) -> None:
    """Run on arrays of the parameters' shapes (of any strides), which are changed in place.

    Free sizes are read off the arrays' shapes; ``sizes`` gives those that no shape shows. A local
    starts as NaN (77 in integers), so that reading before writing shows.
    """
    space: dict[str, Any] = {"np": np, "fn": _Functions(), "fill": _fill, "at": _at}
    names = {b.name: f"b{n}" for n, b in enumerate(kernel.params)}
    space |= {f"b{n}": arrays[b.name] for n, b in enumerate(kernel.params)}
    known = {**_read_sizes(kernel.params, arrays), **(sizes or {})}
    for size in kernel.sizes:
        if size.numerator is None:
            _check_size(kernel, size.name, known)
        space["s_" + size.name] = known.get(size.name)
    writer = _Lines(names, space)
    lines = ["def run():", *writer.head(kernel), *writer.body(kernel.body, " ")]
    exec("\n".join(lines), space)
    with np.errstate(all="ignore"):
        space["run"]()


def _check_size(kernel: Kernel, name: str, known: Mapping[str, int]) -> None:
    if name not in known:
        raise ValueError(
            f"{kernel.name}: size {name} is not in any shape: pass it in sizes={{{name!r}: ...}}"
        )


def _read_sizes(params: Sequence[Buffer], arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Sizes that stand alone in a parameter's shape."""
    found = {}
    for b in params:
        for n, extent in zip(b.shape, arrays[b.name].shape, strict=True):
            if isinstance(n, Poly) and len(n.terms) == 1:
                ((monomial, c),) = n.terms.items()
                if c == 1 and len(monomial) == 1:
                    found[monomial[0]] = extent
    return found


class _Functions(dict[str, Any]):
    """The meanings of intrinsics; those that must be told a dtype under ``name:dtype``."""

    def __missing__(self, key: str) -> Any:
        name, _, to = key.partition(":")
        meaning = INTRINSICS[name].meaning
        if to:
            dtype = by_name(to)
            self[key] = lambda x: meaning(x, dtype)
        else:
            self[key] = meaning
        return self[key]


def _fill(shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    sentinel: Any = np.nan if dtype.kind == "f" else True if dtype.kind == "b" else 77
    return np.full(shape, sentinel, dtype.numpy)


class _Lines:
    """Writes the Python text; constants and dtypes go to ``space`` under fresh names."""

    def __init__(self, names: dict[str, str], space: dict[str, Any]) -> None:
        self.names, self.space = dict(names), space

    def head(self, kernel: Kernel) -> Iterator[str]:
        """The derived sizes, in order."""
        for size in kernel.sizes:
            if size.numerator is None:
                yield f" {_name(size.name)} = s_{size.name}"
            else:
                yield f" {_name(size.name)} = ({self.number(size.numerator)}) // {size.divisor}"

    def body(self, body: Sequence[Stmt], pad: str) -> Iterator[str]:
        """Statements; a body may be empty."""
        yield pad + "pass"
        for s in body:
            if isinstance(s, Loop):
                count = self.number(s.extent)
                if s.limit is not None:
                    count = f"min({count}, {self.number(s.limit)})"
                yield f"{pad}for {_name(s.axis)} in range({count}):"
                yield from self.body(s.body, pad + " ")
            elif isinstance(s, Let):
                self.names[s.buffer.name] = f"l_{s.buffer.name}"
                shape = "".join(self.number(n) + ", " for n in s.buffer.shape)
                yield f"{pad}l_{s.buffer.name} = fill(({shape}), {self.keep(s.buffer.dtype)})"
            elif isinstance(s, Store):
                yield pad + self.store(s)

    def store(self, s: Store) -> str:
        """An assignment, or one step of a reduction."""
        at = self.place(s.buffer, s.index)
        if not s.reduce:
            return f"{at} = {self.value(s.value)}"
        held = at
        if s.start is not None:
            first = " and ".join(f"({self.number(a)}) == 0" for a in s.start) or "True"
            zero = self.constant(identity(s.reduce, s.value.dtype), s.value.dtype)
            held = f"({zero} if {first} else {at})"
        if s.reduce == "fma":
            assert isinstance(s.value, Apply)
            factors = ", ".join(self.value(a) for a in s.value.args)
            return f"{at} = fn['fma']({factors}, {held})"
        return f"{at} = fn['{s.reduce}']({held}, {self.value(s.value)})"

    def value(self, e: Expr) -> str:
        """An expression."""
        if isinstance(e, Const):
            return self.constant(e.value, e.dtype)
        if isinstance(e, Load):
            return self.place(e.buffer, e.index)
        if isinstance(e, Apply):
            if e.fn == "select":
                c, a, b = map(self.value, e.args)
                return f"({a} if {c} else {b})"
            key = f"{e.fn}:{e.dtype.name}" if e.fn in ("cast", "bitcast") else e.fn
            return f"fn['{key}']({', '.join(map(self.value, e.args))})"
        if isinstance(e, Index):
            return f"np.int64({self.number(e.at)})"
        assert isinstance(e, Where)
        conds = [
            f"{self.number(lo)} <= {self.number(at)} < {self.number(hi)}" for at, lo, hi in e.conds
        ]
        return (
            f"({self.value(e.value)} if {' and '.join(conds) or 'True'} else {self.value(e.other)})"
        )

    def place(self, buffer: str, index: tuple[Place, ...]) -> str:
        """An element: bounds are checked, since NumPy would take a negative index from the end."""
        entries = [f"at({self.number(i) if isinstance(i, Poly) else self.value(i)})" for i in index]
        return f"{self.names[buffer]}[{', '.join(entries) or '()'}]"

    def number(self, n: Dim) -> str:
        """A polynomial as Python."""
        if not isinstance(n, Poly):
            return str(n)
        terms = ["*".join([str(c), *map(_name, m)]) for m, c in n.terms.items()]
        return " + ".join(terms) or "0"

    def constant(self, value: Any, dtype: DType) -> str:
        """A NumPy scalar, made once."""
        return self.keep(np.asarray(value).astype(dtype.numpy)[()])

    def keep(self, value: Any) -> str:
        """A name for a Python value."""
        name = f"k{len(self.space)}"
        self.space[name] = value
        return name


def _at(i: Any) -> Any:
    if i < 0:
        raise IndexError(f"index {i} lies before the start of a buffer")
    return i


def _name(name: str) -> str:
    """Axes and sizes apart from everything else (an axis may be called ``in`` or ``fn``)."""
    return "x_" + name
