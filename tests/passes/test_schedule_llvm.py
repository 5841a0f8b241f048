"""Scheduled nests through LLVM: policies and random schedules compute what the naive nest means."""

import ctypes
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from gristmill.codegen.detect import host
from gristmill.codegen.llvm.build import build
from gristmill.codegen.llvm.load import load
from gristmill.codegen.llvm.write import write
from gristmill.ir.errors import ScheduleError
from gristmill.ir.loops import Kernel, interpret
from gristmill.ir.sizes import evaluate
from gristmill.passes.schedule.policy import schedule_kernel
from gristmill.passes.schedule.schedule import finish

PHASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def neighbor(stem: str):
    """The tests beside this file as a module: their kernels are used here again."""
    spec = importlib.util.spec_from_file_location(stem, Path(__file__).with_name(f"{stem}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz, policies = neighbor("test_schedule_fuzz"), neighbor("test_schedule_policy")


def aligned(count: int, dtype: np.dtype) -> np.ndarray:
    raw = np.zeros(count * dtype.itemsize + 128, np.uint8)
    at = -raw.ctypes.data % 64
    return raw[at : at + count * dtype.itemsize].view(dtype)


def run(
    kernel: Kernel, arrays: dict[str, np.ndarray], sizes: dict[str, int]
) -> dict[str, np.ndarray]:
    """The parameters after the compiled kernel."""
    emitted = write(kernel, host())
    code = load(build(emitted.text, host()))
    known = dict(sizes)
    for s in kernel.sizes:
        if s.numerator is not None:
            known[s.name] = evaluate(s.numerator, known) // s.divisor
    out, values = {}, dict(known)
    for b in kernel.params:
        shape = [evaluate(n, known) for n in b.shape]
        strides = [evaluate(n, known) for n in b.strides]
        span = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        base = aligned(span, b.dtype.numpy)
        steps = [s * b.dtype.itemsize for s in strides]
        out[b.name] = np.lib.stride_tricks.as_strided(base, shape, steps)
        out[b.name][...] = arrays[b.name]
        values[b.name] = base.ctypes.data
    space = {
        n: aligned(evaluate(size, known) + 64, np.dtype(np.uint8)) for n, size in emitted.workspace
    }
    values |= {n: a.ctypes.data for n, a in space.items()}
    table = np.array([values[n] for n in emitted.arguments], np.int64)
    for phase in emitted.phases:
        count = evaluate(phase.iterations, known)
        for at in range(0, count, 3):  # several ranges, as threads would take them
            PHASE(code.address(phase.symbol))(table.ctypes.data, at, min(at + 3, count))
    return out


def check(
    naive: Kernel, done: Kernel, arrays: dict[str, np.ndarray], sizes: dict[str, int]
) -> None:
    want = {n: a.copy() for n, a in arrays.items()}
    interpret(naive, want, sizes)
    got = run(done, arrays, {s.name: sizes[s.name] for s in naive.sizes})
    for n, a in want.items():
        np.testing.assert_allclose(
            got[n].astype(float), a.astype(float), rtol=3e-4, atol=3e-4, err_msg=str(done)
        )


@pytest.mark.parametrize("name", policies.CASES)
def test_policies(name: str) -> None:
    naive = policies.CASES[name]
    done, _ = schedule_kernel(naive, host())
    check(naive, done, policies.arrays(naive), policies.OPEN)


def check_seed(seed: int) -> bool:
    naive, kernel, sizes, _ = fuzz.run(seed)
    try:
        done = finish(kernel)
    except ScheduleError:
        return False
    check(naive, done, fuzz.random_arrays(naive, sizes, seed), sizes)
    return True


@pytest.mark.parametrize("block", range(4))
def test_random_schedules(block: int) -> None:
    assert any(check_seed(seed) for seed in range(block * 15, block * 15 + 15))


@pytest.mark.full
@pytest.mark.parametrize("block", range(20))
def test_many_random_schedules(block: int) -> None:
    for seed in range(50_000 + block * 100, 50_100 + block * 100):
        check_seed(seed)
