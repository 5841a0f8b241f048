"""Random nests, compiled for several machines, give the bits that the loop interpreter gives."""

import ctypes

import numpy as np
import pytest
from random_nests import Nests, arrays_for

from gristmill.codegen.detect import host, level
from gristmill.codegen.llvm.build import build
from gristmill.codegen.llvm.load import load
from gristmill.codegen.llvm.write import write
from gristmill.ir.loops import Kernel, interpret, parse, verify
from gristmill.ir.sizes import evaluate

PHASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
TARGETS = (host(), level("x86-64-v3"), level("x86-64"))


def run(kernel: Kernel, arrays: dict[str, np.ndarray], sizes: dict[str, int], target) -> None:
    """The compiled kernel on arrays, its parallel loops in several ranges."""
    emitted = write(kernel, target)
    code = load(build(emitted.text, target))
    room = {n: np.full(evaluate(b, sizes) + 64, 90, np.uint8) for n, b in emitted.workspace}
    held = {n: a.ctypes.data for n, a in {**arrays, **room}.items()} | sizes
    table = np.array([held[n] for n in emitted.arguments], np.int64)
    for phase in emitted.phases:
        for at in range(0, count := evaluate(phase.iterations, sizes), 2):
            PHASE(code.address(phase.symbol))(table.ctypes.data, at, min(at + 2, count))


def same(want: np.ndarray, got: np.ndarray) -> bool:
    """Equal bits; of a NaN any."""
    if want.dtype.kind in "biu":
        return bool((want == got).all())
    with np.errstate(invalid="ignore"):
        w, g = want.astype(float), got.astype(float)
    return bool((((w == g) & (np.signbit(w) == np.signbit(g))) | (np.isnan(w) & np.isnan(g))).all())


def check(seed: int) -> None:
    nests = Nests(seed)
    kernel = nests.kernel()
    verify(kernel)
    assert str(parse(str(kernel))) == str(kernel)
    arrays, want = arrays_for(kernel, nests.known, seed)
    interpret(kernel, arrays, {"n": nests.known["n"]})
    target = TARGETS[seed % len(TARGETS)]
    arrays, got = arrays_for(kernel, nests.known, seed)
    run(kernel, arrays, nests.known, target)
    wrong = [n for n, a in want.items() if not same(a, got[n])]
    assert not wrong, (seed, target.name, wrong, str(kernel))


@pytest.mark.parametrize("block", range(8))
def test_random_nests(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        check(seed)


@pytest.mark.full
@pytest.mark.parametrize("block", range(40))
def test_many_random_nests(block: int) -> None:
    for seed in range(50_000 + block * 200, 50_200 + block * 200):
        check(seed)
