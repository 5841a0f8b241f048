"""Statements and expressions of one function in CUDA C."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...ir.errors import ScheduleError
from ...ir.loops import (
    Apply,
    Barrier,
    Buffer,
    Const,
    Expr,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Place,
    Stmt,
    Store,
    Where,
)
from ...ir.loops.intrinsics import combine
from ...ir.sizes import Dim, Poly, contiguous_strides, dim, evaluate, poly
from ...passes.schedule.threads import SEEN, width
from .images import Image, image_of
from .math import C_TYPES, constant, spell
from .names import Names

INT = 1 << 31


class Writer:
    """Collects lines; ``within`` threads share the body at hand."""

    def __init__(
        self,
        kernel: Kernel,
        workspace: Sequence[Buffer],
        names: Names,
        functions: dict[str, str],
        threads: int,
    ) -> None:
        self.names, self.functions = names, functions
        self.threads = self.within = threads
        self.known = {b.name: b for b in (*kernel.params, *workspace)}
        self.images: dict[str, Image] = {}
        self.extents: dict[str, Dim] = {}
        self.lines: list[str] = []
        self.limits: list[str] = []
        self.shared: list[str] = []
        self.shared_bytes = 0
        self.pad = "  "

    def line(self, text: str) -> None:
        """One line of the function."""
        self.lines.append(self.pad + text)

    # ---- statements ----

    def block(self, body: Iterable[Stmt]) -> None:
        """Statements; what they declare ends with them."""
        body = tuple(body)
        before = dict(self.known), dict(self.images), dict(self.names.buffers)
        for n, s in enumerate(body):
            if type(s) is Let:
                self.let(s.buffer, body[n + 1 :])
            elif type(s) is Loop and s.kind == "thread":
                self.thread_loop(s)
            elif type(s) is Loop:
                self.loop(s)
            elif type(s) is Store:
                self.store(s)
            elif type(s) is Barrier:
                if self.within != self.threads:
                    raise ScheduleError("a barrier stands inside a thread loop")
                self.line("__syncthreads();")
        self.known, self.images, self.names.buffers = before

    def let(self, b: Buffer, scope: tuple[Stmt, ...]) -> None:
        """Declare a buffer: shared ones at the top, others as each thread's part of them."""
        name = self.names.declare(b.name)
        self.known[b.name] = b
        kind = C_TYPES[b.dtype.name]
        if b.memory == "shared":
            count = _count(b)
            self.shared.append(f"  __shared__ {kind} {name}[{count}];")
            self.shared_bytes += -(-count * b.dtype.itemsize // 16) * 16
            return
        if b.memory == "memory":
            raise ScheduleError(f"{b.name!r} is declared in memory, but inside a loop")
        image = self.images[b.name] = image_of(b, scope, self.within)
        self.line(f"{kind} {name};" if image.size == 1 else f"{kind} {name}[{image.size}];")

    def loop(self, s: Loop) -> None:
        """A loop that each thread runs."""
        if s.kind == "block":
            raise ScheduleError(f"block loop {s.axis!r} stands inside other loops or statements")
        self.enter(s)
        at, kind = self.names.index(s.axis), self.type_of(s.axis)
        unrolled = s.kind in ("unrolled", "vector")
        limit = "" if s.limit is None else f"{at} < {self.number(s.limit)}"
        end = f"{at} < {self.number(s.extent)}"
        if limit and not unrolled:
            end = f"{end} && {limit}"
        if unrolled:
            self.line("#pragma unroll")
        guard = f"if ({limit}) " if limit and unrolled else ""
        self.line(f"for ({kind} {at} = 0; {end}; {at}++) {guard}{{")
        self.inside(s.body, self.within)

    def inside(self, body: Sequence[Stmt], within: int) -> None:
        """An indented body, and the brace after it."""
        before, pad = self.within, self.pad
        self.within, self.pad = within, pad + "  "
        self.block(body)
        self.within, self.pad = before, pad
        self.line("}")

    def thread_loop(self, s: Loop) -> None:
        """Each thread takes one iteration, or none."""
        inner = width(s.body)
        self.enter(s)
        at = self.names.index(s.axis)
        value = "threadIdx.x" if self.within == self.threads else f"threadIdx.x % {self.within}"
        value += f" / {inner}" if inner > 1 else ""
        guards = [f"{at} < {s.extent}"] if s.extent * inner < self.within else []  # type: ignore
        if s.limit is not None:
            guards.append(f"{at} < {self.number(s.limit)}")
        start = len(self.lines)
        self.line("")
        self.inside(s.body, inner)
        used = guards or re.search(rf"\b{at}\b", "\n".join(self.lines[start:]))
        declared = f"const int {at} = {value};" if used else ""
        if guards:
            self.lines[start] = f"{self.pad}if ({declared} {' && '.join(guards)}) {{"
        else:
            self.lines[start] = f"{self.pad}{{ {declared}".rstrip()

    def store(self, s: Store) -> None:
        """An assignment; what others see is stored by one thread."""
        at = self.place(s.buffer, s.index)
        value = self.value(s.value) if s.reduce != "fma" else ""
        if s.reduce == "fma":
            assert type(s.value) is Apply
            factors = [self.value(a) for a in s.value.args]
            value = self.call("fma", [*factors, at], s.value)
        elif s.reduce:
            value = self.call(combine(s.reduce), [at, value], s.value)
        guard = ""
        if self.within > 1 and self.memory(s.buffer) in SEEN:
            rest = "" if self.within == self.threads else f" % {self.within}"
            guard = f"if (threadIdx.x{rest} == 0) "
        self.line(f"{guard}{at} = {_bare(value)};")

    def memory(self, buffer: str) -> str:
        """Where a buffer lies; the workspace of a kernel is in memory."""
        b = self.known[buffer]
        return "memory" if b.memory == "local" and buffer not in self.images else b.memory

    # ---- expressions ----

    def value(self, e: Expr) -> str:
        """An expression."""
        if type(e) is Const:
            return constant(e.value, e.dtype)
        if type(e) is Load:
            return self.place(e.buffer, e.index)
        if type(e) is Apply:
            return self.call(e.fn, [self.value(a) for a in e.args], e)
        if type(e) is Index:
            return f"(long long)({self.number(e.at)})"
        assert type(e) is Where
        conds = [c for at, low, high in e.conds for c in self.between(at, low, high)]
        test = " && ".join(conds) or "true"
        return f"({test} ? {self.value(e.value)} : {self.value(e.other)})"

    def call(self, fn: str, args: list[str], e: Expr) -> str:
        """A scalar function; ``e`` has its dtypes."""
        operand = e.dtype
        if type(e) is Apply and fn == e.fn:
            operand = e.args[-1].dtype
        return spell(fn, args, operand, e.dtype, self.functions)

    def between(self, at: Poly, low: Dim, high: Dim) -> list[str]:
        """``low <= at < high``."""
        text = self.number(at)
        text = f"({text})" if " " in text else text
        return [f"{text} >= {self.number(low)}", f"{text} < {self.number(high)}"]

    def place(self, buffer: str, index: Sequence[Place]) -> str:
        """An element."""
        if buffer not in self.known:
            raise ScheduleError(f"register {buffer!r} does not live from one phase to the next")
        name, image = self.names.buffer(buffer), self.images.get(buffer)
        if image is not None:
            if image.size == 1:
                return name
            strides: Sequence[Dim] = contiguous_strides(image.shape)
            index = image.index(index)
        else:
            strides = self.known[buffer].strides
        flat: Poly = poly(0)
        given = []
        for i, stride in zip(index, strides, strict=True):
            if type(i) is Poly:
                flat = flat + i * stride
            else:
                by = "" if stride == 1 else f" * ({self.number(stride)})"
                given.append(f"(long long){self.value(i)}{by}")  # type: ignore[arg-type]
        terms = [self.number(flat)] if flat.terms or not given else []
        return f"{name}[{' + '.join([*terms, *given])}]"

    # ---- numbers ----

    def enter(self, loop: Loop) -> None:
        """Note how far an axis runs."""
        self.extents[loop.axis] = loop.extent

    def type_of(self, name: str) -> str:
        """The type of an axis: 64 bits unless its extent is known to fit 32."""
        extent = self.extents.get(name)
        return "int" if type(extent) is int and extent < INT else "long long"

    def number(self, value: Dim | None) -> str:
        """A polynomial; in 64 bits wherever 32 might not do."""
        value = dim(value)
        if type(value) is int:
            return f"{value}" if abs(value) < INT else f"{value}LL"
        assert type(value) is Poly
        narrow = self._reach(value) < INT
        ordered = sorted((m for m in value.terms if m), key=lambda m: (-len(m), m))
        parts = [self._term(value.terms[m], m, narrow) for m in ordered]
        if value.const:
            parts.append(str(value.const) if abs(value.const) < INT else f"{value.const}LL")
        return " + ".join(parts).replace("+ -", "- ")

    def _term(self, by: int, names: tuple[str, ...], narrow: bool) -> str:
        """A product, its 64-bit names first."""
        wide = [n for n in names if self.type_of(n) != "int"]
        rest = [n for n in names if self.type_of(n) == "int"]
        factors = [self.names.index(n) for n in (*wide, *rest)]
        sign, by = "-" if by < 0 else "", abs(by)
        if by >= INT or (by > 1 and not narrow and not wide):
            factors.insert(0, f"{by}LL")
        elif by > 1:
            factors.insert(0, str(by))
        elif not narrow and not wide:
            factors[0] = f"(long long){factors[0]}"
        return sign + "*".join(factors)

    def _reach(self, value: Poly) -> int:
        """The most that terms of 32-bit names come to together."""
        total = 0
        for names, by in value.terms.items():
            if all(self.type_of(n) == "int" for n in names):
                for n in names:
                    by *= max(int(self.extents[n]) - 1, 1)  # type: ignore[arg-type]
                total += abs(by)
        return total


def _count(b: Buffer) -> int:
    """Elements of a shared buffer, from the first to the last."""
    if not all(type(n) is int for n in (*b.shape, *b.strides)):
        raise ScheduleError(f"the size of shared {b} is no number")
    pairs = zip(b.shape, b.strides, strict=True)
    return evaluate(1 + sum((n - 1) * step for n, step in pairs), {})


def _bare(text: str) -> str:
    """Without the parentheses around the whole."""
    if not text.startswith("("):
        return text
    depth = 0
    for n, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return text[1:-1] if n == len(text) - 1 else text
    return text
