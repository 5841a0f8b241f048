"""Loop nests to LLVM IR text, one statement for one statement: every choice was made by the schedule.

A kernel becomes phases: each top-level parallel loop is one, and neighbouring serial statements are one. A phase is
``void symbol(ptr args, i64 lo, i64 hi)``; it unpacks ``args`` and calls a body whose pointers are known to be distinct.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.loops import Buffer, Kernel, Let, Loop
from ...ir.sizes import Dim, dim, poly
from ...ir.target import Target
from .emit import Value
from .places import extent
from .statements import Writer


@dataclass(frozen=True)
class Phase:
    """One function of a kernel: called with a range of its parallel loop's iterations."""

    symbol: str
    iterations: Dim
    parallel: bool


@dataclass(frozen=True)
class Emitted:
    """The text of a kernel, its phases in order, its workspace (name, bytes) and its arguments in order."""

    text: str
    phases: tuple[Phase, ...]
    workspace: tuple[tuple[str, Dim], ...]
    arguments: tuple[str, ...]


def write(kernel: Kernel, target: Target) -> Emitted:
    """The LLVM IR of a kernel."""
    lets = [s.buffer for s in kernel.body if isinstance(s, Let)]
    workspace = [b for b in lets if b.memory != "registers"]
    free = [s.name for s in kernel.sizes if s.numerator is None]
    module = Module(kernel, workspace, free, target)
    phases = tuple(module.phase(k, body) for k, body in enumerate(phases_of(kernel)))
    sizes = tuple((b.name, dim(poly(extent(b)) * b.dtype.itemsize)) for b in workspace)
    names = (*(p.name for p in kernel.params), *(b.name for b in workspace), *free)
    return Emitted(module.text(), phases, sizes, names)


def phases_of(kernel: Kernel) -> list[tuple[Any, ...]]:
    """The statements of each phase: a parallel loop alone, or neighbouring serial statements."""
    out: list[list[Any]] = []
    serial = False
    for s in kernel.body:
        if isinstance(s, Let) and s.buffer.memory != "registers":
            continue
        parallel = isinstance(s, Loop) and s.kind == "parallel"
        if parallel or not serial:
            out.append([])
        out[-1].append(s)
        serial = not parallel
    return [tuple(b) for b in out]


class Module:
    """All functions of one kernel."""

    def __init__(
        self, kernel: Kernel, workspace: list[Buffer], free: list[str], target: Target
    ) -> None:
        self.kernel, self.workspace, self.free, self.target = kernel, workspace, free, target
        self.functions: list[str] = []
        self.declarations: set[str] = set()
        self.buffers = [*kernel.params, *workspace]

    def apart(self, b: Buffer) -> str:
        """``noalias``, but for a parameter that may be updated in place: an input and an output that are alike."""
        other = {"in": "out", "out": "in"}.get(b.role)
        alike = [
            (p.role, p.dtype, p.shape) == (other, b.dtype, b.shape) for p in self.kernel.params
        ]
        return "" if any(alike) else "noalias "

    def phase(self, number: int, body: tuple[Any, ...]) -> Phase:
        """Write one phase: an entry that unpacks the arguments, and a body with distinct pointers."""
        symbol = f"{self.kernel.name}_{number}"
        first = body[0]
        parallel = isinstance(first, Loop) and first.kind == "parallel"
        parameters = (
            [f"ptr {self.apart(b)}%p.{b.name}" for b in self.buffers]
            + [f"i64 %i.{n}" for n in self.free]
            + ["i64 %lo", "i64 %hi"]
        )
        w = Writer(self, symbol)
        for b in self.buffers:
            w.buffers[b.name] = b
        for n in self.free:
            w.env[n] = Value(w, "i64", 0, f"%i.{n}")
        w.derive(self.kernel.sizes)
        w.top = len(w.lines)
        if parallel:
            w.loop_over(first, Value(w, "i64", 0, "%lo"), Value(w, "i64", 0, "%hi"))
        else:
            w.block(body)
        self.define(f"{symbol}_body", parameters, w, "noinline")
        self.entry(symbol)
        return Phase(symbol, first.extent if parallel else 1, parallel)

    def entry(self, symbol: str) -> None:
        """``void symbol(ptr args, i64 lo, i64 hi)``: load every argument and go on."""
        lines, operands = [], []
        for i in range(len(self.buffers) + len(self.free)):
            kind = "ptr" if i < len(self.buffers) else "i64"
            lines.append(
                f"  %a{i} = getelementptr i64, ptr %args, i64 {i}\n  %b{i} = load {kind}, ptr %a{i}, align 8"
            )
            operands.append(f"{kind} %b{i}")
        operands += ["i64 %lo", "i64 %hi"]
        self.functions.append(
            f"define void @{symbol}(ptr %args, i64 %lo, i64 %hi) #0 {{\n"
            + "\n".join(lines)
            + f"\n  call void @{symbol}_body({', '.join(operands)})\n  ret void\n}}\n"
        )

    def define(self, name: str, parameters: list[str], writer: Writer, attributes: str) -> None:
        """Keep one finished function."""
        body = writer.lines
        first, last = writer.rooms()
        self.declarations |= writer.declarations
        fence = "  fence seq_cst\n" if writer.nontemporal else ""
        self.functions.append(
            f"define internal void @{name}({', '.join(parameters)}) {attributes} #0 {{\nentry:\n"
            + "\n".join([*body[: writer.top], *first, *body[writer.top :], *last])
            + f"\n{fence}  ret void\n}}\n"
        )

    def text(self) -> str:
        """The module."""
        width = self.target.vector_bits
        tail = f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" }}\n!0 = !{{i32 1}}\n'
        return "\n".join(sorted(self.declarations)) + "\n" + "\n".join(self.functions) + tail
