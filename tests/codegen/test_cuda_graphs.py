"""Kernels of random graphs as CUDA C: the interpreter's values in the emulator, and no complaint from nvcc."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import cuda_emulator as emulator
import numpy as np
import pytest
from random_graphs import random_graph

from gristmill.codegen.cuda.detect import SM_90
from gristmill.codegen.cuda.write import write
from gristmill.ir.loops import Buffer, Kernel, interpret
from gristmill.passes.fuse import fuse
from gristmill.passes.lower import lower
from gristmill.passes.schedule.simt import schedule_simt

emulated = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing())
FREE = 7  # what every free size is


def kernels_of(seed: int) -> Iterator[Kernel]:
    """The naive nests of a random graph (host steps have none)."""
    fused = fuse(random_graph(seed, symbolic=seed % 3 == 0))
    for n, task in enumerate(fused.tasks):
        if task.group.kind != "host":
            kernel = lower(task, fused.places).kernel
            yield replace(kernel, name=f"{kernel.name}_{seed}_{n}")


def number(n: object) -> int:
    return n if isinstance(n, int) else n.evaluate(dict.fromkeys(n.names, FREE))  # type: ignore


def filled(b: Buffer, rng: np.random.Generator) -> np.ndarray:
    """An array with a parameter's shape and strides."""
    shape, strides = [number(n) for n in b.shape], [number(n) for n in b.strides]
    count = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    values = rng.standard_normal(count) if b.dtype.kind == "f" else rng.integers(0, 2, count)
    flat = values.astype(b.dtype.numpy)
    size = b.dtype.itemsize
    return np.lib.stride_tricks.as_strided(flat, shape, [step * size for step in strides])


def launched(kernel: Kernel, naive: Kernel, seed: int) -> dict[str, np.ndarray]:
    """What the emulator makes of arrays drawn by the kernel's own parameters."""
    rng = np.random.default_rng(3)
    held = {b.name: filled(b, rng) for b in naive.params}
    emitted = write(kernel, SM_90)
    sizes = {s.name: FREE for s in kernel.sizes if s.numerator is None}
    return emulator.run_in_place(kernel, emitted, held, sizes, seed)


@emulated
@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed):
    for naive in kernels_of(seed):
        if any(0 in b.shape for b in naive.params):
            continue
        rng = np.random.default_rng(3)
        want = {b.name: filled(b, rng) for b in naive.params}
        interpret(naive, want, {s.name: FREE for s in naive.sizes if s.numerator is None})
        kernel, steps = schedule_simt(naive, SM_90)
        assert steps[:1] != [("plain",)], str(naive)
        tolerance = 2e-2 if "f16" in str(naive) else 1e-4
        for schedule in emulator.SEEDS:
            got = launched(kernel, naive, schedule)
            for name in want:
                a, b = want[name].astype(float), got[name].astype(float)
                assert np.allclose(a, b, tolerance, tolerance, equal_nan=True), (name, str(naive))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_nvcc_takes_random_graphs(tmp_path):
    every = [
        write(schedule_simt(k, SM_90)[0], SM_90) for seed in range(12) for k in kernels_of(seed)
    ]
    functions = dict.fromkeys(f for emitted in every for f in emitted.functions)
    headers = [f for f in functions if f.startswith("#")]
    rest = [f for f in functions if not f.startswith("#")]
    source = tmp_path / "all.cu"
    source.write_text("\n".join([*headers, *rest, *(emitted.kernels for emitted in every)]))
    command = ["nvcc", "-cubin", "-arch=sm_90", "-std=c++17", "-fmad=false", "-Xptxas=--warn-on-spills",
               "-Werror=all-warnings", "-o", str(tmp_path / "all.cubin"), str(source)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
