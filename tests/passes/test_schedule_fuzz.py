"""Random legal steps on random nests keep the meaning, in the interpreter."""

import random

import numpy as np
import pytest

from gristmill.codegen.cuda.detect import SM_90
from gristmill.ir.errors import ScheduleError
from gristmill.ir.loops import Kernel, interpret, parse
from gristmill.ir.loops.walk import axes, buffers
from gristmill.passes.schedule.schedule import finish, take
from gristmill.passes.schedule.simt import schedule_simt

MATMUL = """\
kernel matmul(in A: {t}[{m}, {k}] strides [{a}], in B: {t}[{k}, {n}] strides [{b}], out C: {t}[{m}, {n}]) {{
  for i in {m} {{ for j in {n} {{ for k in {k} {{ C[i, j] fma= A[i, k] * B[k, j] from 0 at k }} }} }}
}}"""
LINEAR = """\
kernel linear(in A: {t}[{m}, {k}], in B: {t}[{k}, {n}], in bias: {t}[{n}], out D: {t}[{m}, {n}]) {{
  let C: {t}[{m}, {n}]
  for i in {m} {{ for j in {n} {{ for k in {k} {{ C[i, j] fma= A[i, k] * B[k, j] from 0 at k }} }} }}
  for i2 in {m} {{ for j2 in {n} {{ D[i2, j2] = max((C[i2, j2] + bias[j2]), {zero}) }} }}
}}"""
SOFTMAX = """\
kernel softmax(in x: f32[{m}, {n}], out y: f32[{m}, {n}]) {{
  for r in {m} {{
    let m: f32[] in registers
    for j in {n} {{ m[] maxnum= x[r, j] from -inf at j }}
    let e: f32[{n}] in local
    for j1 in {n} {{ e[j1] = exp((x[r, j1] - m[])) }}
    let s: f32[] in registers
    for j2 in {n} {{ s[] += e[j2] from 0 at j2 }}
    let i: f32[] in registers
    i[] = (1.0_f32 / s[])
    for j3 in {n} {{ y[r, j3] = (e[j3] * i[]) }}
  }}
}}"""
SPREAD = """\
kernel spread(in x: {t}[{m}, {n}], out y: {t}[{m}, {n}]) {{
  let s: {t}[{m}]
  let e: {t}[{m}, {n}]
  for r in {m} {{ for j in {n} {{ s[r] += x[r, j] from 0 at j }} }}
  for r in {m} {{ for j in {n} {{ e[r, j] = (x[r, j] - s[r]) }} }}
  for r in {m} {{ for j in {n} {{ y[r, j] = (e[r, j] * e[r, j]) }} }}
}}"""
TOTAL = """\
kernel total(in x: {t}[{m}, {n}], out o: {t}[{n}]) {{
  for j in {n} {{ for r in {m} {{ o[j] += x[r, j] from 0 at r }} }}
}}"""
WHOLE = """\
kernel whole(in x: {t}[{m}, {n}], out o: {t}[]) {{
  for r in {m} {{ for j in {n} {{ o[] max= x[r, j] from 0 at r, j }} }}
}}"""
CHAIN = """\
kernel chain(in x: {t}[{m}], in ids: i64[{m}], out y: {t}[{m}]) {{
  for i in {m} {{
    let t: {t}[] in registers
    t[] = (x[i] * x[ids[i]])
    y[i] = where(1 <= i < 4; (t[] + t[]); neg(t[]))
  }}
}}"""
CONV = """\
kernel conv(in x: f32[{m}, {n}], in f: f32[3, {k}], out y: f32[{k}, {n}]) {{
  for o in {k} {{ for h in {n} {{ for c in {m} {{ for p in 3 {{
    y[o, h] fma= where(0 <= h + p - 1 < {n}; x[c, h + p - 1]; 0.0_f32) * f[p, o] from 0 at c, p
  }} }} }} }}
}}"""
TEXTS = {
    "matmul": MATMUL, "linear": LINEAR, "softmax": SOFTMAX, "spread": SPREAD, "total": TOTAL,
    "whole": WHOLE, "chain": CHAIN, "conv": CONV,
}  # fmt: skip


def random_naive(rng: random.Random) -> tuple[Kernel, dict[str, int]]:
    """A small kernel, each of its sizes a number or a name."""
    name = rng.choice(list(TEXTS))
    numbers = {s: rng.choice([1, 2, 3, 4, 5, 7, 8, 9, 13]) for s in "mnk"}
    if name in ("matmul", "linear", "conv"):
        numbers = {s: min(v, 7) for s, v in numbers.items()}
    free = {s: rng.random() < 0.3 and numbers[s] > 1 for s in "mnk"}
    shown = {s: ("n" + s if free[s] else str(v)) for s, v in numbers.items()}
    t = rng.choice(["f32", "f64", "i32", "u8"])
    a = f"1, {shown['m']}" if rng.random() < 0.5 else f"{shown['k']}, 1"
    b = f"1, {shown['k']}" if rng.random() < 0.5 else f"{shown['n']}, 1"
    text = TEXTS[name].format(t=t, a=a, b=b, zero="0_" + t, **shown)
    used = [s for s in "mnk" if f"n{s}" in text.split("{")[0]]
    head = text.replace("(", f"[{', '.join('n' + s for s in used)}](", 1) if used else text
    return parse(head), {"n" + s: numbers[s] for s in used}


def random_arrays(kernel: Kernel, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Inputs with small values; outputs as far-off numbers."""
    rng = np.random.default_rng(seed)
    out = {}
    for b in kernel.params:
        shape = [n if isinstance(n, int) else n.evaluate(sizes) for n in b.shape]
        if b.name == "ids":
            values = rng.integers(0, shape[0], shape)
        elif b.dtype.kind == "f":
            values = rng.standard_normal(shape)
        else:
            values = rng.integers(0, 9, shape)
        out[b.name] = np.asarray(values).astype(b.dtype.numpy)
        if b.role == "out":
            out[b.name][...] = 88
    return out


MENU = ["split"] * 4 + [
    "cut", "reorder", "reorder", "fuse", "unroll", "vectorize", "distribute", "place", "accumulate",
    "accumulate", "lanes", "lanes", "stage", "stage", "forward", "rename", "reuse", "parallel", "outline", "tile",
    "hold", "hoist", "bind", "publish", "relax", "relax", "synchronize",
]  # fmt: skip


def random_steps(kernel: Kernel, rng: random.Random, count: int) -> list[tuple]:
    """Steps with arguments that exist in this kernel; each may still be refused."""
    known, names = sorted(axes(kernel.body)), list(buffers(kernel))
    axis, other, buffer = rng.choice(known), rng.choice(known), rng.choice(names)
    factor, memory = rng.randint(1, 5), rng.choice(["local", "registers"])
    tail = rng.choice(["cut", "cut", "clamp", "mask", (2,), (3, 2)])
    order = rng.choice([None, None, (0, 1), (1, 0), (1, 0, 1), (0, 1, 0)])
    pieces = rng.sample(known, min(len(known), rng.randint(2, 5)))
    cuts = ("split", axis, factor, f"u{count}", f"t{count}", tail)
    menu = {
        "split": [cuts], "cut": [("cut", axis, factor)], "reorder": [("reorder", *pieces)],
        "fuse": [("fuse", axis, rng.choice(["", other]))], "unroll": [("unroll", axis)],
        "vectorize": [("vectorize", axis, 16)], "distribute": [("distribute", axis)],
        "place": [("place", buffer, axis, memory)], "lanes": [("lanes", buffer, axis, memory)],
        "accumulate": [("accumulate", buffer, axis, memory, rng.choice(["", "b"]))],
        "stage": [("stage", buffer, rng.choice([axis, None]), order, "local", rng.choice([0, 3]), None, factor)],
        "forward": [("forward", buffer)], "rename": [("rename", axis, f"w{count}", rng.choice(["", buffer]))],
        "reuse": [("reuse", buffer, rng.choice(names))], "parallel": [("parallel", axis)],
        "outline": [("outline", axis)], "hoist": [("hoist", buffer)],
        "hold": [("hold", buffer, memory)], "bind": [("bind", axis, rng.choice(["block", "thread"]))],
        "publish": [("publish", buffer, axis)], "relax": [("relax", axis, buffer)],
        "synchronize": [("synchronize",)],
        "tile": [cuts, ("split", other, 2, f"p{count}", f"q{count}", "clamp"),
                 ("reorder", *pieces, f"p{count}", f"q{count}", f"t{count}")],
    }  # fmt: skip
    return menu[rng.choice(MENU)]


def agree(kernel: Kernel, other: Kernel, sizes: dict[str, int], seed: int) -> bool:
    want, got = random_arrays(kernel, sizes, seed), random_arrays(kernel, sizes, seed)
    interpret(kernel, want, sizes)
    interpret(other, got, sizes)
    return all(
        np.allclose(
            want[n].astype(float), got[n].astype(float), rtol=2e-4, atol=2e-4, equal_nan=True
        )
        for n in want
    )


def run(seed: int, length: int = 7) -> tuple[Kernel, Kernel, dict[str, int], list[tuple]]:
    """A random kernel and what random steps make of it."""
    rng = random.Random(seed)
    naive, sizes = random_naive(rng)
    kernel, taken = naive, []
    if naive.name == "linear" and rng.random() < 0.7:
        for step in [("fuse", "i", "i2"), ("fuse", "j", "j2")]:
            kernel = take(kernel, step)
            taken.append(step)
    for count in range(length):
        for step in random_steps(kernel, rng, count):
            try:
                kernel = take(kernel, step)
            except ScheduleError:
                continue
            taken.append(step)
    return naive, kernel, sizes, taken


def check(seed: int) -> bool:
    """Whether the schedule was complete enough for a writer."""
    naive, kernel, sizes, taken = run(seed)
    assert agree(naive, kernel, sizes, seed), (seed, str(naive), taken)
    assert str(parse(str(kernel))) == str(kernel)
    try:
        done = finish(kernel)
    except ScheduleError:
        return False
    assert agree(naive, done, sizes, seed), (seed, str(naive), taken)
    return True


@pytest.mark.parametrize("block", range(8))
def test_random_schedules(block: int) -> None:
    complete = [check(seed) for seed in range(block * 20, block * 20 + 20)]
    assert any(complete)


@pytest.mark.parametrize("block", range(4))
def test_blocks_and_threads(block: int) -> None:
    """What the policies for SIMT machines make of random kernels means the same."""
    for seed in range(block * 40, block * 40 + 40):
        naive, sizes = random_naive(random.Random(seed))
        done, steps = schedule_simt(naive, SM_90)
        assert agree(naive, done, sizes, seed), (seed, str(naive), steps)
        assert steps[0][0] != "plain", (seed, str(naive), steps)


@pytest.mark.full
@pytest.mark.parametrize("block", range(40))
def test_many_random_schedules(block: int) -> None:
    for seed in range(10_000 + block * 100, 10_100 + block * 100):
        check(seed)
