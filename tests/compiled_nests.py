"""Runs one scheduled nest as machine code on NumPy arrays, for tests of the LLVM writer."""

import ctypes

import numpy as np

from gristmill.codegen.detect import host
from gristmill.codegen.llvm.build import build
from gristmill.codegen.llvm.load import load
from gristmill.codegen.llvm.write import write
from gristmill.ir.loops import parse, verify
from gristmill.ir.sizes import evaluate

PHASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def shifted(a: np.ndarray, offset: int) -> np.ndarray:
    """A copy that starts ``offset`` bytes after a multiple of 64."""
    raw = np.zeros(a.nbytes + 128 + offset, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    out = raw[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


def run_text(text: str, arrays: dict, sizes: dict | None = None, **rest) -> dict:
    """The arrays after the compiled nest of a text."""
    return run_kernel(parse(text), arrays, sizes, **rest)


def run_kernel(
    kernel, arrays: dict, sizes: dict | None = None, target=None, offset: int = 0, ready: bool = True
) -> dict:
    """The arrays after a compiled nest; they start ``offset`` bytes after a multiple of 64."""
    verify(kernel, ready)
    emitted = write(kernel, target or host())
    code = load(build(emitted.text, target or host()))
    held = {n: shifted(a, offset) for n, a in arrays.items()}
    known = dict(sizes or {})
    room = {n: np.zeros(evaluate(b, known) + 64, np.uint8) for n, b in emitted.workspace}
    values = {**known, **{n: a.ctypes.data for n, a in {**held, **room}.items()}}
    table = np.array([values[n] for n in emitted.arguments], np.int64)
    for phase in emitted.phases:
        PHASE(code.address(phase.symbol))(table.ctypes.data, 0, evaluate(phase.iterations, known))
    return held
