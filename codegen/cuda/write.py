"""Loop nests to CUDA C, one statement for one statement: every choice was made by the schedule.

A kernel becomes phases, each a ``__global__`` function: a top-level nest of block loops is one, and
neighboring statements that no block shares out are one of a single block. Blocks and threads have
one number each, laid over block and thread loops, inner loops fastest (``passes.schedule.threads``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...ir.errors import ScheduleError
from ...ir.loops import Buffer, Kernel, Let, Loop, Stmt, Store
from ...ir.loops.walk import Body, reads, stores
from ...ir.sizes import Dim, contiguous_strides, dim, product
from ...ir.target import Target
from ...passes.schedule.threads import width
from .math import C_TYPES, HEADERS
from .names import Names, legal
from .statements import Writer


@dataclass(frozen=True, slots=True)
class Launch:
    """One function of a kernel: run by ``grid`` blocks of ``block`` threads."""

    symbol: str
    grid: Dim
    block: int


@dataclass(frozen=True, slots=True)
class Emitted:
    """The text of a kernel, its launches in order, its workspace (name, bytes), its arguments in order.

    ``functions`` stand before the text of kernels: headers, and device functions that other kernels
    may need too.
    """

    functions: tuple[str, ...]
    kernels: str
    launches: tuple[Launch, ...]
    workspace: tuple[tuple[str, Dim], ...]
    arguments: tuple[str, ...]

    @property
    def text(self) -> str:
        """A whole source."""
        return "\n".join([*self.functions, self.kernels])


@dataclass(slots=True)
class _Phase:
    """Statements of one function, and the registers that each thread fills before them."""

    head: list[Stmt]
    blocks: list[Loop]
    body: Body


def write(kernel: Kernel, target: Target) -> Emitted:
    """The CUDA C of a scheduled kernel: ``void name(pointers..., long long sizes...)`` for each phase.

    Raises ``ScheduleError`` for a nest that threads could not run, and for one that asks for more
    threads or shared memory than a block of the target has.
    """
    if target.model != "simt":
        raise ValueError(f"write: {target.name} runs vectors: take codegen.llvm.write")
    lets = [s.buffer for s in kernel.body if isinstance(s, Let)]
    workspace = [b for b in lets if b.memory in ("memory", "local")]
    free = [s.name for s in kernel.sizes if s.numerator is None]
    phases = _phases_of(kernel, {b.name for b in workspace})
    functions: dict[str, str] = {}
    texts, launches = [], []
    for k, phase in enumerate(phases):
        symbol = legal(kernel.name) if len(phases) == 1 else f"{kernel.name}_{k}"
        text, launch = _function(kernel, workspace, phase, symbol, target, functions)
        texts.append(text)
        launches.append(launch)
    used = {b.dtype.name for b in (*kernel.params, *lets)}
    headers = [HEADERS[name] for name in HEADERS if name in used or _mentions(name, texts)]
    room = tuple((b.name, dim(product(b.shape) * b.dtype.itemsize)) for b in workspace)
    names = (*(p.name for p in kernel.params), *(b.name for b in workspace), *free)
    before = (*headers, *functions.values())
    return Emitted(before, "\n".join(texts), tuple(launches), room, names)


def _mentions(dtype: str, texts: Iterable[str]) -> bool:
    return any(C_TYPES[dtype] in text for text in texts)


def _phases_of(kernel: Kernel, workspace: set[str]) -> list[_Phase]:
    """Each top-level nest of block loops alone, and neighboring statements without them."""
    fixed = _fixed(kernel)
    out: list[_Phase] = []
    head: list[Stmt] = []
    serial: list[Stmt] = []
    for s in kernel.body:
        if isinstance(s, Let) and s.buffer.name in workspace:
            continue
        if id(s) in fixed:
            head.append(s)
        elif isinstance(s, Loop) and s.kind == "block":
            blocks, body = _blocks_of(s)
            out.append(_Phase(_read(head, body), blocks, body))
            serial = []
        else:
            if not serial:
                out.append(_Phase([], [], ()))
            serial.append(s)
            out[-1].head, out[-1].body = _read(head, tuple(serial)), tuple(serial)
    return out


def _fixed(kernel: Kernel) -> set[int]:
    """Top-level statements that fill registers from inputs alone: each thread of each phase may."""
    registers = {s.buffer.name for s in kernel.body if isinstance(s, Let)
                 and s.buffer.memory == "registers"}  # fmt: skip
    known = {b.name for b in kernel.params if b.role == "in"} | registers
    found: list[Stmt] = []
    for s in kernel.body:
        if isinstance(s, Store | Loop) and width((s,)) == 1:
            mine = list(stores((s,)))
            seen = {e.buffer for t in mine for e in reads(t)}
            if {t.buffer for t in mine} <= registers and seen <= known:
                found.append(s)
                continue
        known -= {t.buffer for t in stores((s,))}
    late = registers - known
    kept = {id(s) for s in found if late.isdisjoint(t.buffer for t in stores((s,)))}
    lets = [s for s in kernel.body if isinstance(s, Let) and s.buffer.name in registers - late]
    return kept | {id(s) for s in lets}


def _read(head: list[Stmt], body: Body) -> list[Stmt]:
    """The statements of ``head`` that ``body`` needs."""
    needed = {e.buffer for t in stores(body) for e in reads(t)}
    kept: list[Stmt] = []
    for s in reversed(head):
        if isinstance(s, Let):
            if s.buffer.name in needed:
                kept.insert(0, s)
        elif not needed.isdisjoint(t.buffer for t in stores((s,))):
            kept.insert(0, s)
            needed |= {e.buffer for t in stores((s,)) for e in reads(t)}
    return kept


def _blocks_of(loop: Loop) -> tuple[list[Loop], Body]:
    """Directly nested block loops, and what they hold."""
    blocks = [loop]
    while len(loop.body) == 1 and isinstance(loop.body[0], Loop) and loop.body[0].kind == "block":
        loop = loop.body[0]
        blocks.append(loop)
    return blocks, loop.body


def _function(
    kernel: Kernel,
    workspace: list[Buffer],
    phase: _Phase,
    symbol: str,
    target: Target,
    functions: dict[str, str],
) -> tuple[str, Launch]:
    """One ``__global__`` function."""
    threads = width(phase.body)
    if threads > target.max_threads:
        raise ScheduleError(
            f"{symbol}: a block of {threads} threads, {target.name} has {target.max_threads}"
        )
    names = Names(kernel)
    w = Writer(kernel, workspace, names, functions, threads)
    params = [_pointer(b, names) for b in (*kernel.params, *workspace)]
    params += [f"long long {names.index(s.name)}" for s in kernel.sizes if s.numerator is None]
    blocks = _block_lines(phase.blocks, w)
    w.block([*phase.head, *phase.body])
    lines = w.lines
    if w.shared_bytes > target.shared_memory:
        raise ScheduleError(
            f"{symbol}: {w.shared_bytes} bytes of shared memory, a block of {target.name} has "
            f"{target.shared_memory}"
        )
    lines = _needed([*_size_lines(kernel, w), *blocks], [*w.limits, *w.shared, *lines])
    head = f'extern "C" __global__ void __launch_bounds__({threads}) {symbol}('
    inner = ",\n    ".join(params)
    text = "\n".join([f"{head}\n    {inner}) {{", *lines, "}", ""])
    return text, Launch(symbol, product(b.extent for b in phase.blocks), threads)


def _pointer(b: Buffer, names: Names) -> str:
    const = "const " if b.role == "in" else ""
    return f"{const}{C_TYPES[b.dtype.name]}* __restrict__ {names.buffer(b.name)}"


def _size_lines(kernel: Kernel, w: Writer) -> list[str]:
    return [
        f"  const long long {w.names.index(s.name)} = ({w.number(s.numerator)}) / {s.divisor};"
        for s in kernel.sizes
        if s.numerator is not None
    ]


def _block_lines(blocks: list[Loop], w: Writer) -> list[str]:
    """The index of each block loop, from the block's number."""
    lines = []
    steps = contiguous_strides([b.extent for b in blocks])
    for n, (loop, step) in enumerate(zip(blocks, steps, strict=True)):
        value = "blockIdx.x"
        if step != 1:
            value += f" / {_factor(w.number(step))}"
        if n:
            value += f" % {_factor(w.number(loop.extent))}"
        w.enter(loop)
        lines.append(f"  const {w.type_of(loop.axis)} {w.names.index(loop.axis)} = {value};")
        if loop.limit is not None:
            at = w.names.index(loop.axis)
            w.limits.append(f"  if ({at} >= {w.number(loop.limit)}) return;")
    return lines


def _factor(text: str) -> str:
    return text if re.fullmatch(r"\w+", text) else f"({text})"


def _needed(declarations: list[str], body: list[str]) -> list[str]:
    """Declarations of constants that are used, and the body: CUDA's compiler warns of others."""
    words = set(re.findall(r"\w+", "\n".join(body)))
    kept: list[str] = []
    for line in reversed(declarations):
        name, _, value = line.partition(" = ")
        if name.rsplit(" ", 1)[1] in words:
            kept.insert(0, line)
            words |= set(re.findall(r"\w+", value))
    return [*kept, *body]
