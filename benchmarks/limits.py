"""The roofs of this machine: multiply-adds and bytes, by kernels of our own written in LLVM IR.

They are contenders like any other, so that a roof is measured in the same turns as what it limits.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from gristmill.codegen.detect import host
from gristmill.codegen.llvm.build import build
from gristmill.codegen.llvm.load import load

from . import THREADS
from .timing import Builder, Call

PROCESSORS = sorted(os.sched_getaffinity(0))
CHAINS = 12  # independent multiply-adds: latency 4 on two ports, with registers to spare
UNROLLED = 4


class Roof:
    """A sweep run by all threads at once, ``times`` over, so that handing it out costs nothing.

    Each thread has a processor of its own: a woken worker may else land on the caller's.
    """

    def __init__(self, sweep: Callable[[int], None], times: int) -> None:
        self.sweep, self.times = sweep, times

    def __call__(self) -> None:
        allowed = os.sched_getaffinity(0)
        others = [workers().submit(self.share, thread) for thread in range(1, THREADS)]
        try:
            self.share(0)
        finally:
            os.sched_setaffinity(0, allowed)
        for other in others:
            other.result()

    def share(self, thread: int) -> None:
        os.sched_setaffinity(0, {PROCESSORS[thread]})
        self.sweep(thread)


@cache
def workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, THREADS - 1))


def multiply_adds(flops: float) -> Builder:
    """``flops`` of f32 multiply-add on all threads, operands in registers."""

    def build() -> Call:
        lanes = host().lanes(4)
        kernel = kernels().fma
        times = max(1, round(2e9 / flops))
        turns = round(flops * times / (2 * lanes * CHAINS * THREADS))
        return Roof(lambda thread: kernel(turns), times)

    return build


def copying(bytes_moved: int, streaming: bool = False) -> Builder:
    """A copy between existing buffers, ``bytes_moved`` in all: half read, half written."""

    def build() -> Call:
        kernel = kernels().stream if streaming else kernels().copy
        return moving(lambda a, b, n: kernel(a, b, n), bytes_moved // 2, buffers=2, times=1)

    return build


def reading(bytes_moved: int) -> Builder:
    """A sum over ``bytes_moved`` of existing memory."""

    def build() -> Call:
        kernel = kernels().read
        times = max(1, (1 << 28) // bytes_moved)
        return moving(lambda a, b, n: kernel(a, n), bytes_moved, buffers=1, times=times)

    return build


def moving(kernel: Callable[[int, int, int], object], size: int, buffers: int, times: int) -> Call:
    """Each thread sweeps its own share of ``buffers`` blocks of ``size`` bytes, ``times`` over."""
    blocks = [aligned(size) for _ in range(buffers)]
    share = size // THREADS // 512 * 512
    first, last = blocks[0].ctypes.data, blocks[-1].ctypes.data

    def sweep(thread: int) -> None:
        for _ in range(times):
            kernel(first + thread * share, last + thread * share, share // 4)

    roof = Roof(sweep, times)
    roof.blocks = blocks  # type: ignore[attr-defined]
    return roof


def aligned(size: int) -> np.ndarray:
    """Zeroed bytes on a 64-byte boundary; NumPy asks for huge pages itself."""
    block = np.empty(size + 64, np.uint8)
    start = -block.ctypes.data % 64
    block = block[start : start + size]
    block[:] = 0
    return block


class Kernels:
    """The four roofs' machine code."""

    def __init__(self, text: str) -> None:
        self.code = load(build(text, host()))
        number = ctypes.c_int64
        self.fma = ctypes.CFUNCTYPE(ctypes.c_float, number)(self.code.address("fma_roof"))
        self.read = ctypes.CFUNCTYPE(ctypes.c_float, *[number] * 2)(self.code.address("read_roof"))
        sweep = ctypes.CFUNCTYPE(None, *[number] * 3)
        self.copy = sweep(self.code.address("copy_roof"))
        self.stream = sweep(self.code.address("stream_roof"))


@cache
def kernels() -> Kernels:
    lanes = host().lanes(4)
    texts = fma_text(lanes), read_text(lanes), copy_text(lanes, False), copy_text(lanes, True)
    return Kernels("\n".join(texts))


def loop(
    name: str, signature: str, step: int, phis: list[str], body: list[str], after: list[str]
) -> str:
    """One counted loop over ``%n`` in steps, as LLVM IR."""
    lines = [
        f"define {signature.replace('@', '@' + name)} {{",
        "entry:",
        "  br label %body",
        "body:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %body ]",
        *phis,
        *body,
        f"  %next = add i64 %i, {step}",
        "  %more = icmp slt i64 %next, %n",
        "  br i1 %more, label %body, label %done",
        "done:",
        *after,
        "}",
    ]
    return "\n".join(lines)


def fma_text(lanes: int) -> str:
    vector = f"<{lanes} x float>"
    splat = "splat (float 0x3FF0000020000000)"
    phis = [
        f"  %c{j} = phi {vector} [ zeroinitializer, %entry ], [ %d{j}, %body ]"
        for j in range(CHAINS)
    ]
    call = f"call {vector} @llvm.fma.v{lanes}f32"
    body = [
        f"  %d{j} = {call}({vector} %c{j}, {vector} {splat}, {vector} {splat})"
        for j in range(CHAINS)
    ]
    declared = f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})\n"
    return declared + loop("fma_roof", "float @(i64 %n)", 1, phis, body, total(vector, "d", CHAINS))


def read_text(lanes: int) -> str:
    vector, chains = f"<{lanes} x float>", 2 * UNROLLED
    phis = [
        f"  %c{j} = phi {vector} [ zeroinitializer, %entry ], [ %d{j}, %body ]"
        for j in range(chains)
    ]
    body = []
    for j in range(chains):
        body += loaded(vector, lanes, j, "a")
        body.append(f"  %d{j} = fadd {vector} %c{j}, %v{j}")
    after = total(vector, "d", chains)
    return loop("read_roof", "float @(ptr %a, i64 %n)", lanes * chains, phis, body, after)


def copy_text(lanes: int, streaming: bool) -> str:
    vector = f"<{lanes} x float>"
    body, mark = [], ", !nontemporal !0" if streaming else ""
    for j in range(UNROLLED):
        body += loaded(vector, lanes, j, "a")
        body.append(f"  %q{j} = getelementptr float, ptr %b, i64 %k{j}")
        body.append(f"  store {vector} %v{j}, ptr %q{j}, align {4 * lanes}{mark}")
    after = ["  call void @llvm.x86.sse.sfence()" if streaming else "", "  ret void"]
    declared = "declare void @llvm.x86.sse.sfence()\n!0 = !{i32 1}\n" if streaming else ""
    name = "stream_roof" if streaming else "copy_roof"
    return declared + loop(
        name, "void @(ptr %a, ptr %b, i64 %n)", lanes * UNROLLED, [], body, after
    )


def loaded(vector: str, lanes: int, j: int, pointer: str) -> list[str]:
    return [
        f"  %k{j} = add i64 %i, {j * lanes}",
        f"  %p{j} = getelementptr float, ptr %{pointer}, i64 %k{j}",
        f"  %v{j} = load {vector}, ptr %p{j}, align {4 * lanes}",
    ]


def total(vector: str, name: str, count: int) -> list[str]:
    """Add ``count`` vectors and return a lane, so that no chain is dead."""
    lines = [f"  %t0 = fadd {vector} %{name}0, %{name}1"]
    lines += [f"  %t{j - 1} = fadd {vector} %t{j - 2}, %{name}{j}" for j in range(2, count)]
    return [*lines, f"  %lane = extractelement {vector} %t{count - 2}, i64 0", "  ret float %lane"]
