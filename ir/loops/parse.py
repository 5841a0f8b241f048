"""Read a kernel back from its text (the grammar heads ``nest``); ``str(parse(text)) == text``."""

from __future__ import annotations

import re
from typing import Any

from ..dtypes import DType, bool_, by_name
from ..errors import GraphError
from ..sizes import Dim, Poly, contiguous_strides, dim
from ..sizes import parse as parse_size
from .expr import Apply, Condition, Const, Expr, Index, Load, Place, Where, const
from .intrinsics import INTRINSICS, SIGNS, result_dtype
from .nest import KINDS, Barrier, Buffer, Kernel, Let, Loop, Prefetch, Size, Stmt, Store

_TOKEN = re.compile(
    r"\s*(?:#\s?(?P<source>[^\n]*)|"
    r"(?P<number>-?(?:inf|nan|\d+(?:\.\d+)?(?:e[+-]?\d+)?)_[a-z]+\d*)(?!\w)|"
    r"(?P<float>-?\d+\.\d+(?:e[+-]?\d+)?|-inf\b)|"
    r"(?P<int>\d+)|(?P<word>[A-Za-z_]\w*)|(?P<sign>//|<=|[-+*/=<>(){}\[\],;:]))"
)
_INFIX = {i.sign: i.name for i in INTRINSICS.values() if i.sign}
_REDUCE = {sign[:-1]: name for name, sign in SIGNS.items()}


def parse(text: str) -> Kernel:
    """The kernel that prints as ``text``. Raises ``GraphError`` with the line that it cannot read."""
    return _Parser(text).kernel()


class _Parser:
    """Recursive descent over tokens: (kind, text, line)."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.tokens: list[tuple[str, str, int]] = []
        self.sources: dict[int, str] = {}
        self.at = 0
        self.dtypes: dict[str, DType] = {}
        self._tokenize(text)

    def _tokenize(self, text: str) -> None:
        at, line, text = 0, 1, text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise GraphError(f"parse: line {line} is no loop nest: {self.lines[line - 1]}")
            start = found.start(found.lastgroup or 0)
            line += text.count("\n", at, start)
            if found.lastgroup == "source":
                self.sources[line] = found["source"]
            else:
                self.tokens.append((str(found.lastgroup), found[found.lastgroup or 0], line))
            at = found.end()

    # ---- tokens ----

    def peek(self, ahead: int = 0) -> str:
        """The text of a token to come."""
        n = self.at + ahead
        return self.tokens[n][1] if n < len(self.tokens) else ""

    def next(self, *wanted: str) -> str:
        """Take a token; with ``wanted``, one of these."""
        text = self.peek()
        if not text or (wanted and text not in wanted):
            raise self.error(f"expected {' or '.join(wanted) or 'more'}, found {text or 'the end'}")
        self.at += 1
        return text

    def take(self, wanted: str) -> bool:
        """Take the token if it is this one."""
        if self.peek() == wanted:
            self.at += 1
            return True
        return False

    def error(self, what: str) -> GraphError:
        """What is wrong, with the line."""
        line = self.tokens[min(self.at, len(self.tokens) - 1)][2] if self.tokens else 1
        return GraphError(f"parse: {what}\n  line {line}: {self.lines[line - 1].strip()}")

    def items(self, close: str, one: Any) -> tuple[Any, ...]:
        """``one`` separated by commas, up to ``close``."""
        out = []
        while not self.take(close):
            out.append(one())
            if self.peek() != close:
                self.next(",")
        return tuple(out)

    # ---- kernels and statements ----

    def kernel(self) -> Kernel:
        """A whole kernel."""
        self.next("kernel")
        name = self.next()
        free = self.items("]", self.next) if self.take("[") else ()
        self.next("(")
        params = self.items(")", self.param)
        self.next("{")
        sizes = [Size(n) for n in free]
        while self.take("size"):
            size = self.next()
            self.next("=")
            sizes.append(self.quotient(size))
        return Kernel(name, params, tuple(sizes), self.body())

    def quotient(self, name: str) -> Size:
        """``n // 6`` or ``(n + 15) // 16``."""
        if self.take("("):
            numerator = self.size(")")
            self.next(")")
        else:
            numerator = self.size("//")
        self.next("//")
        return Size(name, numerator, int(self.next()))

    def param(self) -> Buffer:
        """A role and a buffer."""
        role = self.next("in", "out", "inout")
        b = self.buffer()
        return Buffer(b.name, b.dtype, b.shape, b.strides, b.memory, role)

    def buffer(self) -> Buffer:
        """``name: dtype[shape] strides [..] in memory``."""
        name = self.next()
        self.next(":")
        dtype = by_name(self.next())
        self.next("[")
        shape = self.items("]", lambda: self.size(",", "]"))
        strides = contiguous_strides(shape)
        if self.take("strides"):
            self.next("[")
            strides = self.items("]", lambda: self.size(",", "]"))
        memory = self.next() if self.take("in") else "memory"
        self.dtypes[name] = dtype
        return Buffer(name, dtype, shape, strides, memory)

    def body(self) -> tuple[Stmt, ...]:
        """Statements up to the closing brace."""
        out: list[Stmt] = []
        while not self.take("}"):
            out.append(self.statement())
        return tuple(out)

    def statement(self) -> Stmt:
        """One statement."""
        word, after = self.peek(), self.peek(1)
        if word in KINDS and after != "[":
            return self.loop()
        if word == "let" and after != "[":
            self.next()
            return Let(self.buffer())
        if word == "barrier" and after != "[":
            self.next()
            return Barrier()
        if word == "prefetch" and after != "[":
            self.next()
            place = self.place()
            return Prefetch(place.buffer, place.index)
        return self.store()

    def loop(self) -> Loop:
        """``kind axis in extent of width { body }``."""
        kind, axis = self.next(), self.next()
        self.next("in")
        limit = None
        if self.peek() == "min" and self.peek(1) == "(":
            self.next()
            self.next()
            extent = self.size(",")
            self.next(",")
            limit = self.poly(")")
            self.next(")")
        else:
            extent = self.size("{", "of")
        width = int(self.next()) if self.take("of") else 0
        self.next("{")
        if kind == "vector" and not width:
            width = int(str(extent))
        return Loop(axis, extent, self.body(), kind, width, limit)

    def store(self) -> Store:
        """``place op value from .. at .. nontemporal``."""
        line = self.tokens[self.at][2]
        place = self.place()
        op = "" if self.peek() == "=" else self.next()
        if op not in _REDUCE:
            raise self.error(f"{op!r} is no reduction")
        self.next("=")
        reduce = _REDUCE[op]
        value = self.expr()
        if reduce == "fma":
            self.next("*")
            value = Apply("mul", (value, self.expr()), value.dtype)
        start: tuple[Poly, ...] | None = None
        if self.take("from"):
            self.take("-")
            self.next()
            start = self.starts() if self.take("at") else ()
        streams = self.take("nontemporal")
        return Store(
            place.buffer, place.index, value, reduce, start, streams, self.sources.get(line)
        )

    def starts(self) -> tuple[Poly, ...]:
        """The indices after ``at``: they end with the line."""
        line = self.tokens[self.at][2]
        out = [self.poly(",", "nontemporal", "}", line=line)]
        while self.take(","):
            out.append(self.poly(",", "nontemporal", "}", line=line))
        return tuple(out)

    # ---- indices ----

    def poly(self, *stops: str, line: int = 0) -> Poly:
        """A polynomial: everything before one of ``stops`` (or the end of ``line``)."""
        text = []
        while self.peek() not in (*stops, "") and not (line and self.tokens[self.at][2] != line):
            text.append(self.next())
        try:
            return parse_size(" ".join(text))
        except ValueError as error:
            raise self.error(str(error)) from None

    def size(self, *stops: str) -> Dim:
        """A polynomial, as a number where it is one."""
        return dim(self.poly(*stops))

    def place(self) -> Load:
        """A buffer and an index."""
        name = self.next()
        if name not in self.dtypes:
            raise self.error(f"buffer {name!r} is not declared before")
        self.next("[")
        return Load(name, self.items("]", self.entry), self.dtypes[name])

    def entry(self) -> Place:
        """One entry of an index: a polynomial if it holds nothing but names, numbers and signs."""
        n = self.at
        while n < len(self.tokens) and self.tokens[n][1] not in (",", "]"):
            kind, text, _ = self.tokens[n]
            if kind not in ("int", "word") and text not in ("+", "-", "*"):
                return self.expr()
            n += 1
        return self.poly(",", "]")

    # ---- expressions ----

    def expr(self) -> Expr:
        """One expression."""
        kind, text, _ = self.tokens[self.at]
        if kind == "number":
            self.next()
            return _literal(text)
        if text in ("true", "false"):
            self.next()
            return Const(text == "true", bool_)
        if text == "(":
            return self.infix()
        after = self.peek(1)
        if after == "[":
            return self.place()
        if text == "where" and after == "(":
            return self.where()
        if text == "index" and after == "(":
            self.at += 2
            at = self.poly(")")
            self.next(")")
            return Index(at)
        return self.call()

    def infix(self) -> Expr:
        """``(a + b)``."""
        self.next("(")
        left = self.expr()
        sign = self.next(*_INFIX)
        right = self.expr()
        self.next(")")
        return self.applied(_INFIX[sign], (left, right), None)

    def call(self) -> Expr:
        """``fn<dtype>(a, b)``."""
        fn, to = self.next(), None
        if fn not in INTRINSICS:
            raise self.error(f"no intrinsic is called {fn!r}")
        if self.take("<"):
            to = by_name(self.next())
            self.next(">")
        self.next("(")
        return self.applied(fn, self.items(")", self.expr), to)

    def applied(self, fn: str, args: tuple[Expr, ...], to: DType | None) -> Apply:
        """A function of expressions, with its dtype."""
        try:
            return Apply(fn, args, result_dtype(fn, [a.dtype for a in args], to))
        except TypeError as error:
            raise self.error(str(error)) from None

    def where(self) -> Where:
        """``where(0 <= i < 4, ..; value; other)``."""
        self.at += 2
        conds: list[Condition] = []
        while not self.take(";"):
            low = self.size("<=")
            self.next("<=")
            at = self.poly("<")
            self.next("<")
            conds.append((at, low, self.size(",", ";")))
            if self.peek() != ";":
                self.next(",")
        value = self.expr()
        self.next(";")
        other = self.expr()
        self.next(")")
        return Where(tuple(conds), value, other)


def _literal(text: str) -> Const:
    number, _, name = text.rpartition("_")
    dtype = by_name(name)
    return const(float(number) if dtype.kind == "f" else int(number), dtype)
